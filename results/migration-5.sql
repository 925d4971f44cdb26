-- Version 5: what a GPU did for each operation of a profiled run, kernel by kernel.

-- Sums over as many steps as were traced, in steps of their own. Part '' is outside of operations;
-- op 'launch gaps' is the time in which the device did nothing between the first launch of a step
-- and its last.
CREATE TABLE kernel (
  run INTEGER NOT NULL REFERENCES run,
  op TEXT NOT NULL,
  part TEXT NOT NULL,
  layer INTEGER NOT NULL,
  pass TEXT NOT NULL,
  name TEXT NOT NULL, -- the kernel's own; 'copy', 'fill'
  calls INTEGER NOT NULL CHECK (calls >= 0),
  gpu_ns INTEGER NOT NULL CHECK (gpu_ns >= 0),
  bytes INTEGER NOT NULL CHECK (bytes >= 0), -- of copies and fills
  PRIMARY KEY (run, op, part, layer, pass, name)
) STRICT, WITHOUT ROWID;
