/* Growing arrays and lists of texts. */
#ifndef MB_WORKLOADS_ARRAY_H
#define MB_WORKLOADS_ARRAY_H

#include <stddef.h>
#include <stdint.h>

/* ARRAY with room for COUNT elements of SIZE bytes; aborts when memory is gone. */
void *mb_resize(void *array, size_t count, size_t size);

/* ARRAY with room for one more element of SIZE bytes after USED; aborts when memory is gone. */
void *mb_grow(void *array, size_t used, size_t *room, size_t size);

/* Texts one after another; text i is bytes + start[i], start[i + 1] - start[i] long. */
typedef struct mb_texts {
    char *bytes;
    size_t *start; /* count + 1 of them once there is a text */
    size_t size, room, count, start_room;
} mb_texts;

void mb_texts_add(mb_texts *t, const char *text, size_t size);
void mb_texts_free(mb_texts *t); /* the contents; accepts a zeroed one */

#endif
