#include "models/kernels/arena.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>

struct mb_block {
    struct mb_block *next; /* older ones */
    size_t size, used;
    char *data;
};

enum { ALIGN = 64 };

/* NULL, with a message, when there is no memory. */
static struct mb_block *add_block(mb_arena *a, size_t size)
{
    struct mb_block *b = mb_alloc(sizeof *b);

    b->data = a->alloc ? a->alloc(a->of, size) : mb_host_alloc(NULL, size);
    if (!b->data) {
        free(b);
        return NULL;
    }
    b->size = size;
    b->used = 0;
    b->next = a->blocks;
    a->blocks = b;
    return b;
}

static size_t round_up(size_t bytes)
{
    return (bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

void *mb_arena_take(mb_arena *a, size_t bytes)
{
    struct mb_block *b = a->blocks;
    size_t need = round_up(bytes ? bytes : 1);

    a->used += need;
    if (a->used > a->peak)
        a->peak = a->used;
    if (a->fake)
        return (void *)(uintptr_t)a->used; /* an address of the right alignment, never followed */
    if (!b || b->size - b->used < need) {
        size_t size = need > MB_ARENA_BLOCK ? need : MB_ARENA_BLOCK;

        b = add_block(a, size);
        if (!b) {
            fprintf(stderr, "motbench: scratch: %s\n", mb_message());
            abort();
        }
    }
    b->used += need;
    return b->data + b->used - need;
}

size_t mb_arena_size(const mb_arena *a)
{
    size_t size = 0;

    for (const struct mb_block *b = a->blocks; b; b = b->next)
        size += b->size;
    return size;
}

mb_err mb_arena_reserve(mb_arena *a, size_t bytes)
{
    if (a->fake)
        return MB_OK;
    if (mb_arena_size(a) < bytes) {
        mb_arena_free(a);
        if (!add_block(a, round_up(bytes)))
            return mb_fail_in(MB_ENOMEM, "activations");
    }
    return MB_OK;
}

mb_arena_mark mb_arena_at(const mb_arena *a)
{
    return (mb_arena_mark){ a->blocks, a->blocks ? a->blocks->used : 0, a->used };
}

/* Frees the blocks that are newer than KEPT. */
static void free_blocks(mb_arena *a, const struct mb_block *kept)
{
    while (a->blocks != kept) {
        struct mb_block *next = a->blocks->next;

        if (a->free)
            a->free(a->of, a->blocks->data);
        else
            free(a->blocks->data);
        free(a->blocks);
        a->blocks = next;
    }
}

void mb_arena_release(mb_arena *a, mb_arena_mark mark)
{
    free_blocks(a, mark.block);
    if (mark.block)
        mark.block->used = mark.block_used;
    a->used = mark.used;
}

void mb_arena_reset(mb_arena *a)
{
    a->used = 0;
    if (!a->blocks)
        return;
    if (a->blocks->next || a->blocks->size < a->peak) {
        /* The next pass finds one block for all, and in host memory some more: learned routes keep
           other numbers of rows there in every step, and memory that is new to a process is dear.
         */
        mb_arena_free(a);
        add_block(a, round_up(a->peak + (a->alloc ? 0 : a->peak / 8)));
    }
    if (a->blocks)
        a->blocks->used = 0;
}

void mb_arena_free(mb_arena *a)
{
    free_blocks(a, NULL);
}
