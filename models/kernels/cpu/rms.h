/* The RMS norm of one vector, n(v) = w * v / rms(v), and its backward: shared by the norm of
   tokens, by combine and by QK-norm, which differ in what surrounds it. */
#ifndef MB_KERNELS_CPU_RMS_H
#define MB_KERNELS_CPU_RMS_H

#include "models/kernels/cpu/simd.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* 1 / sqrt(mean(x^2) + eps) */
static inline float inverse_rms(const float *x, int64_t d, float eps)
{
    return 1 / sqrtf(dot_of(x, x, d) / (float)d + eps);
}

/* With r = inverse_rms(x) and g dy flowing into n(x): dx is set to, or grows by, r (w g dy - x r^2
   mean(w g dy x)), and dw grows by g dy x r. Returns sum(dy n(x)), the gradient of a gate g. */
static inline float rms_bwd(float *dx, float *dw, float g, const float *dy, const float *x,
                            const float *w, float r, int64_t d, bool add)
{
    float sum = 0, pull;

#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < d; j++)
        sum += w[j] * dy[j] * x[j];
    sum *= r;
    pull = g * sum * r * r / (float)d;
#pragma omp simd
    for (int64_t j = 0; j < d; j++) {
        float own = g * r * dy[j], v = own * w[j] - x[j] * pull;

        dw[j] += own * x[j];
        dx[j] = add ? dx[j] + v : v;
    }
    return sum;
}

#endif
