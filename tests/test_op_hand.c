/* Operations on cases small enough to be worked by hand, through the front, on every backend that
   computes. */
#include "tests/kernels_support.h"

#include <criterion/criterion.h>
#include <math.h>

/* ---- memory of the backend --------------------------------------------------------------------
 */

static void *taken[64]; /* by the body under way */
static int n_taken;

/* N floats, in memory of the backend until the body has ended. */
static float *on(mb_ctx *c, const float *x, int64_t n)
{
    float *p = mb_ctx_alloc(c, (size_t)n * sizeof *x);

    cr_assert(p && n_taken < 64, "%s", mb_message());
    mb_ctx_write(c, p, x, (size_t)n * sizeof *x);
    taken[n_taken++] = p;
    return p;
}

/* A copy in host memory, until the reset. */
static const float *look(mb_ctx *c, const float *x, int64_t n)
{
    float *copy = mb_ctx_host(c, (size_t)n * sizeof *x);

    mb_ctx_fetch(c, copy, x, (size_t)n * sizeof *x);
    cr_assert_eq(mb_ctx_sync(c), MB_OK, "%s", mb_message());
    return copy;
}

/* Runs BODY on every backend that computes, recording. */
static void each_backend(void (*body)(mb_ctx *c))
{
    for (const char *const *be = mb_backends(); *be; be++) {
        mb_ctx *c = test_open_if_there(*be, MB_FP32);

        if (!c)
            continue;
        mb_ctx_record(c, true);
        if (c->be->computes)
            body(c);
        while (n_taken > 0)
            mb_ctx_free(c, taken[--n_taken]);
        mb_ctx_close(c);
    }
}

/* 1e-6 of each element: a few roundings of a float. MINE in host memory. */
static void expect_here(mb_ctx *c, const char *what, const float *mine, const float *right,
                        int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        cr_expect(fabsf(mine[i] - right[i]) <= 1e-6f * (1 + fabsf(right[i])),
                  "%s: %s[%d] is %.8g, expected %.8g", mb_ctx_backend(c), what, (int)i, mine[i],
                  right[i]);
}

/* The same of MINE in memory of the backend. */
static void expect(mb_ctx *c, const char *what, const float *mine, const float *right, int64_t n)
{
    expect_here(c, what, look(c, mine, n), right, n);
}

static mb_tensor *given(mb_ctx *c, const char *name, int64_t rows, int64_t cols, const float *data)
{
    return mb_wrap(c, name, rows, cols, on(c, data, rows * cols));
}

static mb_tensor *wrap(mb_ctx *c, const char *name, int64_t rows, int64_t cols, const float *data)
{
    mb_tensor *x = given(c, name, rows, cols, data);

    x->wants = true;
    return x;
}

static mb_tensor *parameter(mb_ctx *c, const char *name, int64_t rows, int64_t cols,
                            const float *data, const float *grad)
{
    mb_tensor *w = wrap(c, name, rows, cols, data);

    w->parameter = true;
    w->grad = on(c, grad, rows * cols);
    return w;
}

/* Three rows of x: row 0 goes to group 1, row 1 is dropped, row 2 goes to both. */
static mb_route two_groups(mb_tensor *gate)
{
    static const int64_t offset[] = { 0, 1, 3 }, asked[] = { 2, 2 }, kept[] = { 1, 2 };
    static const int32_t token[] = { 2, 0, 2 }, first[] = { 0, 1, 1, 3 }, row[] = { 1, 0, 2 };

    return (mb_route){ .groups = 2,
                       .rows = 3,
                       .tokens = 3,
                       .offset = offset,
                       .asked = asked,
                       .kept = kept,
                       .token = token,
                       .first = first,
                       .row = row,
                       .gate = gate };
}

/* ---- rows and products ------------------------------------------------------------------------
 */

static void embed_body(mb_ctx *c)
{
    float table[] = { 1, 2, 3, 4 }, grad[] = { 100, 0, 0, 0 }, dy[] = { 1, 2, 3, 4, 5, 6 };
    mb_tensor *w = parameter(c, "table", 2, 2, table, grad);
    mb_tensor *y = mb_embed(c, w, (int32_t[]){ 1, 0, 1 }, 3);

    expect(c, "y", mb_f32(y), (float[]){ 3, 4, 1, 2, 3, 4 }, 6);
    y->grad = on(c, dy, mb_count(y));
    mb_backward(c);
    expect(c, "dtable", w->grad, (float[]){ 103, 4, 6, 8 }, 4);
}

