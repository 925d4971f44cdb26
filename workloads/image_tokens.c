#include "workloads/image_tokens.h"

#include <string.h>

enum { PATCH_SIDE = 4, PATCHES_SIDE = MB_IMAGE_SIDE / PATCH_SIDE };

/* Where row R of patch P begins in an image. */
static int row_start(int p, int r)
{
    return (p / PATCHES_SIDE * PATCH_SIDE + r) * MB_IMAGE_SIDE + p % PATCHES_SIDE * PATCH_SIDE;
}

void mb_image_cut(const uint8_t *image, uint8_t *patch)
{
    for (int p = 0; p < MB_PATCHES; p++) {
        for (int r = 0; r < PATCH_SIDE; r++)
            memcpy(patch + p * MB_PATCH_PIXELS + r * PATCH_SIDE, image + row_start(p, r),
                   PATCH_SIDE);
    }
}

void mb_image_join(const uint8_t *patch, uint8_t *image)
{
    for (int p = 0; p < MB_PATCHES; p++) {
        for (int r = 0; r < PATCH_SIDE; r++)
            memcpy(image + row_start(p, r), patch + p * MB_PATCH_PIXELS + r * PATCH_SIDE,
                   PATCH_SIDE);
    }
}

void mb_image_decode(const uint16_t *code, const uint8_t *centroid, uint8_t *image)
{
    uint8_t patch[MB_PATCHES * MB_PATCH_PIXELS];

    for (int p = 0; p < MB_PATCHES; p++)
        memcpy(patch + p * MB_PATCH_PIXELS, centroid + code[p] * MB_PATCH_PIXELS, MB_PATCH_PIXELS);
    mb_image_join(patch, image);
}
