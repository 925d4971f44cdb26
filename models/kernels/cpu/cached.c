/* Attention of few new rows to all that a cache keeps: a task per row and head reads its keys once,
   then its values. It is bound by reading them, so there are no tiles. A row's result depends on no
   other row of the call. */
#include "models/kernels/cpu/cpu.h"

#include "models/kernels/cpu/simd.h"

#include <omp.h>
#include <string.h>

typedef struct reading { /* arguments of a call */
    const mb_ctx *ctx;
    const mb_cache *cache;
    const mb_places *at;
    const float *x;
    float *y;
    int64_t d, e, heads;
} reading;

/* Keys and values of row I into its place, as operands of products. */
static void keep(const reading *a, int64_t i)
{
    int64_t place = a->at->sequence[i] * a->cache->room + a->at->position[i];
    float *to = a->cache->data + place * 2 * a->d;

    memcpy(to, a->x + i * 3 * a->d + a->d, (size_t)(2 * a->d) * sizeof *to);
    as_operands(a->ctx, to, 2 * a->d);
}

/* q (e) and score (room) are space. */
static void attend_one(const reading *a, int64_t i, int64_t head, float *q, float *score)
{
    int64_t e = a->e, d = a->d, keys = a->at->hi[i] + 1;
    const float *key = a->cache->data + a->at->sequence[i] * a->cache->room * 2 * d + head * e;
    float *y = a->y + i * d + head * e, total, lse;

    memcpy(q, a->x + i * 3 * d + head * e, (size_t)e * sizeof *q);
    as_operands(a->ctx, q, e);
    for (int64_t k = 0; k < keys; k++) {
        const float *row = key + k * 2 * d;
        float sum = 0;

#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < e; j++)
            sum += q[j] * row[j];
        score[k] = sum;
    }
    total = softmax_sum(score, keys, 1 / sqrtf((float)e), &lse);
    as_operands(a->ctx, score, keys);
    memset(y, 0, (size_t)e * sizeof *y);
    for (int64_t k = 0; k < keys; k++) {
        const float *row = key + k * 2 * d + d;
        float p = score[k];

#pragma omp simd
        for (int64_t j = 0; j < e; j++)
            y[j] += p * row[j];
    }
    for (int64_t j = 0; j < e; j++)
        y[j] /= total;
}

void cpu_attend_cached(mb_ctx *c, float *y, const float *x, const mb_cache *cache,
                       const mb_places *at, int64_t t, int64_t d, int heads)
{
    reading a = { c, cache, at, x, y, d, d / heads, heads };
    int64_t each = aligned(a.e) + aligned(cache->room);
    float *space = cpu_space(c, each * c->threads);

    for (int64_t i = 0; i < t; i++)
        keep(&a, i);
#pragma omp parallel for schedule(static) num_threads(c->threads)
    for (int64_t task = 0; task < t * heads; task++) {
        float *q = space + each * omp_get_thread_num();

        attend_one(&a, task / heads, task % heads, q, q + aligned(a.e));
    }
}