Test(op_hand, embed_copies_rows_and_sums_their_gradients)
{
    each_backend(embed_body);
}

static void gemm_body(mb_ctx *c)
{
    float x[] = { 1, 2, 3, 4 }, w[] = { 1, 0, 0, 1, 1, 1, 1, -1 }, grad[8] = { 0 };
    float dy[] = { 1, 10, 1, 10 };
    const mb_route *r = mb_route_sorted(c, 2, (int64_t[]){ 1, 1 });
    mb_tensor *xt = wrap(c, "x", 2, 2, x), *wt = parameter(c, "w", 4, 2, w, grad), *y;

    wt->slices = wt->rows = 2;
    y = mb_gemm(c, xt, wt, r);
    expect(c, "y", mb_f32(y), (float[]){ 1, 2, 7, -1 }, 4);
    y->grad = on(c, dy, mb_count(y));
    mb_backward(c);
    expect(c, "dx", xt->grad, (float[]){ 1, 10, 11, -9 }, 4);
    expect(c, "dw", wt->grad, (float[]){ 1, 2, 10, 20, 3, 4, 30, 40 }, 8);
}

Test(op_hand, gemm_uses_the_slice_of_the_group)
{
    each_backend(gemm_body);
}

static void gather_body(mb_ctx *c)
{
    float x[] = { 1, 2, 3, 4, 5, 6 }, dy[] = { 1, 2, 10, 20, 100, 200 };
    mb_route r = two_groups(NULL);
    mb_tensor *xt = wrap(c, "x", 3, 2, x), *y = mb_gather(c, xt, &r);

    expect(c, "y", mb_f32(y), (float[]){ 5, 6, 1, 2, 5, 6 }, 6);
    y->grad = on(c, dy, mb_count(y));
    mb_backward(c);
    expect(c, "dx", xt->grad, (float[]){ 10, 20, 0, 0, 101, 202 }, 6);
    cr_expect_eq(mb_gather(c, xt, mb_route_all(c, 3)), xt, "no index, no copy");
}

Test(op_hand, gather_takes_rows_and_returns_their_gradients)
{
    each_backend(gather_body);
}

/* Three rows in a line: before, here, behind. */
static void unfold_body(mb_ctx *c)
{
    static const int32_t around[] = { -1, 0, 1, 0, 1, 2, 1, 2, -1 };
    mb_tensor *x = wrap(c, "x", 3, 1, (float[]){ 1, 2, 3 });
    mb_tensor *y = mb_unfold(c, x, around, 3);

    expect(c, "y", mb_f32(y), (float[]){ 0, 1, 2, 1, 2, 3, 2, 3, 0 }, 9);
    y->grad = on(c, (float[]){ 1, 2, 3, 4, 5, 6, 7, 8, 9 }, 9);
    mb_backward(c);
    expect(c, "dx", x->grad, (float[]){ 2 + 4, 3 + 5 + 7, 6 + 8 }, 3);
}

Test(op_hand, unfold_lays_neighbours_side_by_side)
{
    each_backend(unfold_body);
}

static void combine_body(mb_ctx *c)
{
    float x[] = { 10, 20, 30 }, rows[] = { 1, 2, 4 }, gates[] = { 0.5f, 2, 1 };
    float dy[] = { 1, 2, 3 };
    mb_tensor *gate = wrap(c, "gate", 1, 3, gates), *rt = wrap(c, "rows", 3, 1, rows);
    mb_tensor *xt = wrap(c, "x", 3, 1, x), *y;
    mb_route r = two_groups(gate);

    y = mb_combine(c, xt, rt, NULL, NULL, 0, &r);
    expect(c, "y", mb_f32(y), (float[]){ 14, 20, 34.5f }, 3);
    y->grad = on(c, dy, mb_count(y));
    mb_backward(c);
    expect(c, "dx", xt->grad, (float[]){ 1, 2, 3 }, 3);
    expect(c, "drows", rt->grad, (float[]){ 1.5f, 2, 3 }, 3);
    expect(c, "dgate", gate->grad, (float[]){ 3, 2, 12 }, 3);
}

Test(op_hand, combine_adds_gated_rows_and_leaves_a_dropped_row_alone)
{
    each_backend(combine_body);
}

