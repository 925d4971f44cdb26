/* An even sample of a list whose length nobody knows beforehand, in bounded memory: every n-th item
   is kept, and n doubles whenever there are too many. No randomness: the same list gives the same
   sample. */
#ifndef MB_WORKLOADS_THIN_H
#define MB_WORKLOADS_THIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mb_thin {
    void (*free_item)(void *item); /* set by the caller, with the limits */
    size_t most_items, most_bytes;
    void **item; /* (count) */
    size_t *size;
    size_t count, bytes;
    int64_t seen, step; /* items so far; every STEP-th is kept */
    size_t item_room, size_room;
} mb_thin;

/* Whether the next item is to be kept, and so worth making; counts it. */
bool mb_thin_wants(mb_thin *t);
/* Keeps the item that was wanted, of SIZE bytes; takes it over. */
void mb_thin_keep(mb_thin *t, void *item, size_t size);
void mb_thin_free(mb_thin *t); /* the contents; accepts one without any */

#endif
