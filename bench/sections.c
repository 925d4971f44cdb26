#include "bench/sections.h"

#include "base/file.h"
#include "harness/statistics.h"
#include "results/store.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- groups -------------------------------------------------------------------------------- */

static mb_group *new_group(const mb_plan *p, const char *section, int threads)
{
    mb_group *g = mb_zalloc(1, sizeof *g);

    g->section = section;
    g->threads = threads;
    g->rounds = MB_WARM_UP + p->rounds;
    return g;
}

static mb_variant *add(mb_group *g, const char *name)
{
    mb_variant *v = &g->v[g->n++];

    v->name = mb_format("%s", name);
    return v;
}

/* Our worker on MODEL. It is checked on one short sequence of its first two layers: `ref` is slow.
 */
static void add_ours(const mb_plan *p, mb_group *g, const char *name, const char *model)
{
    mb_variant *v = add(g, name);

    v->command = mb_format("%s %s threads=%d %s", p->step, model, g->threads, p->words);
    v->check = mb_format("%s layers=2 batch=1 len=32", v->command);
}

/* Our worker, which also writes its weights and batch for the peers of the group. */
static void add_exporting(const mb_plan *p, mb_group *g, const char *model)
{
    char *command;

    add_ours(p, g, "motbench", model);
    command = mb_format("%s export=%s", g->v[0].command, p->folder);
    free(g->v[0].command);
    g->v[0].command = command;
    g->same_model = true;
}

static void add_peer(const mb_plan *p, mb_group *g, const char *model, const char *style)
{
    /* PyTorch with its own way of waiting, not the one that suits us */
    add(g, style)->command = mb_format("env -u GOMP_SPINCOUNT %s bench/peer.py %s threads=%d "
                                       "style=%s import=%s %s",
                                       p->python, model, g->threads, style, p->folder, p->words);
}

static mb_err run_group(mb_plan *p, mb_group *g)
{
    mb_err err = mb_group_run(g);

    if (!err)
        mb_report_turns(&p->report, g);
    return err;
}

static mb_err end_group(mb_group *g, mb_err err)
{
    mb_group_free(g);
    free(g);
    return err;
}

static void figure(mb_plan *p, const mb_group *g, const char *name, enum mb_goal goal,
                   double target, mb_measure m)
{
    mb_report_figure(&p->report, g->section, name, g->threads, goal, target, m);
}

/* ---- against the peak ---------------------------------------------------------------------- */

static const struct size {
    const char *name, *model;
    double of_peak, peers; /* targets: share of the peak; times PyTorch's tokens/s */
} sizes[] = {
    { "width 128", "width=128 layers=6 heads=4", 0.75, 2.0 },
    { "width 256", "width=256 layers=6 heads=4", 0.82, 1.8 },
    { "width 512", "width=512 layers=4 heads=8", 0.85, 1.4 },
};
enum { SIZES = sizeof sizes / sizeof *sizes };

static mb_err peak_on(mb_plan *p, int threads)
{
    mb_group *g = new_group(p, "peak", threads);
    mb_err err;

    for (int i = 0; i < SIZES; i++)
        add_ours(p, g, sizes[i].name, sizes[i].model);
    err = run_group(p, g);
    for (int i = 0; !err && i < SIZES; i++) {
        char *name = mb_format("dense %s / peak", sizes[i].name);

        figure(p, g, name, MB_AT_LEAST, sizes[i].of_peak, mb_group_of_peak(g, i));
        free(name);
    }
    return end_group(g, err);
}

static mb_err peak(mb_plan *p)
{
    MB_TRY(peak_on(p, 1));
    return p->threads > 1 ? peak_on(p, p->threads) : MB_OK;
}

/* ---- against dense ------------------------------------------------------------------------- */

typedef struct rival {
    const char *name, *model;
    double target;
    bool per_flop; /* of its own executed FLOPs */
} rival;

static const char *const dense_sizes[] = { "width=256 layers=4 heads=4",
                                           "width=512 layers=2 heads=8" };

static mb_err against_dense(mb_plan *p, const char *section, const char *size, const rival *r,
                            int n)
{
    mb_group *g = new_group(p, section, 1);
    mb_err err;

    add_ours(p, g, "dense", size);
    for (int i = 0; i < n; i++) {
        char *model = mb_format("%s %s", size, r[i].model);

        add_ours(p, g, r[i].name, model);
        free(model);
    }
    err = run_group(p, g);
    for (int i = 0; !err && i < n; i++) {
        char *name = mb_format("%.*s: %s / dense%s", (int)strcspn(size, " "), size, r[i].name,
                               r[i].per_flop ? ", per executed FLOP" : "");

        figure(p, g, name, MB_AT_MOST, r[i].target, mb_group_ratio(g, i + 1, 0, r[i].per_flop));
        free(name);
    }
    return end_group(g, err);
}