static void combine_nothing_body(mb_ctx *c)
{
    float rows[] = { 1, 2, 4 };
    mb_tensor *rt = wrap(c, "rows", 3, 1, rows);

    cr_expect_eq(mb_combine(c, NULL, rt, NULL, NULL, 0, mb_route_all(c, 3)), rt);
}

Test(op_hand, combine_with_nothing_to_do_returns_its_rows)
{
    each_backend(combine_nothing_body);
}

/* ---- norm, rope, attention ---------------------------------------------------------------------
 */

/* rms (3, 4) = sqrt(12.5); the second slice has another weight. */
static void norm_body(mb_ctx *c)
{
    float x[] = { 3, 4, 3, 4 }, w[] = { 1, 2, 10, 0 };
    const uint8_t slice[] = { 0, 1 };
    mb_tensor *wt = given(c, "w", 2, 2, w), *xt = given(c, "x", 2, 2, x), *y;

    wt->slices = 2;
    wt->rows = 1;
    y = mb_norm(c, xt, wt, slice, 0);
    expect(c, "y", mb_f32(y), (float[]){ 0.84852814f, 2.26274170f, 8.48528137f, 0 }, 4);
    y = mb_norm(c, xt, wt, NULL, 12.5f); /* rms = 5 */
    expect(c, "y", mb_f32(y), (float[]){ 0.6f, 1.6f, 0.6f, 1.6f }, 4);
}

Test(op_hand, norm_divides_by_the_root_mean_square)
{
    each_backend(norm_body);
}

/* One head of two elements: the pair turns by position radians, whatever the base. */
static void rope_body(mb_ctx *c)
{
    float x[] = { 1, 0, 0, 2, 5, 6, 1, 0, 0, 2, 5, 6 };
    mb_tensor *y = mb_rope(c, given(c, "x", 2, 6, x), NULL, NULL, NULL, (int32_t[]){ 0, 1 }, NULL,
                           1, 0, 10000);

    expect(c, "y", mb_f32(y),
           (float[]){ 1, 0, 0, 2, 5, 6, 0.54030231f, 0.84147098f, -1.68294197f, 1.08060461f, 5, 6 },
           12);
}

Test(op_hand, rope_turns_queries_and_keys_by_their_position)
{
    each_backend(rope_body);
}

/* Element j of a head turns with element j + e/2, by the position over base^(2j/e): 1 and 0.01 of
   it here. */
static void rope_pairs_body(mb_ctx *c)
{
    float x[] = { 1, 0, 0, 0, 0, 1, 0, 0, 5, 6, 7, 8 };
    mb_tensor *y =
        mb_rope(c, given(c, "x", 1, 12, x), NULL, NULL, NULL, (int32_t[]){ 1 }, NULL, 1, 0, 10000);

    expect(c, "y", mb_f32(y),
           (float[]){ 0.54030231f, 0, 0.84147098f, 0, 0, 0.99995000f, 0, 0.00999983f, 5, 6, 7, 8 },
           12);
}

Test(op_hand, rope_pairs_the_halves_of_a_head)
{
    each_backend(rope_pairs_body);
}

/* q of row i against k of row j. */
static double score(mb_ctx *c, const mb_tensor *x, int64_t i, int64_t j)
{
    const float *all = look(c, mb_f32(x), mb_count(x));
    int64_t d = x->cols / 3;
    double sum = 0;

    for (int64_t k = 0; k < d; k++)
        sum += (double)all[i * 3 * d + k] * all[j * 3 * d + d + k];
    return sum;
}

static void rope_distance_body(mb_ctx *c)
{
    enum { D = 16 };
    float *x = mb_ctx_host(c, 4 * 3 * D * sizeof *x);
    mb_tensor *y;

    test_fill_normal(x, "x", 2 * 3 * D); /* rows 0 and 1, and the same two again */
    for (int i = 0; i < 2 * 3 * D; i++)
        x[2 * 3 * D + i] = x[i];
    y = mb_rope(c, given(c, "x", 4, 3 * D, x), NULL, NULL, NULL, (int32_t[]){ 9, 4, 105, 100 },
                NULL, 1, 0, 10000);
    cr_expect_float_eq(score(c, y, 0, 1), score(c, y, 2, 3), 1e-4, "%g and %g", score(c, y, 0, 1),
                       score(c, y, 2, 3));
    cr_expect(fabs(score(c, y, 0, 1) - score(c, y, 0, 3)) > 1e-2, "and not on nothing");
}

Test(op_hand, scores_after_rope_depend_on_the_distance_alone)
{
    each_backend(rope_distance_body);
}

