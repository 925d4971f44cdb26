/* Gradients: what mb_backward() leaves, against central differences, for every operation on `ref`.

   A trial is a function that asks for its inputs by name, calls operations on them and returns what
   they make, y. The value that is differentiated is sum(probe * y), with random numbers for a
   probe, plus what the trial adds in `extra` (losses). */
#include "base/file.h"
#include "tests/kernels_support.h"

#include <assert.h>
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { T = 11, D = 12, N = 7, HEADS = 2, F = 5, V = 13, GROUPS = 3, EXPERTS = 4, MOST = 8 };
static const float EPS = 1e-3f;

/* Inputs move by STEP to either side. Values carry float's rounding, some 1e-7 of their size, so a
   difference is good to about 1e-7 / STEP, and to STEP^2 for the bend of the function. */
static const float STEP = 1e-2f;

/* A gradient's distance from the differences, relative to its size: 2e-3. */
static const double TOLERANCE = 4e-6;

typedef struct trial {
    mb_ctx *c;
    int used, known;
    struct {
        float *data, *grad;
        int64_t n;
        mb_tensor *tensor;
    } input[MOST];
    double extra;
    uint64_t route; /* a number that changes when a learned route does */
} trial;

typedef mb_tensor *call(trial *t);

/* ---- inputs --------------------------------------------------------------------------------- */

/* The next input: drawn the first time, and the same memory in every later call of the trial. Never
   two of them as arguments of one call: their order would be open. */
static mb_tensor *activation(trial *t, const char *name, int64_t rows, int64_t cols)
{
    int i = t->used++;
    mb_tensor *x;

    assert(i < MOST);
    if (i == t->known) {
        t->known++;
        t->input[i].n = rows * cols;
        t->input[i].data = test_normal(name, rows * cols);
        t->input[i].grad = mb_zalloc((size_t)(rows * cols), sizeof(float));
    }
    x = mb_wrap(t->c, name, rows, cols, t->input[i].data);
    x->wants = true;
    return t->input[i].tensor = x;
}

static mb_tensor *weight(trial *t, const char *name, int64_t slices, int64_t rows, int64_t cols)
{
    mb_tensor *w = activation(t, name, slices * rows, cols);

    w->slices = slices;
    w->rows = rows;
    w->parameter = true;
    w->grad = t->input[t->used - 1].grad;
    return w;
}

/* ---- differences ---------------------------------------------------------------------------- */

static double value(trial *t, call *f, const float *probe)
{
    mb_tensor *y;
    double sum;

    mb_ctx_reset(t->c);
    t->used = 0;
    t->extra = 0;
    y = f(t);
    sum = t->extra;
    for (int64_t i = 0; y && i < mb_count(y); i++)
        sum += (double)probe[i] * mb_f32(y)[i];
    return sum;
}

/* Leaves the gradients in t->input[].grad; returns the probe. */
static float *differentiate(trial *t, call *f)
{
    float *probe = NULL;
    mb_tensor *y;

    mb_ctx_record(t->c, true);
    y = f(t);
    if (y) {
        probe = test_normal("probe", mb_count(y));
        y->grad = mb_ctx_host(t->c, (size_t)mb_count(y) * sizeof *probe);
        memcpy(y->grad, probe, (size_t)mb_count(y) * sizeof *probe);
    }
    mb_backward(t->c);
    for (int i = 0; i < t->known; i++) {
        cr_assert_not_null(t->input[i].tensor->grad);
        if (!t->input[i].tensor->parameter)
            memcpy(t->input[i].grad, t->input[i].tensor->grad,
                   (size_t)t->input[i].n * sizeof(float));
    }
    mb_ctx_record(t->c, false);
    return probe;
}

static float difference(trial *t, call *f, const float *probe, float *x, float step)
{
    float here = *x, above = here + step, below = here - step;
    uint64_t route = t->route;
    double up, down;

    *x = above;
    up = value(t, f, probe);
    cr_assert_eq(t->route, route, "a step must not change a route");
    *x = below;
    down = value(t, f, probe);
    cr_assert_eq(t->route, route, "a step must not change a route");
    *x = here;
    return (float)((up - down) / ((double)above - below));
}

static void close_trial(trial *t)
{
    for (int i = 0; i < t->known; i++) {
        free(t->input[i].data);
        free(t->input[i].grad);
    }
    mb_ctx_close(t->c);
}

