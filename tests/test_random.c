/* Keyed randomness: base/random.h. */
#include "base/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

/* N includes 1, powers of two and of four, primes, and a neighbour of each. */
Test(random, a_permutation_meets_every_element_once)
{
    static const uint64_t sizes[] = { 1, 2, 3, 4, 5, 13, 16, 17, 64, 65, 997, 1024, 60000 };

    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (uint64_t key = 0; key < 3; key++) {
            uint64_t n = sizes[s];
            char *met = calloc(n, 1);

            for (uint64_t i = 0; i < n; i++) {
                uint64_t j = mb_permute(mb_key(1, "shuffle", key, 0), n, i);

                cr_assert_lt(j, n);
                cr_assert_eq(met[j], 0, "n = %lu: %lu met twice", (unsigned long)n,
                             (unsigned long)j);
                met[j] = 1;
            }
            free(met);
        }
}

Test(random, permutations_of_two_keys_differ)
{
    int same = 0;

    for (uint64_t i = 0; i < 1000; i++)
        same += mb_permute(mb_key(1, "epoch", 0, 0), 1000, i) ==
                mb_permute(mb_key(1, "epoch", 1, 0), 1000, i);
    cr_assert_lt(same, 20, "%d of 1000 elements in the same place, 1 expected", same);
}

/* Mean of n uniform draws: 1/2 with standard deviation 1/sqrt(12 n); five of them are allowed. */
Test(random, uniform_draws_fill_the_unit_interval_evenly)
{
    enum { N = 100000, BINS = 10 };
    uint64_t key = mb_key(7, "uniform", 0, 0);
    int bin[BINS] = { 0 };
    double sum = 0;

    for (uint64_t i = 0; i < N; i++) {
        double u = mb_uniform(key, i);

        cr_assert(u >= 0 && u < 1);
        bin[(int)(u * BINS)]++;
        sum += u;
    }
    cr_assert_float_eq(sum / N, 0.5, 5 / sqrt(12.0 * N));
    for (int b = 0; b < BINS; b++)
        cr_assert_float_eq(bin[b], N / BINS, 5 * sqrt(N * 0.1 * 0.9), "bin %d: %d", b, bin[b]);
}

Test(random, below_n_meets_every_value_equally_and_never_n)
{
    enum { N = 70000, SIDES = 7 };
    uint64_t key = mb_key(7, "die", 0, 0);
    int met[SIDES] = { 0 };

    for (uint64_t i = 0; i < N; i++) {
        uint64_t j = mb_below(key, i, SIDES);

        cr_assert_lt(j, SIDES);
        met[j]++;
    }
    for (int j = 0; j < SIDES; j++)
        cr_assert_float_eq(met[j], N / SIDES, 5 * sqrt(N / 7.0 * 6 / 7), "%d: %d", j, met[j]);
    cr_assert_eq(mb_below(key, 0, 1), 0);
}

/* Standard errors of the first four moments of n normal draws: sqrt of 1, 2, 15, 96 over n. */
Test(random, normal_draws_have_normal_moments)
{
    enum { N = 200000 };
    uint64_t key = mb_key(7, "normal", 0, 0);
    double m[5] = { 0 };

    for (uint64_t i = 0; i < N; i++) {
        double x = mb_normal(key, i);

        cr_assert(isfinite(x));
        for (int k = 1; k <= 4; k++)
            m[k] += pow(x, k) / N;
    }
    cr_assert_float_eq(m[1], 0, 5 * sqrt(1.0 / N), "mean %g", m[1]);
    cr_assert_float_eq(m[2], 1, 5 * sqrt(2.0 / N), "variance %g", m[2]);
    cr_assert_float_eq(m[3], 0, 5 * sqrt(15.0 / N), "third moment %g", m[3]);
    cr_assert_float_eq(m[4], 3, 5 * sqrt(96.0 / N), "fourth moment %g", m[4]);
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

Test(random, every_part_of_a_key_makes_another_key)
{
    static const char *const names[] = { "", "a", "b", "ab", "ba", "layer.1", "layer.10" };
    enum { NAMES = sizeof names / sizeof *names, SEEDS = 4, A = 8, B = 8 };
    uint64_t keys[SEEDS * NAMES * A * B];
    size_t n = 0;

    for (uint64_t seed = 0; seed < SEEDS; seed++)
        for (size_t name = 0; name < NAMES; name++)
            for (uint64_t a = 0; a < A; a++)
                for (uint64_t b = 0; b < B; b++)
                    keys[n++] = mb_key(seed, names[name], a, b);
    qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 1; i < n; i++)
        cr_assert_neq(keys[i - 1], keys[i]);
}

/* What a data set or a checkpoint was made from must never change under its user. */
Test(random, draws_are_what_they_have_always_been)
{
    uint64_t key = mb_key(1, "weights", 2, 3);

    cr_assert_eq(key, 0x6c46caf716720b34u, "key %#lx", (unsigned long)key);
    cr_assert_eq(mb_random(key, 5), 0x853588cb724f174au, "draw %#lx",
                 (unsigned long)mb_random(key, 5));
    cr_assert_eq(mb_permute(key, 1000, 5), 188u);
}
