/* Arithmetic that becomes vector code, with no intrinsics: plain C for loops marked `#pragma omp
   simd`, and vectors of eight numbers as gcc and clang know them on every machine. */
#ifndef MB_KERNELS_CPU_SIMD_H
#define MB_KERNELS_CPU_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* ---- single numbers, in loops marked `#pragma omp simd` -------------------------------------- */

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

/* ln x within 2 ulp or 1e-7, for normal positive x; infinity and NaN stay what they are.

   x = 2^k m with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh s = 2 (s + s^3/3 + s^5/5 + ...) with
   s = (m - 1) / (m + 1); |s| < 0.172, so that what is left out from s^11/11 on is below 1e-9. */
static inline float log_of(float x)
{
    uint32_t bits, power;
    float m, s, s2, q, k;

    memcpy(&bits, &x, sizeof bits);
    power = (bits - 0x3f3504f3u) & 0xff800000u; /* k, where an exponent is */
    bits -= power;
    memcpy(&m, &bits, sizeof m);
    k = (float)((int32_t)power >> 23);
    s = (m - 1) / (m + 1);
    s2 = s * s;
    q = fused(s2, 1.0f / 9, 1.0f / 7);
    q = fused(q, s2, 1.0f / 5);
    q = fused(q, s2, 1.0f / 3);
    q = 2 * fused(q * s2, s, s);
    return x < INFINITY ? fused(k, 0x1.62e430p-1f, q) : x;
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

/* ---- vectors of eight ------------------------------------------------------------------------ */

/* All inlined, so that it does not matter how a machine without such vectors would pass them. */
#pragma GCC diagnostic ignored "-Wpsabi"

enum { LANES = 8 };
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
#define LANES_INLINE static inline __attribute__((always_inline))

LANES_INLINE lanes lanes_at(const float *x)
{
    return *(const lanes *)x;
}

LANES_INLINE void put_lanes(float *to, lanes x)
{
    *(lanes *)to = x;
}

LANES_INLINE lanes splat(float x)
{
    return x - (lanes){ 0 }; /* not +, which turns -0 into 0 */
}

/* a b + c in c's own register; see tile.c */
LANES_INLINE lanes fused_lanes(lanes a, lanes b, lanes c)
{
#ifdef __FMA__
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
    return c;
#else
    return a * b + c;
#endif
}

/* to = the transpose of 8 rows' numbers AT .. AT+7; rows of TO are TO_LD apart. */
LANES_INLINE void turn_rows(float *to, int64_t to_ld, const float *const row[8], int64_t at)
{
#define ROW(i)       lanes_at(row[i] + at)
#define OUT(i, x)    put_lanes(to + i * to_ld, x)
#define LOW(a, b)    __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HIGH(a, b)   __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define EVEN(a, b)   __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define ODD(a, b)    __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#define FIRST(a, b)  __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11)
#define SECOND(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15)
    lanes t0 = LOW(ROW(0), ROW(1)), t1 = HIGH(ROW(0), ROW(1));
    lanes t2 = LOW(ROW(2), ROW(3)), t3 = HIGH(ROW(2), ROW(3));
    lanes t4 = LOW(ROW(4), ROW(5)), t5 = HIGH(ROW(4), ROW(5));
    lanes t6 = LOW(ROW(6), ROW(7)), t7 = HIGH(ROW(6), ROW(7));
    lanes u0 = EVEN(t0, t2), u1 = ODD(t0, t2), u2 = EVEN(t1, t3), u3 = ODD(t1, t3);
    lanes u4 = EVEN(t4, t6), u5 = ODD(t4, t6), u6 = EVEN(t5, t7), u7 = ODD(t5, t7);

    OUT(0, FIRST(u0, u4));
    OUT(1, FIRST(u1, u5));
    OUT(2, FIRST(u2, u6));
    OUT(3, FIRST(u3, u7));
    OUT(4, SECOND(u0, u4));
    OUT(5, SECOND(u1, u5));
    OUT(6, SECOND(u2, u6));
    OUT(7, SECOND(u3, u7));
#undef ROW
#undef OUT
#undef LOW
#undef HIGH
#undef EVEN
#undef ODD
#undef FIRST
#undef SECOND
}

/* The same of rows that are LD apart. */
LANES_INLINE void turn_lanes(float *to, int64_t to_ld, const float *from, int64_t ld)
{
    const float *const row[8] = { from,          from + ld,     from + 2 * ld, from + 3 * ld,
                                  from + 4 * ld, from + 5 * ld, from + 6 * ld, from + 7 * ld };

    turn_rows(to, to_ld, row, 0);
}

/* A vector whose sum is that of x[j] y[j], j < n. */
LANES_INLINE lanes dot_lanes(const float *x, const float *y, int64_t n)
{
    lanes a = { 0 }, b = { 0 };
    int64_t j = 0;

    for (; j + 16 <= n; j += 16) { /* two sums: one would wait for itself */
        a = fused_lanes(lanes_at(x + j), lanes_at(y + j), a);
        b = fused_lanes(lanes_at(x + j + 8), lanes_at(y + j + 8), b);
    }
    for (; j + 8 <= n; j += 8)
        a = fused_lanes(lanes_at(x + j), lanes_at(y + j), a);
    for (; j < n; j++)
        b[0] += x[j] * y[j];
    return a + b;
}

/* sum (8) = the sums of the 8 rows of x (8, 8): less work than one after another. */
LANES_INLINE void row_sums(float *sum, const float *x)
{
    float turned[64];
    lanes a, b;

    turn_lanes(turned, 8, x, 8);
    a = lanes_at(turned) + lanes_at(turned + 8);
    b = lanes_at(turned + 16) + lanes_at(turned + 24);
    a += lanes_at(turned + 32) + lanes_at(turned + 40);
    b += lanes_at(turned + 48) + lanes_at(turned + 56);
    put_lanes(sum, a + b);
}

/* x . y */
LANES_INLINE float dot_of(const float *x, const float *y, int64_t n)
{
    lanes v = dot_lanes(x, y, n);

    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
    return v[0] + v[1];
}

#endif
