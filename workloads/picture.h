/* Pictures from files as small squares of colour, and to files. PNG needs libpng, JPEG libjpeg; a
   build without them says so. */
#ifndef MB_WORKLOADS_PICTURE_H
#define MB_WORKLOADS_PICTURE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* Reads a PNG or JPEG file, lays it on white and fits it into the middle of a square: OUT (side,
   side, 3), each pixel the mean of what it covers. MB_ECORRUPT for what is no picture, is damaged,
   or has more than MB_PICTURE_LARGEST pixels. */
enum { MB_PICTURE_LARGEST = 1 << 26 };
mb_err mb_picture_read(const char *path, int side, uint8_t *out);
/* The same of a file in memory; NAME opens messages. */
mb_err mb_picture_decode(const char *name, const void *bytes, size_t size, int side, uint8_t *out);

/* For picture.c: a JPEG file as *RGB (height, width, 3), which the caller frees. */
mb_err mb_jpeg_decode(const char *name, const void *bytes, size_t size, uint8_t **rgb,
                      int64_t *width, int64_t *height);
/* For both: refuses pictures without pixels, and too large ones. */
mb_err mb_picture_check(const char *name, uint64_t width, uint64_t height);

/* Writes PIXEL (height, width, channels), grey or RGB, as a PNG file, atomically. */
mb_err mb_picture_write(const char *path, const uint8_t *pixel, int width, int height,
                        int channels);

#endif
