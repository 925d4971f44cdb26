/* Operations on single elements: SwiGLU, the router's jitter, the squared error. */
#include "models/kernels/cpu/cpu.h"

#include "base/random.h"
#include "models/kernels/cpu/simd.h"

void cpu_swiglu(mb_ctx *c, float *y, const float *x, int64_t s, int64_t f)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < s; i++) {
        const float *a = x + i * 2 * f, *b = a + f;
        float *to = y + i * f;

#pragma omp simd
        for (int64_t j = 0; j < f; j++)
            to[j] = a[j] * sigmoid_of(a[j]) * b[j];
    }
}

/* silu(a) = a p with p = sigmoid(a); silu'(a) = p (1 + a (1 - p)). Vectorised by gcc only where ADD
   is a constant. */
static inline void swiglu_row_bwd(float *da, float *db, const float *dy, const float *a,
                                  const float *b, int64_t f, bool add)
{
#pragma omp simd
    for (int64_t j = 0; j < f; j++) {
        float p = sigmoid_of(a[j]);
        float ga = dy[j] * b[j] * p * (1 + a[j] * (1 - p)), gb = dy[j] * a[j] * p;

        da[j] = add ? da[j] + ga : ga;
        db[j] = add ? db[j] + gb : gb;
    }
}

void cpu_swiglu_bwd(mb_ctx *c, float *dx, const float *dy, const float *x, int64_t s, int64_t f,
                    bool add)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < s; i++) {
        const float *a = x + i * 2 * f;
        float *da = dx + i * 2 * f;

        if (add)
            swiglu_row_bwd(da, da + f, dy + i * f, a, a + f, f, true);
        else
            swiglu_row_bwd(da, da + f, dy + i * f, a, a + f, f, false);
    }
}

/* 1 + eps u of element I */
static float jitter_of(float eps, uint64_t key, int64_t i)
{
    return 1 + eps * (float)(2 * mb_uniform(key, (uint64_t)i) - 1);
}

void cpu_jitter(mb_ctx *c, float *y, const float *x, float eps, uint64_t key, int64_t t, int64_t d)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < t * d; i++)
        y[i] = x[i] * jitter_of(eps, key, i);
}

void cpu_jitter_bwd(mb_ctx *c, float *dx, const float *dy, float eps, uint64_t key, int64_t t,
                    int64_t d, bool add)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < t * d; i++)
        dx[i] = (add ? dx[i] : 0) + dy[i] * jitter_of(eps, key, i);
}

void cpu_regress(mb_ctx *c, float *loss, float *dy, const float *y, const float *wanted,
                 float scale, int64_t t, int64_t s)
{
    float slope = 2 * scale / (float)s;

#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < t; i++) {
        const float *have = y + i * s, *want = wanted + i * s;
        float sum = 0;

#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < s; j++)
            sum += (have[j] - want[j]) * (have[j] - want[j]);
        loss[i] = sum / (float)s;
        for (int64_t j = 0; dy && j < s; j++)
            dy[i * s + j] = slope * (have[j] - want[j]);
    }
}
