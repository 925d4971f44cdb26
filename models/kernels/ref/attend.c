/* Reference: softmax attention, one query at a time over the keys that its span lets it see.

   s = q.k / sqrt(e),  p = exp(s - max s),  y = sum p v / sum p.  Backward, with delta = dy . y:
     p = exp(s - lse),  dv += p dy,  ds = p (dy . v - delta),  dq += ds k,  dk += ds q
   where the scores are computed again: 5 products per pair, of which 4 are the model's. dq and dk
   are divided by sqrt(e) at the end: factors of a whole sum are no operands of a product. */
#include "models/kernels/ref/ref.h"

#include "base/file.h"

enum { Q, K, V };

typedef struct head { /* one head of one sequence */
    const float *x;   /* parts FIRST .. V of all positions, len to a sequence */
    int first;        /* Q; K: of a cache */
    int64_t len, b, h, d, e;
} head;

static const float *vector(const head *a, int part, int64_t p)
{
    int64_t parts = V + 1 - a->first;

    return a->x + ((a->b * a->len + p) * parts + part - a->first) * a->d + a->h * a->e;
}

/* Query q: weights (hi - lo + 1) of its softmax, and in *total their sum; returns the log-sum-exp
   of its scores. */
static double softmax(mb_ctx *c, double *weight, double *total, const head *a, const float *q,
                      int32_t lo, int32_t hi)
{
    double top = -INFINITY, sum = 0;

    for (int64_t k = lo; k <= hi; k++) {
        weight[k - lo] = ref_dot(c, q, vector(a, K, k), a->e) / sqrt((double)a->e);
        top = fmax(top, weight[k - lo]);
    }
    for (int64_t k = lo; k <= hi; k++)
        sum += weight[k - lo] = exp(weight[k - lo] - top);
    *total = sum;
    return top + log(sum);
}

/* y (e) of query q; returns the log-sum-exp. SPACE has room for its weights and e sums. */
static double attend_one(mb_ctx *c, float *y, double *space, const head *a, const float *q,
                         int32_t lo, int32_t hi)
{
    double *weight = space + a->e, *sum = space, total;
    double lse = softmax(c, weight, &total, a, q, lo, hi);

    memset(sum, 0, (size_t)a->e * sizeof *sum);
    for (int64_t k = lo; k <= hi; k++)
        ref_axpy(c, sum, weight[k - lo], vector(a, V, k), a->e);
    for (int64_t j = 0; j < a->e; j++)
        sum[j] /= total;
    ref_put(y, sum, a->e, false);
    return lse;
}

static head head_of(const float *x, const mb_span *s, int64_t d, int heads)
{
    return (head){ .x = x, .first = Q, .len = s->len, .d = d, .e = d / heads };
}

void mb_ref_attend(mb_ctx *c, float *y, float *lse, const float *x, const mb_span *s, int64_t d,
                   int heads)
{
    head a = head_of(x, s, d, heads);
    double *space = mb_alloc((size_t)(s->len + a.e) * sizeof *space);

    for (a.b = 0; a.b < s->batch; a.b++) {
        int64_t first = a.b * s->len;

        for (a.h = 0; a.h < heads; a.h++)
            for (int64_t p = 0, i = first; p < s->len; p++, i++)
                lse[i * heads + a.h] =
                    (float)attend_one(c, y + ref_row(s, i) * d + a.h * a.e, space, &a,
                                      vector(&a, Q, p), s->lo[i], s->hi[i]);
    }
    free(space);
}

void mb_ref_attend_cached(mb_ctx *c, float *y, const float *x, const mb_cache *cache,
                          const mb_places *at, int64_t t, int64_t d, int heads)
{
    head a = { .x = cache->data, .first = K, .len = cache->room, .d = d, .e = d / heads };
    double *space = mb_alloc((size_t)(cache->room + a.e) * sizeof *space);

    for (int64_t i = 0; i < t; i++)
        memcpy(cache->data + (at->sequence[i] * cache->room + at->position[i]) * 2 * d,
               x + i * 3 * d + d, (size_t)(2 * d) * sizeof *x);
    for (int64_t i = 0; i < t; i++) {
        a.b = at->sequence[i];
        for (a.h = 0; a.h < heads; a.h++)
            attend_one(c, y + i * d + a.h * a.e, space, &a, x + i * 3 * d + a.h * a.e, 0,
                       at->hi[i]);
    }
    free(space);
}

/* Adds what query p contributes to the gradients dq, dk, dv (len, e) of its head. */
static void query_bwd(mb_ctx *c, double *const grad[3], const head *a, int64_t p, int32_t lo,
                      int32_t hi, const float *dy, const float *y, float lse)
{
    const float *q = vector(a, Q, p);
    double delta = ref_sum_products(dy, y, a->e), scale = 1 / sqrt((double)a->e);

    for (int64_t k = lo; k <= hi; k++) {
        double weight = exp(ref_dot(c, q, vector(a, K, k), a->e) * scale - lse);
        double ds = weight * (ref_dot(c, dy, vector(a, V, k), a->e) - delta);

        ref_axpy(c, grad[V] + k * a->e, weight, dy, a->e);
        ref_axpy(c, grad[Q] + p * a->e, ds, vector(a, K, k), a->e);
        ref_axpy(c, grad[K] + k * a->e, ds, q, a->e);
    }
}

void mb_ref_attend_bwd(mb_ctx *c, float *dx, const float *dy, const float *y, const float *lse,
                       const float *x, const mb_span *s, int64_t d, int heads, bool add)
{
    head a = head_of(x, s, d, heads);
    size_t size = (size_t)(s->len * a.e);
    double *sum = mb_alloc(3 * size * sizeof *sum);
    double *const grad[3] = { sum, sum + size, sum + 2 * size };

    for (a.b = 0; a.b < s->batch; a.b++) {
        int64_t first = a.b * s->len;

        for (a.h = 0; a.h < heads; a.h++) {
            memset(sum, 0, 3 * size * sizeof *sum);
            for (int64_t p = 0, i = first; p < s->len; p++, i++) {
                int64_t at = ref_row(s, i) * d + a.h * a.e;

                query_bwd(c, grad, &a, p, s->lo[i], s->hi[i], dy + at, y + at,
                          lse[i * heads + a.h]);
            }
            for (size_t i = 0; i < 2 * size; i++) /* of q and k */
                sum[i] /= sqrt((double)a.e);
            for (int64_t p = 0; p < s->len; p++)
                for (int part = Q; part <= V; part++)
                    ref_put(dx + (first + p) * 3 * d + part * d + a.h * a.e, grad[part] + p * a.e,
                            a.e, add);
        }
    }
    free(sum);
}
