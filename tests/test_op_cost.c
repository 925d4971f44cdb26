/* What single operations enter into the ledger, worked out by hand. */
#include "models/kernels/ledger.h"
#include "tests/kernels_support.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* The entry of OP; fails the test when there is none. */
static mb_cost entered(mb_ctx *c, const char *op, mb_pass_kind pass, int group)
{
    size_t n;
    const mb_entry *e = mb_ledger_entries(mb_ctx_ledger(c), &n);

    for (size_t i = 0; i < n; i++)
        if (!strcmp(e[i].op, op) && e[i].pass == pass && e[i].group == group)
            return e[i].cost;
    cr_assert(false, "no entry of %s, pass %d, group %d", op, pass, group);
    return (mb_cost){ 0 };
}

/* Weights are read by those groups alone that have rows. */
Test(op_cost, an_empty_group_costs_nothing)
{
    enum { T = 10, K = 4, N = 6 };
    mb_ctx *c = test_open("ref");
    const mb_route *r = test_route(c, TEST_SORTED, T, 3);
    float *x = test_normal("x", T * K), *w = test_normal("w", 3 * N * K);
    mb_tensor *wt = mb_wrap(c, "w", N, K, w);

    wt->slices = 3;
    mb_gemm(c, mb_wrap(c, "x", T, K, x), wt, r);
    for (int g = 0; g < 3; g++) {
        uint64_t rows = (uint64_t)(r->offset[g + 1] - r->offset[g]);
        mb_cost cost = entered(c, "gemm", MB_FWD, g);

        cr_expect_eq(rows == 0, g == 1, "group 1 is the empty one");
        cr_expect_eq(cost.executed, 2 * N * K * rows);
        cr_expect_eq(cost.bytes, rows ? sizeof(float) * (N * K + rows * (N + K)) : 0,
                     "group %d: %lu bytes", g, cost.bytes);
    }
    free(x);
    free(w);
    mb_ctx_close(c);
}

enum { B = 2, L = 256, D = 32, HEADS = 2 };

/* Forward and backward of attention over B documents of L tokens. */
static mb_span *attend(mb_ctx *c)
{
    mb_span *s = test_span(c, B, L, 0);
    float *x = test_normal("x", B * L * 3 * D), loss[B * L];
    float *head = test_normal("head", 5 * D), *dhead = test_normal("dhead", 5 * D);
    mb_tensor *xt = mb_wrap(c, "x", B * L, 3 * D, x), *w = mb_wrap(c, "head", 5, D, head);

    mb_ctx_record(c, true);
    xt->wants = w->wants = w->parameter = true;
    w->grad = dhead;
    mb_classify(c, mb_attend(c, xt, s, HEADS), w, test_below(c, "target", B * L, 5), 1, 0, loss);
    mb_backward(c);
    free(x);
    free(head);
    free(dhead);
    return s;
}

/* A query and a key that see each other: 2 D FLOPs for the score, 2 D for the value, twice that
   back; a softmax of 5 operations a score and head. Of each position q, k, v are read and an output
   written; back, these are read, as is the output's gradient, and that of q, k, v written. */
Test(op_cost, attention_costs_what_its_pairs_and_rows_do)
{
    mb_ctx *c = test_open("ref");
    uint64_t pairs = attend(c)->pairs;
    mb_cost fwd = entered(c, "attend", MB_FWD, -1), bwd = entered(c, "attend", MB_BWD, -1);

    cr_expect_eq(pairs, (uint64_t)B * L * (L + 1) / 2);
    cr_expect_eq(fwd.model, 4 * D * pairs);
    cr_expect_eq(bwd.model, 8 * D * pairs);
    cr_expect_eq(fwd.useful, fwd.model);
    cr_expect_eq(bwd.useful, bwd.model);
    cr_expect_eq(fwd.vector, 5 * HEADS * pairs);
    cr_expect_eq(bwd.vector, 2 * fwd.vector);
    cr_expect_eq(fwd.bytes, sizeof(float) * B * L * (3 * D + D));
    cr_expect_eq(bwd.bytes, sizeof(float) * B * L * (3 * D + D + D + 3 * D));
    mb_ctx_close(c);
}

/* cpu computes whole tiles across the diagonal: something more than what is asked for, not half as
   much again in sequences of some tiles. Scores are computed a second time in the backward. */