static void check_with_step(call *f, float step)
{
    trial t = { .c = test_open("ref") };
    float *probe = differentiate(&t, f);

    for (int i = 0; i < t.known; i++) {
        float *differences = mb_alloc((size_t)t.input[i].n * sizeof *differences);
        double distance;

        for (int64_t j = 0; j < t.input[i].n; j++)
            differences[j] = difference(&t, f, probe, t.input[i].data + j, step);
        distance = test_distance(t.input[i].grad, differences, t.input[i].n);
        cr_expect(distance < TOLERANCE, "gradient of %s: %.3g away from the differences",
                  t.input[i].tensor->name, sqrt(distance));
        free(differences);
    }
    free(probe);
    close_trial(&t);
}

static void check(call *f)
{
    check_with_step(f, STEP);
}

/* ---- products and rows ---------------------------------------------------------------------- */

static mb_tensor *embed(trial *t)
{
    return mb_embed(t->c, weight(t, "table", 1, V, D), test_below(t->c, "token", T, V), T);
}

Test(op_gradient, embed)
{
    check(embed);
}

static mb_tensor *gemm_one_slice(trial *t)
{
    const mb_route *r = test_route(t->c, TEST_SORTED, T, GROUPS);
    mb_tensor *x = activation(t, "x", T, D);

    return mb_gemm(t->c, x, weight(t, "w", 1, N, D), r);
}

static mb_tensor *gemm_slices(trial *t)
{
    const mb_route *r = test_route(t->c, TEST_INDEXED, T, GROUPS);
    mb_tensor *x = activation(t, "x", r->rows, D);

    return mb_gemm(t->c, x, weight(t, "w", GROUPS, N, D), r);
}

static mb_tensor *gemm_with_an_empty_group(trial *t)
{
    const mb_route *r = test_route(t->c, TEST_SORTED, T, GROUPS);
    mb_tensor *x = activation(t, "x", T, D);

    return mb_gemm(t->c, x, weight(t, "w", GROUPS, N, D), r);
}

Test(op_gradient, gemm)
{
    check(gemm_one_slice);
    check(gemm_slices);
    check(gemm_with_an_empty_group);
}

static mb_tensor *gather(trial *t)
{
    return mb_gather(t->c, activation(t, "x", T, D), test_route(t->c, TEST_INDEXED, T, GROUPS));
}

Test(op_gradient, gather_of_rows_that_are_dropped_or_taken_twice)
{
    check(gather);
}

static mb_tensor *gather_repeated(trial *t)
{
    static const int32_t row[] = { 0, 0, 0, 3, 4, 4, T - 1 };

    return mb_gather(t->c, activation(t, "x", T, D), mb_route_rows(t->c, T, row, 7));
}

Test(op_gradient, gather_of_rows_that_are_repeated)
{
    check(gather_repeated);
}

static mb_tensor *unfold(trial *t)
{
    return mb_unfold(t->c, activation(t, "x", T, D), test_around(t->c, T, 9), 9);
}

/* A convolution, and then one with a stride, of a grid of one line. */
static mb_tensor *convolve(trial *t)
{
    mb_tensor *x = activation(t, "x", T, D), *w = weight(t, "w", 1, 2 * N, 3 * D);

    x = mb_gemm(t->c, mb_unfold(t->c, x, test_around(t->c, T, 3), 3), w, mb_route_all(t->c, T));
    x = mb_reshape(t->c, x, 2 * T, N);
    w = weight(t, "half", 1, N, 2 * N);
    return mb_gemm(t->c, mb_reshape(t->c, x, T, 2 * N), w, mb_route_all(t->c, T));
}

Test(op_gradient, unfold)
{
    check(unfold);
    check(convolve);
}

/* x is used before it is reshaped, both uses end in one, and after. */
static mb_tensor *reshape_between(trial *t)
{
    mb_tensor *x = activation(t, "x", T, D), *before, *after, *y;

    before = mb_norm(t->c, x, weight(t, "w", 1, 1, D), NULL, EPS);
    y = mb_norm(t->c, mb_reshape(t->c, x, 2 * T, D / 2), weight(t, "v", 1, 1, D / 2), NULL, EPS);
    after = mb_norm(t->c, x, weight(t, "u", 1, 1, D), NULL, EPS);
    y = mb_combine(t->c, before, mb_reshape(t->c, y, T, D), NULL, NULL, 0, mb_route_all(t->c, T));
    return mb_combine(t->c, y, after, NULL, NULL, 0, mb_route_all(t->c, T));
}

