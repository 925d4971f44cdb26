#include "profiles/ceilings.h"

#include "base/file.h"
#include "models/kernels/op.h"
#include "profiles/clock.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* As wide as a register; a wider type would live in memory. */
#if defined __AVX512F__
enum { VECTOR = 64 };
#elif defined __AVX__
enum { VECTOR = 32 };
#else
enum { VECTOR = 16 };
#endif
typedef float vector __attribute__((vector_size(VECTOR)));

enum {
    LANES = VECTOR / sizeof(float),
    CHAINS = 12, /* independent sums: multiply-adds take 4 cycles, and 2 begin in each; with two
                    constants they still fit into 16 registers */
    TURNS = 200000
};
enum { MIN_ROUNDS = 10 };   /* also when the budget is spent */
#define BUDGET_NS 300000000 /* of each measurement */

/* ---- registers ------------------------------------------------------------------------------ */

/* -std=c11 forbids the compiler to fuse a multiplication with an addition by itself. */
static inline __attribute__((always_inline)) vector fused(vector a, vector b, vector c)
{
#ifdef FP_FAST_FMAF
    vector y = c;

    for (int i = 0; i < LANES; i++)
        y[i] = fmaf(a[i], b[i], c[i]);
    return y;
#else
    return a * b + c;
#endif
}

/* x = x/2 + 1, TURNS times in CHAINS vectors: all end at 2, wherever they began. Returns the sum of
   all distances from it. */
static float spin(float half, float one)
{
    vector x[CHAINS], m = half - (vector){ 0 }, a = one - (vector){ 0 };
    float distance = 0;

    for (int c = 0; c < CHAINS; c++)
        x[c] = a * (float)c;
    for (int t = 0; t < TURNS; t++)
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; c++)
            x[c] = fused(x[c], m, a);
    for (int c = 0; c < CHAINS; c++)
        for (int i = 0; i < LANES; i++)
            distance += fabsf(x[c][i] - 2);
    return distance;
}

/* The best rate of one thread while all of them run. */
static double spin_rate(float *wrong)
{
    volatile float half = 0.5f, one = 1;
    int64_t began = mb_wall_ns();
    double best = 0;

    do {
        int64_t start = mb_wall_ns();

        *wrong += spin(half, one);
        best = fmax(best, 2.0 * LANES * CHAINS * TURNS / (double)(mb_wall_ns() - start) * 1e9);
    } while (mb_wall_ns() - began < BUDGET_NS);
    return best;
}

/* Threads share nothing here, so each keeps its own best round: on a busy machine rounds in which
   nothing disturbs any of them are rare. */
mb_err mb_ceiling_fma(int threads, double *flops_per_s)
{
    double sum = 0;
    float wrong = 0;

#pragma omp parallel num_threads(threads) reduction(+ : wrong, sum)
    sum += spin_rate(&wrong);
    *flops_per_s = sum;
    return wrong == 0 ? MB_OK : mb_fail(MB_ECORRUPT, "multiply-adds are off by %g", (double)wrong);
}

/* ---- memory --------------------------------------------------------------------------------- */

enum { CHUNK = 1 << 17, RATES = 1024 }; /* doubles that are timed together; how many of them */

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;

    return (a > b) - (a < b);
}

/* Sweeps N elements, again and again, while all threads do; the median rate in B/s. A chunk is
   shorter than a slice of the scheduler, so that other work disturbs few of them. */
static double sweep_rate(double *a, const double *b, const double *c, int64_t n)
{
    static const double factor = 3;
    double rate[RATES];
    int64_t began = mb_wall_ns(), at = 0;
    int rates = 0;

    do {
        int64_t m = n - at < CHUNK ? n - at : CHUNK, start = mb_wall_ns();

#pragma omp simd
        for (int64_t i = at; i < at + m; i++)
            a[i] = b[i] + factor * c[i];
        rate[rates++] = 3e9 * sizeof *a * (double)m / (double)(mb_wall_ns() - start);
        at = at + m < n ? at + m : 0;
    } while (rates < RATES && (at != 0 || mb_wall_ns() - began < BUDGET_NS));
    qsort(rate, (size_t)rates, sizeof *rate, by_value);
    return rate[rates / 2];
}

/* The part of the arrays that is one thread's, first touched by it, so that its pages are near. */
static double triad_part(double *a, double *b, double *c, int64_t n, int64_t *wrong)
{
    double rate;

    for (int64_t i = 0; i < n; i++) {
        a[i] = 0;
        b[i] = (double)i;
        c[i] = 2;
    }
    rate = sweep_rate(a, b, c, n);
    for (int64_t i = 0; i < n; i++)
        *wrong += a[i] != 0 && a[i] != (double)i + 6;
    *wrong += a[0] != 6;
    return rate;
}

mb_err mb_ceiling_triad(int threads, size_t size, double *bytes_per_s)
{
    int64_t n = (int64_t)(size / sizeof(double)) / threads, wrong = 0;
    double *arrays = malloc(3 * size), sum = 0;
    int t;

    *bytes_per_s = 0;
    if (!arrays)
        return mb_fail(MB_ENOMEM, "three arrays of %zu bytes to measure memory with", size);
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : wrong, sum)
    for (t = 0; t < threads; t++) {
        double *own = arrays + 3 * n * t;

        sum += triad_part(own, own + n, own + 2 * n, n, &wrong);
    }
    *bytes_per_s = sum;
    free(arrays);
    return wrong ? mb_fail(MB_ECORRUPT, "%lld sums in memory are wrong", (long long)wrong) : MB_OK;
}

/* ---- products ------------------------------------------------------------------------------- */

/* N floats of 1 in the memory of C; NULL, with a message, when there is none. */
static float *ones(mb_ctx *c, int64_t n)
{
    float *from = mb_alloc((size_t)n * sizeof *from), *x = mb_ctx_alloc(c, (size_t)n * sizeof *x);

    for (int64_t i = 0; i < n; i++)
        from[i] = 1;
    if (x)
        mb_ctx_write(c, x, from, (size_t)n * sizeof *x);
    free(from);
    return x;
}

mb_err mb_ceiling_product(const char *backend, mb_precision precision, int threads, int width,
                          double *flops_per_s)
{
    const double flops = 2.0 * width * width * width;
    float *x, element = 0;
    int64_t began = mb_wall_ns();
    bool wrong = false;
    int round;
    mb_ctx *c;
    mb_err err;

    *flops_per_s = 0;
    MB_TRY(mb_ctx_open(backend, precision, threads, &c));
    x = ones(c, (int64_t)width * width);
    err = x ? MB_OK : MB_ENOMEM;
    for (round = 0; !err && (round < MIN_ROUNDS || mb_wall_ns() - began < BUDGET_NS); round++) {
        mb_tensor *a = mb_wrap(c, "a", width, width, x), *w = mb_wrap(c, "w", width, width, x), *y;
        int64_t start = mb_wall_ns();

        y = mb_gemm(c, a, w, mb_route_all(c, width));
        mb_ctx_fetch(c, &element, y->data + mb_count(y) / 2, sizeof element);
        err = mb_ctx_sync(c);
        *flops_per_s = fmax(*flops_per_s, flops / ((double)(mb_wall_ns() - start) * 1e-9));
        wrong = wrong || element != (float)width;
        mb_ctx_reset(c);
    }
    mb_ctx_free(c, x);
    mb_ctx_close(c);
    if (!err && wrong)
        err = mb_fail(MB_ECORRUPT, "backend %s: a product is wrong", backend);
    return err;
}