Test(op_cost, cpu_enters_the_tiles_that_it_computes)
{
    mb_ctx *c = test_open("cpu");
    double pairs = (double)attend(c)->pairs;
    double fwd = (double)entered(c, "attend", MB_FWD, -1).executed / (4 * D * pairs);
    double bwd = (double)entered(c, "attend", MB_BWD, -1).executed / (10 * D * pairs);

    cr_expect(fwd > 1 && fwd < 1.5, "forward: %g", fwd);
    cr_expect(bwd > 1 && bwd < 1.5, "backward: %g", bwd);
    mb_ctx_close(c);
}

/* Each number of q, k and v is read and written once, back read twice; a pair that turns costs six
   operations. Rows that are no position's cost nothing. */
Test(op_cost, rope_costs_what_its_positions_do)
{
    enum { T = 4, ROWS = T + T / 2 + 1 };
    mb_ctx *c = test_open("ref");
    float *x = test_normal("x", ROWS * 3 * D), *dy = test_normal("dy", T * 3 * D);
    mb_tensor *xt = mb_wrap(c, "x", ROWS, 3 * D, x), *y;

    mb_ctx_record(c, true);
    xt->wants = true;
    y = mb_rope(c, xt, NULL, NULL, NULL, test_below(c, "position", ROWS, 9),
                test_span(c, 1, T, TEST_PADDED), HEADS, 0, 10000);
    y->grad = dy;
    mb_backward(c);
    cr_expect_eq(entered(c, "rope", MB_FWD, -1).vector, 6 * T * D);
    cr_expect_eq(entered(c, "rope", MB_BWD, -1).vector, 12 * T * D);
    cr_expect_eq(entered(c, "rope", MB_FWD, -1).bytes, sizeof(float) * T * 3 * D * 2);
    cr_expect_eq(entered(c, "rope", MB_BWD, -1).bytes, sizeof(float) * T * 3 * D * 3);
    free(x);
    free(dy);
    mb_ctx_close(c);
}

/* Per number a difference, its square and their sum; back one product. Prediction and what was
   wanted are read, loss or gradient written beside them. */
Test(op_cost, a_squared_error_costs_three_operations_a_number)
{
    enum { T = 5, S = 4 };
    mb_ctx *c = test_open("ref");
    float *y = test_normal("y", T * S), *wanted = test_normal("wanted", T * S), loss[T];
    mb_tensor *yt = mb_wrap(c, "y", T, S, y);

    mb_ctx_record(c, true);
    yt->wants = true;
    mb_regress(c, yt, wanted, 1, loss);
    cr_expect_eq(entered(c, "regress", MB_FWD, -1).vector, 3 * T * S);
    cr_expect_eq(entered(c, "regress", MB_BWD, -1).vector, T * S);
    cr_expect_eq(entered(c, "regress", MB_FWD, -1).bytes, 2 * sizeof(float) * T * S);
    cr_expect_eq(entered(c, "regress", MB_FWD, -1).model, 0);
    free(y);
    free(wanted);
    mb_ctx_close(c);
}

/* Rows are read once and written to each of their places; back the other way, one addition for each
   number that comes back. */
Test(op_cost, unfold_moves_numbers_and_adds_them_up_again)
{
    enum { T = 5, K = 4, PLACES = 3 };
    mb_ctx *c = test_open("ref");
    float *x = test_normal("x", T * K), *dy = test_normal("dy", T * K * PLACES);
    mb_tensor *xt = mb_wrap(c, "x", T, K, x), *y;

    mb_ctx_record(c, true);
    xt->wants = true;
    y = mb_unfold(c, xt, test_around(c, T, PLACES), PLACES);
    y->grad = dy;
    mb_backward(c);
    cr_expect_eq(entered(c, "unfold", MB_FWD, -1).vector, 0);
    cr_expect_eq(entered(c, "unfold", MB_BWD, -1).vector, T * K * PLACES);
    cr_expect_eq(entered(c, "unfold", MB_FWD, -1).bytes, sizeof(float) * T * K * (1 + PLACES));
    cr_expect_eq(entered(c, "unfold", MB_BWD, -1).bytes, sizeof(float) * T * K * (1 + PLACES));
    cr_expect_eq(entered(c, "unfold", MB_FWD, -1).model, 0);
    free(x);
    free(dy);
    mb_ctx_close(c);
}
