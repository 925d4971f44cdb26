/* Reading and writing .safetensors files.

   A reader trusts nothing: the header is parsed by jansson, and every tensor must name a known
   dtype and lie where its shape says. As the format asks, tensors cover the data without holes or
   overlaps. What is refused here although others accept it: more than four dimensions, dtypes that
   motbench never writes, and control characters in names (messages are one line).

   This file knows nothing of models: models/checkpoint.c decides which tensors there must be. */
#include "models/safetensors.h"

#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

enum {
    PREFIX = 8,             /* bytes of the header length */
    ALIGN = 8,              /* the data starts at a multiple of it, as the format's writers do */
    MAX_HEADER = 100000000, /* bytes; the limit of the format's own library */
    MAX_RANK = 4
};

static const char metadata_name[] = "__metadata__";

static const struct dtype {
    const char *name;
    size_t size; /* bytes of an element */
} dtypes[] = { { "F32", 4 }, { "F64", 8 }, { "I32", 4 }, { "I64", 8 }, { "U8", 1 }, { "BF16", 2 } };

struct mb_safetensors {
    mb_map map;
    const char *path;          /* the caller's; valid while opening */
    const unsigned char *data; /* behind the header */
    int64_t data_size;
    json_t *header;
    mb_st_tensor *tensors;
    size_t count;
};

static const struct dtype *find_dtype(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (name && !strcmp(name, dtypes[i].name))
            return &dtypes[i];
    return NULL;
}

/* ---- reading ------------------------------------------------------------------------------- */

static mb_err bad_tensor(const mb_safetensors *s, const char *name, const char *what)
{
    return mb_fail(MB_ECORRUPT, "%s: tensor '%.200s': %s", s->path, name, what);
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return true;
    return false;
}

static mb_err parse_shape(const mb_safetensors *s, const json_t *shape, mb_st_tensor *t)
{
    size_t rank = json_array_size(shape), i;
    const json_t *dim;
    int64_t count = 1;
    bool empty = false;

    if (!json_is_array(shape))
        return bad_tensor(s, t->name, "no 'shape', expected an array");
    if (rank > MAX_RANK)
        return mb_fail(MB_ECORRUPT, "%s: tensor '%.200s': %zu dimensions, expected at most %d",
                       s->path, t->name, rank, MAX_RANK);
    t->rank = (int)rank;
    json_array_foreach(shape, i, dim)
    {
        t->shape[i] = json_integer_value(dim);
        if (!json_is_integer(dim) || t->shape[i] < 0)
            return bad_tensor(s, t->name, "a dimension is not an integer >= 0");
        empty |= t->shape[i] == 0;
    }
    for (i = 0; i < rank && !empty; i++)
        if (__builtin_mul_overflow(count, t->shape[i], &count))
            return bad_tensor(s, t->name, "the product of its dimensions overflows");
    if (__builtin_mul_overflow(empty ? 0 : (size_t)count, find_dtype(t->dtype)->size, &t->size) ||
        t->size > INT64_MAX)
        return bad_tensor(s, t->name, "its size in bytes overflows");
    return MB_OK;
}

static mb_err parse_offsets(const mb_safetensors *s, const json_t *offsets, mb_st_tensor *t)
{
    const json_t *b = json_array_get(offsets, 0), *e = json_array_get(offsets, 1);
    int64_t begin = json_integer_value(b), end = json_integer_value(e);

    if (json_array_size(offsets) != 2 || !json_is_integer(b) || !json_is_integer(e))
        return bad_tensor(s, t->name, "no 'data_offsets', expected two integers");
    if (begin < 0 || end < begin || end > s->data_size)
        return mb_fail(MB_ECORRUPT,
                       "%s: tensor '%.200s': data_offsets [%" PRId64 ", %" PRId64
                       "] outside the %" PRId64 " bytes of data",
                       s->path, t->name, begin, end, s->data_size);
    if ((size_t)(end - begin) != t->size)
        return mb_fail(MB_ECORRUPT,
                       "%s: tensor '%.200s': data_offsets [%" PRId64 ", %" PRId64 "] hold %" PRId64
                       " bytes, its shape and dtype need %zu",
                       s->path, t->name, begin, end, end - begin, t->size);
    t->data = s->data + begin;
    return MB_OK;
}

