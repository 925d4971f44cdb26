/* The .npy format: "\x93NUMPY", version, header length, a Python dict literal, then the elements.
   The literal is parsed strictly: three keys, each once, in any order, and nothing else. */
#include "base/npy.h"
#include "base/half.h"

#include <string.h>

enum { ALIGNMENT = 64 }; /* of the first element, as numpy writes it */

typedef struct cursor {
    const char *path;
    const unsigned char *begin, *at, *end;
} cursor;

static mb_err refuse(const cursor *c, const char *expected)
{
    char found[16];
    size_t n = 0;

    for (const unsigned char *at = c->at; at < c->end && n + 1 < sizeof found; at++)
        found[n++] = *at < ' ' || *at > '~' ? '?' : (char)*at;
    found[n] = '\0';
    return mb_fail(MB_ECORRUPT, "%s: offset %zu: npy header: found %s, expected %s", c->path,
                   (size_t)(c->at - c->begin), n ? found : "its end", expected);
}

static void skip_spaces(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n'))
        c->at++;
}

static bool take(cursor *c, const char *word)
{
    size_t n = strlen(word);

    skip_spaces(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n))
        return false;
    c->at += n;
    return true;
}

static mb_err parse_descr(cursor *c, mb_npy *out)
{
    static const char *const known[] = { "'|u1'", "'<u2'", "'<u4'", "'<i4'",
                                         "'<i8'", "'<f2'", "'<f4'", "'<f8'" };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (take(c, known[i])) {
            out->kind = known[i][2];
            out->size = known[i][3] - '0';
            return MB_OK;
        }
    }
    return refuse(c, "a type out of |u1 <u2 <u4 <i4 <i8 <f2 <f4 <f8");
}

static mb_err parse_number(cursor *c, int64_t *out)
{
    int64_t n = 0;
    const unsigned char *first;

    skip_spaces(c);
    first = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        if (n > (INT64_MAX - 9) / 10)
            return refuse(c, "a dimension that fits 63 bits");
        n = n * 10 + (*c->at++ - '0');
    }
    if (c->at == first)
        return refuse(c, "a dimension");
    *out = n;
    return MB_OK;
}

/* (), (N,), (N, M) ...: at most four dimensions; a lone one needs its comma. */
static mb_err parse_shape(cursor *c, mb_npy *out)
{
    bool comma = false;

    if (!take(c, "("))
        return refuse(c, "'(' of the shape");
    while (!take(c, ")")) {
        if (out->rank > 0 && !comma)
            return refuse(c, "',' or ')'");
        if (out->rank == 4)
            return refuse(c, "at most 4 dimensions");
        MB_TRY(parse_number(c, &out->shape[out->rank++]));
        comma = take(c, ",");
    }
    if (out->rank == 1 && !comma)
        return refuse(c, "',' after a lone dimension");
    return MB_OK;
}

static mb_err parse_dict(cursor *c, mb_npy *out)
{
    bool descr = false, order = false, shape = false, comma = true;

    if (!take(c, "{"))
        return refuse(c, "'{'");
    while (!take(c, "}")) {
        if (!comma)
            return refuse(c, "',' or '}'");
        if (!descr && take(c, "'descr':")) {
            MB_TRY(parse_descr(c, out));
            descr = true;
        } else if (!order && take(c, "'fortran_order':")) {
            if (!take(c, "False"))
                return refuse(c, "fortran_order False (C order)");
            order = true;
        } else if (!shape && take(c, "'shape':")) {
            MB_TRY(parse_shape(c, out));
            shape = true;
        } else {
            return refuse(c, "'descr', 'fortran_order' and 'shape', once each");
        }
        comma = take(c, ",");
    }
    skip_spaces(c);
    if (!descr || !order || !shape)
        return refuse(c, "'descr', 'fortran_order' and 'shape'");
    return c->at == c->end ? MB_OK : refuse(c, "the header's end");
}

