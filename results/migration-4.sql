-- Version 4: the memory of training. One row for each process that trained the run, since one that
-- was interrupted has several.
CREATE TABLE memory (
  run INTEGER NOT NULL REFERENCES run,
  peak_bytes INTEGER NOT NULL CHECK (peak_bytes >= 0),       -- held by the run at most
  predicted_bytes INTEGER NOT NULL CHECK (predicted_bytes >= 0) -- by the formulas of models/README.md
) STRICT;
CREATE INDEX memory_by_run ON memory (run);
