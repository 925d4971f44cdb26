/* Images as tokens: 28 x 28 pixels are 7 x 7 patches of 4 x 4, in rows; a token is the patch's
   nearest centroid. */
#ifndef MB_WORKLOADS_IMAGE_TOKENS_H
#define MB_WORKLOADS_IMAGE_TOKENS_H

#include "workloads/captions.h"

#include <stdint.h>

enum { MB_PATCH_PIXELS = 16, MB_PATCHES = 49 };

/* IMAGE (28, 28) to PATCH (49, 16), and back. */
void mb_image_cut(const uint8_t *image, uint8_t *patch);
void mb_image_join(const uint8_t *patch, uint8_t *image);

/* The image (28, 28) that CODE (49) stands for, with centroids (K, 16); codes are below K. */
void mb_image_decode(const uint16_t *code, const uint8_t *centroid, uint8_t *image);

#endif
