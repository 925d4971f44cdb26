/* The fast CPU backend, where it promises more than to agree with `ref` (tests/test_op.c does
   that): its exponential, the same bits every time, and rows that are not there. */
#include "models/kernels/cpu/simd.h"
#include "models/kernels/cpu/slots.h"

#include "base/file.h"
#include "tests/kernels_support.h"

#include <assert.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- arithmetic ----------------------------------------------------------------------------- */

static float float_of(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Distance from the true value, in units of the last place of a float of that size. */
static double ulps(float got, double want)
{
    double unit = ldexp(1, ilogb(want) - 23);

    return fabs(got - want) / unit;
}

Test(cpu, exp_is_within_one_ulp)
{
    double worst = 0;

    for (uint32_t bits = 0; bits < 0x42b20000u; bits += 997) { /* 0 .. 89, both signs */
        float x = float_of(bits);

        if (exp(x) <= 0x1.fffffep127)
            worst = fmax(worst, ulps(exp_of(x), exp(x)));
        if (exp(-x) >= 0x1p-126)
            worst = fmax(worst, ulps(exp_of(-x), exp(-x)));
    }
    cr_expect(worst <= 1, "off by %g units in the last place", worst);
}

Test(cpu, exp_has_exact_ends)
{
    cr_expect_eq(exp_of(0), 1);
    cr_expect_eq(exp_of(-INFINITY), 0);
    cr_expect_eq(exp_of(-88), 0);
    cr_expect_eq(exp_of(-1e30f), 0);
    cr_expect_eq(exp_of(89), INFINITY);
    cr_expect_eq(exp_of(INFINITY), INFINITY);
    cr_expect(isnan(exp_of(NAN)));
    cr_expect_eq(sigmoid_of(-200), 0);
    cr_expect_eq(sigmoid_of(200), 1);
}

Test(cpu, log_is_within_two_ulps_or_1e_7)
{
    double worst = 0;

    for (uint32_t bits = 0x00800000u; bits < 0x7f800000u; bits += 99991) {
        float x = float_of(bits);
        double off = fabs((double)log_of(x) - log(x)), unit = ldexp(1, ilogb(log(x)) - 23);

        worst = fmax(worst, off / fmax(unit, 0.5e-7));
    }
    cr_expect(worst <= 2, "off by %g", worst);
    cr_expect_eq(log_of(1), 0);
    cr_expect_eq(log_of(INFINITY), INFINITY);
    cr_expect(isnan(log_of(NAN)));
}

Test(cpu, largest_orders_all_floats)
{
    float mixed[] = { -0.0f, -3, -1e30f, -2, -INFINITY }, with_nan[] = { 1, NAN, 5 };

    cr_expect_eq(largest(mixed, 5), 0);
    cr_expect_eq(largest(mixed + 1, 4), -2);
    cr_expect_eq(largest(mixed + 4, 1), -INFINITY);
    cr_expect_eq(largest(mixed, 0), -INFINITY);
    cr_expect(isnan(largest(with_nan, 3)));
}

Test(cpu, logits_of_any_size_give_a_finite_loss)
{
    mb_ctx *c = test_open("cpu");
    float x[] = { 1e4f, -1e4f }, w[] = { 3, -2, 1e3f }, loss[2], dx[2], dw[3] = { 0 };
    int32_t target[] = { 0, 0 };

    c->be->classify(c, loss, dx, dw, x, mb_wrap(c, "w", 3, 1, w), target, 0.5f, 0, 2);
    cr_expect_float_eq(loss[0], 9.97e6, 1); /* 3e4 against 1e7 */
    cr_expect_float_eq(loss[1], 5e4, 1);    /* -3e4 against 2e4 */
    for (int i = 0; i < 3; i++)
        cr_expect(isfinite(dw[i]));
    mb_ctx_close(c);
}

/* ---- slots of attention ---------------------------------------------------------------------- */

/* Documents of 10, 2 and 9 positions: the second is too close to the first's end to begin a block.
 */
Test(cpu, documents_begin_blocks_unless_they_are_very_short)
{
    enum { LEN = 21, MOST = 256 };
    int32_t lo[LEN], hi[LEN], space[MOST];
    mb_span span = { .batch = 1, .len = LEN, .lo = lo, .hi = hi };
    slots s;

    for (int32_t p = 0; p < LEN; p++) {
        lo[p] = p < 10 ? 0 : p < 12 ? 10 : 12;
        hi[p] = p;
    }
    cr_assert(slots_size(LEN) <= MOST);
    s = slots_in(space, LEN);
    cr_expect_eq(slots_make(&s, &span, 0), 1 + 2 + 1 + 2);
    cr_expect_eq(s.blocks, 4);
    for (int p = 0; p < LEN; p++)
        cr_expect_eq(s.slot[p], p < 12 ? p : p + 4);
    for (int i = 12; i < 16; i++)
        cr_expect_eq(s.row[i], -1);
    cr_expect(!all_seen(&s, 1, 0)); /* of two documents */
    cr_expect(all_seen(&s, 3, 2));
}

/* ---- the same bits -------------------------------------------------------------------------- */

enum { B = 3, L = 100, T = B * L, D = 48, HEADS = 3, F = 80, V = 300, SLICES = 3, PARTS = 24 };

/* Results of many kernels. */
typedef struct results {
    float *part[PARTS];
    int64_t size[PARTS];
    int n;
} results;

/* Memory for the next result; starts as zeros, as gradients of parameters do. */
static float *next(results *r, int64_t n)
{
    assert(r->n < PARTS);
    r->size[r->n] = n;
    return r->part[r->n++] = mb_zalloc((size_t)n, sizeof(float));
}

static void row_kernels(mb_ctx *c, results *r)
{
    const mb_backend *be = c->be;
    uint8_t *slice = test_slices(c, T, SLICES);
    int32_t *token = test_below(c, "token", T, V), *position = test_below(c, "position", T, L);
    float *x = test_normal("x", 3 * T * D), *dy = test_normal("dy", 3 * T * D);
    float *w = test_normal("w", SLICES * D), *rstd = next(r, T), *y;
    mb_route *route = test_route(c, TEST_INDEXED, T, 4);
    mb_span *span = test_span(c, B, L, TEST_PERMUTED);

    be->embed_bwd(c, next(r, V * D), dy, token, T, D, V);
    be->norm(c, next(r, T * D), rstd, x, w, slice, 1e-5f, T, D);
    y = next(r, T * D);
    be->norm_bwd(c, y, next(r, SLICES * D), dy, x, rstd, w, slice, T, D, false);
    y = next(r, 2 * T * D);
    be->combine(c, y, next(r, route->rows), x, x + T * D, w, slice, 1e-5f, route, D);
    be->gather_bwd(c, next(r, T * D), dy, route, D, false);
    y = next(r, 3 * T * D);
    be->rope(c, y, x, w, w + SLICES * D / 2, slice, position, span, T, D, HEADS, 1e-5f, 1e4f);
    y = next(r, SLICES * D / HEADS);
    be->rope_bwd(c, next(r, 3 * T * D), y, next(r, SLICES * D / HEADS), dy, x, w,
                 w + SLICES * D / 2, slice, position, span, T, D, HEADS, 1e-5f, 1e4f, false);
    be->swiglu_bwd(c, next(r, T * D), dy, x, T, D / 2, false);
    be->sum_squares(c, (double *)next(r, 2), x, 3 * T * D);
    free(x);
    free(dy);
    free(w);
}

static void attention(mb_ctx *c, results *r)
{
    float *x = test_normal("x", 3 * T * D), *dy = test_normal("dy", T * D);
    float *y = next(r, T * D), *lse = next(r, T * HEADS), *dx = next(r, 3 * T * D);
    mb_span *span = test_span(c, B, L, TEST_DOCUMENTS | TEST_IMAGES | TEST_PERMUTED);

    c->be->attend(c, y, lse, x, span, D, HEADS);
    c->be->attend_bwd(c, dx, dy, y, lse, x, span, D, HEADS, false);
    free(x);
    free(dy);
}

static void products(mb_ctx *c, results *r)
{
    float *x = test_normal("x", T * D), *dy = test_normal("dy", T * F);
    mb_tensor *w = mb_wrap(c, "w", F, D, test_normal("w", 2 * F * D));
    mb_route *route = test_route(c, TEST_SORTED, T, 2);

    w->slices = 2;
    w->grad = next(r, 2 * F * D);
    c->be->gemm(c, next(r, T * F), x, w, route);
    c->be->gemm_dx(c, next(r, T * D), dy, w, route, false);
    c->be->gemm_dw(c, w, dy, x, route);
    free(w->data);
    free(x);
    free(dy);
}

static void head(mb_ctx *c, results *r)
{
    float *x = test_normal("x", T * D), *w = test_normal("head", V * D), *loss = next(r, T);
    int32_t *target = test_below(c, "target", T, V);

    c->be->classify(c, loss, next(r, T * D), next(r, V * D), x, mb_wrap(c, "head", V, D, w), target,
                    0.1f, 1e-4f, T);
    free(x);
    free(w);
}

static results run_kernels(int threads)
{
    results r = { 0 };
    mb_ctx *c;

    cr_assert_eq(mb_ctx_open("cpu", MB_FP32, threads, &c), MB_OK);
    row_kernels(c, &r);
    attention(c, &r);
    products(c, &r);
    head(c, &r);
    mb_ctx_close(c);
    return r;
}

static void free_results(results *r)
{
    for (int i = 0; i < r->n; i++)
        free(r->part[i]);
}

static void expect_same_bits(const results *a, const results *b)
{
    for (int i = 0; i < a->n; i++)
        cr_expect(!memcmp(a->part[i], b->part[i], (size_t)a->size[i] * sizeof(float)),
                  "result %d differs", i);
}

Test(cpu, the_same_threads_give_the_same_bits)
{
    for (int threads = 1; threads <= 3; threads++) {
        results once = run_kernels(threads);

        for (int i = 0; i < 5; i++) {
            results again = run_kernels(threads);

            expect_same_bits(&once, &again);
            free_results(&again);
        }
        free_results(&once);
    }
}

Test(cpu, no_result_depends_on_threads)
{
    results one = run_kernels(1);

    for (int threads = 2; threads <= 4; threads++) {
        results more = run_kernels(threads);

        expect_same_bits(&one, &more);
        free_results(&more);
    }
    free_results(&one);
}

/* A training loop on 2 threads beside an evaluation on 1: neither may change the other's head.
 */
Test(cpu, contexts_keep_their_own_number_of_threads)
{
    results two = { 0 }, one = { 0 }, again = { 0 };
    mb_ctx *a, *b;

    cr_assert_eq(mb_ctx_open("cpu", MB_FP32, 2, &a), MB_OK);
    head(a, &two);
    cr_assert_eq(mb_ctx_open("cpu", MB_FP32, 1, &b), MB_OK);
    head(b, &one);
    head(a, &again);
    expect_same_bits(&two, &again);
    cr_expect_eq(mb_ctx_threads(a), 2);
    mb_ctx_close(a);
    mb_ctx_close(b);
    free_results(&one);
    free_results(&two);
    free_results(&again);
}

/* ---- no rows -------------------------------------------------------------------------------- */

Test(cpu, no_rows_are_no_work)
{
    mb_ctx *c = test_open("cpu");
    const mb_backend *be = c->be;
    float weight[16] = { 0 }, grad[16] = { 0 }, none[1];
    mb_tensor *w = mb_wrap(c, "w", 4, 4, weight);
    mb_route *route = test_route(c, TEST_SORTED, 0, 3);
    mb_span span = { 0 };
    mb_adamw how = { .step = 1 };
    double squares = 1;

    w->grad = grad;
    be->embed(c, none, weight, NULL, 0, 4);
    be->embed_bwd(c, grad, none, NULL, 0, 4, 4);
    be->gemm(c, none, none, w, route);
    be->gemm_dx(c, none, none, w, route, true);
    be->gemm_dw(c, w, none, none, route);
    be->gather(c, none, none, route, 4);
    be->gather_bwd(c, none, none, route, 4, false);
    be->combine(c, none, none, NULL, none, weight, NULL, 1e-5f, route, 4);
    be->combine_bwd(c, none, NULL, grad, none, none, none, weight, NULL, route, 4, false);
    be->norm(c, none, none, none, weight, NULL, 1e-5f, 0, 4);
    be->norm_bwd(c, none, grad, none, none, none, weight, NULL, 0, 4, false);
    be->rope(c, none, none, weight, weight, NULL, NULL, NULL, 0, 4, 2, 1e-5f, 1e4f);
    be->rope_bwd(c, none, grad, grad, none, none, weight, weight, NULL, NULL, NULL, 0, 4, 2, 1e-5f,
                 1e4f, false);
    be->attend(c, none, none, none, &span, 4, 2);
    be->attend_bwd(c, none, none, none, none, none, &span, 4, 2, false);
    be->swiglu(c, none, none, 0, 4);
    be->swiglu_bwd(c, none, none, none, 0, 4, false);
    be->jitter(c, none, none, 0.1f, 1, 0, 4);
    be->jitter_bwd(c, none, none, 0.1f, 1, 0, 4, false);
    be->classify(c, none, none, grad, none, mb_wrap(c, "w", 4, 4, weight), NULL, 1, 0, 0);
    be->adamw(c, none, none, none, none, 0, &how);
    be->sum_squares(c, &squares, none, 0);
    cr_expect_eq(squares, 0);
    for (int i = 0; i < 16; i++)
        cr_expect_eq(grad[i], 0);
    mb_ctx_close(c);
}
