/* The micro-kernels under attention. Its matrices are a head wide and a document long: too small
   for the tiles of tile.h, which have a packed operand and whole strips. A square is SIDE keys by
   SIDE queries; rows of the other matrices are `wide` apart, a head in whole SPANs. */
#ifndef MB_KERNELS_CPU_SQUARE_H
#define MB_KERNELS_CPU_SQUARE_H

#include "models/kernels/cpu/slots.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    SPAN = 2 * SIDE, /* columns of a head, or queries, that are summed at once */
    SQUARE = SIDE * SIDE
};

/* s = rows (SIDE, wide) times a half of turned (wide, SPAN): a block of keys, one of queries. */
void square_meet(float *s, const float *rows, int64_t wide, const float *turned);

/* The same with both halves; the second square is NEXT beyond the first. */
void square_meet_two(float *s, int64_t next, const float *rows, int64_t wide, const float *turned);

/* to (SIDE, wide) = the sum of s^T rows, or += where ADD, over N squares, one after another, and N
   blocks of SIDE rows: over keys. */
void square_over_keys(float *to, const float *s, const float *rows, int64_t wide, int64_t n,
                      bool add);

/* to (SIDE, wide) += the sum of s rows over N squares NEXT apart: over queries. */
void square_over_queries(float *to, const float *s, int64_t next, const float *rows, int64_t wide,
                         int64_t n);

/* A half of to (wide, SPAN) = the transpose of rows (SIDE, wide). */
void square_turn(float *to, const float *rows, int64_t wide);

#endif
