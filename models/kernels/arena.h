/* Scratch of a ctx: bump allocation, all freed at once by a reset, or back to a mark. For the front
   (op.c, ctx.c, recompute.c) only.

   The first pass may grow it block by block; a reset leaves one block of the most that was in use,
   and in host memory an eighth, so later passes of about the same size allocate nothing. Blocks
   come from a->alloc, or are plain host memory where that is NULL. */
#ifndef MB_KERNELS_ARENA_H
#define MB_KERNELS_ARENA_H

#include "models/kernels/backend.h"

enum { MB_ARENA_BLOCK = 1 << 20 }; /* bytes of the smallest block that is taken unless reserved */

/* 64-byte aligned, not cleared; aborts when memory is gone (mb_arena_reserve tells beforehand). */
void *mb_arena_take(mb_arena *a, size_t bytes);
mb_err mb_arena_reserve(mb_arena *a, size_t bytes);
size_t mb_arena_size(const mb_arena *a); /* bytes of its blocks */
void mb_arena_reset(mb_arena *a);

typedef struct mb_arena_mark { /* how much was taken at some moment */
    struct mb_block *block;
    size_t block_used, used;
} mb_arena_mark;

mb_arena_mark mb_arena_at(const mb_arena *a);
/* Gives back everything taken since. */
void mb_arena_release(mb_arena *a, mb_arena_mark mark);
void mb_arena_free(mb_arena *a);

#endif
