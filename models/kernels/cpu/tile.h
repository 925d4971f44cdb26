/* The micro-kernels under all matrix products of this backend: a tile of c stays in registers while
   rows of b pass by. And packing for them. Blocks, threads and what comes between products are the
   caller's.

   Operands are floats, or PAIRS of bf16: two steps in the space of a float, the first in its lower
   half. Where a machine multiplies pairs (avx512_bf16) that is twice as fast. */
#ifndef MB_KERNELS_CPU_TILE_H
#define MB_KERNELS_CPU_TILE_H

#include <stdbool.h>
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

/* Whether products in bf16 take pairs here. The emulated build does so too: with the instruction's
   arithmetic, in plain vectors. */
#if defined(__AVX512BF16__) || defined(MB_EMULATE)
#define TILE_PAIRS 1
#else
#define TILE_PAIRS 0
#endif

/* c (TILE_ROWS, TILE_COLS) = a b, or += where ADD; b (K, TILE_COLS) is packed. a is rows of a
   matrix, ROW elements apart. K, ROW and other distances count pairs where there are PAIRS. */
void tile_rows(float *c, int64_t ldc, const float *a, int64_t row, const float *b, int64_t k,
               bool add, bool pairs);

/* The same, which also asks the first-level cache for what lies AHEAD elements further on in each
   row of a: the strip that comes next. Where rows come from memory the machine's own guess is late,
   since each row is short. */
void tile_rows_ahead(float *c, int64_t ldc, const float *a, int64_t row, int64_t ahead,
                     const float *b, int64_t k, bool add, bool pairs);

/* tile_rows() where a is TILE_ROWS columns of a matrix whose rows are STEP elements apart. */
void tile_columns(float *c, int64_t ldc, const float *a, int64_t step, const float *b, int64_t k,
                  bool add, bool pairs);

enum { LINE = 16 }; /* floats of a cache line */

/* Asks the second-level cache for N lines, as far as there are, from line BEGIN on of a panel (K,
   TILE_COLS): the next one, while strips pass this one. Panels come from the third level or from
   memory, too late if asked for when used. */
static inline void ask_for(const float *panel, int64_t k, int64_t begin, int64_t n)
{
    int64_t all = k * TILE_COLS / LINE, end = begin + n < all ? begin + n : all;

    for (int64_t i = begin; i < end; i++)
        __builtin_prefetch(panel + i * LINE, 0, 2);
}

/* Lines of a panel to ask for with each of so many strips. */
static inline int64_t part_of_panel(int64_t k, int64_t strips)
{
    return (k * TILE_COLS / LINE + strips - 1) / strips;
}

/* c = or += the corner of a whole tile: at the edge of a matrix with ROWS rows and COLS columns
   left, fewer than the tile has of one of them. */
static inline void tile_corner(float *c, int64_t ldc, const float *whole, int64_t rows,
                               int64_t cols, bool add)
{
    rows = rows < TILE_ROWS ? rows : TILE_ROWS;
    cols = cols < TILE_COLS ? cols : TILE_COLS;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            c[i * ldc + j] = whole[i * TILE_COLS + j] + (add ? c[i * ldc + j] : 0);
}

/* The same, where ROWS rows and COLS columns of c are left. */
static inline void tile_rows_at(float *c, int64_t ldc, const float *a, int64_t row, int64_t ahead,
                                const float *b, int64_t k, bool add, bool pairs, int64_t rows,
                                int64_t cols)
{
    float whole[TILE_ROWS * TILE_COLS];

    if (rows >= TILE_ROWS && cols >= TILE_COLS) {
        tile_rows_ahead(c, ldc, a, row, ahead, b, k, add, pairs);
        return;
    }
    tile_rows(whole, TILE_COLS, a, row, b, k, false, pairs);
    tile_corner(c, ldc, whole, rows, cols, add);
}

static inline void tile_columns_at(float *c, int64_t ldc, const float *a, int64_t step,
                                   const float *b, int64_t k, bool add, bool pairs, int64_t rows,
                                   int64_t cols)
{
    float whole[TILE_ROWS * TILE_COLS];

    if (rows >= TILE_ROWS && cols >= TILE_COLS) {
        tile_columns(c, ldc, a, step, b, k, add, pairs);
        return;
    }
    tile_columns(whole, TILE_COLS, a, step, b, k, false, pairs);
    tile_corner(c, ldc, whole, rows, cols, add);
}

/* ---- packing (pack.c) ----------------------------------------------------------------------- */

/* One panel: TILE_COLS of the columns of FROM (ROWS, LD), of which LEFT are there; 0 beyond. */
void pack_panel(float *to, const float *from, int64_t rows, int64_t ld, int64_t left);

/* FROM (ROWS, COLS) as panels of TILE_COLS columns, ROOM rows apart. */
void pack_panels(float *to, const float *from, int64_t rows, int64_t cols, int64_t room);

/* One panel of a transpose: row k holds element k of TILE_COLS rows, of which LEFT are there; 0
   beyond. ROW: where each begins; COLS elements. */
void pack_turned(float *to, const float *const *row, int64_t left, int64_t cols);

/* N strips, ROOM elements apart: each (ROWS, TILE_ROWS) holds so many columns of FROM (ROWS, LD),
   of which LEFT are there; 0 beyond. Writes up to a vector beyond the end of a strip. */
void pack_strips(float *to, const float *from, int64_t rows, int64_t ld, int64_t left, int64_t n,
                 int64_t room);

#endif
