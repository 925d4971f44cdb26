/* SQLite, thinly: statements with typed parameters, errors as mb_err, transactions. Private to
   results/: whoever else wants data asks through store.h. */
#ifndef MB_RESULTS_SQL_H
#define MB_RESULTS_SQL_H

#include "results/store.h"

#include <sqlite3.h>

struct mb_store {
    sqlite3 *db;
    char *path;
    bool read_only;
};

/* The message of the last SQLite error of S as ours: "PATH: ...". */
mb_err mb_sql_fail(mb_store *s);

/* Runs a script of statements that return nothing of interest. */
mb_err mb_sql_exec(mb_store *s, const char *script);

/* Prepares one statement; finalise it with sqlite3_finalize(), which accepts NULL. */
mb_err mb_sql_prepare(mb_store *s, const char *sql, sqlite3_stmt **out);

/* Binds parameters AT (counted from 1), AT + 1, ... by TYPES: i int64_t, n int64_t (below 0 becomes
   NULL), u uint64_t (refused above 2^63 - 1), d double (NaN becomes NULL), t text (NULL stays NULL;
   borrowed until the next step). */
mb_err mb_sql_bind(mb_store *s, sqlite3_stmt *st, int at, const char *types, ...);

/* Runs a bound statement that returns no rows, and resets it for the next binding. */
mb_err mb_sql_finish(mb_store *s, sqlite3_stmt *st);

/* The next row: *row is false at the end. */
mb_err mb_sql_next(mb_store *s, sqlite3_stmt *st, bool *row);

/* Prepare, bind, finish. */
mb_err mb_sql_run(mb_store *s, const char *sql, const char *types, ...);

/* Binds row I, each column as a parameter from AT on. */
typedef mb_err mb_sql_row(mb_store *s, sqlite3_stmt *st, int at, size_t i, void *context);

/* HEAD "VALUES (?, ...), (?, ...), ..." TAIL: inserts N rows of as many COLUMNS, asking for each
   once and in order. Many go into one statement, which takes half the time of one for each. */
mb_err mb_sql_insert(mb_store *s, const char *head, int columns, const char *tail, size_t n,
                     mb_sql_row *row, void *context);

/* First column of the first row as an integer, or NONE when there is no row. */
mb_err mb_sql_integer(mb_store *s, int64_t *out, int64_t none, const char *sql, const char *types,
                      ...);

/* A write transaction; end commits when ERR is MB_OK and rolls back otherwise, and returns what
   became of it. */
mb_err mb_sql_begin(mb_store *s);
mb_err mb_sql_end(mb_store *s, mb_err err);

int64_t mb_sql_now(void); /* wall clock, nanoseconds since 1970 */

#endif
