#include "workloads/kmeans.h"
#include "base/file.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 64 }; /* centroids compared at once: their distances stay in registers */

static uint64_t xorshift(uint64_t *state) /* Marsaglia's xorshift64 (13, 7, 17) */
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Centroids as blocks of (DIM, BLOCK), with |c|^2 beside them, so that the inner loop runs over
   neighbouring int32; the last block is filled up with centroids that are never nearest. */
typedef struct table {
    int dim, blocks;
    int32_t *column, *norm;
} table;

static table table_make(const uint8_t *centroid, int k, int dim)
{
    table t = { .dim = dim, .blocks = (k + BLOCK - 1) / BLOCK };
    size_t room = (size_t)t.blocks * BLOCK;

    t.column = mb_zalloc(room * (size_t)dim, sizeof *t.column);
    t.norm = mb_alloc(room * sizeof *t.norm);
    for (int j = 0; j < (int)room; j++) {
        int32_t *column = t.column + (size_t)(j / BLOCK * dim) * BLOCK + j % BLOCK;

        t.norm[j] = j < k ? 0 : INT32_MAX;
        for (int i = 0; j < k && i < dim; i++) {
            int32_t c = centroid[(size_t)j * (size_t)dim + (size_t)i];

            column[i * BLOCK] = 2 * c;
            t.norm[j] += c * c;
        }
    }
    return t;
}

static void table_free(table *t)
{
    free(t->column);
    free(t->norm);
}

/* |x - c|^2 is compared as |c|^2 - 2 x.c, at most 64 * 3 * 255^2 in size. */
static uint16_t nearest(const table *t, const uint8_t *x)
{
    int32_t least = INT32_MAX;
    int where = 0;

    for (int b = 0; b < t->blocks; b++) {
        const int32_t *column = t->column + (size_t)(b * t->dim) * BLOCK;
        int32_t distance[BLOCK], low = INT32_MAX;

        memcpy(distance, t->norm + (size_t)b * BLOCK, sizeof distance);
        for (int i = 0; i < t->dim; i++) {
            int32_t xi = x[i];

            for (int j = 0; j < BLOCK; j++)
                distance[j] -= xi * column[i * BLOCK + j];
        }
        for (int j = 0; j < BLOCK; j++)
            low = distance[j] < low ? distance[j] : low;
        if (low < least) {
            int j = 0;

            while (distance[j] != low)
                j++;
            least = low;
            where = b * BLOCK + j;
        }
    }
    return (uint16_t)where;
}

static void assign(const table *t, const uint8_t *point, int64_t n, uint16_t *code)
{
#pragma omp parallel
    {
        int64_t mine = -1; /* the point that this thread did last */

#pragma omp for schedule(static)
        for (int64_t p = 0; p < n; p++) {
            const uint8_t *x = point + p * t->dim;
            bool again = p > 0 && mine == p - 1 && !memcmp(x, x - t->dim, (size_t)t->dim);

            code[p] = again ? code[p - 1] : nearest(t, x); /* backgrounds repeat */
            mine = p;
        }
    }
}

void mb_kmeans_assign(const uint8_t *point, int64_t n, int dim, const uint8_t *centroid, int k,
                      uint16_t *code)
{
    table t;

    assert(dim > 0 && dim <= MB_KMEANS_DIM && k > 0 && k <= MB_KMEANS_K);
    t = table_make(centroid, k, dim);
    assign(&t, point, n, code);
    table_free(&t);
}

/* Puts a drawn point into centroid J: one that no other centroid equals, if some draws find it. */
static void reseed(const uint8_t *point, int64_t n, int dim, uint8_t *centroid, int j, int k,
                   uint64_t *state)
{
    const size_t size = (size_t)dim;
    uint8_t *mine = centroid + (size_t)j * size;
    bool taken = true;

    for (int attempt = 0; taken && attempt < 100; attempt++) {
        memcpy(mine, point + (size_t)(xorshift(state) % (uint64_t)n) * size, size);
        taken = false;
        for (int other = 0; !taken && other < k; other++)
            taken = other != j && !memcmp(mine, centroid + (size_t)other * size, size);
    }
}

/* Moves every centroid to the rounded mean of its points; one that lost them all starts afresh. */
static void update(const uint8_t *point, const uint16_t *code, int64_t n, int dim, int k,
                   uint8_t *centroid, uint64_t *state)
{
    int64_t *sum = mb_zalloc((size_t)k * (size_t)dim, sizeof *sum);
    int64_t *count = mb_zalloc((size_t)k, sizeof *count);

    for (int64_t p = 0; p < n; p++) {
        count[code[p]]++;
        for (int i = 0; i < dim; i++)
            sum[code[p] * dim + i] += point[p * dim + i];
    }
    for (int j = 0; j < k; j++) {
        for (int i = 0; count[j] && i < dim; i++)
            centroid[j * dim + i] = (uint8_t)((2 * sum[j * dim + i] + count[j]) / (2 * count[j]));
    }
    for (int j = 0; j < k; j++) {
        if (!count[j])
            reseed(point, n, dim, centroid, j, k, state);
    }
    free(sum);
    free(count);
}

void mb_kmeans_fit(const uint8_t *point, int64_t n, int dim, int k, int64_t sample, int iterations,
                   uint64_t seed, uint8_t *centroid)
{
    uint64_t state = seed * 2 + 1; /* xorshift's state is never 0 */
    int64_t taken = n < sample ? n : sample;
    uint8_t *drawn = mb_alloc((size_t)taken * (size_t)dim);
    uint16_t *code = mb_alloc((size_t)taken * sizeof *code);

    assert(n > 0 && sample > 0);
    for (int64_t p = 0; p < taken; p++) {
        int64_t from = n <= sample ? p : (int64_t)(xorshift(&state) % (uint64_t)n);

        memcpy(drawn + p * dim, point + from * dim, (size_t)dim);
    }
    for (int j = 0; j < k; j++)
        reseed(drawn, taken, dim, centroid, j, j, &state);
    for (int i = 0; i < iterations; i++) {
        mb_kmeans_assign(drawn, taken, dim, centroid, k, code);
        update(drawn, code, taken, dim, k, centroid, &state);
    }
    free(code);
    free(drawn);
}
