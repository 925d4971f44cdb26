/* The micro-kernels. Functions of their own, and in a file of their own, so that the compiler
   gives all registers to the sums wherever they are called from.

   Vectors are the compiler's (gcc and clang know them on every machine); only the fused
   multiply-add is named, because -std=c11 forbids the compiler to fuse by itself. */
#include "models/kernels/cpu/tile.h"

#include "models/kernels/op.h"

#include <stdio.h>

#if defined(__AVX512BF16__)
static const char isa[] = "avx512, avx512_bf16";
#elif defined(__AVX512F__)
static const char isa[] = "avx512";
#elif defined(__AVX2__)
static const char isa[] = "avx2";
#elif defined(__AVX__)
static const char isa[] = "avx";
#else
static const char isa[] = "128-bit vectors";
#endif

typedef float vector __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

/* a b + c in c's own register. Written out, since gcc otherwise lets sums wander between registers,
   and in larger loops out of them. */
static inline vector fused_vector(vector a, vector b, vector c)
{
#ifdef __FMA__
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
    return c;
#else
    return a * b + c;
#endif
}

static inline vector vector_at(const float *x)
{
    return *(const vector *)x;
}

static inline vector splat(float x)
{
    return x - (vector){ 0 }; /* not +, which turns -0 into 0 */
}

typedef uint32_t two __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias)); /* bf16 */

static inline two splat_pair(const float *x)
{
    uint32_t bits;

    memcpy(&bits, x, sizeof bits);
    return bits - (two){ 0 };
}

/* c + the products of both halves, the upper ones first. */
static inline vector fused_pairs(two a, two b, vector c)
{
#ifdef __AVX512BF16__
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));
    return c;
#else
    c = fused_vector((vector)(a & 0xffff0000), (vector)(b & 0xffff0000), c);
    return fused_vector((vector)(a << 16), (vector)(b << 16), c);
#endif
}

/* c + a b, for one element or pair A and a vector of them. */
static inline vector fused(const float *a, vector b, vector c, bool pairs)
{
    return pairs ? fused_pairs(splat_pair(a), (two)b, c) : fused_vector(splat(*a), b, c);
}

/* c (TILE_ROWS, TILE_COLS) = a b, or += where ADD. Element (i, k) of a is a[i * row + k * step];
   b (K, TILE_COLS) is packed. Asks for what lies AHEAD in its rows, unless that is 0, a line at a
   time. Four steps a turn: with one, counting costs an eighth of the rate. */
static inline __attribute__((always_inline)) void tile(float *c, int64_t ldc, const float *a,
                                                       int64_t row, int64_t step, int64_t ahead,
                                                       const float *b, int64_t k, bool add,
                                                       bool pairs)
{
    vector s00 = { 0 }, s01 = { 0 }, s10 = { 0 }, s11 = { 0 }, s20 = { 0 }, s21 = { 0 };
    vector s30 = { 0 }, s31 = { 0 }, s40 = { 0 }, s41 = { 0 }, s50 = { 0 }, s51 = { 0 };
    const float *a3 = a + 3 * row;

    for (int i = 0; i < TILE_ROWS; i++)
        __builtin_prefetch(c + i * ldc, 1);
#define SUM(i, from)                                                                               \
    do {                                                                                           \
        s##i##0 = fused(from, b0, s##i##0, pairs);                                                 \
        s##i##1 = fused(from, b1, s##i##1, pairs);                                                 \
    } while (0)
#define STEP()                                                                                     \
    do {                                                                                           \
        vector b0 = vector_at(b), b1 = vector_at(b + VECTOR);                                      \
                                                                                                   \
        SUM(0, a);                                                                                 \
        SUM(1, a + row);                                                                           \
        SUM(2, a + 2 * row);                                                                       \
        SUM(3, a3);                                                                                \
        SUM(4, a3 + row);                                                                          \
        SUM(5, a3 + 2 * row);                                                                      \
        a += step;                                                                                 \
        a3 += step;                                                                                \
        b += TILE_COLS;                                                                            \
    } while (0)
#define FOUR_STEPS()                                                                               \
    do {                                                                                           \
        STEP();                                                                                    \
        STEP();                                                                                    \
        STEP();                                                                                    \
        STEP();                                                                                    \
    } while (0)
    for (; ahead && k >= LINE; k -= LINE) {
        for (int i = 0; i < TILE_ROWS; i++)
            __builtin_prefetch(a + ahead + i * row);
        FOUR_STEPS();
        FOUR_STEPS();
        FOUR_STEPS();
        FOUR_STEPS();
    }
    for (; k >= 4; k -= 4)
        FOUR_STEPS();
    for (; k > 0; k--)
        STEP();
#undef FOUR_STEPS
#undef STEP
#undef SUM
#define STORE(i)                                                                                   \
    do {                                                                                           \
        vector *to = (vector *)(c + i * ldc), *next = (vector *)(c + i * ldc + VECTOR);            \
        if (add) {                                                                                 \
            s##i##0 += *to;                                                                        \
            s##i##1 += *next;                                                                      \
        }                                                                                          \
        *to = s##i##0;                                                                             \
        *next = s##i##1;                                                                           \
    } while (0)
    STORE(0);
    STORE(1);
    STORE(2);
    STORE(3);
    STORE(4);
    STORE(5);
#undef STORE
}

/* A loop of its own for each kind of operands. */
static inline __attribute__((always_inline)) void tile_of(float *c, int64_t ldc, const float *a,
                                                          int64_t row, int64_t step, int64_t ahead,
                                                          const float *b, int64_t k, bool add,
                                                          bool pairs)
{
    if (TILE_PAIRS && pairs)
        tile(c, ldc, a, row, step, ahead, b, k, add, true);
    else
        tile(c, ldc, a, row, step, ahead, b, k, add, false);
}

void tile_rows(float *c, int64_t ldc, const float *a, int64_t row, const float *b, int64_t k,
               bool add, bool pairs)
{
    tile_of(c, ldc, a, row, 1, 0, b, k, add, pairs);
}

void tile_rows_ahead(float *c, int64_t ldc, const float *a, int64_t row, int64_t ahead,
                     const float *b, int64_t k, bool add, bool pairs)
{
    tile_of(c, ldc, a, row, 1, ahead, b, k, add, pairs);
}

void tile_columns(float *c, int64_t ldc, const float *a, int64_t step, const float *b, int64_t k,
                  bool add, bool pairs)
{
    tile_of(c, ldc, a, 1, step, 0, b, k, add, pairs);
}

void mb_products_about(char *text, size_t size)
{
    snprintf(text, size, "own tiles of %d x %d, %s", TILE_ROWS, TILE_COLS, isa);
}
