/* The reference backend's own promises: exact counts of what its matrix products did, and rows that
   do not depend on their neighbours. */
#include "tests/kernels_support.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { T = 13, D = 12, N = 5, HEADS = 2, V = 11 };

Test(ref, counts_two_operations_per_multiply_add_of_a_product)
{
    static const enum test_layout layouts[] = { TEST_SORTED, TEST_ALL_IN_LAST, TEST_INDEXED };
    mb_ctx *c = test_open("ref");

    for (int i = 0; i < 3; i++) {
        const mb_route *r = test_route(c, layouts[i], T, 3);
        uint64_t expected = 2 * D * N * (uint64_t)r->rows;
        float *x = test_normal("x", r->rows * D), *y = test_normal("y", r->rows * N);
        float *w = test_normal("w", 3 * N * D), *dw = test_normal("dw", 3 * N * D);
        mb_tensor wt = { .slices = 3, .rows = N, .cols = D, .data = w, .grad = dw };

        mb_ref.gemm(c, y, x, &wt, r);
        cr_assert_eq(mb_ctx_counted(c), expected);
        mb_ref.gemm_dx(c, x, y, &wt, r, false);
        cr_assert_eq(mb_ctx_counted(c), expected);
        mb_ref.gemm_dw(c, &wt, y, x, r);
        cr_assert_eq(mb_ctx_counted(c), expected);
        cr_assert_eq(mb_ctx_counted(c), 0, "counts since the last call");
        free(x);
        free(y);
        free(w);
        free(dw);
    }
    mb_ctx_close(c);
}

/* Forward 2 products of 2 e per pair and head; backward 4, and the scores once more. */
Test(ref, counts_attention_by_the_pairs_that_see_each_other)
{
    mb_ctx *c = test_open("ref");
    float *x = test_normal("x", 2 * T * 3 * D), *dx = test_normal("dx", 2 * T * 3 * D);
    float *y = test_normal("y", 2 * T * D), *lse = test_normal("lse", 2 * T * HEADS);

    for (int what = 0; what < 8; what++) {
        const mb_span *s = test_span(c, 2, T, what);

        mb_ref.attend(c, y, lse, x, s, D, HEADS);
        cr_assert_eq(mb_ctx_counted(c), 4 * D * s->pairs);
        mb_ref.attend_bwd(c, dx, y, y, lse, x, s, D, HEADS, false);
        cr_assert_eq(mb_ctx_counted(c), 10 * D * s->pairs);
    }
    cr_assert_eq(test_span(c, 2, T, 0)->pairs, 2 * T * (T + 1) / 2);
    free(x);
    free(dx);
    free(y);
    free(lse);
    mb_ctx_close(c);
}

Test(ref, counts_the_head_for_rows_with_a_target_only)
{
    mb_ctx *c = test_open("ref");
    const int32_t target[T] = { 1, -1, 0, 10, -1, 3, 3, -1, 2, 9, 8, -1, -1 };
    float *x = test_normal("x", T * D), *dx = test_normal("dx", T * D), loss[T];
    float *w = test_normal("w", V * D), *dw = test_normal("dw", V * D);
    const mb_tensor *head = mb_wrap(c, "w", V, D, w);

    mb_ref.classify(c, loss, NULL, NULL, x, head, target, 1, 0, T);
    cr_assert_eq(mb_ctx_counted(c), 8 * 2 * D * V);
    mb_ref.classify(c, loss, dx, dw, x, head, target, 1, 0, T);
    cr_assert_eq(mb_ctx_counted(c), 8 * 6 * D * V);
    free(x);
    free(dx);
    free(w);
    free(dw);
    mb_ctx_close(c);
}

/* What makes MoT with equal slices dense, bit for bit: one slice for all rows, or a copy of it for
   every group. */
