#include "workloads/thin.h"
#include "workloads/array.h"

#include <stdlib.h>

bool mb_thin_wants(mb_thin *t)
{
    if (!t->step)
        t->step = 1;
    return t->seen++ % t->step == 0;
}

/* Drops every other item, so that those of the doubled step are left. */
static void halve(mb_thin *t)
{
    size_t kept = 0;

    t->bytes = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (i % 2) {
            t->free_item(t->item[i]);
            continue;
        }
        t->item[kept] = t->item[i];
        t->size[kept] = t->size[i];
        t->bytes += t->size[kept++];
    }
    t->count = kept;
    t->step *= 2;
}

void mb_thin_keep(mb_thin *t, void *item, size_t size)
{
    t->item = mb_grow(t->item, t->count, &t->item_room, sizeof *t->item);
    t->size = mb_grow(t->size, t->count, &t->size_room, sizeof *t->size);
    t->item[t->count] = item;
    t->size[t->count++] = size;
    t->bytes += size;
    while (t->count > 1 && (t->count > t->most_items || t->bytes > t->most_bytes))
        halve(t);
}

void mb_thin_free(mb_thin *t)
{
    for (size_t i = 0; i < t->count; i++)
        t->free_item(t->item[i]);
    free(t->item);
    free(t->size);
    *t = (mb_thin){ 0 };
}
