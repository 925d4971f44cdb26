/* JPEG through libjpeg. Warnings of the library are errors here: what it would make up for a
   damaged file is no picture. */
#include "base/file.h"
#include "workloads/picture.h"

#include <setjmp.h>
#include <stdio.h> /* which jpeglib.h needs before it */
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

typedef struct failure {
    struct jpeg_error_mgr manager; /* first: the library hands this pointer back */
    jmp_buf back;
    char message[JMSG_LENGTH_MAX];
} failure;

static void fail(j_common_ptr c)
{
    failure *f = (failure *)c->err;

    f->manager.format_message(c, f->message);
    longjmp(f->back, 1);
}

static void warn(j_common_ptr c, int level)
{
    if (level < 0 && c->err->msg_code != JWRN_EXTRANEOUS_DATA) /* bytes between parts: harmless */
        fail(c);
}

/* Leaves by longjmp when something is wrong. */
static mb_err decode(struct jpeg_decompress_struct *d, const char *name, const void *bytes,
                     size_t size, uint8_t **rgb)
{
    jpeg_create_decompress(d);
    jpeg_mem_src(d, bytes, size);
    jpeg_read_header(d, TRUE);
    MB_TRY(mb_picture_check(name, d->image_width, d->image_height));
    d->out_color_space = JCS_RGB;
    d->dct_method = JDCT_ISLOW; /* the one whose result is the same everywhere */
    jpeg_start_decompress(d);
    *rgb = mb_alloc((size_t)d->output_width * d->output_height * 3);
    while (d->output_scanline < d->output_height) {
        JSAMPROW row = *rgb + (size_t)d->output_scanline * d->output_width * 3;

        jpeg_read_scanlines(d, &row, 1);
    }
    jpeg_finish_decompress(d);
    return MB_OK;
}

mb_err mb_jpeg_decode(const char *name, const void *bytes, size_t size, uint8_t **rgb,
                      int64_t *width, int64_t *height)
{
    struct jpeg_decompress_struct d = { 0 };
    failure f;
    mb_err err;

    *rgb = NULL;
    d.err = jpeg_std_error(&f.manager);
    f.manager.error_exit = fail;
    f.manager.emit_message = warn;
    if (setjmp(f.back))
        err = mb_fail(MB_ECORRUPT, "%s: %s", name, f.message);
    else
        err = decode(&d, name, bytes, size, rgb);
    *width = d.output_width;
    *height = d.output_height;
    jpeg_destroy_decompress(&d);
    return err;
}
