-- Version 3: in a statement that inserts many rows, SQLite makes a table of the list of an IN anew
-- for each row; a range it just compares. The same rows pass, so the text is all that changes
-- (https://sqlite.org/lang_altertable.html, section 7, on constraints).
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, 'flagged IN (0, 1, 2)', 'flagged BETWEEN 0 AND 2')
  WHERE type = 'table' AND name = 'step';
PRAGMA writable_schema = RESET;