/* Two positions in rows 2 and 0 of three; where nothing turns, rows are only brought into order,
   and gradients back. The middle row, which is no position's, gets none. */
static void rope_order_body(mb_ctx *c)
{
    float x[] = { 1, 2, 3, 4, 5, 6, NAN, NAN, NAN, NAN, NAN, NAN, 7, 8, 9, 10, 11, 12 };
    mb_span s = { .batch = 1, .len = 2, .rows = 3, .at = (int32_t[]){ 2, 0 } };
    mb_tensor *xt = wrap(c, "x", 3, 6, x);
    mb_tensor *y = mb_rope(c, xt, NULL, NULL, NULL, (int32_t[]){ 0, 0, 0 }, &s, 1, 0, 10000);

    cr_expect_eq(y->rows, 2);
    expect(c, "y", mb_f32(y), (float[]){ 7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6 }, 12);
    xt->grad = on(c, x, 18);
    y->grad = on(c, (float[]){ 1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6 }, 12);
    mb_backward(c);
    expect(c, "dx", xt->grad,
           (float[]){ -1, -2, -3, -4, -5, -6, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6 }, 18);
}

Test(op_hand, rope_brings_rows_into_the_order_of_positions)
{
    each_backend(rope_order_body);
}

/* Scores 0 weigh all keys alike; the third position begins a document. Then a score that wins by
   200: a softmax that is not shifted by its maximum overflows. */
static void attend_body(mb_ctx *c)
{
    float x[] = { 0, 1, 10, 0, 1, 20, 0, 1, 70 };
    float strong[] = { 0, 0, 10, 20, 10, 20, -20, 10, 70 };
    mb_span s = { .batch = 1,
                  .len = 3,
                  .rows = 3,
                  .lo = (int32_t[]){ 0, 0, 2 },
                  .hi = (int32_t[]){ 0, 1, 2 },
                  .pairs = 4 };
    mb_tensor *y = mb_attend(c, given(c, "x", 3, 3, x), &s, 1);

    expect(c, "y", mb_f32(y), (float[]){ 10, 15, 70 }, 3);
    y = mb_attend(c, given(c, "strong", 3, 3, strong), &s, 1);
    expect(c, "y", mb_f32(y), (float[]){ 10, 20, 70 }, 3);
    s.rows = 5;
    s.at = (int32_t[]){ 3, 1, 4 };
    y = mb_attend(c, given(c, "x in rows", 3, 3, x), &s, 1);
    expect(c, "y", mb_f32(y), (float[]){ 0, 15, 0, 10, 70 }, 5);
}

Test(op_hand, attention_averages_the_values_in_its_span)
{
    each_backend(attend_body);
}

/* ---- element by element, and the loss -----------------------------------------------------------
 */

static void swiglu_body(mb_ctx *c)
{
    float x[] = { 0, 1, 3, 2, -100, 100, 1, 1 };
    mb_tensor *y = mb_swiglu(c, given(c, "x", 2, 4, x));

    expect(c, "y", mb_f32(y), (float[]){ 0, 1.46211716f, 0, 100 }, 4);
}

Test(op_hand, swiglu_gates_the_second_half_by_the_first)
{
    each_backend(swiglu_body);
}

static void jitter_body(mb_ctx *c)
{
    float x[100];
    const float *none, *some, *other;
    double sum = 0, least = 1, most = 1;
    int equal = 0;

    for (int i = 0; i < 100; i++)
        x[i] = 1;
    none = look(c, mb_f32(mb_jitter(c, given(c, "x", 10, 10, x), 0, 1)), 100);
    some = look(c, mb_f32(mb_jitter(c, given(c, "x", 10, 10, x), 0.5f, 1)), 100);
    other = look(c, mb_f32(mb_jitter(c, given(c, "x", 10, 10, x), 0.5f, 2)), 100);
    for (int i = 0; i < 100; i++) {
        cr_expect_eq(none[i], 1);
        cr_expect(some[i] >= 0.5f && some[i] < 1.5f);
        equal += some[i] == other[i];
        sum += some[i] / 100;
        least = fmin(least, some[i]);
        most = fmax(most, some[i]);
    }
    cr_expect(least < 0.55 && most > 1.45, "they reach from %g to %g", least, most);
    cr_expect_eq(equal, 0, "another key, other draws");
    cr_expect_float_eq(sum, 1, 5 * 0.5 / sqrt(3 * 100.0), "the mean stays: %g", sum);
}

