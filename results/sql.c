#include "results/sql.h"

#include "base/file.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

mb_err mb_sql_fail(mb_store *s)
{
    const char *what = sqlite3_errmsg(s->db);

    switch (sqlite3_errcode(s->db) & 0xff) {
    case SQLITE_NOTADB:
        return mb_fail(MB_ECORRUPT, "%s: not an SQLite database", s->path);
    case SQLITE_CORRUPT:
        return mb_fail(MB_ECORRUPT, "%s: damaged database: %s", s->path, what);
    case SQLITE_NOMEM:
        return mb_fail(MB_ENOMEM, "%s: %s", s->path, what);
    case SQLITE_CONSTRAINT:
    case SQLITE_ERROR:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
        return mb_fail(MB_EINVAL, "%s: %s", s->path, what);
    default:
        return mb_fail(MB_EIO, "%s: %s", s->path, what);
    }
}

mb_err mb_sql_exec(mb_store *s, const char *script)
{
    return sqlite3_exec(s->db, script, NULL, NULL, NULL) ? mb_sql_fail(s) : MB_OK;
}

mb_err mb_sql_prepare(mb_store *s, const char *sql, sqlite3_stmt **out)
{
    return sqlite3_prepare_v2(s->db, sql, -1, out, NULL) ? mb_sql_fail(s) : MB_OK;
}

static int bind_real(sqlite3_stmt *st, int at, double value)
{
    return value != value ? sqlite3_bind_null(st, at) : sqlite3_bind_double(st, at, value);
}

static int bind_count(sqlite3_stmt *st, int at, int64_t count)
{
    return count < 0 ? sqlite3_bind_null(st, at) : sqlite3_bind_int64(st, at, count);
}

static mb_err bind_list(mb_store *s, sqlite3_stmt *st, int at, const char *types, va_list args)
{
    for (; *types; at++, types++) {
        int bad = SQLITE_OK;
        uint64_t u;

        switch (*types) {
        case 'i':
            bad = sqlite3_bind_int64(st, at, va_arg(args, int64_t));
            break;
        case 'u':
            u = va_arg(args, uint64_t);
            if (u > INT64_MAX)
                return mb_fail(MB_EINVAL, "%s: %llu does not fit into 63 bits", s->path,
                               (unsigned long long)u);
            bad = sqlite3_bind_int64(st, at, (int64_t)u);
            break;
        case 'n':
            bad = bind_count(st, at, va_arg(args, int64_t));
            break;
        case 'd':
            bad = bind_real(st, at, va_arg(args, double));
            break;
        default:
            bad = sqlite3_bind_text(st, at, va_arg(args, const char *), -1, SQLITE_STATIC);
        }
        if (bad)
            return mb_sql_fail(s);
    }
    return MB_OK;
}

mb_err mb_sql_bind(mb_store *s, sqlite3_stmt *st, int at, const char *types, ...)
{
    va_list args;
    mb_err err;

    va_start(args, types);
    err = bind_list(s, st, at, types, args);
    va_end(args);
    return err;
}

mb_err mb_sql_finish(mb_store *s, sqlite3_stmt *st)
{
    int rc = sqlite3_step(st);
    mb_err err = rc == SQLITE_DONE || rc == SQLITE_ROW ? MB_OK : mb_sql_fail(s);

    sqlite3_reset(st);
    return err;
}

mb_err mb_sql_next(mb_store *s, sqlite3_stmt *st, bool *row)
{
    int rc = sqlite3_step(st);

    *row = rc == SQLITE_ROW;
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? MB_OK : mb_sql_fail(s);
}

mb_err mb_sql_run(mb_store *s, const char *sql, const char *types, ...)
{
    sqlite3_stmt *st = NULL;
    va_list args;
    mb_err err = mb_sql_prepare(s, sql, &st);

    va_start(args, types);
    if (!err)
        err = bind_list(s, st, 1, types, args);
    va_end(args);
    if (!err)
        err = mb_sql_finish(s, st);
    sqlite3_finalize(st);
    return err;
}

/* HEAD VALUES (?, ...), ... TAIL with N rows. */
static mb_err prepare_rows(mb_store *s, const char *head, int columns, const char *tail, size_t n,
                           sqlite3_stmt **out)
{
    size_t each = 2 * (size_t)columns + 2; /* "(?,?)," */
    char *values = mb_alloc(n * each), *p = values, *sql;
    mb_err err;

    for (size_t i = 0; i < n; i++, *p++ = ',') {
        for (int c = 0; c < columns; c++) {
            *p++ = c ? ',' : '(';
            *p++ = '?';
        }
        *p++ = ')';
    }
    sql = mb_format("%s VALUES %.*s %s", head, (int)(p - values) - 1, values, tail);
    sqlite3_finalize(*out);
    *out = NULL;
    err = mb_sql_prepare(s, sql, out);
    free(values);
    free(sql);
    return err;
}

mb_err mb_sql_insert(mb_store *s, const char *head, int columns, const char *tail, size_t n,
                     mb_sql_row *row, void *context)
{
    enum { ROWS = 16 }; /* in a statement: with more, binding and storing are all that is left */
    sqlite3_stmt *st = NULL;
    size_t prepared = 0;
    mb_err err = MB_OK;

    for (size_t done = 0; !err && done < n; done += prepared) {
        size_t rows = n - done < ROWS ? n - done : ROWS;

        if (rows != prepared)
            err = prepare_rows(s, head, columns, tail, rows, &st);
        prepared = rows;
        for (size_t i = 0; !err && i < rows; i++)
            err = row(s, st, 1 + (int)i * columns, done + i, context);
        if (!err)
            err = mb_sql_finish(s, st);
    }
    sqlite3_finalize(st);
    return err;
}

mb_err mb_sql_integer(mb_store *s, int64_t *out, int64_t none, const char *sql, const char *types,
                      ...)
{
    sqlite3_stmt *st = NULL;
    bool row = false;
    va_list args;
    mb_err err = mb_sql_prepare(s, sql, &st);

    va_start(args, types);
    if (!err)
        err = bind_list(s, st, 1, types, args);
    va_end(args);
    if (!err)
        err = mb_sql_next(s, st, &row);
    *out = row ? sqlite3_column_int64(st, 0) : none;
    sqlite3_finalize(st);
    return err;
}

mb_err mb_sql_begin(mb_store *s)
{
    return mb_sql_exec(s, "BEGIN IMMEDIATE");
}

mb_err mb_sql_end(mb_store *s, mb_err err)
{
    if (!err)
        err = mb_sql_exec(s, "COMMIT");
    if (err && !sqlite3_get_autocommit(s->db)) /* a full disk may have rolled back by itself */
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

int64_t mb_sql_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
