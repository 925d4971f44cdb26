/* Learned routes: who goes where, who is dropped, and what the router's losses are. Cases worked by
   hand; gradients are in test_op_gradient.c. */
#include "tests/kernels_support.h"

#include <criterion/criterion.h>
#include <math.h>

enum { MOST = 16 };

static void expect_route(const mb_route *r, int64_t rows, const int64_t *offset,
                         const int32_t *token)
{
    cr_assert_eq(r->rows, rows, "%d rows, expected %d", (int)r->rows, (int)rows);
    for (int g = 0; g <= r->groups; g++)
        cr_expect_eq(r->offset[g], offset[g], "offset[%d] is %d, expected %d", g, (int)r->offset[g],
                     (int)offset[g]);
    for (int64_t i = 0; i < rows; i++)
        cr_expect_eq(r->token[i], token[i], "token[%d] is %d, expected %d", (int)i, r->token[i],
                     token[i]);
}

/* The way from tokens to rows is the inverse of that from rows to tokens. */
static void expect_inverse(const mb_route *r)
{
    int met[MOST] = { 0 };

    cr_expect_eq(r->first[0], 0);
    cr_expect_eq(r->first[r->tokens], r->rows);
    for (int64_t t = 0; t < r->tokens; t++)
        for (int32_t k = r->first[t]; k < r->first[t + 1]; k++) {
            cr_expect_eq(r->token[r->row[k]], t);
            cr_expect(k == r->first[t] || r->row[k - 1] < r->row[k], "ascending");
            met[r->row[k]]++;
        }
    for (int64_t i = 0; i < r->rows; i++)
        cr_expect_eq(met[i], 1);
}

static const mb_route *choose(mb_ctx *c, float *logits, int64_t t, int64_t experts, mb_router how,
                              mb_routed *out)
{
    mb_routed unasked;
    const mb_route *r =
        mb_choose(c, mb_wrap(c, "logits", t, experts, logits), &how, out ? out : &unasked);

    expect_inverse(r);
    return r;
}

/* Three rows want expert 0, which has room for ceil(1 * 4 / 2) = 2. */
Test(choose, a_full_expert_drops_the_rows_that_come_last)
{
    float logits[] = { 2, 0, 1, 0, 3, 0, 0, 1 };
    mb_ctx *c = test_open("ref");
    mb_routed out;
    const mb_route *r = choose(c, logits, 4, 2, (mb_router){ .top_k = 1, .capacity = 1 }, &out);

    expect_route(r, 3, (int64_t[]){ 0, 2, 3 }, (int32_t[]){ 0, 1, 3 });
    cr_expect_eq(out.asked, 4);
    cr_expect_eq(out.kept, 3);
    cr_expect_eq(r->kept[0], 2);
    cr_expect_eq(r->kept[1], 1);
    cr_expect_eq(r->asked[0], 3, "what a group was asked is counted before drops");
    cr_expect_eq(r->asked[1], 1);
    cr_expect_float_eq(mb_f32(r->gate)[0], 1 / (1 + exp(-2)), 1e-6, "a gate is a probability");
    cr_expect_float_eq(mb_f32(r->gate)[2], 1 / (1 + exp(-1)), 1e-6);
    mb_ctx_close(c);
}

/* Capacity is shared by two consecutive rows at a time: ceil(1 * 2 / 2) = 1 each. */
Test(choose, rows_share_capacity_within_their_group_of_rows)
{
    float logits[] = { 2, 0, 1, 0, 3, 0, 0, 1 };
    mb_ctx *c = test_open("ref");
    const mb_route *r =
        choose(c, logits, 4, 2, (mb_router){ .top_k = 1, .capacity = 1, .group_rows = 2 }, NULL);

    expect_route(r, 3, (int64_t[]){ 0, 2, 3 }, (int32_t[]){ 0, 2, 3 });
    mb_ctx_close(c);
}

Test(choose, without_a_capacity_nothing_is_dropped)
{
    float logits[] = { 2, 0, 1, 0, 3, 0, 0, 1 };
    mb_ctx *c = test_open("ref");
    const mb_route *r = choose(c, logits, 4, 2, (mb_router){ .top_k = 1 }, NULL);

    expect_route(r, 4, (int64_t[]){ 0, 3, 4 }, (int32_t[]){ 0, 1, 2, 3 });
    mb_ctx_close(c);
}

/* One place per expert, ceil(0.5 * 2 * 2 / 2): both rows get their first choice, though row 0 asks
   for a second before row 1 asks for its first. */
Test(choose, first_choices_go_before_second_ones)
{
    float logits[] = { 1, 0, 0, 1 };
    mb_ctx *c = test_open("ref");
    mb_routed out;
    const mb_route *r = choose(c, logits, 2, 2, (mb_router){ .top_k = 2, .capacity = 0.5 }, &out);

    expect_route(r, 2, (int64_t[]){ 0, 1, 2 }, (int32_t[]){ 0, 1 });
    cr_expect_eq(out.asked, 4);
    cr_expect_eq(out.kept, 2);
    mb_ctx_close(c);
}