Test(op_gradient, reshape_of_what_is_used_otherwise_too)
{
    check(reshape_between);
}

static mb_tensor *combine_gated(trial *t)
{
    mb_route *r = test_route(t->c, TEST_INDEXED, T, GROUPS);

    r->gate = activation(t, "gate", 1, r->rows);
    return mb_combine(t->c, NULL, activation(t, "rows", r->rows, D), NULL, NULL, EPS, r);
}

static mb_tensor *combine_gated_normed(trial *t)
{
    mb_route *r = test_route(t->c, TEST_INDEXED, T, GROUPS);
    mb_tensor *x = activation(t, "x", T, D), *rows = activation(t, "rows", r->rows, D);
    mb_tensor *w = weight(t, "w", 2, 1, D);

    r->gate = activation(t, "gate", 1, r->rows);
    return mb_combine(t->c, x, rows, w, test_slices(t->c, T, 2), EPS, r);
}

static mb_tensor *combine_normed(trial *t)
{
    mb_tensor *x = activation(t, "x", T, D), *rows = activation(t, "rows", T, D);
    mb_tensor *w = weight(t, "w", 1, 1, D);

    return mb_combine(t->c, x, rows, w, NULL, EPS, mb_route_all(t->c, T));
}

static mb_tensor *combine_plain(trial *t)
{
    mb_tensor *x = activation(t, "x", T, D), *rows = activation(t, "rows", T, D);

    return mb_combine(t->c, x, rows, NULL, NULL, EPS, mb_route_all(t->c, T));
}

Test(op_gradient, combine)
{
    check(combine_gated);
    check(combine_gated_normed);
    check(combine_normed);
    check(combine_plain);
}

/* ---- norm, rope, attention ------------------------------------------------------------------- */

static mb_tensor *norm(trial *t)
{
    mb_tensor *x = activation(t, "x", T, D);

    return mb_norm(t->c, x, weight(t, "w", 1, 1, D), NULL, EPS);
}

static mb_tensor *norm_slices(trial *t)
{
    mb_tensor *x = activation(t, "x", T, D);

    return mb_norm(t->c, x, weight(t, "w", 3, 1, D), test_slices(t->c, T, 3), EPS);
}

Test(op_gradient, norm)
{
    check(norm);
    check(norm_slices);
}

static mb_tensor *rope(trial *t)
{
    return mb_rope(t->c, activation(t, "x", T, 3 * D), NULL, NULL, NULL,
                   test_below(t->c, "position", T, 100), NULL, HEADS, EPS, 100);
}

static mb_tensor *rope_normed(trial *t)
{
    mb_tensor *x = activation(t, "x", T, 3 * D);
    mb_tensor *qw = weight(t, "qw", 2, 1, D / HEADS), *kw = weight(t, "kw", 2, 1, D / HEADS);

    return mb_rope(t->c, x, qw, kw, test_slices(t->c, T, 2), test_below(t->c, "position", T, 100),
                   NULL, HEADS, EPS, 100);
}

static mb_tensor *rope_padded(trial *t)
{
    const mb_span *s = test_span(t->c, 1, T, TEST_PADDED);
    mb_tensor *x = activation(t, "x", s->rows, 3 * D);
    mb_tensor *qw = weight(t, "qw", 2, 1, D / HEADS), *kw = weight(t, "kw", 2, 1, D / HEADS);

    return mb_rope(t->c, x, qw, kw, test_slices(t->c, s->rows, 2),
                   test_below(t->c, "position", s->rows, 100), s, HEADS, EPS, 100);
}

Test(op_gradient, rope)
{
    check(rope);
    check(rope_normed);
    check(rope_padded);
}

static mb_tensor *attend_causal(trial *t)
{
    return mb_attend(t->c, activation(t, "x", T, 3 * D), test_span(t->c, 1, T, 0), HEADS);
}

static mb_tensor *attend_documents(trial *t)
{
    const mb_span *s = test_span(t->c, 2, T, TEST_DOCUMENTS | TEST_PERMUTED);

    return mb_attend(t->c, activation(t, "x", 2 * T, 3 * D), s, HEADS);
}

