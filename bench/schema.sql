-- What one run of the benchmark measured. Times are nanoseconds; NULL: unknown or not measured.
CREATE TABLE fact (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- Every step of every worker, also warm-up rounds and disturbed turns.
CREATE TABLE turn (
  section TEXT NOT NULL,
  variant TEXT NOT NULL,
  precision TEXT NOT NULL,
  threads INTEGER NOT NULL,
  command TEXT NOT NULL,
  round INTEGER NOT NULL,
  warm_up INTEGER NOT NULL,   -- 1: not in any figure
  disturbed INTEGER NOT NULL, -- 1: our threads waited for a processor for more than 1 % of it
  wall_ns INTEGER NOT NULL,
  cpu_ns INTEGER NOT NULL,
  queued_ns INTEGER,
  peak REAL,                  -- FLOP/s on registers alone, just before the step
  loss REAL NOT NULL,         -- before the step
  flops_model INTEGER,
  flops_executed INTEGER,
  bytes INTEGER,              -- most memory held: parameters, optimiser, activations, workspace
  predicted INTEGER           -- the same, as the formula of models/README.md says
) STRICT;

CREATE TABLE figure (
  section TEXT NOT NULL,
  figure TEXT NOT NULL,
  precision TEXT NOT NULL,
  threads INTEGER NOT NULL,
  target TEXT NOT NULL,
  value REAL, lo REAL, hi REAL, -- median over rounds, 95 % bootstrap interval
  rounds INTEGER NOT NULL,      -- undisturbed ones
  verdict TEXT NOT NULL         -- also why there is no value
) STRICT;
