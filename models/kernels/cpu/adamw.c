/* The optimiser: one pass over parameters, gradients and both moments, and the sum of squares that
   clipping needs. */
#include "models/kernels/cpu/cpu.h"

#include <math.h>

enum { CHUNK = 8192 }; /* elements: 128 kB of the four arrays; fixed, so that sums are too */

static double chunk_squares(const float *x, int64_t n)
{
    double sum = 0;

#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sum;
}

void cpu_sum_squares(mb_ctx *c, double *sum, const float *x, int64_t n)
{
    int64_t chunks = (n + CHUNK - 1) / CHUNK;
    double *partial = (double *)cpu_space(c, 2 * chunks);

#pragma omp parallel for num_threads(c->threads)
    for (int64_t k = 0; k < chunks; k++)
        partial[k] = chunk_squares(x + k * CHUNK, k + 1 < chunks ? CHUNK : n - k * CHUNK);
    *sum = 0;
    for (int64_t k = 0; k < chunks; k++)
        *sum += partial[k];
}

/* m^ = m / (1 - beta1^step) and v^ likewise: the corrections are the same for all elements. */
static void step_chunk(float *restrict p, float *restrict g, float *restrict m, float *restrict v,
                       int64_t n, const mb_adamw *how)
{
    float beta1 = how->beta1, beta2 = how->beta2, scale = mb_grad_scale(how), eps = how->eps;
    float rate = (float)(how->lr / (1 - pow(beta1, (double)how->step)));
    float unbias = (float)(1 / (1 - pow(beta2, (double)how->step))), keep = how->lr * how->decay;

#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float d = g[i] * scale;

        m[i] = beta1 * m[i] + (1 - beta1) * d;
        v[i] = beta2 * v[i] + (1 - beta2) * d * d;
        p[i] -= rate * m[i] / (sqrtf(v[i] * unbias) + eps) + keep * p[i];
        g[i] = 0;
    }
}

void cpu_adamw(mb_ctx *c, float *p, float *g, float *m, float *v, int64_t n, const mb_adamw *how)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < n; i += CHUNK)
        step_chunk(p + i, g + i, m + i, v + i, n - i < CHUNK ? n - i : CHUNK, how);
}