static mb_err mot(mb_plan *p)
{
    static const rival rivals[] = {
        { "mot 50:50", "arch=mot mix=50,50", 1.05, false },
        { "mot 90:10", "arch=mot mix=90,10", 1.05, false },
        { "mot 40:30:30", "arch=mot mix=40,30,30", 1.05, false },
    };

    for (size_t i = 0; i < sizeof dense_sizes / sizeof *dense_sizes; i++)
        MB_TRY(against_dense(p, "mot", dense_sizes[i], rivals, sizeof rivals / sizeof *rivals));
    return MB_OK;
}

static mb_err experts(mb_plan *p)
{
    static const rival rivals[] = {
        { "switch E=4", "arch=switch experts=4", 1.08, true },
        { "switch E=8", "arch=switch experts=8", 1.08, true },
        { "moe-ec E=4", "arch=moe-ec experts=4", 1.08, true },
        { "moe-ec E=8", "arch=moe-ec experts=8", 1.08, true },
    };

    return against_dense(p, "experts", dense_sizes[0], rivals, sizeof rivals / sizeof *rivals);
}

/* ---- growth -------------------------------------------------------------------------------- */

/* Time per executed FLOP, the slowest variant over the fastest: the pair of the largest median. */
static mb_measure steepest(const mb_group *g)
{
    mb_measure most = { NAN, NAN, NAN, 0 };

    for (int i = 0; i < g->n; i++)
        for (int j = 0; j < g->n; j++) {
            mb_measure m = mb_group_ratio(g, i, j, true);

            if (i != j && !(m.median <= most.median))
                most = m;
        }
    return most;
}

static mb_err grow(mb_plan *p, const char *what, const char *const *models)
{
    mb_group *g = new_group(p, "growth", 1);
    mb_err err;

    for (; *models; models++)
        add_ours(p, g, *models, *models);
    err = run_group(p, g);
    if (!err) {
        char *name = mb_format("%s: slowest / fastest, per executed FLOP", what);

        figure(p, g, name, MB_AT_MOST, 1.15, steepest(g));
        free(name);
    }
    return end_group(g, err);
}

/* Steps of more than 1 GFLOP whose groups have 64 rows or more. */
static mb_err growth(mb_plan *p)
{
    static const char *const tokens[] = { "layers=2 batch=2", "layers=2 batch=8",
                                          "layers=2 batch=64", NULL };
    static const char *const width[] = { "layers=2 batch=4 width=128 heads=4",
                                         "layers=2 batch=4 width=256 heads=4",
                                         "layers=2 batch=4 width=512 heads=8",
                                         "layers=2 batch=4 width=1024 heads=16", NULL };
    static const char *const count[] = { "layers=2 batch=32 arch=switch experts=1",
                                         "layers=2 batch=32 arch=switch experts=4",
                                         "layers=2 batch=32 arch=switch experts=16",
                                         "layers=2 batch=32 arch=switch experts=64", NULL };
    static const char *const modalities[] = { "layers=2 arch=mot mix=100",
                                              "layers=2 arch=mot mix=50,50",
                                              "layers=2 arch=mot mix=40,30,30",
                                              "layers=2 arch=mot mix=25,25,25,25",
                                              "layers=2 arch=mot mix=13,13,13,13,12,12,12,12",
                                              NULL };

    MB_TRY(grow(p, "512 to 16k tokens", tokens));
    MB_TRY(grow(p, "width 128 to 1024", width));
    MB_TRY(grow(p, "1 to 64 experts", count));
    return grow(p, "1 to 8 modalities", modalities);
}

/* ---- another build, and PyTorch ------------------------------------------------------------ */

static mb_err base(mb_plan *p)
{
    static const char *const archs[] = { "dense", "mot", "switch" };

    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        mb_group *g = new_group(p, "base", 1);
        char *model = mb_format("%s arch=%s", dense_sizes[0], archs[i]);
        char *name = mb_format("%s: %s, this build / base", dense_sizes[0], archs[i]);
        mb_err err;

        add_ours(p, g, archs[i], model);
        g->same_model = true;
        add(g, "base")->command = mb_format("%s %s threads=1 %s", p->base, model, p->words);
        err = run_group(p, g);
        if (!err)
            figure(p, g, name, MB_AT_MOST, 1.0, mb_group_ratio(g, 0, 1, false));
        free(model);
        free(name);
        MB_TRY(end_group(g, err));
    }
    return MB_OK;
}

/* Our tokens/s over those of each style of PyTorch: what counts is the least, its best. */
static mb_err against_peers(mb_plan *p, int threads, const char *name, const char *model,
                            const char *const *styles, double target)
{
    mb_group *g = new_group(p, "peers", threads);
    mb_err err;

    add_exporting(p, g, model);
    for (; *styles; styles++)
        add_peer(p, g, model, *styles);
    err = run_group(p, g);
    for (int i = 1; !err && i < g->n; i++) {
        char *whole = mb_format("%s: tokens/s over PyTorch, %s", name, g->v[i].name);

        figure(p, g, whole, MB_AT_LEAST, target, mb_group_ratio(g, i, 0, false));
        free(whole);
    }
    return end_group(g, err);
}