Test(choose, renormalised_gates_of_a_token_sum_to_one)
{
    float logits[] = { 2, 1, 0, 0, 1, 3 };
    mb_ctx *c = test_open("ref");
    const mb_route *r =
        choose(c, logits, 2, 3, (mb_router){ .top_k = 2, .renormalise = true }, NULL);

    expect_route(r, 4, (int64_t[]){ 0, 1, 3, 4 }, (int32_t[]){ 0, 0, 1, 1 });
    cr_expect_float_eq(mb_f32(r->gate)[0], 1 / (1 + exp(-1)), 1e-6);
    cr_expect_float_eq(mb_f32(r->gate)[0] + mb_f32(r->gate)[1], 1, 1e-6);
    cr_expect_float_eq(mb_f32(r->gate)[2] + mb_f32(r->gate)[3], 1, 1e-6);
    mb_ctx_close(c);
}

/* Every expert takes 4 * 1 / 2 = 2 rows: row 0 twice, row 3 never. */
Test(choose, experts_take_their_best_rows)
{
    float logits[] = { 3, 3, 2, 0, 0, 2, 1, 1 };
    mb_ctx *c = test_open("ref");
    mb_router how = { .choice = MB_EXPERT_CHOOSES, .score = MB_SIGMOID, .capacity = 1 };
    mb_routed out;
    const mb_route *r = choose(c, logits, 4, 2, how, &out);

    expect_route(r, 4, (int64_t[]){ 0, 2, 4 }, (int32_t[]){ 0, 1, 0, 2 });
    cr_expect_eq(out.asked, 4);
    cr_expect_eq(out.kept, 4, "expert choice drops nothing that was asked for");
    cr_expect_float_eq(mb_f32(r->gate)[1], 1 / (1 + exp(-2)), 1e-6);
    mb_ctx_close(c);
}

/* The weakest rows that experts take here score sigmoid(2): with that as cuts the choice is the
   same; with others there may be any number of rows, none too. */
Test(choose, cuts_take_what_scores_enough)
{
    float logits[] = { 3, 3, 2, 0, 0, 2, 1, 1 }, least[2];
    mb_ctx *c = test_open("ref");
    mb_router how = {
        .choice = MB_EXPERT_CHOOSES, .score = MB_SIGMOID, .capacity = 1, .least = least
    };
    mb_routed out;

    choose(c, logits, 4, 2, how, NULL);
    cr_expect_float_eq(least[0], 1 / (1 + exp(-2)), 1e-6);
    cr_expect_float_eq(least[1], 1 / (1 + exp(-2)), 1e-6);
    how.cut = (float[]){ least[0], least[1] };
    expect_route(choose(c, logits, 4, 2, how, NULL), 4, (int64_t[]){ 0, 2, 4 },
                 (int32_t[]){ 0, 1, 0, 2 });
    how.cut = (float[]){ 0.7f, 0.99f };
    expect_route(choose(c, logits, 4, 2, how, &out), 3, (int64_t[]){ 0, 3, 3 },
                 (int32_t[]){ 0, 1, 3 });
    cr_expect_eq(out.asked, 3);
    cr_expect_eq(out.kept, 3);
    mb_ctx_close(c);
}

Test(choose, ties_go_to_the_lower_index)
{
    float logits[8] = { 0 };
    mb_ctx *c = test_open("ref");
    mb_router experts = { .choice = MB_EXPERT_CHOOSES, .capacity = 1 };

    expect_route(choose(c, logits, 4, 2, (mb_router){ .top_k = 1 }, NULL), 4,
                 (int64_t[]){ 0, 4, 4 }, (int32_t[]){ 0, 1, 2, 3 });
    expect_route(choose(c, logits, 4, 2, experts, NULL), 4, (int64_t[]){ 0, 2, 4 },
                 (int32_t[]){ 0, 1, 0, 1 });
    mb_ctx_close(c);
}

/* E sum f P: 1 when rows and probabilities are even, E when one expert has it all. z: (log 2)^2 of
   logits that are 0. */
Test(choose, balance_is_one_when_even_and_e_when_one_expert_has_all)
{
    float even[] = { 40, 0, 0, 40 }, one[] = { 40, 0, 40, 0 }, zero[4] = { 0 };
    mb_ctx *c = test_open("ref");
    mb_routed out;

    choose(c, even, 2, 2, (mb_router){ .top_k = 1 }, &out);
    cr_expect_float_eq(out.balance, 1, 1e-6);
    choose(c, one, 2, 2, (mb_router){ .top_k = 1 }, &out);
    cr_expect_float_eq(out.balance, 2, 1e-6);
    cr_expect_float_eq(out.z, 1600, 1e-3);
    choose(c, zero, 2, 2, (mb_router){ .top_k = 1 }, &out);
    cr_expect_float_eq(out.balance, 1, 1e-6);
    cr_expect_float_eq(out.z, log(2) * log(2), 1e-6);
    mb_ctx_close(c);
}

/* The second expert is kept with probability 2 g2: always at g2 = 1/2, never at almost 0. */
Test(choose, a_second_expert_that_hardly_counts_is_left_out)
{
    float strong[] = { 0, 0, 0, 0, 0, 0, 0, 0 }, weak[] = { 30, 0, 30, 0, 30, 0, 30, 0 };
    mb_router how = { .top_k = 2, .renormalise = true, .random_second = true, .key = 1 };
    mb_ctx *c = test_open("ref");
    mb_routed out;

    choose(c, strong, 4, 2, how, &out);
    cr_expect_eq(out.kept, 8);
    choose(c, weak, 4, 2, how, &out);
    cr_expect_eq(out.kept, 4);
    cr_expect_eq(out.asked, 8);
    mb_ctx_close(c);
}