/* Finds the dict: C then spans it. */
static mb_err parse_preamble(cursor *c)
{
    size_t size = (size_t)(c->end - c->begin), length, start;

    if (size < 10 || memcmp(c->begin, "\x93NUMPY", 6))
        return refuse(c, "\\x93NUMPY, a version and a length");
    c->at = c->begin + 6;
    if (c->begin[6] < 1 || c->begin[6] > 3 || c->begin[7] != 0)
        return refuse(c, "version 1.0, 2.0 or 3.0");
    start = c->begin[6] == 1 ? 10 : 12;
    c->at = c->begin + 8;
    if (size < start)
        return refuse(c, "a header length of 4 bytes");
    length = c->begin[8] | (size_t)c->begin[9] << 8;
    if (start == 12)
        length |= (size_t)c->begin[10] << 16 | (size_t)c->begin[11] << 24;
    if (length > size - start)
        return refuse(c, "a header length within the file");
    c->at = c->begin + start;
    c->end = c->at + length;
    return MB_OK;
}

static mb_err check_length(const cursor *c, mb_npy *out)
{
    size_t found = out->map.size - (size_t)(c->end - c->begin);

    out->count = 1;
    for (int i = 0; i < out->rank; i++) {
        if (__builtin_mul_overflow(out->count, out->shape[i], &out->count))
            return refuse(c, "a shape whose size fits 63 bits");
    }
    if ((uint64_t)out->count > SIZE_MAX / (size_t)out->size ||
        (size_t)out->count * (size_t)out->size != found)
        return mb_fail(
            MB_ECORRUPT, "%s: offset %zu: %zu bytes of elements where the shape needs %lld x %d",
            c->path, (size_t)(c->end - c->begin), found, (long long)out->count, out->size);
    out->data = c->end;
    return MB_OK;
}

mb_err mb_npy_open(const char *path, mb_npy *out)
{
    cursor c = { .path = path };
    mb_err err;

    memset(out, 0, sizeof *out);
    MB_TRY(mb_map_open(path, &out->map));
    c.begin = c.at = out->map.data;
    c.end = out->map.size ? c.begin + out->map.size : c.begin;
    err = parse_preamble(&c);
    if (!err)
        err = parse_dict(&c, out);
    if (!err)
        err = check_length(&c, out);
    if (err)
        mb_npy_close(out);
    return err;
}

void mb_npy_close(mb_npy *n)
{
    mb_map_close(&n->map);
    memset(n, 0, sizeof *n);
}

/* Element I's bytes as a little-endian number. */
static uint64_t element(const mb_npy *n, int64_t i)
{
    uint64_t bits = 0;

    memcpy(&bits, (const unsigned char *)n->data + i * n->size, (size_t)n->size);
    return bits;
}

int64_t mb_npy_int(const mb_npy *n, int64_t i)
{
    uint64_t bits = element(n, i);

    return n->kind == 'i' && n->size == 4 ? (int32_t)(uint32_t)bits : (int64_t)bits;
}

double mb_npy_float(const mb_npy *n, int64_t i)
{
    uint64_t bits = element(n, i);
    double wide;
    float narrow;

    if (n->kind != 'f')
        return (double)mb_npy_int(n, i);
    if (n->size == 2)
        return mb_half_to_float((uint16_t)bits);
    if (n->size == 4) {
        uint32_t low = (uint32_t)bits;

        memcpy(&narrow, &low, sizeof narrow);
        return narrow;
    }
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

mb_err mb_npy_write_f32(const char *path, const float *data, int rank, const int64_t *shape)
{
    char header[256], dims[128] = "";
    size_t count = 1, used = 0;
    int pad;
    mb_replace r;

    for (int i = 0; i < rank; i++) {
        count *= (size_t)shape[i];
        used += (size_t)snprintf(dims + used, sizeof dims - used, i ? ", %lld" : "%lld",
                                 (long long)shape[i]);
    }
    used = (size_t)snprintf(header, sizeof header,
                            "{'descr': '<f4', 'fortran_order': False, 'shape': (%s%s), }", dims,
                            rank == 1 ? "," : "");
    pad = (int)(ALIGNMENT - (10 + used + 1) % ALIGNMENT) % ALIGNMENT;
    used += (size_t)snprintf(header + used, sizeof header - used, "%*s\n", pad, "");
    MB_TRY(mb_replace_open(path, &r));
    fwrite("\x93NUMPY\x01\x00", 1, 8, r.file); /* a failed write shows in the commit */
    fputc((int)(used & 255), r.file);
    fputc((int)(used >> 8), r.file);
    fwrite(header, 1, used, r.file);
    fwrite(data, sizeof *data, count, r.file);
    return mb_replace_commit(&r);
}
