#include "workloads/picture.h"
#include "base/file.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

/* Bounds of cell I of N over LENGTH pixels, at least one of them. */
static void cell(int64_t i, int64_t n, int64_t length, int64_t *from, int64_t *to)
{
    *from = i * length / n;
    *to = (i + 1) * length / n;
    if (*to == *from)
        ++*to;
}

static void fit(const uint8_t *rgb, int64_t width, int64_t height, int64_t side, uint8_t *out)
{
    int64_t longest = width > height ? width : height;
    int64_t w = width * side / longest, h = height * side / longest;

    w = w < 1 ? 1 : w;
    h = h < 1 ? 1 : h;
    memset(out, 255, (size_t)(side * side * 3));
    for (int64_t y = 0; y < h; y++) {
        for (int64_t x = 0; x < w; x++) {
            uint8_t *to = out + (((side - h) / 2 + y) * side + (side - w) / 2 + x) * 3;
            int64_t x0, x1, y0, y1, sum[3] = { 0 }, n;

            cell(x, w, width, &x0, &x1);
            cell(y, h, height, &y0, &y1);
            n = (x1 - x0) * (y1 - y0);
            for (int64_t i = y0; i < y1; i++) {
                for (int64_t k = x0; k < x1; k++) {
                    for (int c = 0; c < 3; c++)
                        sum[c] += rgb[(i * width + k) * 3 + c];
                }
            }
            for (int c = 0; c < 3; c++)
                to[c] = (uint8_t)((2 * sum[c] + n) / (2 * n));
        }
    }
}

mb_err mb_picture_check(const char *name, uint64_t width, uint64_t height)
{
    if (width < 1 || height < 1 || width > MB_PICTURE_LARGEST / height)
        return mb_fail(MB_ECORRUPT, "%s: %llu x %llu pixels, expected some, and at most %d", name,
                       (unsigned long long)width, (unsigned long long)height, MB_PICTURE_LARGEST);
    return MB_OK;
}

static mb_err decode_png(const char *name, const void *bytes, size_t size, uint8_t **rgb,
                         int64_t *width, int64_t *height)
{
    png_image image = { .version = PNG_IMAGE_VERSION };
    const png_color white = { 255, 255, 255 };
    mb_err err;

    if (!png_image_begin_read_from_memory(&image, bytes, size))
        return mb_fail(MB_ECORRUPT, "%s: %s", name, image.message);
    image.format = PNG_FORMAT_RGB;
    *width = image.width;
    *height = image.height;
    err = mb_picture_check(name, image.width, image.height);
    if (!err) {
        *rgb = mb_alloc(PNG_IMAGE_SIZE(image));
        if (!png_image_finish_read(&image, &white, *rgb, 0, NULL))
            err = mb_fail(MB_ECORRUPT, "%s: %s", name, image.message);
    }
    png_image_free(&image);
    return err;
}

mb_err mb_picture_decode(const char *name, const void *bytes, size_t size, int side, uint8_t *out)
{
    int64_t width = 0, height = 0;
    uint8_t *rgb = NULL;
    mb_err err;

    if (size >= 8 && !memcmp(bytes, "\x89PNG\r\n\x1a\n", 8))
        err = decode_png(name, bytes, size, &rgb, &width, &height);
    else if (size >= 3 && !memcmp(bytes, "\xff\xd8\xff", 3))
        err = mb_jpeg_decode(name, bytes, size, &rgb, &width, &height);
    else
        err = mb_fail(MB_ECORRUPT, "%s: neither PNG nor JPEG", name);
    if (!err)
        fit(rgb, width, height, side, out);
    free(rgb);
    return err;
}

mb_err mb_picture_read(const char *path, int side, uint8_t *out)
{
    mb_map map;
    mb_err err;

    MB_TRY(mb_map_open(path, &map));
    err = mb_picture_decode(path, map.data, map.size, side, out);
    mb_map_close(&map);
    return err;
}

mb_err mb_picture_write(const char *path, const uint8_t *pixel, int width, int height, int channels)
{
    png_image image = { .version = PNG_IMAGE_VERSION,
                        .width = (png_uint_32)width,
                        .height = (png_uint_32)height,
                        .format = channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB };
    mb_replace r;

    MB_TRY(mb_replace_open(path, &r));
    if (!png_image_write_to_stdio(&image, r.file, 0, pixel, 0, NULL)) {
        mb_replace_abort(&r);
        return mb_fail(MB_EIO, "%s: %s", path, image.message);
    }
    return mb_replace_commit(&r);
}
