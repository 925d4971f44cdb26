/* Packing for the micro-kernels: moves whole vectors, and asks for rows before it comes to them,
   since rows of a matrix lie too far apart for the machine to guess. */
#include "models/kernels/cpu/cpu.h"
#include "models/kernels/cpu/tile.h"

#include <string.h>

enum { LANES = 8, AHEAD = 8 }; /* floats of a vector; rows */

typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

void pack_panel(float *to, const float *from, int64_t rows, int64_t ld, int64_t left)
{
    for (int64_t i = 0; i < rows; i++, to += TILE_COLS, from += ld) {
        if (left >= TILE_COLS) { /* a constant size is a few moves, not a call */
            memcpy(to, from, TILE_COLS * sizeof *to);
            continue;
        }
        memset(to, 0, TILE_COLS * sizeof *to);
        memcpy(to, from, (size_t)left * sizeof *to);
    }
}

/* A few rows at once, so that both sides are read and written in runs. */
void pack_panels(float *to, const float *from, int64_t rows, int64_t cols, int64_t room)
{
    for (int64_t i = 0; i < rows; i += AHEAD)
        for (int64_t j = 0; j < cols; j += TILE_COLS)
            pack_panel(to + j * room + i * TILE_COLS, from + i * cols + j, smaller(rows - i, AHEAD),
                       cols, cols - j);
}

/* Elements 0 .. 7 of 8 rows, turned. */
static void turn(float *to, const float *const *row, int64_t k)
{
#define ROW(i)       (*(const lanes *)(row[i] + k))
#define OUT(i)       (*(lanes *)(to + (k + (i)) * TILE_COLS))
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

    OUT(0) = FIRST(u0, u4);
    OUT(1) = FIRST(u1, u5);
    OUT(2) = FIRST(u2, u6);
    OUT(3) = FIRST(u3, u7);
    OUT(4) = SECOND(u0, u4);
    OUT(5) = SECOND(u1, u5);
    OUT(6) = SECOND(u2, u6);
    OUT(7) = SECOND(u3, u7);
#undef ROW
#undef OUT
#undef LOW
#undef HIGH
#undef EVEN
#undef ODD
#undef FIRST
#undef SECOND
}

void pack_turned(float *to, const float *const *row, int64_t left, int64_t cols)
{
    for (int64_t i = 0; i < TILE_COLS; i += LANES, to += LANES) {
        int64_t there = smaller(left - i, LANES), k = 0;

        for (; there == LANES && k + LANES <= cols; k += LANES)
            turn(to, row + i, k);
        for (; k < cols; k++)
            for (int64_t j = 0; j < LANES; j++)
                to[k * TILE_COLS + j] = j < there ? row[i + j][k] : 0;
    }
}

void pack_strips(float *to, const float *from, int64_t rows, int64_t ld, int64_t left, int64_t n,
                 int64_t room)
{
    for (int64_t i = 0; i < rows; i++, to += TILE_ROWS, from += ld) {
        int64_t s = 0;

        if (i + AHEAD < rows)
            for (int64_t j = 0; j < left && j < n * TILE_ROWS; j += LINE)
                __builtin_prefetch(from + AHEAD * ld + j);
        for (; s < n && s * TILE_ROWS + LANES <= left; s++) /* one move, where six are three */
            memcpy(to + s * room, from + s * TILE_ROWS, LANES * sizeof *to);
        for (; s < n; s++) {
            memset(to + s * room, 0, TILE_ROWS * sizeof *to);
            memcpy(to + s * room, from + s * TILE_ROWS,
                   (size_t)smaller(left - s * TILE_ROWS, TILE_ROWS) * sizeof *to);
        }
    }
}
