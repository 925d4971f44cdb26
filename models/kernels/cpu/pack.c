/* Packing for the micro-kernels: moves whole vectors, and asks for rows before it comes to them,
   since rows of a matrix lie too far apart for the machine to guess. */
#include "models/kernels/cpu/cpu.h"
#include "models/kernels/cpu/simd.h"
#include "models/kernels/cpu/tile.h"

#include <string.h>

enum { AHEAD = 8 }; /* rows */

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

void pack_turned(float *to, const float *const *row, int64_t left, int64_t cols)
{
    for (int64_t i = 0; i < TILE_COLS; i += LANES, to += LANES) {
        int64_t there = smaller(left - i, LANES), k = 0;

        for (; there == LANES && k + LANES <= cols; k += LANES)
            turn_rows(to + k * TILE_COLS, TILE_COLS, row + i, k);
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