static mb_err parse_tensor(const mb_safetensors *s, const char *name, const json_t *entry,
                           mb_st_tensor *t)
{
    const struct dtype *dtype = find_dtype(json_string_value(json_object_get(entry, "dtype")));

    t->name = name;
    if (!*name || has_control(name))
        return mb_fail(MB_ECORRUPT, "%s: a tensor's name is empty or has a control character",
                       s->path);
    if (!json_is_object(entry))
        return bad_tensor(s, name, "expected an object");
    if (!dtype)
        return bad_tensor(s, name, "unknown dtype, expected F32, F64, I32, I64, U8 or BF16");
    if (json_object_size(entry) != 3)
        return bad_tensor(s, name, "expected exactly 'dtype', 'shape' and 'data_offsets'");
    t->dtype = dtype->name;
    MB_TRY(parse_shape(s, json_object_get(entry, "shape"), t));
    return parse_offsets(s, json_object_get(entry, "data_offsets"), t);
}

static mb_err check_metadata(const mb_safetensors *s, json_t *metadata)
{
    const char *key;
    json_t *value;

    if (!json_is_object(metadata))
        return mb_fail(MB_ECORRUPT, "%s: %s: expected an object", s->path, metadata_name);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return mb_fail(MB_ECORRUPT, "%s: %s: expected strings only", s->path, metadata_name);
    }
    return MB_OK;
}

/* By place in the file; an empty tensor stands before the one that starts at the same place. */
static int by_offset(const void *a, const void *b)
{
    const mb_st_tensor *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;

    return p != q ? (p > q) - (p < q) : (x->size > y->size) - (x->size < y->size);
}

/* Sorted tensors must follow each other from the first byte of the data to the last. */
static mb_err check_cover(const mb_safetensors *s)
{
    const unsigned char *end = s->data;

    for (size_t i = 0; i < s->count; i++) {
        const mb_st_tensor *t = &s->tensors[i];
        const unsigned char *begin = t->data;

        if (begin != end)
            return mb_fail(MB_ECORRUPT,
                           "%s: tensor '%.200s': starts at byte %td of the data, expected %td (%s)",
                           s->path, t->name, begin - s->data, end - s->data,
                           begin < end ? "overlap" : "hole");
        end = begin + t->size;
    }
    if (end != s->data + s->data_size)
        return mb_fail(MB_ECORRUPT, "%s: offset %td: %td bytes behind the last tensor", s->path,
                       end - s->map.data, s->data + s->data_size - end);
    return MB_OK;
}

static mb_err parse_tensors(mb_safetensors *s)
{
    const char *name;
    json_t *entry;

    s->tensors = mb_zalloc(json_object_size(s->header), sizeof *s->tensors);
    json_object_foreach(s->header, name, entry)
    {
        if (!strcmp(name, metadata_name))
            MB_TRY(check_metadata(s, entry));
        else
            MB_TRY(parse_tensor(s, name, entry, &s->tensors[s->count++]));
    }
    qsort(s->tensors, s->count, sizeof *s->tensors, by_offset);
    return check_cover(s);
}

static mb_err parse_header(mb_safetensors *s)
{
    const char *text = (const char *)s->map.data + PREFIX;
    json_error_t where;
    uint64_t length;

    if (s->map.size < PREFIX)
        return mb_fail(MB_ECORRUPT, "%s: %zu bytes, expected at least %d (the header's length)",
                       s->path, s->map.size, PREFIX);
    memcpy(&length, s->map.data, PREFIX);
    if (length > s->map.size - PREFIX || length > MAX_HEADER)
        return mb_fail(
            MB_ECORRUPT, "%s: offset 0: a header of %" PRIu64 " bytes, expected at most %zu",
            s->path, length, s->map.size - PREFIX < MAX_HEADER ? s->map.size - PREFIX : MAX_HEADER);
    if (length == 0 || *text != '{')
        return mb_fail(MB_ECORRUPT, "%s: offset %d: expected '{'", s->path, PREFIX);
    s->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &where);
    if (!s->header) {
        for (char *p = where.text; *p; p++) /* it quotes the file; a message is one line */
            *p = (unsigned char)*p < ' ' ? '?' : *p;
        return mb_fail(MB_ECORRUPT, "%s: offset %d: header: %s", s->path, PREFIX + where.position,
                       where.text);
    }
    s->data = s->map.data + PREFIX + length;
    s->data_size = (int64_t)(s->map.size - PREFIX - length);
    return MB_OK;
}

