#include "workloads/array.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *mb_resize(void *array, size_t count, size_t size)
{
    array = realloc(array, count * size);
    if (!array) {
        fprintf(stderr, "motbench: out of memory (%zu x %zu bytes)\n", count, size);
        abort();
    }
    return array;
}

void *mb_grow(void *array, size_t used, size_t *room, size_t size)
{
    if (used < *room)
        return array;
    *room = *room ? 2 * *room : 16;
    return mb_resize(array, *room, size);
}

void mb_texts_add(mb_texts *t, const char *text, size_t size)
{
    if (t->room - t->size < size) {
        t->room = 2 * (t->size + size);
        t->bytes = mb_resize(t->bytes, t->room, 1);
    }
    t->start = mb_grow(t->start, t->count + 1, &t->start_room, sizeof *t->start);
    memcpy(t->bytes + t->size, text, size);
    t->start[t->count++] = t->size;
    t->size += size;
    t->start[t->count] = t->size;
}

void mb_texts_free(mb_texts *t)
{
    free(t->bytes);
    free(t->start);
    memset(t, 0, sizeof *t);
}
