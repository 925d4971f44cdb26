/* Pictures from files as small squares of colour, and to files. PNG needs libpng; a build without
 * it says so. */
#ifndef MB_WORKLOADS_PICTURE_H
#define MB_WORKLOADS_PICTURE_H

#include "base/err.h"

#include <stdint.h>

/* Reads a PNG file, lays it on white and fits it into the middle of a square: OUT (side, side, 3),
   each pixel the mean of what it covers. MB_ECORRUPT for what is no picture. */
mb_err mb_picture_read(const char *path, int side, uint8_t *out);

/* Writes PIXEL (height, width, channels), grey or RGB, as a PNG file, atomically. */
mb_err mb_picture_write(const char *path, const uint8_t *pixel, int width, int height,
                        int channels);

#endif
