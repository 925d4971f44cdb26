/* Everything that reads rows, but for check.c and export.c. */
#include "results/csv.h"
#include "results/sql.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* ---- queries: all rows in memory ----------------------------------------------------------- */

typedef struct result {
    mb_rows rows; /* first: what callers hold and give back */
    mb_cell *cell;
    size_t *text_at; /* of each cell, in text: an address would move as text grows */
    size_t room;
    char *text;
    size_t text_size, text_room;
    char **name;
} result;

static void *grow(void *p, size_t size)
{
    void *q = realloc(p, size);

    if (!q) {
        fprintf(stderr, "motbench: out of memory (%zu bytes)\n", size);
        abort();
    }
    return q;
}

static size_t add_text(result *r, const char *text)
{
    size_t at = r->text_size, size = strlen(text) + 1;

    if (at + size > r->text_room) {
        r->text_room = 2 * (at + size);
        r->text = grow(r->text, r->text_room);
    }
    memcpy(r->text + at, text, size);
    r->text_size += size;
    return at;
}

static mb_cell read_cell(sqlite3_stmt *st, int column)
{
    switch (sqlite3_column_type(st, column)) {
    case SQLITE_NULL:
        return (mb_cell){ .type = MB_NULL };
    case SQLITE_INTEGER:
        return (mb_cell){ .type = MB_INTEGER,
                          .integer = sqlite3_column_int64(st, column),
                          .real = (double)sqlite3_column_int64(st, column) };
    case SQLITE_FLOAT:
        return (mb_cell){ .type = MB_REAL, .real = sqlite3_column_double(st, column) };
    default:
        return (mb_cell){ .type = MB_STRING };
    }
}

static void add_cell(result *r, size_t at, sqlite3_stmt *st, int column)
{
    char real[MB_REAL_TEXT];

    r->cell[at] = read_cell(st, column);
    if (r->cell[at].type == MB_REAL) {
        mb_real_text(r->cell[at].real, real);
        r->text_at[at] = add_text(r, real);
    } else if (r->cell[at].type == MB_NULL) {
        r->text_at[at] = add_text(r, "");
    } else {
        r->text_at[at] = add_text(r, (const char *)sqlite3_column_text(st, column));
    }
}

static void add_row(result *r, sqlite3_stmt *st)
{
    size_t at = r->rows.n * r->rows.columns;

    if (at + r->rows.columns > r->room) {
        r->room = 2 * (at + r->rows.columns);
        r->cell = grow(r->cell, r->room * sizeof *r->cell);
        r->text_at = grow(r->text_at, r->room * sizeof *r->text_at);
    }
    for (size_t c = 0; c < r->rows.columns; c++)
        add_cell(r, at + c, st, (int)c);
    r->rows.n++;
}

static mb_err read_rows(mb_store *s, sqlite3_stmt *st, result *r)
{
    bool row;

    r->rows.columns = (size_t)sqlite3_column_count(st);
    r->name = mb_zalloc(r->rows.columns, sizeof *r->name);
    for (size_t c = 0; c < r->rows.columns; c++)
        r->name[c] = mb_format("%s", sqlite3_column_name(st, (int)c));
    for (;;) {
        MB_TRY(mb_sql_next(s, st, &row));
        if (!row)
            break;
        add_row(r, st);
    }
    for (size_t i = 0; i < r->rows.n * r->rows.columns; i++)
        r->cell[i].string = r->text + r->text_at[i];
    r->rows.cell = r->cell;
    r->rows.column = (const char *const *)r->name;
    return MB_OK;
}

/* One statement that only reads, with as many parameters as it names. */
static mb_err prepare_select(mb_store *s, const char *sql, const char *const *parameters,
                             sqlite3_stmt **out)
{
    const char *rest;
    int given = 0;

    if (sqlite3_prepare_v2(s->db, sql, -1, out, &rest))
        return mb_sql_fail(s);
    if (!*out || !sqlite3_stmt_readonly(*out) || rest[strspn(rest, " \t\r\n;")])
        return mb_fail(MB_EINVAL, "%s: expected one SELECT, found: %.60s", s->path, sql);
    for (; parameters && parameters[given]; given++)
        if (sqlite3_bind_text(*out, given + 1, parameters[given], -1, SQLITE_STATIC))
            return mb_sql_fail(s);
    if (given != sqlite3_bind_parameter_count(*out))
        return mb_fail(MB_EINVAL, "%s: a query has %d parameters, %d were given: %.60s", s->path,
                       sqlite3_bind_parameter_count(*out), given, sql);
    return MB_OK;
}

