/* The micro-kernel under the backend's own matrix products: a tile of C stays in registers while
   rows of B pass by. Blocks, packing and threads are the caller's: attention, the head and the
   gradients of weights, where packing and what comes between products can be shared. All other
   products go to the library.

   Vectors are the compiler's (gcc and clang know them on every machine); only the fused
   multiply-add is named, because -std=c11 forbids the compiler to fuse by itself. */
#ifndef MB_KERNELS_CPU_TILE_H
#define MB_KERNELS_CPU_TILE_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

enum {
    VECTOR = VECTOR_BYTES / sizeof(float),
    TILE_ROWS = 6, /* with two vectors of columns: 12 sums, which cover the latency of two */
    TILE_COLS = 2 * VECTOR /* FMA units and leave registers for operands */
};

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

/* c (TILE_ROWS, TILE_COLS) = a b, or += where ADD. Element (i, k) of a is a[i * row + k * step];
   b (K, TILE_COLS) is packed. */
static inline void tile(float *c, int64_t ldc, const float *a, int64_t row, int64_t step,
                        const float *b, int64_t k, int add)
{
    vector s00 = { 0 }, s01 = { 0 }, s10 = { 0 }, s11 = { 0 }, s20 = { 0 }, s21 = { 0 };
    vector s30 = { 0 }, s31 = { 0 }, s40 = { 0 }, s41 = { 0 }, s50 = { 0 }, s51 = { 0 };
    const float *a3 = a + 3 * row;

    for (int i = 0; i < TILE_ROWS; i++)
        __builtin_prefetch(c + i * ldc, 1);
#define STEP(i, from)                                                                              \
    do {                                                                                           \
        vector x = splat(*(from));                                                                 \
        s##i##0 = fused_vector(x, b0, s##i##0);                                                    \
        s##i##1 = fused_vector(x, b1, s##i##1);                                                    \
    } while (0)
    for (; k > 0; k--, a += step, a3 += step, b += TILE_COLS) {
        vector b0 = vector_at(b), b1 = vector_at(b + VECTOR);

        STEP(0, a);
        STEP(1, a + row);
        STEP(2, a + 2 * row);
        STEP(3, a3);
        STEP(4, a3 + row);
        STEP(5, a3 + 2 * row);
    }
#undef STEP
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

/* A tile at the edge of c, of which only ROWS rows and COLS columns are there. */
static inline void tile_part(float *c, int64_t ldc, const float *a, int64_t row, int64_t step,
                             const float *b, int64_t k, int add, int64_t rows, int64_t cols)
{
    float spare[TILE_ROWS * TILE_COLS];

    tile(spare, TILE_COLS, a, row, step, b, k, 0);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            c[i * ldc + j] = spare[i * TILE_COLS + j] + (add ? c[i * ldc + j] : 0);
}

/* The tile of c (ROWS, COLS) that begins at its row I and column J: whole, or what is there. */
static inline void tile_at(float *c, int64_t ldc, int64_t i, int64_t j, int64_t rows, int64_t cols,
                           const float *a, int64_t row, int64_t step, const float *b, int64_t k,
                           int add)
{
    rows -= i;
    cols -= j;
    c += i * ldc + j;
    if (rows >= TILE_ROWS && cols >= TILE_COLS)
        tile(c, ldc, a, row, step, b, k, add);
    else
        tile_part(c, ldc, a, row, step, b, k, add, rows < TILE_ROWS ? rows : TILE_ROWS,
                  cols < TILE_COLS ? cols : TILE_COLS);
}

/* FROM (ROWS, COLS) as panels of TILE_COLS columns, ROOM rows apart; 0 beyond COLS. */
static inline void pack_panels(float *to, const float *from, int64_t rows, int64_t cols,
                               int64_t room)
{
    for (int64_t j = 0; j < cols; j += TILE_COLS, to += room * TILE_COLS) {
        int64_t n = cols - j < TILE_COLS ? cols - j : TILE_COLS;

        for (int64_t i = 0; i < rows; i++) {
            float *row = to + i * TILE_COLS;

            if (n == TILE_COLS) { /* a constant size is a few moves, not a call */
                memcpy(row, from + i * cols + j, TILE_COLS * sizeof *to);
                continue;
            }
            memcpy(row, from + i * cols + j, (size_t)n * sizeof *to);
            memset(row + n, 0, (size_t)(TILE_COLS - n) * sizeof *to);
        }
    }
}

#endif
