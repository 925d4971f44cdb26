/* The sections that measure the harness: what it adds to a step, and how fast it compares. */
#include "bench/sections.h"

#include "base/file.h"
#include "harness/statistics.h"
#include "results/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The median timed step of the newest run in DB, s. */
static mb_err timed_step(const char *db, double *out)
{
    mb_store *s;
    mb_rows *rows = NULL;
    mb_err err = mb_store_open(db, false, &s);

    if (!err)
        err = mb_store_query(
            s,
            "SELECT wall_s FROM v_step WHERE run_id = (SELECT max(run_id) FROM v_run) "
            "ORDER BY wall_s LIMIT 1 OFFSET (SELECT count(*) / 2 FROM v_step WHERE "
            "run_id = (SELECT max(run_id) FROM v_run))",
            NULL, &rows);
    if (!err)
        *out = rows->cell[0].real;
    mb_rows_free(rows);
    mb_store_close(s);
    return err;
}

/* Processor time that a step adds to a run on BACKEND, s: a long run less a short one, so that
   beginning and end cancel, the median of five; and *timed, the step alone, as the run timed it. */
static mb_err harness_step(mb_plan *p, const char *backend, int few, int more, double *out,
                           double *timed)
{
    const int steps[2] = { few, more };
    char *db = mb_format("%s/overhead.db", p->folder);
    double each[5];
    mb_err err = MB_OK;

    for (int i = 0; !err && i < 5; i++) {
        double cpu[2], wall;

        for (int k = 0; !err && k < 2; k++) {
            char *command = mb_format(
                "%s run workloads/smoke.ini -a dense --backend %s --threads 1 --db %s --quiet "
                "-S workload.steps=%d -S workload.eval_every=%d -S workload.checkpoint_every=%d "
                "-S workload.seq_len=64 -S workload.batch=4 -S model.width=64 -S model.layers=2",
                p->motbench, backend, db, steps[k], steps[k], steps[k]);

            err = mb_command_time(command, &cpu[k], &wall);
            free(command);
        }
        each[i] = (cpu[1] - cpu[0]) / (more - few);
    }
    if (!err)
        err = timed_step(db, timed);
    free(db);
    *out = mb_median(each, 5);
    return err;
}

static void harness_figure(mb_plan *p, const char *what, double seconds)
{
    const double small_step = 4e-3, percent = 100 * seconds / small_step;
    const mb_figure f = { "harness", what, MB_FP32, 1, MB_AT_MOST, 0.5 };

    mb_report_figure(&p->report, &f, (mb_measure){ percent, percent, percent, 5 });
}

/* On `null`, which computes nothing, what is left of a timed step is the operations' front, the
   tape, routes and the ledger; what is left of a run is that and drawing and packing batches,
   clocks, buffers, writing rows and summing them up. */
mb_err mb_bench_overhead(mb_plan *p)
{
    double cpu, null, timed_cpu, timed_null;

    MB_TRY(harness_step(p, "cpu", 50, 200, &cpu, &timed_cpu));
    MB_TRY(harness_step(p, "null", 1000, 11000, &null, &timed_null));
    mb_table_note(p->report.table,
                  "Harness: a timed step is %.3f ms on cpu and %.4f on null; a step adds %.3f and "
                  "%.4f ms to a run.",
                  1e3 * timed_cpu, 1e3 * timed_null, 1e3 * cpu, 1e3 * null);
    harness_figure(p, "not computing within a timed step, % of 4 ms", timed_null);
    harness_figure(p, "not computing within a whole run, % of 4 ms a step", null);
    return MB_OK;
}

/* `cmp` over a database that is made once and kept. */
mb_err mb_bench_cmp(mb_plan *p)
{
    enum { RUNS = 1000, STEPS = 10000, TIMES = 5 };
    char *db = mb_format("%s/cmp-%d-%d.db", p->folder, RUNS, STEPS);
    char *fresh = mb_format("%s.new", db);
    char *make = mb_format("%s %s %d %d", p->synthetic, fresh, RUNS, STEPS);
    char *command = mb_format("%s cmp --db %s", p->motbench, db);
    double cpu[TIMES], wall[TIMES];
    const mb_figure f = { "harness",  "cmp over 1000 runs x 10000 steps, s of processor",
                          MB_FP32,    1,
                          MB_AT_MOST, 2 };
    mb_measure m = { .n = TIMES };
    mb_err err = MB_OK;

    if (!mb_exists(db)) {
        remove(fresh); /* what an interrupted run left */
        err = mb_command_time(make, &cpu[0], &wall[0]);
        if (!err && rename(fresh, db))
            err = mb_fail(MB_EIO, "%s: %s", db, strerror(errno));
    }
    for (int i = 0; !err && i < TIMES; i++)
        err = mb_command_time(command, &cpu[i], &wall[i]);
    if (!err) {
        m.median = mb_median(cpu, TIMES);
        m.lo = mb_quantile(cpu, TIMES, 0);
        m.hi = mb_quantile(cpu, TIMES, 1);
        mb_table_note(p->report.table, "cmp took %.2f s on the wall.", mb_median(wall, TIMES));
        mb_report_figure(&p->report, &f, m);
    }
    free(db);
    free(make);
    free(fresh);
    free(command);
    return err;
}
