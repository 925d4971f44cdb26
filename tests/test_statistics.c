/* Summaries: cases worked by hand, and properties. */
#include "harness/statistics.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fmax(1, fabs(b));
}

Test(statistics, median_of_odd_even_one_and_none)
{
    double v[] = { 9, 1, 5, 2 };

    cr_assert_eq(mb_median(v, 3), 5);
    cr_assert_eq(mb_median(v, 4), 3.5);
    cr_assert_eq(mb_median(v, 1), 9);
    cr_assert(isnan(mb_median(v, 0)));
}

Test(statistics, quantiles_by_hand)
{
    double v[] = { 40, 10, 30, 20 };

    cr_assert_eq(mb_quantile(v, 4, 0), 10);
    cr_assert_eq(mb_quantile(v, 4, 1), 40);
    cr_assert(near(mb_quantile(v, 4, 0.25), 17.5));
    cr_assert(near(mb_quantile(v, 4, 0.9), 37));
    cr_assert_eq(mb_quantile(v, 1, 0.3), 40);
    cr_assert(isnan(mb_quantile(v, 0, 0.3)));
}

/* The last of an unsorted sample counts like any other, and the sample stays as it was. */
Test(statistics, order_decides_nothing)
{
    for (uint64_t n = 1; n < 40; n++) {
        double v[40], shuffled[40], before[40];

        for (uint64_t i = 0; i < n; i++)
            v[i] = mb_normal(7, i);
        for (uint64_t i = 0; i < n; i++)
            shuffled[i] = v[mb_permute(n, n, i)];
        memcpy(before, v, n * sizeof *v);
        for (double q = 0; q <= 1; q += 0.125)
            cr_assert_eq(mb_quantile(v, n, q), mb_quantile(shuffled, n, q));
        cr_assert_eq(memcmp(before, v, n * sizeof *v), 0);
    }
}

Test(statistics, mean_and_deviation_by_hand)
{
    double v[] = { 2, 4, 4, 4, 5, 5, 7, 9 };

    cr_assert_eq(mb_mean(v, 8), 5);
    cr_assert(near(mb_deviation(v, 8), sqrt(32.0 / 7)));
    cr_assert(isnan(mb_mean(v, 0)));
    cr_assert(isnan(mb_deviation(v, 1)));
}

/* One pass over sums of squares would give 45 us here. */
Test(statistics, a_small_spread_on_a_large_number_survives)
{
    double v[] = { 1e9 - 1, 1e9, 1e9 + 1 };

    cr_assert(near(mb_deviation(v, 3), 1));
}

Test(statistics, bootstrap_gives_the_same_interval_every_time)
{
    double v[] = { 1, 2, 3, 4, 5 };
    mb_interval a = mb_bootstrap(v, 5, mb_mean, 0.95, 3), b = mb_bootstrap(v, 5, mb_mean, 0.95, 3);

    cr_assert(a.lo == b.lo && a.hi == b.hi);
    cr_assert(a.lo < 3 && a.hi > 3 && a.lo >= 1 && a.hi <= 5);
}

Test(statistics, bootstrap_of_equal_numbers_is_a_point_and_of_one_is_nothing)
{
    double v[] = { 2, 2, 2 };
    mb_interval a = mb_bootstrap(v, 3, mb_mean, 0.95, 3),
                one = mb_bootstrap(v, 1, mb_mean, 0.95, 3);

    cr_assert(a.lo == 2 && a.hi == 2);
    cr_assert(isnan(one.lo) && isnan(one.hi));
}

Test(statistics, a_higher_level_is_wider)
{
    double v[20];
    mb_interval wide, narrow;

    for (uint64_t i = 0; i < 20; i++)
        v[i] = mb_normal(5, i);
    wide = mb_bootstrap(v, 20, mb_mean, 0.99, 3);
    narrow = mb_bootstrap(v, 20, mb_mean, 0.5, 3);
    cr_assert(wide.lo < narrow.lo && narrow.hi < wide.hi);
}

/* 90 % intervals of means of 25 normal numbers: the truth lies inside in 84 to 94 % of 300 draws
   (a percentile bootstrap of 25 covers about 88 %; two standard errors are 3.5 %). */
Test(statistics, bootstrap_covers_the_truth_about_as_often_as_it_says)
{
    int inside = 0;

    for (uint64_t r = 0; r < 300; r++) {
        double v[25];
        mb_interval i;

        for (uint64_t k = 0; k < 25; k++)
            v[k] = 4 + mb_normal(mb_key(1, "coverage", r, 0), k);
        i = mb_bootstrap(v, 25, mb_mean, 0.9, r);
        inside += i.lo <= 4 && 4 <= i.hi;
    }
    cr_assert(inside >= 252 && inside <= 282, "%d of 300", inside);
}
