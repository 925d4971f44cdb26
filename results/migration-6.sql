-- Version 6: quality may be measured again, with other samples; nothing had been written before.
DROP TABLE quality;
CREATE TABLE quality (
  run INTEGER NOT NULL REFERENCES run,
  measurement INTEGER NOT NULL, -- rows of one invocation have one number
  metric TEXT NOT NULL,
  modality TEXT NOT NULL,
  split TEXT NOT NULL,
  value REAL,
  n INTEGER NOT NULL CHECK (n >= 0), -- what the value is a mean or a statistic of
  bound REAL,                        -- what it can be held against ...
  bound_is TEXT CHECK (bound_is IN ('ceiling', 'floor', 'baseline') AND bound IS NOT NULL
                       OR bound_is IS NULL AND bound IS NULL), -- ... and which way
  how TEXT NOT NULL,                 -- samples, seed, backend: what else the value depends on
  PRIMARY KEY (run, metric, modality, split, measurement)
) STRICT, WITHOUT ROWID;