mb_err mb_store_query(mb_store *s, const char *sql, const char *const *parameters, mb_rows **out)
{
    result *r = mb_zalloc(1, sizeof *r);
    sqlite3_stmt *st = NULL;
    mb_err err = prepare_select(s, sql, parameters, &st);

    if (!err)
        err = read_rows(s, st, r);
    sqlite3_finalize(st);
    *out = &r->rows;
    if (err) {
        mb_rows_free(*out);
        *out = NULL;
    }
    return err;
}

void mb_rows_free(mb_rows *rows)
{
    result *r = (result *)rows;

    if (!r)
        return;
    for (size_t c = 0; r->name && c < r->rows.columns; c++)
        free(r->name[c]);
    free(r->name);
    free(r->cell);
    free(r->text_at);
    free(r->text);
    free(r);
}

/* ---- jobs ---------------------------------------------------------------------------------- */

static void read_found(sqlite3_stmt *st, mb_found_run *out)
{
    out->run = sqlite3_column_int64(st, 0);
    out->steps_done = sqlite3_column_int64(st, 1);
    out->pid = sqlite3_column_int64(st, 2);
    snprintf(out->uuid, sizeof out->uuid, "%s", sqlite3_column_text(st, 3));
    snprintf(out->status, sizeof out->status, "%s", sqlite3_column_text(st, 4));
    out->machine = sqlite3_column_int64(st, 5);
    out->build = sqlite3_column_int64(st, 6);
}

mb_err mb_store_find_job(mb_store *s, const char *job, mb_found_run *out)
{
    static const char sql[] =
        "SELECT r.id, (SELECT coalesce(max(step), 0) FROM step WHERE run = r.id), e.pid, r.uuid, "
        "e.status, r.machine, r.build FROM run AS r JOIN event AS e ON e.id = "
        "(SELECT max(id) FROM event WHERE run = r.id) "
        "WHERE r.job = ?1 AND r.purpose = 'train' ORDER BY r.id DESC LIMIT 1";
    sqlite3_stmt *st = NULL;
    bool row = false;
    mb_err err = mb_sql_prepare(s, sql, &st);

    memset(out, 0, sizeof *out);
    if (!err)
        err = mb_sql_bind(s, st, 1, "t", job);
    if (!err)
        err = mb_sql_next(s, st, &row);
    if (row)
        read_found(st, out);
    sqlite3_finalize(st);
    return err;
}

/* ---- curves -------------------------------------------------------------------------------- */

static mb_err read_points(mb_store *s, sqlite3_stmt *st, mb_point **out, size_t *n)
{
    size_t room = 0;
    bool row;

    for (;;) {
        MB_TRY(mb_sql_next(s, st, &row));
        if (!row)
            return MB_OK;
        if (*n == room) {
            room = room ? 2 * room : 256;
            *out = grow(*out, room * sizeof **out);
        }
        (*out)[(*n)++] = (mb_point){ sqlite3_column_double(st, 0), sqlite3_column_double(st, 1) };
    }
}

mb_err mb_store_curve(mb_store *s, int64_t run, const char *split, const char *modality,
                      const char *metric, mb_point **out, size_t *n)
{
    const char *sql =
        strcmp(split, "train")
            ? "SELECT step, value FROM value WHERE run = ?1 AND value IS NOT NULL AND series = "
              "(SELECT id FROM series WHERE split = ?2 AND modality = ?3 AND metric = ?4) "
              "ORDER BY step"
            : "SELECT step, value FROM smooth WHERE run = ?1 AND series = "
              "(SELECT id FROM series WHERE split = ?2 AND modality = ?3 AND metric = ?4) "
              "ORDER BY step";
    sqlite3_stmt *st = NULL;
    mb_err err = mb_sql_prepare(s, sql, &st);

    *out = NULL;
    *n = 0;
    if (!err)
        err = mb_sql_bind(s, st, 1, "ittt", run, split, modality, metric);
    if (!err)
        err = read_points(s, st, out, n);
    sqlite3_finalize(st);
    if (err) {
        free(*out);
        *out = NULL;
        *n = 0;
    }
    return err;
}
