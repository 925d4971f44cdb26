#include "profiles/ceilings.h"

#include "base/file.h"
#include "base/random.h"
#include "models/kernels/op.h"
#include "profiles/clock.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

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
enum { PRODUCTS = 4 };      /* of a round, for which one waits together */
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

/* Random numbers that a bf16 holds, since hardware is faster on those that are all alike. */
static float *draw(const char *name, int64_t n, int threads)
{
    uint64_t key = mb_key(1, name, 0, 0);
    float *x = mb_alloc((size_t)n * sizeof *x);

#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < n; i++) {
        union {
            float value;
            uint32_t bits;
        } u = { .value = (float)(2 * mb_uniform(key, (uint64_t)i) - 1) };

        u.bits &= 0xffff0000u;
        x[i] = u.value;
    }
    return x;
}

/* The (N) numbers of X in the memory of C, as DTYPE; NULL, with a message, when there is none. */
static void *upload(mb_ctx *c, const float *x, int64_t n, mb_precision dtype)
{
    size_t size = (size_t)n * mb_size(dtype);
    void *to = mb_ctx_alloc(c, size);
    uint16_t *upper;

    if (!to || dtype == MB_FP32) {
        if (to)
            mb_ctx_write(c, to, x, size);
        return to;
    }
    upper = mb_alloc(size);
    for (int64_t i = 0; i < n; i++)
        upper[i] = ((const uint16_t *)x)[2 * i + 1]; /* little-endian */
    mb_ctx_write(c, to, upper, size);
    free(upper);
    return to;
}

/* Whether ELEMENT, as DTYPE, is the product of row I of X and row I of W. */
static bool is_product(const void *element, mb_precision dtype, const float *x, const float *w,
                       int64_t i, int width)
{
    uint16_t halves[2] = { 0 };
    float got;
    double sum = 0;

    memcpy(dtype == MB_FP32 ? halves : halves + 1, element, mb_size(dtype));
    memcpy(&got, halves, sizeof got);
    for (int k = 0; k < width; k++)
        sum += (double)x[i * width + k] * (double)w[i * width + k];
    return fabs((double)got - sum) <= 1e-2 * (fabs(sum) + 1);
}

/* Makes PRODUCTS products of the N x N matrices A and W; takes an element of the last. */
static mb_err multiply(mb_ctx *c, void *a, void *w, int n, float *element, mb_precision *dtype)
{
    mb_tensor *x = mb_wrap(c, "a", n, n, a), *y = NULL;
    mb_tensor *weight = mb_wrap(c, "w", n, n, w);
    mb_err err;

    weight->dtype = MB_FP32; /* as parameters are */
    for (int i = 0; i < PRODUCTS; i++)
        y = mb_gemm(c, x, weight, mb_route_all(c, n));
    *dtype = y->dtype;
    mb_ctx_fetch(c, element, (char *)y->data + (size_t)(n / 2) * (size_t)(n + 1) * mb_size(*dtype),
                 mb_size(*dtype));
    err = mb_ctx_sync(c);
    mb_ctx_reset(c);
    return err;
}

/* X and W lie on the host. */
static mb_err time_products(mb_ctx *c, const float *x, const float *w, int width, double *best)
{
    const double flops = PRODUCTS * 2.0 * width * width * width;
    int64_t n = (int64_t)width * width, began = mb_wall_ns();
    mb_precision dtype = mb_wrap(c, "a", 1, 1, NULL)->dtype;
    void *a = upload(c, x, n, dtype), *b = upload(c, w, n, MB_FP32);
    mb_err err = a && b ? MB_OK : MB_ENOMEM;
    int round;

    for (round = 0; !err && (round < MIN_ROUNDS || mb_wall_ns() - began < BUDGET_NS); round++) {
        int64_t start = mb_wall_ns();
        float element;

        err = multiply(c, a, b, width, &element, &dtype);
        *best = fmax(*best, flops / ((double)(mb_wall_ns() - start) * 1e-9));
        if (!err && !is_product(&element, dtype, x, w, width / 2, width))
            err = mb_fail(MB_ECORRUPT, "backend %s: a product is wrong", mb_ctx_backend(c));
    }
    mb_ctx_free(c, a);
    mb_ctx_free(c, b);
    return err;
}

mb_err mb_ceiling_product(const char *backend, mb_precision precision, int threads, int width,
                          double *flops_per_s)
{
    float *x, *w;
    mb_ctx *c;
    mb_err err;

    *flops_per_s = 0;
    MB_TRY(mb_ctx_open(backend, precision, threads, &c));
    x = draw("a", (int64_t)width * width, mb_ctx_host_threads(c));
    w = draw("w", (int64_t)width * width, mb_ctx_host_threads(c));
    err = time_products(c, x, w, width, flops_per_s);
    free(x);
    free(w);
    mb_ctx_close(c);
    return err;
}

double mb_ceiling_datasheet(const char *device, mb_precision precision)
{
    static const struct {
        const char *name;
        double fp32, bf16;
    } sheets[] = { { "H200", 67e12, 989.5e12 }, { "H100", 67e12, 989.5e12 } };

    for (size_t i = 0; i < sizeof sheets / sizeof *sheets; i++)
        if (strstr(device, sheets[i].name))
            return precision == MB_BF16 ? sheets[i].bf16 : sheets[i].fp32;
    return NAN;
}
