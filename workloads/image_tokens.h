/* Images as patches of 4 x 4 pixels, in rows, and as tokens: a token is the patch's nearest
   centroid. */
#ifndef MB_WORKLOADS_IMAGE_TOKENS_H
#define MB_WORKLOADS_IMAGE_TOKENS_H

#include <stddef.h>
#include <stdint.h>

/* Of all images of a set: (side, side, channels) bytes each; SIDE is a multiple of 4. */
typedef struct mb_image_shape {
    int side, channels;
} mb_image_shape;

static inline int mb_image_patches(mb_image_shape s)
{
    return s.side / 4 * (s.side / 4);
}

static inline int mb_patch_bytes(mb_image_shape s)
{
    return 16 * s.channels;
}

static inline size_t mb_image_bytes(mb_image_shape s)
{
    return (size_t)s.side * (size_t)s.side * (size_t)s.channels;
}

/* A byte as a number in -1 .. 1, and the byte nearest to a number. */
static inline float mb_pixel_number(uint8_t byte)
{
    return (float)byte / 127.5f - 1;
}

static inline uint8_t mb_pixel_byte(float number)
{
    float x = (number + 1) * 127.5f + 0.5f;

    return (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
}

/* IMAGE (side, side, channels) to PATCH (patches, 16 * channels), and back. */
void mb_image_cut(mb_image_shape s, const uint8_t *image, uint8_t *patch);
void mb_image_join(mb_image_shape s, const uint8_t *patch, uint8_t *image);

/* The image that CODE (patches) stands for, with centroids (K, 16 * channels); codes are below K.
 */
void mb_image_decode(mb_image_shape s, const uint16_t *code, const uint8_t *centroid,
                     uint8_t *image);

#endif
