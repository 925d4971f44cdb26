#include "workloads/idx.h"
#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static const int64_t largest = (int64_t)1 << 30; /* bytes; Fashion-MNIST has 47 MB */

/* Exactly N bytes, which begin at OFFSET of the uncompressed data. */
static mb_err read_exactly(gzFile f, const char *path, void *out, int64_t n, int64_t offset)
{
    int64_t got = gzread(f, out, (unsigned)n);
    int code = Z_OK;
    const char *why = gzerror(f, &code);

    if (code != Z_OK && code != Z_STREAM_END)
        return mb_fail(MB_ECORRUPT, "%s: offset %lld: %s", path,
                       (long long)(offset + (got > 0 ? got : 0)), why);
    if (got != n)
        return mb_fail(MB_ECORRUPT, "%s: offset %lld: the data ends, %lld bytes expected", path,
                       (long long)(offset + got), (long long)(offset + n));
    return MB_OK;
}

static mb_err read_shape(gzFile f, const char *path, mb_idx *out, int64_t *size)
{
    uint8_t head[4];

    MB_TRY(read_exactly(f, path, head, 4, 0));
    if (head[0] || head[1] || head[2] != 8 || head[3] < 1 || head[3] > 4)
        return mb_fail(MB_ECORRUPT,
                       "%s: offset 0: magic %02x%02x%02x%02x, expected 00000801 .. 00000804", path,
                       head[0], head[1], head[2], head[3]);
    out->rank = head[3];
    *size = 1;
    for (int i = 0; i < out->rank; i++) {
        MB_TRY(read_exactly(f, path, head, 4, 4 + 4 * i));
        out->shape[i] = (int64_t)head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3];
        if (out->shape[i] && *size > largest / out->shape[i])
            return mb_fail(MB_ECORRUPT, "%s: offset %d: more than %lld elements", path, 4 + 4 * i,
                           (long long)largest);
        *size *= out->shape[i];
    }
    return MB_OK;
}

static mb_err read_file(gzFile f, const char *path, mb_idx *out)
{
    int64_t size = 0, start;
    uint8_t more;

    MB_TRY(read_shape(f, path, out, &size));
    start = 4 + 4 * out->rank;
    out->data = malloc(size ? (size_t)size : 1);
    if (!out->data)
        return mb_fail(MB_ENOMEM, "%s: %lld bytes", path, (long long)size);
    MB_TRY(read_exactly(f, path, out->data, size, start));
    if (gzread(f, &more, 1) > 0)
        return mb_fail(MB_ECORRUPT, "%s: offset %lld: expected the end", path,
                       (long long)(start + size));
    return MB_OK;
}

mb_err mb_idx_read(const char *path, mb_idx *out)
{
    gzFile f = gzopen(path, "rbe");
    mb_err err;

    memset(out, 0, sizeof *out);
    if (!f)
        return mb_fail(errno == ENOENT ? MB_EMISSING : MB_EIO, "%s: %s", path, strerror(errno));
    err = read_file(f, path, out);
    gzclose_r(f);
    if (err) {
        free(out->data);
        memset(out, 0, sizeof *out);
    }
    return err;
}