Test(op_hand, jitter_stays_within_eps_and_follows_its_key)
{
    each_backend(jitter_body);
}

/* Logits are all 0: p = 1/4, lse = log 4. d logit = scale (p (1 + 2 z lse) - [target]). */
static void classify_body(mb_ctx *c)
{
    float x[] = { 1, 2, 3, 4 }, w[8] = { 0 }, dw[8] = { 0 }, loss[] = { -1, -1 };
    float z = 0.5f, lse = logf(4), wrong = 2 * 0.25f * (1 + 2 * z * lse);
    mb_tensor *xt = wrap(c, "x", 2, 2, x), *wt = parameter(c, "w", 4, 2, w, dw);

    mb_classify(c, xt, wt, (int32_t[]){ 2, -1 }, 2, z, loss);
    mb_backward(c);
    cr_assert_eq(mb_ctx_sync(c), MB_OK, "%s", mb_message());
    expect_here(c, "loss", loss, (float[]){ lse, 0 }, 2);
    expect(c, "dx", xt->grad, (float[]){ 0, 0, 0, 0 }, 4);
    expect(c, "dw", wt->grad,
           (float[]){ wrong, 2 * wrong, wrong, 2 * wrong, wrong - 2, 2 * (wrong - 2), wrong,
                      2 * wrong },
           8);
}

Test(op_hand, classify_of_equal_logits_is_log_of_their_number)
{
    each_backend(classify_body);
}

/* A logit of 1000 against 0: the loss is 0 where it is the target's, 1000 where not. */
static void classify_large_body(mb_ctx *c)
{
    float x[] = { 1, 1 }, w[] = { 1000, 0 }, loss[2];

    mb_classify(c, given(c, "x", 2, 1, x), given(c, "w", 2, 1, w), (int32_t[]){ 0, 1 }, 1, 0, loss);
    cr_assert_eq(mb_ctx_sync(c), MB_OK, "%s", mb_message());
    expect_here(c, "loss", loss, (float[]){ 0, 1000 }, 2);
}

Test(op_hand, classify_survives_large_logits)
{
    each_backend(classify_large_body);
}

/* ---- optimiser
 * ------------------------------------------------------------------------------------ */

static void sum_squares_body(mb_ctx *c)
{
    double *sum = (double *)on(c, (float[]){ 7, 7 }, 2), got[2] = { -1, -1 };

    mb_sum_squares(c, sum, on(c, (float[]){ 1, -2, 3 }, 3), 3);
    mb_ctx_fetch(c, &got[0], sum, sizeof *sum);
    mb_sum_squares(c, sum, NULL, 0);
    mb_ctx_fetch(c, &got[1], sum, sizeof *sum);
    cr_assert_eq(mb_ctx_sync(c), MB_OK, "%s", mb_message());
    cr_expect_float_eq(got[0], 14, 1e-6);
    cr_expect_eq(got[1], 0);
}

Test(op_hand, sum_squares)
{
    each_backend(sum_squares_body);
}

/* The first step goes by lr against the sign of the gradient, whatever its size, and decays. */
static void adamw_body(mb_ctx *c)
{
    float *p = on(c, (float[]){ 1, 1 }, 2), *g = on(c, (float[]){ 4, -8 }, 2);
    float *m = on(c, (float[]){ 0, 0 }, 2), *v = on(c, (float[]){ 0, 0 }, 2);
    const double squares = 80;
    void *squares_there = on(c, (float[]){ 0, 0 }, 2);
    mb_adamw how = { .lr = 0.125f,
                     .beta1 = 0.75f,
                     .beta2 = 0.5f,
                     .decay = 0.25f,
                     .clip = sqrtf(20), /* half the norm */
                     .squares = squares_there,
                     .step = 1 };

    mb_ctx_write(c, squares_there, &squares, sizeof squares);
    mb_adamw_step(c, p, g, m, v, 2, &how);
    expect(c, "p", p, (float[]){ 1 - 0.125f * 1.25f, 1 + 0.125f * 0.75f }, 2);
    expect(c, "m", m, (float[]){ 0.5f, -1 }, 2);
    expect(c, "v", v, (float[]){ 2, 8 }, 2);
    expect(c, "g", g, (float[]){ 0, 0 }, 2);
}

Test(op_hand, adamw_takes_its_first_step)
{
    each_backend(adamw_body);
}
