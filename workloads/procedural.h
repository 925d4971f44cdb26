/* What captions of the procedural sets say. */
#ifndef MB_WORKLOADS_PROCEDURAL_H
#define MB_WORKLOADS_PROCEDURAL_H

#include <stdint.h>

enum mb_procedural_slot { MB_SAYS_SHAPE, MB_SAYS_SHADE, MB_SAYS_SIZE, MB_SAYS_PLACE };

/* The word for value I of a slot. */
const char *mb_procedural_word(enum mb_procedural_slot slot, int i);

/* Shade, size and place of what is drawn in PIXEL (28, 28), which decoding may have blurred; size
   depends on the shape. */
void mb_procedural_see(const uint8_t *pixel, int *shade, int *size, int *place);

#endif
