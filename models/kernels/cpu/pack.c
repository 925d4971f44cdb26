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

/* ---- pairs of bf16 -------------------------------------------------------------------------- */

typedef uint32_t bits __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef uint64_t couples __attribute__((vector_size(LANES * sizeof(float))));
typedef uint32_t half
    __attribute__((vector_size(LANES / 2 * sizeof(float)), aligned(4), may_alias));

/* mb_bf16_of() LANES numbers. */
static inline bits rounded_at(const float *x)
{
    bits b = *(const bits *)(const void *)x, nan = (bits)((b & 0x7fffffff) > 0x7f800000);

    return ((b | 0x400000) & nan) | ((b + 0x7fff + (b >> 16 & 1)) & ~nan);
}

/* Rows A and B two by two. */
static inline void pair_rows(float *to, const float *a, const float *b, int64_t width)
{
    for (int64_t j = 0; j < width; j += LANES) {
        bits pair = rounded_at(a + j) >> 16;

        if (b)
            pair |= rounded_at(b + j) & 0xffff0000;
        *(bits *)(void *)(to + j) = pair;
    }
}

/* N numbers that follow each other two by two. */
static void pair_steps(float *to, const float *x, int64_t n)
{
    int64_t i = 0;

    for (; i + LANES <= n; i += LANES) {
        couples two = (couples)rounded_at(x + i);

        two = (two >> 16 & 0xffff) | (two >> 32 & 0xffff0000);
        *(half *)(void *)(to + i / 2) = __builtin_convertvector(two, half);
    }
    if (i < n) {
        float rest[LANES] = { 0 };

        memcpy(rest, x + i, (size_t)(n - i) * sizeof *rest);
        pair_steps(rest, rest, LANES);
        memcpy(to + i / 2, rest, (size_t)(n - i) / 2 * sizeof *rest);
    }
}

void as_tile_operands(const mb_ctx *c, float *x, int64_t rows, int64_t width)
{
    if (!in_pairs(c)) {
        as_operands(c, x, rows * width);
        return;
    }
    if (width == 1) {
        pair_steps(x, x, rows);
        return;
    }
    for (int64_t i = 0; i + 1 < rows; i += 2)
        pair_rows(x + i / 2 * width, x + i * width, x + (i + 1) * width, width);
    if (rows % 2)
        pair_rows(x + rows / 2 * width, x + (rows - 1) * width, NULL, width);
}
