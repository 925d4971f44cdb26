-- The tables, version 1. Applied by results/schema.c; a later version is a file migration-N.sql.
--
-- Rows are only ever added. Two things are derived and could be made again from the rest: the
-- running totals in `step` (so that "by this step" needs no sum over the steps before it) and the
-- tables `pace` and `smooth`, made when a run ends. `motbench db check` compares the totals with
-- the steps, and sees that an ended run has a pace.
--
-- Times are nanoseconds, FLOPs per step whole numbers; totals of FLOPs are REAL, since a long run
-- exceeds 2^63. A REAL that is not a number (a diverged loss) is NULL.

CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What is written once and pointed at: a machine, a build, a data set, the settings of a run.
CREATE TABLE fact_set (
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('machine', 'build', 'dataset', 'settings')),
  hash TEXT NOT NULL, -- SHA-256 of the sorted facts
  UNIQUE (kind, hash)
) STRICT;

CREATE TABLE fact (
  fact_set INTEGER NOT NULL REFERENCES fact_set,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (fact_set, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
  id INTEGER PRIMARY KEY,
  uuid TEXT NOT NULL UNIQUE,
  workload TEXT NOT NULL,
  arch TEXT NOT NULL,
  seed INTEGER NOT NULL,
  backend TEXT NOT NULL,
  precision TEXT NOT NULL,
  device TEXT NOT NULL,
  job TEXT NOT NULL,
  machine INTEGER NOT NULL REFERENCES fact_set,
  build INTEGER NOT NULL REFERENCES fact_set,
  dataset INTEGER NOT NULL REFERENCES fact_set,
  settings INTEGER NOT NULL REFERENCES fact_set,
  params_total INTEGER NOT NULL,
  params_active INTEGER NOT NULL,
  steps INTEGER NOT NULL CHECK (steps >= 1) -- planned
) STRICT;
CREATE INDEX run_by_job ON run (job);

-- What happened to a run, in order; the last one is its status.
CREATE TABLE event (
  id INTEGER PRIMARY KEY,
  run INTEGER NOT NULL REFERENCES run,
  at_ns INTEGER NOT NULL, -- wall clock, since 1970
  pid INTEGER NOT NULL,   -- the process that does the run
  status TEXT NOT NULL CHECK (status IN ('running', 'ok', 'failed', 'interrupted')),
  detail TEXT,
  checkpoint TEXT
) STRICT;
CREATE INDEX event_by_run ON event (run, id);

CREATE TABLE step (
  run INTEGER NOT NULL REFERENCES run,
  step INTEGER NOT NULL CHECK (step >= 1),
  wall_ns INTEGER NOT NULL CHECK (wall_ns >= 0),
  cpu_ns INTEGER NOT NULL CHECK (cpu_ns >= 0),
  tokens INTEGER NOT NULL CHECK (tokens >= 0),
  flops_model INTEGER NOT NULL CHECK (flops_model >= 0),
  flops_useful INTEGER NOT NULL CHECK (flops_useful >= 0),
  flops_executed INTEGER NOT NULL CHECK (flops_executed >= 0),
  flagged INTEGER NOT NULL CHECK (flagged IN (0, 1, 2)), -- 1: disturbed, 2: warm-up
  -- of steps 1 .. step
  wall_ns_sum INTEGER NOT NULL,
  tokens_sum INTEGER NOT NULL,
  flops_model_sum REAL NOT NULL,
  flops_useful_sum REAL NOT NULL,
  flops_executed_sum REAL NOT NULL,
  PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;

-- What is measured along a run: the names once, the values by number.
CREATE TABLE series (
  id INTEGER PRIMARY KEY,
  split TEXT NOT NULL,
  modality TEXT NOT NULL,
  metric TEXT NOT NULL,
  UNIQUE (split, modality, metric)
) STRICT;

CREATE TABLE value (
  run INTEGER NOT NULL REFERENCES run,
  series INTEGER NOT NULL REFERENCES series,
  step INTEGER NOT NULL CHECK (step >= 0), -- measured after this step; 0: before the first
  value REAL,
  n INTEGER NOT NULL CHECK (n >= 0),
  PRIMARY KEY (run, series, step)
) STRICT, WITHOUT ROWID;

-- Median wall time of the undisturbed steps of an ended run; NULL when it had none.
CREATE TABLE pace (
  run INTEGER PRIMARY KEY REFERENCES run,
  step_s REAL
) STRICT;

-- Training curves of an ended run, smoothed: weighted means over 100 equal windows of its steps.
CREATE TABLE smooth (
  run INTEGER NOT NULL REFERENCES run,
  series INTEGER NOT NULL REFERENCES series,
  step REAL NOT NULL, -- mean step of the window
  value REAL NOT NULL,
  PRIMARY KEY (run, series, step)
) STRICT, WITHOUT ROWID;

-- The ledger's entries; a resumed run adds rows of its own, the view sums.
CREATE TABLE op (
  run INTEGER NOT NULL REFERENCES run,
  op TEXT NOT NULL,
  part TEXT NOT NULL,
  layer INTEGER NOT NULL,
  pass TEXT NOT NULL CHECK (pass IN ('fwd', 'bwd', 'opt')),
  "group" INTEGER NOT NULL,
  calls INTEGER NOT NULL CHECK (calls >= 0),
  wall_ns INTEGER CHECK (wall_ns >= 0), -- NULL: not traced
  flops_model INTEGER NOT NULL CHECK (flops_model >= 0),
  flops_useful INTEGER NOT NULL CHECK (flops_useful >= 0),
  flops_executed INTEGER NOT NULL CHECK (flops_executed >= 0),
  flops_vector INTEGER NOT NULL CHECK (flops_vector >= 0),
  bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;
CREATE INDEX op_by_run ON op (run);

-- Seconds that are not training.
CREATE TABLE overhead (
  run INTEGER NOT NULL REFERENCES run,
  kind TEXT NOT NULL,
  wall_ns INTEGER NOT NULL CHECK (wall_ns >= 0)
) STRICT;
CREATE INDEX overhead_by_run ON overhead (run);

-- Results of comparing: one comparison writes all its matches with one number.
CREATE TABLE match (
  comparison INTEGER NOT NULL,
  workload TEXT NOT NULL,
  arch TEXT NOT NULL,
  baseline TEXT NOT NULL,
  backend TEXT NOT NULL,
  precision TEXT NOT NULL,
  modality TEXT NOT NULL,
  metric TEXT NOT NULL,
  split TEXT NOT NULL,
  "by" TEXT NOT NULL CHECK ("by" IN ('flops', 'time')),
  slope REAL,
  ci_lo REAL,
  ci_hi REAL,
  n_seeds INTEGER NOT NULL CHECK (n_seeds >= 1),
  reached INTEGER NOT NULL CHECK (reached IN (0, 1)),
  PRIMARY KEY (workload, arch, baseline, comparison, backend, precision, modality, metric, split,
               "by")
) STRICT, WITHOUT ROWID;

CREATE TABLE quality (
  run INTEGER NOT NULL REFERENCES run,
  metric TEXT NOT NULL,
  modality TEXT NOT NULL,
  split TEXT NOT NULL,
  value REAL,
  n INTEGER NOT NULL CHECK (n >= 0),
  PRIMARY KEY (run, metric, modality, split)
) STRICT, WITHOUT ROWID;

CREATE TABLE counter (
  run INTEGER NOT NULL REFERENCES run,
  source TEXT NOT NULL,
  event TEXT NOT NULL,
  status TEXT NOT NULL, -- "ok", or why there is no value: a machine that cannot count is no error
  value REAL CHECK (value IS NULL OR status = 'ok'),
  unit TEXT NOT NULL,
  PRIMARY KEY (run, source, event)
) STRICT, WITHOUT ROWID;

CREATE TABLE judgement (
  id INTEGER PRIMARY KEY,
  at_ns INTEGER NOT NULL,
  cell TEXT NOT NULL,
  metric TEXT NOT NULL,
  verdict TEXT NOT NULL,
  ratio REAL,
  ci_lo REAL,
  ci_hi REAL,
  reason TEXT NOT NULL
) STRICT;