static mb_err peers_on(mb_plan *p, int threads)
{
    static const char *const dense[] = { "eager", "compile", NULL };
    static const char *const by_modality[] = { "eager", "mask", "compile", NULL };
    static const char *const by_router[] = { "eager", "padded,compile", NULL };

    for (int i = 0; i < SIZES; i++) {
        char *name = mb_format("dense %s", sizes[i].name);
        mb_err err = against_peers(p, threads, name, sizes[i].model, dense, sizes[i].peers);

        free(name);
        MB_TRY(err);
    }
    for (int i = 0; i < 2; i++) {
        char *name[2] = { mb_format("mot %s", sizes[i].name),
                          mb_format("switch %s", sizes[i].name) };
        char *model[2] = { mb_format("%s arch=mot", sizes[i].model),
                           mb_format("%s arch=switch", sizes[i].model) };
        mb_err err = against_peers(p, threads, name[0], model[0], by_modality, 2.0);

        if (!err)
            err = against_peers(p, threads, name[1], model[1], by_router, 2.0);
        for (int k = 0; k < 2; k++) {
            free(name[k]);
            free(model[k]);
        }
        MB_TRY(err);
    }
    return MB_OK;
}

static mb_err peers(mb_plan *p)
{
    MB_TRY(peers_on(p, 1));
    return p->threads > 1 ? peers_on(p, p->threads) : MB_OK;
}

/* On a GPU in bf16, at the size that the targets are for: what counts is the wall, so that a group
   has two threads. Its models are checked by tests/gpu_check.sh before, and here against PyTorch.
 */
static mb_err gpu(mb_plan *p)
{
    static const struct {
        const char *arch;
        double target;
    } models[] = { { "dense", 1.10 }, { "mot", 1.10 } };

    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        mb_group *g = new_group(p, "gpu", 2);
        char *model = mb_format("arch=%s width=1024 layers=24 heads=16 batch=6 len=4096 "
                                "vocab=65536 backend=cuda precision=bf16",
                                models[i].arch);
        char *name = mb_format("%s 443M: tokens/s over PyTorch, compiled", models[i].arch);
        mb_err err;

        add_exporting(p, g, model);
        free(g->v[0].check); /* `ref` would take days */
        g->v[0].check = NULL;
        add_peer(p, g, model, "compile");
        err = run_group(p, g);
        if (!err)
            figure(p, g, name, MB_AT_LEAST, models[i].target, mb_group_ratio(g, 1, 0, false));
        free(model);
        free(name);
        MB_TRY(end_group(g, err));
    }
    return MB_OK;
}

/* ---- the harness --------------------------------------------------------------------------- */

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
    const double small_step = 4e-3;
    mb_measure m = { .n = 5 };

    m.median = m.lo = m.hi = 100 * seconds / small_step;
    mb_report_figure(&p->report, "harness", what, 1, MB_AT_MOST, 0.5, m);
}

/* On `null`, which computes nothing, what is left of a timed step is the operations' front, the
   tape, routes and the ledger; what is left of a run is that and drawing and packing batches,
   clocks, buffers, writing rows and summing them up. */
static mb_err overhead(mb_plan *p)
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
static mb_err cmp(mb_plan *p)
{
    enum { RUNS = 1000, STEPS = 10000, TIMES = 5 };
    char *db = mb_format("%s/cmp-%d-%d.db", p->folder, RUNS, STEPS);
    char *fresh = mb_format("%s.new", db);
    char *make = mb_format("%s %s %d %d", p->synthetic, fresh, RUNS, STEPS);
    char *command = mb_format("%s cmp --db %s", p->motbench, db);
    double cpu[TIMES], wall[TIMES];
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
        mb_report_figure(&p->report, "harness", "cmp over 1000 runs x 10000 steps, s of processor",
                         1, MB_AT_MOST, 2, m);
    }
    free(db);
    free(make);
    free(fresh);
    free(command);
    return err;
}

const mb_section mb_sections[] = {
    { "peak", "dense steps against the register-only peak", MB_ALWAYS, peak },
    { "mot", "Mixture-of-Transformers against dense, three mixes", MB_ALWAYS, mot },
    { "experts", "Switch and expert choice against dense, per executed FLOP", MB_ALWAYS, experts },
    { "growth", "time per FLOP as tokens, width, experts, modalities grow", MB_ALWAYS, growth },
    { "overhead", "what the harness adds to a small step", MB_ALWAYS, overhead },
    { "cmp", "motbench cmp over a large database", MB_ALWAYS, cmp },
    { "base", "this build against another one (-b)", MB_WITH_BASE, base },
    { "peers", "tokens/s against PyTorch (-p)", MB_WITH_PEERS, peers },
    { "gpu", "the same on a GPU, bf16 (-p, and only when asked for)", MB_WHEN_ASKED, gpu },
    { 0 },
};
