/* Arithmetic for loops marked `#pragma omp simd`: plain C that compilers turn into vector code,
   with no intrinsics. */
#ifndef MB_KERNELS_CPU_SIMD_H
#define MB_KERNELS_CPU_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* a b + c, fused where the machine does that in one instruction: -std=c11 forbids the compiler to
   fuse by itself. */
static inline float fused(float a, float b, float c)
{
#ifdef FP_FAST_FMAF
    return fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

/* e^x within 1 ulp. Results below the smallest normal number are 0, above the largest infinity; NaN
   stays NaN.

   x = n ln 2 + r with integer n and |r| <= ln(2)/2, e^x = 2^n (1 + r + r^2 q(r)). q has the least
   relative error of all polynomials of degree 4 on that interval (Lawson's iteration; 4e-9 with
   these coefficients). Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits; ln 2
   is split so that n * 0x1.62e4p-1 is exact. */
static inline float exp_of(float x)
{
    const float shift = 0x1.8p23f;
    float t = fused(x, 0x1.715476p+0f, shift), n = t - shift;
    float r = fused(n, -0x1.7f7d1cp-20f, fused(n, -0x1.62e4p-1f, x));
    float q = 0x1.6a23d0p-10f, y;
    uint32_t power, bits;

    q = fused(q, r, 0x1.123a20p-7f);
    q = fused(q, r, 0x1.5558f2p-5f);
    q = fused(q, r, 0x1.555492p-3f);
    q = fused(q, r, 0x1.fffffcp-2f);
    y = 1 + fused(q, r * r, r);
    memcpy(&power, &t, sizeof power);
    memcpy(&bits, &y, sizeof bits);
    bits += power << 23; /* into the exponent; the shifter's own bits fall off the top */
    memcpy(&y, &bits, sizeof y);
    y = x <= 0x1.62e42ep+6f ? y : x + INFINITY; /* ln(largest float), and NaN */
    return x < -0x1.5d589ep+6f ? 0 : y;         /* ln(2^-126) */
}

/* 1 / (1 + e^-x) */
static inline float sigmoid_of(float x)
{
    return 1 / (1 + exp_of(-x));
}

/* The largest of N numbers; -inf for none; NaN if there is one (positive: what arithmetic makes is
   seen in what follows). Compares bits as integers of the same order, since vector code for a
   floating-point maximum would need licence to ignore NaN. */
static inline float largest(const float *x, int64_t n)
{
    const int32_t flip = INT32_MAX;
    int32_t most = INT32_MIN, bits;
    float y;

    for (int64_t j = 0; j < n; j++) {
        memcpy(&bits, x + j, sizeof bits);
        bits ^= bits >> 31 & flip; /* negative numbers: reverse their order */
        most = bits > most ? bits : most;
    }
    most ^= most >> 31 & flip;
    memcpy(&y, &most, sizeof y);
    return n ? y : -INFINITY;
}

/* Turns N scores, times SCALE, into e^(score - largest); returns their sum, and log sum e^score in
 *lse. */
static inline float softmax_sum(float *x, int64_t n, float scale, float *lse)
{
    float most = largest(x, n) * scale, sum = 0;

#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++) {
        x[j] = exp_of(fused(x[j], scale, -most));
        sum += x[j];
    }
    *lse = most + logf(sum);
    return sum;
}

#endif
