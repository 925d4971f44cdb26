/* Drawing tokens: only what is allowed comes, as often as it should. */
#include "models/sample.h"

#include <criterion/criterion.h>
#include <math.h>

static const float logit[] = { 9, 1, 2, 3, 2.5f, 0 };

static int32_t draw(mb_allowed allowed, double temperature, double top_p, uint64_t i)
{
    return mb_sample(logit, allowed, &(mb_sampling){ temperature, top_p }, 7, i);
}

Test(sample, temperature_0_takes_the_likeliest_that_is_allowed)
{
    cr_expect_eq(draw((mb_allowed){ 0, 6, -1 }, 0, 1, 0), 0);
    cr_expect_eq(draw((mb_allowed){ 1, 5, -1 }, 0, 1, 0), 3);
    cr_expect_eq(draw((mb_allowed){ 1, 3, 4 }, 0, 1, 0), 4);
    cr_expect_eq(draw((mb_allowed){ 5, 5, 1 }, 0, 1, 0), 1);
}

Test(sample, equals_go_to_the_lower_id)
{
    const float same[] = { 0, 1, 1, 1 };

    cr_expect_eq(mb_sample(same, (mb_allowed){ 2, 4, 1 }, &(mb_sampling){ 0, 1 }, 1, 0), 1);
}

/* 20000 draws: a frequency is within 4 deviations of its probability. */
static void expect_frequencies(mb_allowed allowed, double temperature, double top_p,
                               const double p[6])
{
    enum { DRAWS = 20000 };
    int count[6] = { 0 };

    for (uint64_t i = 0; i < DRAWS; i++)
        count[draw(allowed, temperature, top_p, i)]++;
    for (int id = 0; id < 6; id++) {
        double sigma = sqrt(p[id] * (1 - p[id]) / DRAWS);

        cr_expect_leq(fabs(count[id] / (double)DRAWS - p[id]), 4 * sigma, "%d: %d, expected %g", id,
                      count[id], p[id]);
    }
}

Test(sample, tokens_come_as_often_as_they_are_likely)
{
    double e[] = { 0, exp(1), exp(2), exp(3), exp(2.5), 0 }, sum = e[1] + e[2] + e[3] + e[4];
    double p[6];

    for (int i = 0; i < 6; i++)
        p[i] = e[i] / sum;
    expect_frequencies((mb_allowed){ 1, 5, -1 }, 1, 1, p);
}

Test(sample, temperature_divides_logits)
{
    double a = exp(1.5), b = exp(1.25), p[6] = { 0, 0, 0, a / (a + b), b / (a + b), 0 };

    expect_frequencies((mb_allowed){ 3, 5, -1 }, 2, 1, p);
}

/* exp(3) is 0.48 of the four; with exp(2.5) it is 0.77: the fewest that hold 0.5 are these two. */
Test(sample, top_p_draws_among_the_fewest_that_hold_it)
{
    double a = exp(3), b = exp(2.5), p[6] = { 0, 0, 0, a / (a + b), b / (a + b), 0 };

    expect_frequencies((mb_allowed){ 1, 5, -1 }, 1, 0.5, p);
    expect_frequencies((mb_allowed){ 1, 5, -1 }, 1, 0.4, (double[]){ 0, 0, 0, 1, 0, 0 });
}

Test(sample, a_draw_is_its_key_and_number)
{
    int differ = 0;

    for (uint64_t i = 0; i < 50; i++) {
        cr_expect_eq(draw((mb_allowed){ 1, 5, -1 }, 1, 1, i),
                     draw((mb_allowed){ 1, 5, -1 }, 1, 1, i));
        differ +=
            draw((mb_allowed){ 1, 5, -1 }, 1, 1, i) != draw((mb_allowed){ 1, 5, -1 }, 1, 1, i + 1);
    }
    cr_expect_gt(differ, 0);
}