Test(ref, equal_slices_are_one_slice_bit_for_bit)
{
    mb_ctx *c = test_open("ref");
    const mb_route *grouped = test_route(c, TEST_SORTED, T, 3);
    const mb_route *all = test_route(c, TEST_SORTED, T, 1);
    float *x = test_normal("x", T * D), *w = test_normal("w", 3 * N * D);
    float dense[T * N], mot[T * N], dx_dense[T * D], dx_mot[T * D];
    mb_tensor w1 = { .slices = 1, .rows = N, .cols = D, .data = w }, w3 = w1;

    w3.slices = 3;
    memcpy(w + N * D, w, N * D * sizeof *w);
    memcpy(w + 2 * N * D, w, N * D * sizeof *w);
    mb_ref.gemm(c, dense, x, &w1, all);
    mb_ref.gemm(c, mot, x, &w3, grouped);
    cr_assert_arr_eq(dense, mot, sizeof mot);
    mb_ref.gemm_dx(c, dx_dense, dense, &w1, all, false);
    mb_ref.gemm_dx(c, dx_mot, dense, &w3, grouped, false);
    cr_assert_arr_eq(dx_dense, dx_mot, sizeof dx_mot);
    free(x);
    free(w);
    mb_ctx_close(c);
}

Test(ref, an_empty_group_leaves_the_gradient_of_its_slice_alone)
{
    mb_ctx *c = test_open("ref");
    const mb_route *r = test_route(c, TEST_SORTED, T, 3);
    float *x = test_normal("x", T * D), *y = test_normal("y", T * N);
    float *before = test_normal("dw", 3 * N * D), *dw = test_normal("dw", 3 * N * D);
    mb_tensor w = { .slices = 3, .rows = N, .cols = D, .grad = dw };

    cr_assert_eq(r->offset[1], r->offset[2], "group 1 is the empty one");
    mb_ref.gemm_dw(c, &w, y, x, r);
    cr_assert_arr_neq(dw, before, N * D * sizeof *dw);
    cr_assert_arr_eq(dw + N * D, before + N * D, N * D * sizeof *dw);
    cr_assert_arr_neq(dw + 2 * N * D, before + 2 * N * D, N * D * sizeof *dw);
    free(x);
    free(y);
    free(before);
    free(dw);
    mb_ctx_close(c);
}

static mb_tensor *parameter(mb_ctx *c, const char *name, int64_t slices, int64_t rows, float *data,
                            float *grad)
{
    mb_tensor *w = mb_wrap(c, name, rows, D, data);

    w->slices = slices;
    w->wants = w->parameter = true;
    w->grad = grad;
    return w;
}

/* Executed FLOPs of the front's formulas against the loops, forward and backward, with an empty
   group, two sequences of several documents and rows without a target. */
Test(ref, the_ledger_says_what_the_loops_counted)
{
    enum { ROWS = 2 * T };
    mb_ctx *c = test_open("ref");
    const mb_route *r = test_route(c, TEST_SORTED, ROWS, 3);
    const mb_span *s = test_span(c, 2, T, TEST_DOCUMENTS | TEST_PERMUTED);
    int32_t *target = test_below(c, "target", ROWS, V);
    float *x = test_normal("x", ROWS * D), loss[ROWS];
    float *w = test_normal("w", 9 * D * D), *dw = test_normal("dw", 9 * D * D);
    float *head = test_normal("head", V * D), *dhead = test_normal("dhead", V * D);
    mb_tensor *xt = mb_wrap(c, "x", ROWS, D, x), *h;
    mb_cost cost;

    for (int i = 0; i < ROWS; i += 3)
        target[i] = -1;
    mb_ctx_record(c, true);
    xt->wants = true;
    h = mb_gemm(c, xt, parameter(c, "w", 3, 3 * D, w, dw), r);
    h = mb_attend(c, h, s, HEADS);
    mb_classify(c, h, parameter(c, "head", 1, V, head, dhead), target, 1, 0, loss);
    mb_backward(c);
    cost = mb_ledger_total(mb_ctx_ledger(c));
    cr_expect_eq(cost.executed - cost.model, 2 * D * s->pairs, "the scores, computed again");
    cr_expect_eq(cost.executed, mb_ctx_counted(c));
    free(x);
    free(w);
    free(dw);
    free(head);
    free(dhead);
    mb_ctx_close(c);
}
