#include "bench/sections.h"

#include "base/file.h"
#include "models/kernels/op.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- groups -------------------------------------------------------------------------------- */

static mb_group *new_group(const mb_plan *p, const char *section, mb_precision precision,
                           int threads)
{
    mb_group *g = mb_zalloc(1, sizeof *g);

    g->section = section;
    g->precision = precision;
    g->threads = threads;
    g->wanted = p->rounds;
    g->rounds = MB_WARM_UP + p->rounds;
    return g;
}

static mb_variant *add(mb_group *g, const char *name)
{
    mb_variant *v = &g->v[g->n++];

    v->name = mb_format("%s", name);
    return v;
}

/* Words for the group's precision; none for fp32, so that builds from before can be compared. */
static const char *precision_words(const mb_group *g)
{
    return g->precision == MB_BF16 ? " precision=bf16" : "";
}

/* Our worker on MODEL. It is checked on one short sequence of its first two layers: `ref` is slow.
 */
static void add_ours(const mb_plan *p, mb_group *g, const char *name, const char *model)
{
    mb_variant *v = add(g, name);

    v->command = mb_format("%s %s%s threads=%d %s", p->step, model, precision_words(g), g->threads,
                           p->words);
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
    mb_variant *v = add(g, style);

    v->foreign = true;
    /* PyTorch with its own way of waiting, not the one that suits us */
    v->command =
        mb_format("env -u GOMP_SPINCOUNT %s bench/peer.py %s%s threads=%d style=%s "
                  "import=%s %s",
                  p->python, model, precision_words(g), g->threads, style, p->folder, p->words);
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

static mb_figure figure_of(const mb_group *g, const char *name, enum mb_goal goal, double target)
{
    return (mb_figure){ g->section, name, g->precision, g->threads, goal, target };
}

static void figure(mb_plan *p, const mb_group *g, const char *name, enum mb_goal goal,
                   double target, mb_measure m)
{
    mb_figure f = figure_of(g, name, goal, target);

    mb_report_figure(&p->report, &f, m);
}

/* In every precision that this build and machine have. */
static mb_err in_each_precision(mb_plan *p, mb_err (*run)(mb_plan *p, mb_precision precision))
{
    for (int i = 0; mb_precision_name[i]; i++)
        if (p->has[i])
            MB_TRY(run(p, (mb_precision)i));
    return MB_OK;
}

/* ---- against the peak ---------------------------------------------------------------------- */

static const struct size {
    const char *name, *model;
    double of_peak[2], peers; /* targets: share of the peak in fp32 and bf16; times PyTorch's
                                 tokens/s */
} sizes[] = {
    { "width 128", "width=128 layers=6 heads=4", { 0.75, 0.55 }, 2.0 },
    { "width 256", "width=256 layers=6 heads=4", { 0.82, 0.68 }, 1.8 },
    { "width 512", "width=512 layers=4 heads=8", { 0.85, 0.72 }, 1.4 },
};
enum { SIZES = sizeof sizes / sizeof *sizes };

static mb_err peak_on(mb_plan *p, mb_precision precision, int threads)
{
    mb_group *g = new_group(p, "peak", precision, threads);
    mb_err err;

    for (int i = 0; i < SIZES; i++)
        add_ours(p, g, sizes[i].name, sizes[i].model);
    err = run_group(p, g);
    for (int i = 0; !err && i < SIZES; i++) {
        char *name = mb_format("dense %s / peak", sizes[i].name);

        figure(p, g, name, MB_AT_LEAST, sizes[i].of_peak[precision], mb_group_of_peak(g, i));
        free(name);
    }
    return end_group(g, err);
}

static mb_err peak_in(mb_plan *p, mb_precision precision)
{
    MB_TRY(peak_on(p, precision, 1));
    return p->threads > 1 ? peak_on(p, precision, p->threads) : MB_OK;
}

static mb_err peak(mb_plan *p)
{
    return in_each_precision(p, peak_in);
}

/* ---- against dense ------------------------------------------------------------------------- */

typedef struct rival {
    const char *name, *model;
    double target;
    bool per_flop; /* of its own executed FLOPs */
} rival;

static const char *const dense_sizes[] = { "width=256 layers=4 heads=4",
                                           "width=512 layers=2 heads=8" };

static mb_err against_dense(mb_plan *p, const char *section, mb_precision precision,
                            const char *size, const rival *r, int n)
{
    mb_group *g = new_group(p, section, precision, 1);
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

static mb_err mot_in(mb_plan *p, mb_precision precision)
{
    static const rival rivals[] = {
        { "mot 50:50", "arch=mot mix=50,50", 1.05, false },
        { "mot 90:10", "arch=mot mix=90,10", 1.05, false },
        { "mot 40:30:30", "arch=mot mix=40,30,30", 1.05, false },
    };

    for (size_t i = 0; i < sizeof dense_sizes / sizeof *dense_sizes; i++)
        MB_TRY(against_dense(p, "mot", precision, dense_sizes[i], rivals,
                             sizeof rivals / sizeof *rivals));
    return MB_OK;
}

static mb_err mot(mb_plan *p)
{
    return in_each_precision(p, mot_in);
}

static mb_err experts_in(mb_plan *p, mb_precision precision)
{
    static const rival rivals[] = {
        { "switch E=4", "arch=switch experts=4", 1.08, true },
        { "switch E=8", "arch=switch experts=8", 1.08, true },
        { "moe-ec E=4", "arch=moe-ec experts=4", 1.08, true },
        { "moe-ec E=8", "arch=moe-ec experts=8", 1.08, true },
    };

    return against_dense(p, "experts", precision, dense_sizes[0], rivals,
                         sizeof rivals / sizeof *rivals);
}

static mb_err experts(mb_plan *p)
{
    return in_each_precision(p, experts_in);
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
    mb_group *g = new_group(p, "growth", MB_FP32, 1);
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

/* ---- memory -------------------------------------------------------------------------------- */

static mb_measure exactly(double value)
{
    return (mb_measure){ value, value, value, 1 };
}

/* The figures of a group of N pairs, each without and with recompute: the one farthest from the
   formula, and the pair of which recompute saves least. */
static void memory_figures(mb_plan *p, const mb_group *g, const char *size)
{
    char *formula = mb_format("%s: peak memory / formula, the worst of %d", size, g->n);
    char *saved = mb_format("%s: peak memory with recompute / without, the worst", size);
    double worst = 1, most = 0;

    for (int i = 0; i < g->n; i++) {
        double ratio = mb_group_of_predicted(g, i);

        worst = fabs(ratio - 1) >= fabs(worst - 1) ? ratio : worst;
        if (i % 2)
            most = fmax(most, mb_group_bytes_ratio(g, i, i - 1));
    }
    figure(p, g, formula, MB_NEAR_ONE, 0.1, exactly(worst));
    figure(p, g, saved, MB_AT_MOST, 1, exactly(most));
    free(formula);
    free(saved);
}

static mb_err memory(mb_plan *p)
{
    static const char *const archs[] = { "dense", "switch", "moe-ec", "mot" };

    for (int i = 0; i < SIZES; i++) {
        mb_group *g = new_group(p, "memory", MB_FP32, p->threads);
        mb_err err;

        g->wanted = 0;              /* bytes do not hang on who else computes */
        g->rounds = MB_WARM_UP + 1; /* the second step takes what the first took */
        for (size_t k = 0; k < 2 * sizeof archs / sizeof *archs; k++) {
            char *model = mb_format("%s arch=%s recompute=%s", sizes[i].model, archs[k / 2],
                                    k % 2 ? "layer" : "none");

            add_ours(p, g, model, model);
            free(model);
        }
        err = run_group(p, g);
        if (!err)
            memory_figures(p, g, sizes[i].name);
        MB_TRY(end_group(g, err));
    }
    return MB_OK;
}

/* ---- another build, and PyTorch ------------------------------------------------------------ */

static mb_err base(mb_plan *p)
{
    static const char *const archs[] = { "dense", "mot", "switch" };

    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        mb_group *g = new_group(p, "base", MB_FP32, 1);
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

/* Our tokens/s over those of peer I. */
static void peer_figure(mb_plan *p, const mb_group *g, int i, const char *name, double target)
{
    mb_figure f = figure_of(g, name, MB_AT_LEAST, target);

    if (g->v[i].failed)
        mb_report_missing(&p->report, &f, g->v[i].failed);
    else
        mb_report_figure(&p->report, &f, mb_group_ratio(g, i, 0, false));
}

/* Our tokens/s over those of each style of PyTorch: what counts is the least, its best. */
static mb_err against_peers(mb_plan *p, mb_precision precision, int threads, const char *name,
                            const char *model, const char *const *styles, double target)
{
    mb_group *g = new_group(p, "peers", precision, threads);
    mb_err err;

    add_exporting(p, g, model);
    for (; *styles; styles++)
        add_peer(p, g, model, *styles);
    err = run_group(p, g);
    for (int i = 1; !err && i < g->n; i++) {
        char *whole = mb_format("%s: tokens/s over PyTorch, %s", name, g->v[i].name);

        peer_figure(p, g, i, whole, target);
        free(whole);
    }
    return end_group(g, err);
}

static mb_err peers_on(mb_plan *p, mb_precision precision, int threads)
{
    static const char *const dense[] = { "eager", "compile", NULL };
    static const char *const by_modality[] = { "eager", "mask", "compile", NULL };
    static const char *const by_router[] = { "eager", "padded,compile", NULL };
    static const struct {
        const char *arch, *const *styles;
    } routed[] = { { "mot", by_modality }, { "switch", by_router } };

    for (int i = 0; i < SIZES; i++) {
        char *name = mb_format("dense %s", sizes[i].name);
        mb_err err =
            against_peers(p, precision, threads, name, sizes[i].model, dense, sizes[i].peers);

        free(name);
        MB_TRY(err);
    }
    for (int i = 0; i < 2 * 2; i++) {
        const struct size *size = &sizes[i / 2];
        char *name = mb_format("%s %s", routed[i % 2].arch, size->name);
        char *model = mb_format("%s arch=%s", size->model, routed[i % 2].arch);
        mb_err err = against_peers(p, precision, threads, name, model, routed[i % 2].styles,
                                   precision == MB_BF16 ? 2.5 : 2.0);

        free(name);
        free(model);
        MB_TRY(err);
    }
    return MB_OK;
}

static mb_err peers_in(mb_plan *p, mb_precision precision)
{
    MB_TRY(peers_on(p, precision, 1));
    return p->threads > 1 ? peers_on(p, precision, p->threads) : MB_OK;
}

static mb_err peers(mb_plan *p)
{
    return in_each_precision(p, peers_in);
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
        mb_group *g = new_group(p, "gpu", MB_BF16, 2);
        char *model = mb_format("arch=%s width=1024 layers=24 heads=16 batch=6 len=4096 "
                                "vocab=65536 backend=cuda",
                                models[i].arch);
        char *name = mb_format("%s 443M: tokens/s over PyTorch, compiled", models[i].arch);
        mb_err err;

        add_exporting(p, g, model);
        free(g->v[0].check); /* `ref` would take days */
        g->v[0].check = NULL;
        add_peer(p, g, model, "compile");
        err = run_group(p, g);
        if (!err)
            peer_figure(p, g, 1, name, models[i].target);
        free(model);
        free(name);
        MB_TRY(end_group(g, err));
    }
    return MB_OK;
}

const mb_bench_section mb_bench_sections[] = {
    { "peak", "dense steps against the register-only peak", MB_ALWAYS, peak },
    { "products", "a layer's matrix products alone, against it", MB_ALWAYS, mb_bench_products },
    { "mot", "Mixture-of-Transformers against dense, three mixes", MB_ALWAYS, mot },
    { "experts", "Switch and expert choice against dense, per executed FLOP", MB_ALWAYS, experts },
    { "growth", "time per FLOP as tokens, width, experts, modalities grow", MB_ALWAYS, growth },
    { "memory", "peak memory against its formula, with and without recompute", MB_ALWAYS, memory },
    { "overhead", "what the harness adds to a small step", MB_ALWAYS, mb_bench_overhead },
    { "cmp", "motbench cmp over a large database", MB_ALWAYS, mb_bench_cmp },
    { "base", "this build against another one (-b)", MB_WITH_BASE, base },
    { "peers", "tokens/s against PyTorch (-p)", MB_WITH_PEERS, peers },
    { "gpu", "the same on a GPU, bf16 (-p, and only when asked for)", MB_WHEN_ASKED, gpu },
    { 0 },
};
