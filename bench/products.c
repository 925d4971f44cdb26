/* The section that measures matrix products alone: those of a dense layer, one thread, with
   operands in the caches and with ones that a sweep over other memory has driven out, as most of a
   step's are. What these lose to the peak, no step gets back. */
#include "bench/sections.h"

#include "base/file.h"
#include "bench/peak.h"
#include "models/kernels/backend.h"
#include "models/model.h"
#include "profiles/clock.h"

#include <stdlib.h>

enum { TOKENS = 2048, PRODUCTS = 4, PASSES = 3, SWEEP = 256 << 20 };

typedef struct product { /* y (TOKENS, N) = x (TOKENS, K) w^T; y also plays dy */
    mb_tensor w;         /* (N, K) */
    float *x, *y, *dx;
} product;

typedef struct layer {
    mb_ctx *ctx;
    mb_clock clock;
    product product[PRODUCTS];
    double flops; /* of one pass over all of them */
    char *swept;  /* (SWEEP) */
} layer;

/* ---- memory --------------------------------------------------------------------------------- */

static float *numbers(mb_ctx *c, int64_t n)
{
    float *x = mb_ctx_alloc(c, (size_t)n * sizeof *x);

    for (int64_t i = 0; x && i < n; i++)
        x[i] = (float)(i % 97) / 97;
    return x;
}

static mb_err make_product(layer *l, product *p, int64_t n, int64_t k)
{
    p->x = numbers(l->ctx, TOKENS * k);
    p->y = numbers(l->ctx, TOKENS * n);
    p->dx = numbers(l->ctx, TOKENS * k);
    p->w = (mb_tensor){ .slices = 1,
                        .rows = n,
                        .cols = k,
                        .parameter = true,
                        .data = numbers(l->ctx, n * k),
                        .grad = numbers(l->ctx, n * k) };
    l->flops += 2.0 * TOKENS * (double)(n * k);
    return p->x && p->y && p->dx && p->w.data && p->w.grad ? MB_OK : MB_ENOMEM;
}

static mb_err open_layer(int64_t d, layer *l)
{
    int64_t f = mb_ffn_width((int)d, 32);
    const int64_t shape[PRODUCTS][2] = { { 3 * d, d }, { d, d }, { 2 * f, d }, { d, f } };

    *l = (layer){ .swept = mb_zalloc(SWEEP, 1) };
    MB_TRY(mb_ctx_open("cpu", MB_FP32, 1, &l->ctx));
    mb_clock_open_team(&l->clock, 1);
    for (int i = 0; i < PRODUCTS; i++)
        MB_TRY(make_product(l, &l->product[i], shape[i][0], shape[i][1]));
    return MB_OK;
}

static void close_layer(layer *l)
{
    for (int i = 0; i < PRODUCTS; i++) {
        product *p = &l->product[i];

        mb_ctx_free(l->ctx, p->x);
        mb_ctx_free(l->ctx, p->y);
        mb_ctx_free(l->ctx, p->dx);
        mb_ctx_free(l->ctx, p->w.data);
        mb_ctx_free(l->ctx, p->w.grad);
    }
    mb_clock_close(&l->clock);
    mb_ctx_close(l->ctx);
    free(l->swept);
}

/* ---- time ----------------------------------------------------------------------------------- */

static const char *const pass_name[PASSES] = { "y = x w^T", "dx = dy w", "dw += dy^T x" };

static void multiply(mb_ctx *c, const product *p, int pass)
{
    static const int64_t offset[] = { 0, TOKENS }, rows[] = { TOKENS };
    static const mb_route all = {
        .groups = 1, .rows = TOKENS, .tokens = TOKENS, .offset = offset, .asked = rows, .kept = rows
    };

    if (pass == 0)
        c->be->gemm(c, p->y, p->x, &p->w, &all);
    else if (pass == 1)
        c->be->gemm_dx(c, p->dx, p->y, &p->w, &all, false);
    else
        c->be->gemm_dw(c, &p->w, p->y, p->x, &all);
}

/* Leaves nothing of ours in a cache. */
static void sweep(layer *l)
{
    for (int64_t i = 0; i < SWEEP; i += 64)
        l->swept[i]++;
}

/* Processor time of one pass over the layer's products, s. Weights are packed before. */
static double pass_s(layer *l, int pass, bool cached)
{
    int64_t ns = 0;

    for (int i = 0; i < PRODUCTS; i++) {
        mb_instant before;

        multiply(l->ctx, &l->product[i], pass);
        if (!cached)
            sweep(l);
        before = mb_clock_read(&l->clock);
        multiply(l->ctx, &l->product[i], pass);
        ns += mb_clock_read(&l->clock).cpu_ns - before.cpu_ns;
    }
    return 1e-9 * (double)ns;
}

/* ---- figures -------------------------------------------------------------------------------- */

/* What oneDNN's products reached of the peak, on another machine (Zen 4). */
static const double of_peak = 0.87;

static void put(mb_plan *p, int64_t d, int pass, bool cached, const double *share)
{
    char *name = mb_format("width %d: %s, %s / peak", (int)d, pass_name[pass],
                           cached ? "in cache" : "from memory");
    const mb_figure f = { "products", name, MB_FP32, 1, MB_AT_LEAST, of_peak };

    mb_report_figure(&p->report, &f, mb_measure_of(share, p->rounds));
    free(name);
}

static void measure(mb_plan *p, layer *l, int64_t d)
{
    double share[PASSES][2][MB_ROUNDS_MAX];

    for (int r = 0; r < p->rounds; r++)
        for (int pass = 0; pass < PASSES; pass++)
            for (int cached = 0; cached < 2; cached++)
                share[pass][cached][r] = l->flops / pass_s(l, pass, cached) / mb_peak(1);
    for (int pass = 0; pass < PASSES; pass++)
        for (int cached = 1; cached >= 0; cached--)
            put(p, d, pass, cached, share[pass][cached]);
}

mb_err mb_bench_products(mb_plan *p)
{
    static const int64_t width[] = { 128, 256, 512 };
    mb_err err = MB_OK;

    for (size_t i = 0; p->has[MB_FP32] && !err && i < sizeof width / sizeof *width; i++) {
        layer l;

        err = open_layer(width[i], &l);
        if (!err)
            measure(p, &l, width[i]);
        close_layer(&l);
    }
    return err;
}