mb_err mb_safetensors_open(const char *path, mb_safetensors **out)
{
    mb_safetensors *s = mb_zalloc(1, sizeof *s);
    mb_err err;

    *out = NULL;
    s->path = path;
    err = mb_map_open(path, &s->map);
    if (!err)
        err = parse_header(s);
    if (!err)
        err = parse_tensors(s);
    if (err)
        mb_safetensors_close(s);
    else
        *out = s;
    return err;
}

void mb_safetensors_close(mb_safetensors *s)
{
    if (!s)
        return;
    free(s->tensors);
    json_decref(s->header);
    mb_map_close(&s->map);
    free(s);
}

size_t mb_safetensors_count(const mb_safetensors *s)
{
    return s->count;
}

const mb_st_tensor *mb_safetensors_at(const mb_safetensors *s, size_t i)
{
    assert(i < s->count);
    return &s->tensors[i];
}

const mb_st_tensor *mb_safetensors_find(const mb_safetensors *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (!strcmp(s->tensors[i].name, name))
            return &s->tensors[i];
    return NULL;
}

const char *mb_safetensors_metadata(const mb_safetensors *s, const char *key)
{
    return json_string_value(json_object_get(json_object_get(s->header, metadata_name), key));
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Widest elements first: without holes this is what aligns every tensor to its element. */
static size_t *order_by_width(const mb_st_tensor *tensors, size_t n)
{
    size_t *order = mb_alloc(n * sizeof *order), done = 0;

    for (size_t width = 8; width > 0; width /= 2)
        for (size_t i = 0; i < n; i++)
            if (find_dtype(tensors[i].dtype)->size == width)
                order[done++] = i;
    assert(done == n);
    return order;
}

static json_t *describe(const mb_st_tensor *t, int64_t begin)
{
    size_t size = find_dtype(t->dtype)->size;
    json_t *shape = json_array();

    for (int i = 0; i < t->rank; i++) {
        json_array_append_new(shape, json_integer(t->shape[i]));
        size *= (size_t)t->shape[i];
    }
    assert(size == t->size);
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->dtype, "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + (int64_t)t->size));
}

/* NULL when a string is not UTF-8 or memory is gone. */
static json_t *build_header(const mb_st_tensor *tensors, const size_t *order, size_t n,
                            const char *const *metadata)
{
    json_t *header = json_object(), *map = json_object();
    int64_t begin = 0;
    int bad = 0;

    for (; metadata && *metadata; metadata += 2)
        bad |= json_object_set_new(map, metadata[0], json_string(metadata[1]));
    if (json_object_size(map) > 0)
        bad |= json_object_set(header, metadata_name, map);
    json_decref(map);
    for (size_t i = 0; i < n; i++) {
        const mb_st_tensor *t = &tensors[order[i]];

        assert(!json_object_get(header, t->name));
        bad |= json_object_set_new(header, t->name, describe(t, begin));
        begin += (int64_t)t->size;
    }
    if (!bad)
        return header;
    json_decref(header);
    return NULL;
}

static mb_err write_all(const char *path, const char *header, const mb_st_tensor *tensors,
                        const size_t *order, size_t n)
{
    uint64_t length = strlen(header), padded = (length + ALIGN - 1) / ALIGN * ALIGN;
    mb_replace r;
    bool good;

    MB_TRY(mb_replace_open(path, &r));
    good = fwrite(&padded, PREFIX, 1, r.file) == 1 && fputs(header, r.file) >= 0;
    for (; good && length < padded; length++)
        good = putc(' ', r.file) != EOF;
    for (size_t i = 0; good && i < n; i++) {
        const mb_st_tensor *t = &tensors[order[i]];

        good = t->size == 0 || fwrite(t->data, t->size, 1, r.file) == 1;
    }
    if (!good) {
        mb_err err = mb_fail(MB_EIO, "%s: %s", r.temporary, strerror(errno));

        mb_replace_abort(&r);
        return err;
    }
    return mb_replace_commit(&r);
}

mb_err mb_safetensors_write(const char *path, const mb_st_tensor *tensors, size_t n,
                            const char *const *metadata)
{
    size_t *order = order_by_width(tensors, n);
    json_t *header = build_header(tensors, order, n, metadata);
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    mb_err err;

    if (text)
        err = write_all(path, text, tensors, order, n);
    else
        err = mb_fail(MB_EINVAL, "%s: a name or a metadata string is not UTF-8", path);
    free(text);
    json_decref(header);
    free(order);
    return err;
}
