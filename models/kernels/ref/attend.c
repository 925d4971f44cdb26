/* Reference: softmax attention, one query at a time over the keys that its span lets it see.

   s = q.k / sqrt(e),  p = exp(s - max s),  y = sum p v / sum p.  Backward, with delta = dy . y:
     p = exp(s - lse),  dv += p dy,  ds = p (dy . v - delta),  dq += ds k,  dk += ds q
   where the scores are computed again: 5 products per pair, of which 4 are the model's. dq and dk
   are divided by sqrt(e) at the end: factors of a whole sum are no operands of a product. */
#include "models/kernels/ref/ref.h"

#include "base/file.h"

typedef struct head { /* one head of one sequence */
    const float *x;
    const mb_span *span;
    int64_t b, h, d, e;
} head;

enum { Q, K, V };

static int64_t row_at(const head *a, int64_t p)
{
    int64_t i = a->b * a->span->len + p;

    return a->span->at ? a->span->at[i] : i;
}

static const float *vector(const head *a, int part, int64_t p)
{
    return a->x + row_at(a, p) * 3 * a->d + part * a->d + a->h * a->e;
}

/* Query p: weights (hi - lo + 1) of its softmax, and in *total their sum; returns the log-sum-exp
   of its scores. */
static double softmax(mb_ctx *c, double *weight, double *total, const head *a, int64_t p,
                      int32_t lo, int32_t hi)
{
    double top = -INFINITY, sum = 0;

    for (int64_t k = lo; k <= hi; k++) {
        weight[k - lo] = ref_dot(c, vector(a, Q, p), vector(a, K, k), a->e) / sqrt((double)a->e);
        top = fmax(top, weight[k - lo]);
    }
    for (int64_t k = lo; k <= hi; k++)
        sum += weight[k - lo] = exp(weight[k - lo] - top);
    *total = sum;
    return top + log(sum);
}

void mb_ref_attend(mb_ctx *c, float *y, float *lse, const float *x, const mb_span *s, int64_t d,
                   int heads)
{
    head a = { .x = x, .span = s, .d = d, .e = d / heads };
    double *weight = mb_alloc((size_t)s->len * sizeof *weight);
    double *sum = mb_alloc((size_t)a.e * sizeof *sum);

    for (a.b = 0; a.b < s->batch; a.b++) {
        const int32_t *lo = s->lo + a.b * s->len, *hi = s->hi + a.b * s->len;

        for (a.h = 0; a.h < heads; a.h++)
            for (int64_t p = 0; p < s->len; p++) {
                int64_t row = row_at(&a, p);
                double total;

                lse[row * heads + a.h] = (float)softmax(c, weight, &total, &a, p, lo[p], hi[p]);
                memset(sum, 0, (size_t)a.e * sizeof *sum);
                for (int64_t k = lo[p]; k <= hi[p]; k++)
                    ref_axpy(c, sum, weight[k - lo[p]], vector(&a, V, k), a.e);
                for (int64_t j = 0; j < a.e; j++)
                    sum[j] /= total;
                ref_put(y + row * d + a.h * a.e, sum, a.e, false);
            }
    }
    free(weight);
    free(sum);
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
    head a = { .x = x, .span = s, .d = d, .e = d / heads };
    size_t size = (size_t)(s->len * a.e);
    double *sum = mb_alloc(3 * size * sizeof *sum);
    double *const grad[3] = { sum, sum + size, sum + 2 * size };

    for (a.b = 0; a.b < s->batch; a.b++) {
        const int32_t *lo = s->lo + a.b * s->len, *hi = s->hi + a.b * s->len;

        for (a.h = 0; a.h < heads; a.h++) {
            memset(sum, 0, 3 * size * sizeof *sum);
            for (int64_t p = 0; p < s->len; p++) {
                int64_t row = row_at(&a, p), at = row * d + a.h * a.e;

                query_bwd(c, grad, &a, p, lo[p], hi[p], dy + at, y + at, lse[row * heads + a.h]);
            }
            for (size_t i = 0; i < 2 * size; i++) /* of q and k */
                sum[i] /= sqrt((double)a.e);
            for (int64_t p = 0; p < s->len; p++)
                for (int part = Q; part <= V; part++)
                    ref_put(dx + row_at(&a, p) * 3 * d + part * d + a.h * a.e, grad[part] + p * a.e,
                            a.e, add);
        }
    }
    free(sum);
}
