/* The slope of the step-matching plot on curves whose slope is known. */
#include "harness/match.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <math.h>

enum { N = 101 };

/* N points at steps 0, 10, ..., 1000 of a loss that falls like a power of SPEED times the step. */
static void curve(mb_point *out, double speed, double noise, uint64_t key)
{
    for (int i = 0; i < N; i++) {
        double step = 10.0 * i;

        out[i] = (mb_point){ step, 2 + 6 / sqrt(1 + speed * step / 20) +
                                       noise * mb_normal(key, (uint64_t)i) };
    }
}

static mb_match match(double speed, double noise, uint64_t key)
{
    mb_point base[N], other[N];

    curve(base, 1, noise, 1);
    curve(other, speed, noise, key);
    return mb_match_curves(base, N, other, N);
}

Test(match, identical_curves_have_slope_one)
{
    mb_match m = match(1, 0, 1), noisy = match(1, 0.05, 1);

    cr_assert(m.reached);
    cr_assert_eq(m.points, 90, "the first tenth is left out");
    cr_assert_float_eq(m.slope, 1, 1e-12);
    cr_assert(noisy.reached && noisy.points < 90);
    cr_assert_float_eq(noisy.slope, 1, 1e-12);
}

/* Linear interpolation of a convex curve is a little late: 1e-3 covers it at this spacing. */
Test(match, half_the_steps_is_a_slope_of_one_half)
{
    cr_assert_float_eq(match(2, 0, 1).slope, 0.5, 1e-3);
    cr_assert_float_eq(match(3, 0, 1).slope, 1.0 / 3, 1e-3);
}

Test(match, a_slower_run_that_goes_on_has_a_slope_above_one)
{
    mb_point base[N], other[2 * N];

    curve(base, 1, 0, 1);
    for (int i = 0; i < 2 * N; i++)
        other[i] = (mb_point){ 10.0 * i, 2 + 6 / sqrt(1 + 10.0 * i / 1.5 / 20) };
    cr_assert_float_eq(mb_match_curves(base, N, other, 2 * N).slope, 1.5, 1e-3);
}

Test(match, a_run_that_never_gets_as_low_is_not_reached)
{
    mb_match m = match(0.9, 0, 1);

    cr_assert_not(m.reached);
    cr_assert(isnan(m.slope));
}

/* By hand: the other run is at 3 first at step 50, and half way between 3 and 1 at step 75. The
   rise to 9 and the second 2 of the baseline are no new levels. (100*50 + 300*75) / (100^2 + 300^2)
   = 0.275. */
Test(match, a_case_by_hand)
{
    mb_point base[] = { { 0, 8 }, { 100, 3 }, { 200, 9 }, { 300, 2 }, { 400, 2 } };
    mb_point other[] = { { 0, 8 }, { 50, 3 }, { 100, 1 }, { 150, 7 } };
    mb_match m = mb_match_curves(base, 5, other, 4);

    cr_assert(m.reached);
    cr_assert_eq(m.points, 2);
    cr_assert_float_eq(m.slope, 0.275, 1e-12);
}

/* A flat stretch of the envelope is crossed at its end: 5 at step 10 and still at 30, then 1. */
Test(match, a_flat_envelope_is_crossed_at_its_end)
{
    mb_point base[] = { { 100, 3 } };
    mb_point other[] = { { 10, 5 }, { 20, 6 }, { 30, 7 }, { 40, 1 } };

    cr_assert_float_eq(mb_match_curves(base, 1, other, 4).slope, 0.35, 1e-12);
}

Test(match, a_level_below_which_the_other_starts_is_met_at_its_first_measurement)
{
    mb_point base[] = { { 0, 9 }, { 100, 5 } }, other[] = { { 10, 4 }, { 20, 3 } };

    cr_assert_float_eq(mb_match_curves(base, 2, other, 2).slope, 0.1, 1e-12);
}

/* Noise of a tenth of what is learned between two points moves the slope little. */
Test(match, noise_moves_the_slope_little)
{
    for (uint64_t key = 2; key < 12; key++) {
        mb_match m = match(2, 0.005, key);

        cr_assert(m.reached);
        cr_assert_float_eq(m.slope, 0.5, 0.06, "%g", m.slope);
    }
}

Test(match, nothing_matches_nothing)
{
    mb_point p = { 10, 1 };

    cr_assert_not(mb_match_curves(NULL, 0, NULL, 0).reached);
    cr_assert_not(mb_match_curves(&p, 1, NULL, 0).reached);
    cr_assert_not(mb_match_curves(NULL, 0, &p, 1).reached);
}
