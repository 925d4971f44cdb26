#include "bench/report.h"

#include "base/file.h"
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
    { .name = "section", .once = true },           { .name = "figure" },
    { .name = "threads", .show = MB_SHOW_PLAIN },  { .name = "target", .show = MB_SHOW_PLAIN },
    { .name = "measured", .show = MB_SHOW_PLAIN }, { .name = "interval", .show = MB_SHOW_PLAIN },
    { .name = "rounds", .show = MB_SHOW_PLAIN },   { .name = "verdict" },
};

mb_err mb_report_open(const char *folder, bool judged, mb_report *out)
{
    char *shell;

    *out = (mb_report){ .path = mb_format("%s/bench.db", folder), .judged = judged };
    MB_TRY(mb_make_folders(folder));
    if (unlink(out->path) && errno != ENOENT)
        return mb_fail(MB_EIO, "%s: %s", out->path, strerror(errno));
    shell = mb_format("sqlite3 -bail '%s'", out->path);
    out->sql = popen(shell, "w");
    free(shell);
    if (!out->sql)
        return mb_fail(MB_EIO, "sqlite3: %s", strerror(errno));
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
    if (pclose(r->sql) && !err)
        err = mb_fail(MB_EIO, "%s: sqlite3 failed", r->path);
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
        for (int round = 0; round < g->rounds; round++) {
            const mb_turn *t = &g->v[i].turn[round];

            fprintf(r->sql, "INSERT INTO turn VALUES (");
            put_text(r->sql, g->section);
            putc(',', r->sql);
            put_text(r->sql, g->v[i].name);
            fprintf(r->sql, ",%d,", g->threads);
            put_text(r->sql, g->v[i].command);
            fprintf(r->sql,
                    ",%d,%d,%d,%" PRId64 ",%" PRId64 ",nullif(%" PRId64
                    ",-1),nullif(%.9g,0.0),%.9g,nullif(%" PRIu64 ",0),nullif(%" PRIu64
                    ",0),nullif(%" PRIu64 ",0));\n",
                    round, round < MB_WARM_UP, mb_turn_disturbed(g, t), t->wall_ns, t->cpu_ns,
                    t->queued_ns, t->peak, t->loss, t->flops_model, t->flops_executed, t->bytes);
        }
}

/* ---- figures ------------------------------------------------------------------------------- */

static const char *judge(enum mb_goal goal, double target, mb_measure m)
{
    bool lo = goal == MB_AT_MOST ? m.lo <= target : m.lo >= target;
    bool hi = goal == MB_AT_MOST ? m.hi <= target : m.hi >= target;

    if (isnan(m.median))
        return "too few undisturbed rounds";
    return lo && hi ? "met" : !lo && !hi ? "MISSED" : "unclear";
}

void mb_report_figure(mb_report *r, const char *section, const char *figure, int threads,
                      enum mb_goal goal, double target, mb_measure m)
{
    const char *verdict = r->judged ? judge(goal, target, m) : "not judged";
    char *wanted = mb_format("%s %g", goal == MB_AT_MOST ? "<=" : ">=", target);
    char *median = isnan(m.median) ? NULL : mb_format("%.3f", m.median);
    char *interval = isnan(m.lo) ? NULL : mb_format("%.3f-%.3f", m.lo, m.hi);

    mb_table_text(r->table, section);
    mb_table_text(r->table, figure);
    mb_table_integer(r->table, threads);
    mb_table_text(r->table, wanted);
    mb_table_text(r->table, median);
    mb_table_text(r->table, interval);
    mb_table_integer(r->table, m.n);
    mb_table_text(r->table, verdict);
    fprintf(r->sql, "INSERT INTO figure VALUES (");
    put_text(r->sql, section);
    putc(',', r->sql);
    put_text(r->sql, figure);
    fprintf(r->sql, ",%d,'%s'", threads, wanted);
    put_real(r->sql, m.median);
    put_real(r->sql, m.lo);
    put_real(r->sql, m.hi);
    fprintf(r->sql, ",%d,'%s');\n", m.n, verdict);
    free(wanted);
    free(median);
    free(interval);
}