static mb_tensor *attend_images(trial *t)
{
    const mb_span *s = test_span(t->c, 2, T, TEST_IMAGES | TEST_PADDED);

    return mb_attend(t->c, activation(t, "x", 2 * T, 3 * D), s, HEADS);
}

Test(op_gradient, attend)
{
    check(attend_causal);
    check(attend_documents);
    check(attend_images);
}

/* ---- element by element, and the loss -------------------------------------------------------- */

static mb_tensor *swiglu(trial *t)
{
    return mb_swiglu(t->c, activation(t, "x", T, 2 * F));
}

Test(op_gradient, swiglu)
{
    check(swiglu);
}

static mb_tensor *jitter(trial *t)
{
    return mb_jitter(t->c, activation(t, "x", T, D), 0.5f, 3);
}

Test(op_gradient, jitter)
{
    check(jitter);
}

/* log sum exp of row i's logits: its loss plus the target's logit. */
static double log_sum_exp(const mb_tensor *x, const mb_tensor *w, int64_t i, int32_t target,
                          float loss)
{
    double logit = 0;

    for (int64_t j = 0; j < x->cols; j++)
        logit += (double)mb_f32(x)[i * x->cols + j] * mb_f32(w)[target * x->cols + j];
    return logit + loss;
}

static void classify_with(trial *t, float scale, float z)
{
    mb_tensor *x = activation(t, "x", T, D), *w = weight(t, "w", 1, V, D);
    int32_t *target = test_below(t->c, "target", T, V);
    float loss[T];

    target[2] = target[T - 1] = -1;
    mb_classify(t->c, x, w, target, scale, z, loss);
    for (int64_t i = 0; i < T; i++)
        if (target[i] >= 0) {
            double lse = log_sum_exp(x, w, i, target[i], loss[i]);

            t->extra += scale * (loss[i] + z * lse * lse);
        }
}

static mb_tensor *classify(trial *t)
{
    classify_with(t, 1, 0);
    return NULL;
}

static mb_tensor *classify_z(trial *t)
{
    classify_with(t, 0.5f, 0.1f);
    return NULL;
}

Test(op_gradient, classify)
{
    check(classify);
    check(classify_z);
}

/* Patches as models have them: some rows of x get a product of what comes in, and what is predicted
   of others is compared with what was wanted. */
static mb_tensor *patches(trial *t)
{
    enum { IN = 6, PATCHES = 4, S = 3 };
    static const int32_t at[PATCHES] = { 0, 3, 4, T - 1 };
    mb_tensor *x = activation(t, "x", T, D), *in, *y, *others;
    mb_tensor *w = weight(t, "in", 1, D, IN), *w_out = weight(t, "out", 1, S, D);
    float *noisy = test_normal("noisy", PATCHES * IN), *wanted = test_normal("wanted", 3 * S);
    float loss[3];

    in = mb_gemm(t->c, mb_input(t->c, "noisy", PATCHES, IN, noisy), w, mb_route_all(t->c, PATCHES));
    x = mb_combine(t->c, x, in, NULL, NULL, EPS, mb_route_rows(t->c, T, at, PATCHES));
    others = mb_norm(t->c, x, weight(t, "norm", 1, 1, D), NULL, EPS);
    y = mb_gather(t->c, x, mb_route_rows(t->c, T, at + 1, 3));
    y = mb_logits(t->c, y, w_out, mb_route_all(t->c, 3));
    mb_regress(t->c, y, wanted, 0.5f, loss);
    for (int i = 0; i < 3; i++)
        t->extra += 0.5 * loss[i];
    free(noisy);
    free(wanted);
    return others;
}

Test(op_gradient, patches)
{
    check(patches);
}

/* ---- learned routes ---------------------------------------------------------------------------
 */

static uint64_t route_number(const mb_route *r)
{
    uint64_t number = (uint64_t)r->rows;

    for (int64_t i = 0; i < r->rows; i++)
        number = number * 31 + (uint64_t)r->token[i];
    for (int g = 0; g < r->groups; g++)
        number = number * 31 + (uint64_t)r->offset[g];
    return number;
}

static const mb_route *choose(trial *t, mb_tensor *logits, const mb_router *how)
{
    mb_routed routed;
    const mb_route *r = mb_choose(t->c, logits, how, &routed);

    t->extra += how->balance * routed.balance + how->z * routed.z;
    t->route = route_number(r);
    return r;
}

