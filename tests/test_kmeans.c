#include "base/file.h"
#include "base/random.h"
#include "workloads/image_tokens.h"
#include "workloads/kmeans.h"

#include <criterion/criterion.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { N = 5000, DIM = 16, K = 70 };

static void make_points(uint8_t *point)
{
    for (uint64_t i = 0; i < N * DIM; i++)
        point[i] = (uint8_t)(mb_random(7, i / 4) >> 56 & mb_random(8, i) >> 60);
}

static void run(int threads, uint8_t *centroid, uint16_t *code)
{
    uint8_t *point = mb_alloc(N * DIM);

    omp_set_num_threads(threads);
    make_points(point);
    mb_kmeans_fit(point, N, DIM, K, 3000, 5, 1, centroid);
    mb_kmeans_assign(point, N, DIM, centroid, K, code);
    free(point);
}

/* The hash was made once; it must be the same with every compiler, option and machine. */
Test(kmeans, codes_are_the_same_everywhere)
{
    uint8_t centroid[K * DIM];
    uint16_t code[N];
    char hash[MB_HASH_SIZE];

    run(2, centroid, code);
    mb_hash(code, sizeof code, hash);
    cr_expect_str_eq(hash, "6397217573bf65371464651dd9431fb6b67051f83c10fece7cf34ac221f13849");
}

Test(kmeans, threads_do_not_matter)
{
    uint8_t one[K * DIM], many[K * DIM];
    uint16_t code_one[N], code_many[N];

    run(1, one, code_one);
    run(5, many, code_many);
    cr_expect_eq(memcmp(one, many, sizeof one), 0);
    cr_expect_eq(memcmp(code_one, code_many, sizeof code_one), 0);
}

static int64_t distance(const uint8_t *a, const uint8_t *b, int dim)
{
    int64_t sum = 0;

    for (int i = 0; i < dim; i++)
        sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

/* Against plain loops, for counts that do and do not fill blocks; the lowest index wins ties. */
Test(kmeans, the_nearest_centroid_is_found)
{
    static const int shape[][2] = { { 1, 1 }, { 64, 16 }, { 65, 3 }, { 130, 64 } }; /* K, DIM */

    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++) {
        int k = shape[s][0], dim = shape[s][1];
        uint8_t centroid[130 * 64], point[100 * 64];
        uint16_t code[100];

        for (int i = 0; i < k * dim; i++)
            centroid[i] =
                (uint8_t)mb_below(s, (uint64_t)i, dim < 4 ? 4 : 256); /* ties when small */
        for (int i = 0; i < 100 * dim; i++)
            point[i] = (uint8_t)mb_below(s + 9, (uint64_t)i, 256);
        mb_kmeans_assign(point, 100, dim, centroid, k, code);
        for (int p = 0; p < 100; p++) {
            int best = 0;

            for (int j = 1; j < k; j++) {
                if (distance(point + p * dim, centroid + j * dim, dim) <
                    distance(point + p * dim, centroid + best * dim, dim))
                    best = j;
            }
            cr_expect_eq(code[p], best, "K %d, dim %d, point %d", k, dim, p);
        }
    }
}

/* More centroids than different points: no crash, and every point is its own centroid. */
Test(kmeans, few_points_are_enough)
{
    const uint8_t point[6] = { 1, 1, 200, 200, 90, 90 };
    uint8_t centroid[8 * 2];
    uint16_t code[3];

    mb_kmeans_fit(point, 3, 2, 8, 100, 4, 1, centroid);
    mb_kmeans_assign(point, 3, 2, centroid, 8, code);
    for (int p = 0; p < 3; p++)
        cr_expect_eq(distance(point + 2 * p, centroid + 2 * code[p], 2), 0);
}

Test(image_tokens, patches_that_are_their_own_centroids_decode_to_the_image)
{
    static const mb_image_shape shapes[] = { { 28, 1 }, { 32, 3 }, { 4, 2 } };
    uint8_t image[32 * 32 * 3], patch[sizeof image], back[sizeof image];
    uint16_t code[64];

    for (uint64_t i = 0; i < sizeof image; i++)
        image[i] = (uint8_t)mb_random(3, i);
    for (uint16_t p = 0; p < 64; p++)
        code[p] = p;
    for (int k = 0; k < 3; k++) {
        mb_image_shape s = shapes[k];
        size_t bytes = mb_image_bytes(s);

        mb_image_cut(s, image, patch);
        mb_image_decode(s, code, patch, back);
        cr_expect_eq(memcmp(image, back, bytes), 0);
        if (s.side > 4) {
            int next = s.side * s.channels + 4 * s.channels;

            cr_expect_eq(patch[mb_patch_bytes(s) + 4 * s.channels], image[next],
                         "patch 1, second row, first column");
        }
    }
}
