/* Reference: what works on each element alone (SwiGLU, jitter, AdamW), the squared error, and the
   sum of squares. */
#include "models/kernels/ref/ref.h"

#include "base/random.h"

void mb_ref_swiglu(mb_ctx *c, float *y, const float *x, int64_t s, int64_t f)
{
    for (int64_t i = 0; i < s; i++)
        for (int64_t j = 0; j < f; j++) {
            double a = x[i * 2 * f + j], b = x[i * 2 * f + f + j];

            y[i * f + j] = (float)(a * ref_sigmoid(a) * b);
        }
}

/* silu'(a) = p (1 + a (1 - p)) with p = sigmoid(a) */
void mb_ref_swiglu_bwd(mb_ctx *c, float *dx, const float *dy, const float *x, int64_t s, int64_t f,
                       bool add)
{
    for (int64_t i = 0; i < s; i++)
        for (int64_t j = 0; j < f; j++) {
            int64_t at = i * 2 * f + j;
            double a = x[at], b = x[at + f], p = ref_sigmoid(a), g = dy[i * f + j];
            double da = g * b * p * (1 + a * (1 - p)), db = g * a * p;

            ref_put(dx + at, &da, 1, add);
            ref_put(dx + at + f, &db, 1, add);
        }
}

/* Element i of x (T, D), counted from 0, takes draw i of the key. */
static double jitter_factor(float eps, uint64_t key, int64_t i)
{
    return 1 + eps * (2 * mb_uniform(key, (uint64_t)i) - 1);
}

void mb_ref_jitter(mb_ctx *c, float *y, const float *x, float eps, uint64_t key, int64_t t,
                   int64_t d)
{
    for (int64_t i = 0; i < t * d; i++)
        y[i] = (float)(x[i] * jitter_factor(eps, key, i));
}

void mb_ref_jitter_bwd(mb_ctx *c, float *dx, const float *dy, float eps, uint64_t key, int64_t t,
                       int64_t d, bool add)
{
    for (int64_t i = 0; i < t * d; i++) {
        double g = dy[i] * jitter_factor(eps, key, i);

        ref_put(dx + i, &g, 1, add);
    }
}

void mb_ref_regress(mb_ctx *c, float *loss, float *dy, const float *y, const float *wanted,
                    float scale, int64_t t, int64_t s)
{
    for (int64_t i = 0; i < t; i++) {
        double sum = 0;

        for (int64_t j = i * s; j < (i + 1) * s; j++) {
            double error = (double)y[j] - wanted[j];

            sum += error * error;
            if (dy)
                dy[j] = (float)(scale * 2 * error / (double)s);
        }
        loss[i] = (float)(sum / (double)s);
    }
}

void mb_ref_sum_squares(mb_ctx *c, double *sum, const float *x, int64_t n)
{
    *sum = ref_sum_products(x, x, n);
}

void mb_ref_adamw(mb_ctx *c, float *p, float *g, float *m, float *v, int64_t n, const mb_adamw *how)
{
    double correct1 = 1 - pow(how->beta1, (double)how->step);
    double correct2 = 1 - pow(how->beta2, (double)how->step), scale = mb_grad_scale(how);

    for (int64_t i = 0; i < n; i++) {
        double grad = scale * g[i];
        double m1 = how->beta1 * (double)m[i] + (1 - (double)how->beta1) * grad;
        double v1 = how->beta2 * (double)v[i] + (1 - (double)how->beta2) * grad * grad;
        double step = m1 / correct1 / (sqrt(v1 / correct2) + how->eps) + how->decay * (double)p[i];

        p[i] = (float)(p[i] - how->lr * step);
        m[i] = (float)m1;
        v[i] = (float)v1;
        g[i] = 0;
    }
}
