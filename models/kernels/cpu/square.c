/* As in tile.c, functions of their own, so that the compiler gives all registers to the sums. */
#include "models/kernels/cpu/square.h"

#include "models/kernels/cpu/simd.h"
#include "models/kernels/cpu/slots.h"

#define INLINE static inline __attribute__((always_inline))

void square_meet(float *s, const float *rows, int64_t wide, const float *turned, int64_t e)
{
    lanes s0 = { 0 }, s1 = { 0 }, s2 = { 0 }, s3 = { 0 };
    lanes s4 = { 0 }, s5 = { 0 }, s6 = { 0 }, s7 = { 0 };
    const float *r0 = rows, *r3 = rows + 3 * wide, *r6 = rows + 6 * wide;

#define STEP()                                                                                     \
    do {                                                                                           \
        lanes b = lanes_at(turned);                                                                \
                                                                                                   \
        s0 = fused_lanes(splat(*r0), b, s0);                                                       \
        s1 = fused_lanes(splat(r0[wide]), b, s1);                                                  \
        s2 = fused_lanes(splat(r0[2 * wide]), b, s2);                                              \
        s3 = fused_lanes(splat(*r3), b, s3);                                                       \
        s4 = fused_lanes(splat(r3[wide]), b, s4);                                                  \
        s5 = fused_lanes(splat(r3[2 * wide]), b, s5);                                              \
        s6 = fused_lanes(splat(*r6), b, s6);                                                       \
        s7 = fused_lanes(splat(r6[wide]), b, s7);                                                  \
        r0++;                                                                                      \
        r3++;                                                                                      \
        r6++;                                                                                      \
        turned += SIDE;                                                                            \
    } while (0)
    for (; e >= 4; e -= 4) { /* with one step a turn, counting takes a good part of the time */
        STEP();
        STEP();
        STEP();
        STEP();
    }
    for (; e > 0; e--)
        STEP();
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

/* Half of the SIDE rows of to, SPAN columns, = a b, or += where ADD, for N squares NEXT apart.
   Element (i, k) of a square is a[i * row + k * step]. Half the rows by two vectors: the same eight
   sums as a square by one take two thirds of the loads. */
INLINE void half(float *to, const float *a, int64_t row, int64_t step, int64_t next, const float *b,
                 int64_t wide, int64_t n, bool add)
{
    lanes s00 = { 0 }, s01 = { 0 }, s10 = { 0 }, s11 = { 0 };
    lanes s20 = { 0 }, s21 = { 0 }, s30 = { 0 }, s31 = { 0 };

#define SUM(i, k)                                                                                  \
    do {                                                                                           \
        lanes x = splat(a[(i)*row + (k)*step]);                                                    \
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
        float *at = to + (i)*wide;                                                                 \
                                                                                                   \
        if (add) {                                                                                 \
            s##i##0 += lanes_at(at);                                                               \
            s##i##1 += lanes_at(at + SIDE);                                                        \
        }                                                                                          \
        put_lanes(at, s##i##0);                                                                    \
        put_lanes(at + SIDE, s##i##1);                                                             \
    } while (0)
    STORE(0);
    STORE(1);
    STORE(2);
    STORE(3);
#undef STORE
}

void square_over_keys(float *to, const float *s, const float *rows, int64_t wide, int64_t n,
                      bool add)
{
    for (int64_t j = 0; j < wide; j += SPAN)
        for (int64_t i = 0; i < SIDE; i += SIDE / 2)
            half(to + i * wide + j, s + i, 1, SIDE, SQUARE, rows + j, wide, n, add);
}

void square_over_queries(float *to, const float *s, int64_t next, const float *rows, int64_t wide,
                         int64_t n)
{
    for (int64_t j = 0; j < wide; j += SPAN)
        for (int64_t i = 0; i < SIDE; i += SIDE / 2)
            half(to + i * wide + j, s + i * SIDE, SIDE, 1, next, rows + j, wide, n, true);
}

void square_turn(float *to, const float *rows, int64_t wide, int64_t e)
{
    int64_t k = 0;

    for (; k + SIDE <= e; k += SIDE)
        turn_lanes(to + k * SIDE, rows + k, wide);
    for (; k < e; k++)
        for (int64_t i = 0; i < SIDE; i++)
            to[k * SIDE + i] = rows[i * wide + k];
}
