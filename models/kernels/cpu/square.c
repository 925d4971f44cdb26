/* As in tile.c, functions of their own, so that the compiler gives all registers to the sums. */
#include "models/kernels/cpu/square.h"

#include "models/kernels/cpu/simd.h"
#include "models/kernels/cpu/slots.h"

#define INLINE static inline __attribute__((always_inline))

void square_meet(float *s, const float *rows, int64_t wide, const float *turned)
{
    lanes s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
    lanes s4 = { 0 }, s5 = { 0 }, s6 = { 0 }, s7 = { 0 };
    const float *r0 = rows, *r3 = rows + 3 * wide, *r6 = rows + 6 * wide;

#define STEP(k)                                                                                    \
    do {                                                                                           \
        lanes b = lanes_at(turned + (k)*SPAN);                                                     \
                                                                                                   \
        s0 = fused_lanes(splat(r0[k]), b, s0);                                                     \
        s1 = fused_lanes(splat(r0[wide + (k)]), b, s1);                                            \
        s2 = fused_lanes(splat(r0[2 * wide + (k)]), b, s2);                                        \
        s3 = fused_lanes(splat(r3[k]), b, s3);                                                     \
        s4 = fused_lanes(splat(r3[wide + (k)]), b, s4);                                            \
        s5 = fused_lanes(splat(r3[2 * wide + (k)]), b, s5);                                        \
        s6 = fused_lanes(splat(r6[k]), b, s6);                                                     \
        s7 = fused_lanes(splat(r6[wide + (k)]), b, s7);                                            \
    } while (0)
    for (int64_t k = 0; k < wide; k += 4, r0 += 4, r3 += 4, r6 += 4, turned += 4 * SPAN) {
        STEP(0);
        STEP(1);
        STEP(2);
        STEP(3);
    }
#undef STEP
    put_lanes(s, s0);
    put_lanes(s + SIDE, s1);
    put_lanes(s + 2 * SIDE, s2);
    put_lanes(s + 3 * SIDE, s3);
    put_lanes(s + 4 * SIDE, s4);
    put_lanes(s + 5 * SIDE, s5);
    put_lanes(s + 6 * SIDE, s6);
    put_lanes(s + 7 * SIDE, s7);
}

/* Half of SIDE rows of to, LD apart, = a b, or += where ADD; the second vector of a row is TWO
   beyond the first. a is N squares NEXT apart, element (i, k) of each a[i * row + k * step]. Half
   the rows by two vectors: the same eight sums as a square by one take two thirds of the loads. */
INLINE void half(float *to, int64_t ld, int64_t two, const float *a, int64_t row, int64_t step,
                 int64_t next, const float *b, int64_t wide, int64_t n, bool add)
{
    lanes s00 = { 0 }, s01 = { 0 }, s10 = { 0 }, s11 = { 0 };
    lanes s20 = { 0 }, s21 = { 0 }, s30 = { 0 }, s31 = { 0 };

#define SUM(i, k)                                                                                  \
    do {                                                                                           \
        lanes x = splat(a[i * row + k * step]);                                                    \
                                                                                                   \
        s##i##0 = fused_lanes(x, b0, s##i##0);                                                     \
        s##i##1 = fused_lanes(x, b1, s##i##1);                                                     \
    } while (0)
#define STEP(k)                                                                                    \
    do {                                                                                           \
        lanes b0 = lanes_at(b), b1 = lanes_at(b + SIDE);                                           \
                                                                                                   \
        SUM(0, k);                                                                                 \
        SUM(1, k);                                                                                 \
        SUM(2, k);                                                                                 \
        SUM(3, k);                                                                                 \
        b += wide;                                                                                 \
    } while (0)
    for (; n > 0; n--, a += next) {
        STEP(0);
        STEP(1);
        STEP(2);
        STEP(3);
        STEP(4);
        STEP(5);
        STEP(6);
        STEP(7);
    }
#undef STEP
#undef SUM
#define STORE(i)                                                                                   \
    do {                                                                                           \
        float *at = to + i * ld;                                                                   \
                                                                                                   \
        if (add) {                                                                                 \
            s##i##0 += lanes_at(at);                                                               \
            s##i##1 += lanes_at(at + two);                                                         \
        }                                                                                          \
        put_lanes(at, s##i##0);                                                                    \
        put_lanes(at + two, s##i##1);                                                              \
    } while (0)
    STORE(0);
    STORE(1);
    STORE(2);
    STORE(3);
#undef STORE
}

void square_meet_two(float *s, int64_t next, const float *rows, int64_t wide, const float *turned)
{
    for (int64_t i = 0; i < SIDE; i += SIDE / 2)
        half(s + i * SIDE, SIDE, next, rows + i * wide, wide, 1, SIDE, turned, SPAN, wide / SIDE,
             false);
}

void square_over_keys(float *to, const float *s, const float *rows, int64_t wide, int64_t n,
                      bool add)
{
    for (int64_t j = 0; j < wide; j += SPAN)
        for (int64_t i = 0; i < SIDE; i += SIDE / 2)
            half(to + i * wide + j, wide, SIDE, s + i, 1, SIDE, SQUARE, rows + j, wide, n, add);
}

void square_over_queries(float *to, const float *s, int64_t next, const float *rows, int64_t wide,
                         int64_t n)
{
    for (int64_t j = 0; j < wide; j += SPAN)
        for (int64_t i = 0; i < SIDE; i += SIDE / 2)
            half(to + i * wide + j, wide, SIDE, s + i * SIDE, SIDE, 1, next, rows + j, wide, n,
                 true);
}

void square_turn(float *to, const float *rows, int64_t wide)
{
    for (int64_t k = 0; k < wide; k += SIDE)
        turn_lanes(to + k * SPAN, SPAN, rows + k, wide);
}
