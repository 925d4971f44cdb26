/* The views as CSV files, row by row: an export needs no memory however long the runs were. */
#include "results/csv.h"
#include "results/sql.h"

#include "base/file.h"

#include <stdlib.h>

static mb_cell text_of(sqlite3_stmt *st, int column, char real[MB_REAL_TEXT])
{
    int type = sqlite3_column_type(st, column);
    mb_cell cell = { .type = type == SQLITE_TEXT   ? MB_STRING
                             : type == SQLITE_NULL ? MB_NULL
                                                   : MB_REAL,
                     .string = "" };

    if (type == SQLITE_FLOAT) {
        mb_real_text(sqlite3_column_double(st, column), real);
        cell.string = real;
    } else if (type != SQLITE_NULL) {
        cell.string = (const char *)sqlite3_column_text(st, column);
    }
    return cell;
}

static mb_err write_rows(mb_store *s, sqlite3_stmt *st, FILE *out)
{
    int columns = sqlite3_column_count(st);
    mb_cell *cell = mb_alloc((size_t)columns * sizeof *cell);
    char(*real)[MB_REAL_TEXT] = mb_alloc((size_t)columns * sizeof *real);
    const char **name = mb_alloc((size_t)columns * sizeof *name);
    mb_err err;
    bool row;

    for (int c = 0; c < columns; c++)
        name[c] = sqlite3_column_name(st, c);
    mb_csv_header(out, name, (size_t)columns);
    while (!(err = mb_sql_next(s, st, &row)) && row && !ferror(out)) {
        for (int c = 0; c < columns; c++)
            cell[c] = text_of(st, c, real[c]);
        mb_csv_row(out, cell, (size_t)columns);
    }
    free(cell);
    free(real);
    free(name);
    return err;
}

static mb_err export_view(mb_store *s, const char *view, const char *folder)
{
    char *path = mb_format("%s/%s.csv", folder, view);
    char *sql = mb_format("SELECT * FROM \"%s\"", view);
    sqlite3_stmt *st = NULL;
    mb_replace file = { 0 };
    mb_err err = mb_sql_prepare(s, sql, &st);

    if (!err)
        err = mb_replace_open(path, &file);
    if (!err)
        err = write_rows(s, st, file.file);
    if (err)
        mb_replace_abort(&file);
    else
        err = mb_replace_commit(&file);
    sqlite3_finalize(st);
    free(path);
    free(sql);
    return err;
}

mb_err mb_store_export(mb_store *s, const char *folder)
{
    mb_rows *views;
    mb_err err;

    MB_TRY(mb_make_folders(folder));
    MB_TRY(mb_sql_exec(s, "BEGIN")); /* all views as of one moment */
    err = mb_store_query(s, "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name",
                         NULL, &views);
    for (size_t i = 0; !err && i < views->n; i++)
        err = export_view(s, views->cell[i].string, folder);
    mb_rows_free(views);
    return mb_sql_end(s, err);
}