static mb_tensor *gates(trial *t, const mb_router *how)
{
    return choose(t, activation(t, "logits", T, EXPERTS), how)->gate;
}

static mb_tensor *choose_switch(trial *t)
{
    return gates(t, &(mb_router){ .top_k = 1, .capacity = 1, .balance = 0.7, .z = 0.3 });
}

static mb_tensor *choose_switch_by_sequence(trial *t)
{
    return gates(t, &(mb_router){ .top_k = 1, .capacity = 1, .group_rows = 4 });
}

static mb_tensor *choose_gshard(trial *t)
{
    return gates(t, &(mb_router){ .top_k = 2,
                                  .capacity = 1,
                                  .renormalise = true,
                                  .random_second = true,
                                  .balance = 0.7,
                                  .key = 5 });
}

static mb_tensor *choose_without_limit(trial *t)
{
    return gates(t, &(mb_router){ .top_k = 2, .z = 0.3 });
}

static mb_tensor *choose_by_experts(trial *t)
{
    return gates(t,
                 &(mb_router){ .choice = MB_EXPERT_CHOOSES, .score = MB_SIGMOID, .capacity = 1 });
}

static mb_tensor *choose_by_experts_softmax(trial *t)
{
    return gates(t, &(mb_router){ .choice = MB_EXPERT_CHOOSES, .capacity = 2, .group_rows = 5 });
}

/* Scores are floats, and close ones must not change places: a smaller step. */
Test(op_gradient, choose)
{
    check_with_step(choose_switch, STEP / 4);
    check_with_step(choose_switch_by_sequence, STEP / 4);
    check_with_step(choose_gshard, STEP / 4);
    check_with_step(choose_without_limit, STEP / 4);
    check_with_step(choose_by_experts, STEP / 4);
    check_with_step(choose_by_experts_softmax, STEP / 4);
}

/* ---- several operations ------------------------------------------------------------------------
 */

/* A feed-forward part of a mixture of experts with its residual: x is used three times. */
static mb_tensor *experts(trial *t)
{
    mb_router how = { .top_k = 2, .capacity = 1, .renormalise = true, .balance = 0.1 };
    mb_tensor *x = activation(t, "x", T, D), *h;
    mb_tensor *router = weight(t, "router", 1, EXPERTS, D);
    mb_tensor *up = weight(t, "up", EXPERTS, 2 * F, D), *down = weight(t, "down", EXPERTS, D, F);
    mb_tensor *w = weight(t, "norm", 1, 1, D);
    const mb_route *r =
        choose(t, mb_gemm(t->c, mb_jitter(t->c, x, 0.1f, 9), router, mb_route_all(t->c, T)), &how);

    h = mb_swiglu(t->c, mb_gemm(t->c, mb_gather(t->c, x, r), up, r));
    return mb_combine(t->c, x, mb_gemm(t->c, h, down, r), w, NULL, EPS, r);
}

/* Attention with its residual, by modality: rows are sorted, spans see positions. */
static mb_tensor *attention(trial *t)
{
    const mb_route *r = mb_route_sorted(t->c, 2, (int64_t[]){ T, T });
    const mb_span *s = test_span(t->c, 2, T, TEST_DOCUMENTS | TEST_PERMUTED);
    const uint8_t *slice = test_slices(t->c, 2 * T, 2);
    mb_tensor *x = activation(t, "x", 2 * T, D), *h;
    mb_tensor *wqkv = weight(t, "wqkv", 2, 3 * D, D), *wo = weight(t, "wo", 2, D, D);
    mb_tensor *w = weight(t, "norm", 2, 1, D);

    h = mb_gemm(t->c, mb_norm(t->c, x, w, slice, EPS), wqkv, r);
    h = mb_rope(t->c, h, NULL, NULL, NULL, test_below(t->c, "position", 2 * T, 50), s, HEADS, EPS,
                100);
    h = mb_gemm(t->c, mb_attend(t->c, h, s, HEADS), wo, r);
    return mb_combine(t->c, x, h, NULL, NULL, EPS, r);
}

Test(op_gradient, sub_layers_with_their_residual)
{
    check_with_step(experts, STEP / 10);
    check_with_step(attention, STEP / 4);
}
