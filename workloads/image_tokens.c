#include "workloads/image_tokens.h"

#include <string.h>

enum { PATCH_SIDE = 4 };

/* Where row R of patch P begins in an image. */
static size_t row_start(mb_image_shape s, int p, int r)
{
    int across = s.side / PATCH_SIDE;
    int pixel = (p / across * PATCH_SIDE + r) * s.side + p % across * PATCH_SIDE;

    return (size_t)pixel * (size_t)s.channels;
}

void mb_image_cut(mb_image_shape s, const uint8_t *image, uint8_t *patch)
{
    size_t row = (size_t)PATCH_SIDE * (size_t)s.channels;

    for (int p = 0; p < mb_image_patches(s); p++) {
        for (int r = 0; r < PATCH_SIDE; r++, patch += row)
            memcpy(patch, image + row_start(s, p, r), row);
    }
}

/* PATCH becomes patch P of an image. */
static void put_patch(mb_image_shape s, int p, const uint8_t *patch, uint8_t *image)
{
    size_t row = (size_t)PATCH_SIDE * (size_t)s.channels;

    for (int r = 0; r < PATCH_SIDE; r++, patch += row)
        memcpy(image + row_start(s, p, r), patch, row);
}

void mb_image_join(mb_image_shape s, const uint8_t *patch, uint8_t *image)
{
    for (int p = 0; p < mb_image_patches(s); p++)
        put_patch(s, p, patch + p * mb_patch_bytes(s), image);
}

void mb_image_decode(mb_image_shape s, const uint16_t *code, const uint8_t *centroid,
                     uint8_t *image)
{
    for (int p = 0; p < mb_image_patches(s); p++)
        put_patch(s, p, centroid + code[p] * mb_patch_bytes(s), image);
}
