-- Version 2: runs made to be profiled, which no comparison may take for training.
ALTER TABLE run ADD COLUMN purpose TEXT NOT NULL DEFAULT 'train'
  CHECK (purpose IN ('train', 'profile'));
