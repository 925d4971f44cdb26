#include "bench/report.h"

#include "base/file.h"
#include "models/kernels/op.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char schema[] =
#include "bench/schema.sql.inc"
    ;

static const mb_table_column columns[] = {
    { .name = "section", .once = true },
    { .name = "figure" },
    { .name = "precision" },
    { .name = "threads", .show = MB_SHOW_PLAIN },
    { .name = "target", .show = MB_SHOW_PLAIN },
    { .name = "measured", .show = MB_SHOW_PLAIN },
    { .name = "interval", .show = MB_SHOW_PLAIN },
    { .name = "rounds", .show = MB_SHOW_PLAIN },
    { .name = "verdict" },
};

/* SQLite's shell on the database; NULL, with a message, when it does not start. */
static FILE *open_shell(const char *path)
{
    char *shell = mb_format("sqlite3 -bail '%s'", path);
    FILE *f = popen(shell, "w");

    free(shell);
    if (!f)
        mb_fail(MB_EIO, "sqlite3: %s", strerror(errno));
    return f;
}

static FILE *open_text(const char *path)
{
    FILE *f = fopen(path, "w");

    if (!f)
        mb_fail(MB_EIO, "%s: %s", path, strerror(errno));
    return f;
}

mb_err mb_report_open(const char *folder, bool judged, mb_report *out)
{
    bool shell = system("command -v sqlite3 >/dev/null") == 0;

    *out = (mb_report){ .path = mb_format("%s/bench.%s", folder, shell ? "db" : "sql"),
                        .shell = shell,
                        .judged = judged };
    MB_TRY(mb_make_folders(folder));
    if (unlink(out->path) && errno != ENOENT)
        return mb_fail(MB_EIO, "%s: %s", out->path, strerror(errno));
    out->sql = shell ? open_shell(out->path) : open_text(out->path);
    if (!out->sql)
        return MB_EIO;
    fprintf(out->sql, "%sBEGIN;\n", schema);
    out->table = mb_table_new(columns, sizeof columns / sizeof *columns);
    return MB_OK;
}

static mb_err write_table(const mb_report *r, const char *folder)
{
    char *path = mb_format("%s/bench.md", folder);
    mb_replace file;
    mb_err err = mb_replace_open(path, &file);

    if (!err)
        err = mb_table_print(r->table, MB_TABLE_MD, file.file);
    if (!err)
        err = mb_replace_commit(&file);
    mb_replace_abort(&file);
    free(path);
    return err;
}

mb_err mb_report_close(mb_report *r, const char *folder)
{
    mb_err err = mb_table_print(r->table, MB_TABLE_HUMAN, stdout);

    fprintf(r->sql, "COMMIT;\n");
    if ((r->shell ? pclose(r->sql) : fclose(r->sql)) && !err)
        err = mb_fail(MB_EIO, "%s: cannot be written", r->path);
    if (!err)
        err = write_table(r, folder);
    mb_table_free(r->table);
    free(r->path);
    return err;
}

/* ---- SQL ----------------------------------------------------------------------------------- */

static void put_text(FILE *f, const char *text)
{
    putc('\'', f);
    for (; *text; text++) {
        if (*text == '\'')
            putc('\'', f);
        putc(*text, f);
    }
    putc('\'', f);
}

static void put_real(FILE *f, double x)
{
    if (isnan(x))
        fprintf(f, ",NULL");
    else
        fprintf(f, ",%.9g", x);
}

void mb_report_fact(mb_report *r, const char *key, const char *value)
{
    fprintf(r->sql, "INSERT INTO fact VALUES (");
    put_text(r->sql, key);
    putc(',', r->sql);
    put_text(r->sql, value);
    fprintf(r->sql, ");\n");
}

void mb_report_turns(mb_report *r, const mb_group *g)
{
    for (int i = 0; i < g->n; i++)
        for (int round = 0; !g->v[i].failed && round < g->rounds; round++) {
            const mb_turn *t = &g->v[i].turn[round];

            fprintf(r->sql, "INSERT INTO turn VALUES (");
            put_text(r->sql, g->section);
            putc(',', r->sql);
            put_text(r->sql, g->v[i].name);
            fprintf(r->sql, ",'%s',%d,", mb_precision_name[g->precision], g->threads);
            put_text(r->sql, g->v[i].command);
            fprintf(r->sql,
                    ",%d,%d,%d,%" PRId64 ",%" PRId64 ",nullif(%" PRId64
                    ",-1),nullif(%.9g,0.0),%.9g,nullif(%" PRIu64 ",0),nullif(%" PRIu64
                    ",0),nullif(%" PRIu64 ",0),nullif(%" PRIu64 ",0));\n",
                    round, round < MB_WARM_UP, mb_turn_disturbed(g, t), t->wall_ns, t->cpu_ns,
                    t->queued_ns, t->peak, t->loss, t->flops_model, t->flops_executed, t->bytes,
                    t->predicted);
        }
}

/* ---- figures ------------------------------------------------------------------------------- */

static bool reaches(const mb_figure *f, double x)
{
    switch (f->goal) {
    case MB_AT_MOST:
        return x <= f->target;
    case MB_AT_LEAST:
        return x >= f->target;
    default:
        return fabs(x - 1) <= f->target;
    }
}

static const char *judge(const mb_figure *f, mb_measure m)
{
    bool lo = reaches(f, m.lo), hi = reaches(f, m.hi);

    if (isnan(m.median))
        return "too few undisturbed rounds";
    return lo && hi ? "met" : !lo && !hi ? "MISSED" : "unclear";
}

static void put_figure(mb_report *r, const mb_figure *f, mb_measure m, const char *verdict)
{
    static const char *const sign[] = { "<=", ">=", "1 +-" };
    const char *precision = mb_precision_name[f->precision];
    char *wanted = mb_format("%s %g", sign[f->goal], f->target);
    char *median = isnan(m.median) ? NULL : mb_format("%.3f", m.median);
    char *interval = isnan(m.lo) ? NULL : mb_format("%.3f-%.3f", m.lo, m.hi);

    mb_table_text(r->table, f->section);
    mb_table_text(r->table, f->name);
    mb_table_text(r->table, precision);
    mb_table_integer(r->table, f->threads);
    mb_table_text(r->table, wanted);
    mb_table_text(r->table, median);
    mb_table_text(r->table, interval);
    mb_table_integer(r->table, m.n);
    mb_table_text(r->table, verdict);
    fprintf(stderr, "%s: %s: %s, wanted %s: %s\n", f->section, f->name, median ? median : "-",
            wanted, verdict); /* whoever ends this early has what there is */
    fprintf(r->sql, "INSERT INTO figure VALUES (");
    put_text(r->sql, f->section);
    putc(',', r->sql);
    put_text(r->sql, f->name);
    fprintf(r->sql, ",'%s',%d,'%s'", precision, f->threads, wanted);
    put_real(r->sql, m.median);
    put_real(r->sql, m.lo);
    put_real(r->sql, m.hi);
    fprintf(r->sql, ",%d,", m.n);
    put_text(r->sql, verdict);
    fprintf(r->sql, ");\n");
    free(wanted);
    free(median);
    free(interval);
}

void mb_report_figure(mb_report *r, const mb_figure *f, mb_measure m)
{
    put_figure(r, f, m, r->judged ? judge(f, m) : "not judged");
}

void mb_report_missing(mb_report *r, const mb_figure *f, const char *reason)
{
    char *verdict = mb_format("not measured: %s", reason);

    put_figure(r, f, (mb_measure){ NAN, NAN, NAN, 0 }, verdict);
    free(verdict);
}
