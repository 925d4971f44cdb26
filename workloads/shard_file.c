#include "workloads/shard_file.h"

#include <string.h>

/* llm.c, dev/data/data_common.py: 256 int32, of which magic, version and count are used. Derived
   programs write version 1 with the second magic. */
enum { HEADER = 1024, MAGIC_U16 = 20240520, MAGIC_U32 = 20240801 };

static int32_t word(const mb_map *map, int i)
{
    int32_t w;

    memcpy(&w, map->data + 4 * i, sizeof w);
    return w;
}

static mb_err read_header(mb_shard_file *f)
{
    int32_t magic = word(&f->map, 0), version, count;

    if (f->map.size < HEADER)
        return mb_fail(MB_ECORRUPT, "%s: offset %zu: the file ends within the header of %d bytes",
                       f->path, f->map.size, HEADER);
    version = word(&f->map, 1);
    count = word(&f->map, 2);
    if (version != 1 && !(magic == MAGIC_U32 && version == 7))
        return mb_fail(MB_ECORRUPT, "%s: offset 4: version %d, expected %s", f->path, version,
                       magic == MAGIC_U32 ? "1 or 7" : "1");
    f->width = magic == MAGIC_U32 ? 4 : 2;
    f->start = HEADER;
    f->count = count;
    if (count < 0 || f->map.size - HEADER != (size_t)count * (size_t)f->width)
        return mb_fail(MB_ECORRUPT,
                       "%s: offset 8: the header counts %d ids of %d bytes, the file "
                       "has %zu bytes of them",
                       f->path, count, f->width, f->map.size - HEADER);
    return MB_OK;
}

static mb_err read_bare(mb_shard_file *f, int bare)
{
    if (!bare)
        return mb_fail(MB_ECORRUPT,
                       "%s: offset 0: no header of llm.c (magic %d or %d); for a file of bare ids "
                       "the modality map needs \"dtype\": \"u16\" or \"u32\"",
                       f->path, MAGIC_U16, MAGIC_U32);
    if (f->map.size % (size_t)bare)
        return mb_fail(MB_ECORRUPT, "%s: offset %zu: the file ends within an id of %d bytes",
                       f->path, f->map.size / (size_t)bare * (size_t)bare, bare);
    f->width = bare;
    f->count = (int64_t)(f->map.size / (size_t)bare);
    return MB_OK;
}

static mb_err open_npy(mb_shard_file *f)
{
    MB_TRY(mb_npy_open(f->path, &f->npy));
    if (f->npy.kind == 'f')
        return mb_fail(MB_EINVAL, "%s: offset 10: elements are floats, expected integer ids",
                       f->path);
    f->width = f->npy.size;
    f->start = (const unsigned char *)f->npy.data - f->npy.map.data;
    f->count = f->npy.count;
    return MB_OK;
}

static mb_err open_bin(mb_shard_file *f, int bare)
{
    MB_TRY(mb_map_open(f->path, &f->map));
    if (f->map.size >= 4 && (word(&f->map, 0) == MAGIC_U16 || word(&f->map, 0) == MAGIC_U32))
        return read_header(f);
    return read_bare(f, bare);
}

mb_err mb_shard_file_open(const char *path, int bare, mb_shard_file *out)
{
    const char *dot = strrchr(path, '.');
    mb_err err;

    *out = (mb_shard_file){ .path = path };
    err = dot && !strcmp(dot, ".npy") ? open_npy(out) : open_bin(out, bare);
    if (!err && out->count == 0)
        err =
            mb_fail(MB_ECORRUPT, "%s: offset %lld: there are no ids", path, (long long)out->start);
    if (err)
        mb_shard_file_close(out);
    return err;
}

void mb_shard_file_close(mb_shard_file *f)
{
    mb_map_close(&f->map);
    mb_npy_close(&f->npy);
}

int64_t mb_shard_file_id(const mb_shard_file *f, int64_t i)
{
    uint32_t bits = 0;

    if (f->npy.data)
        return mb_npy_int(&f->npy, i);
    memcpy(&bits, f->map.data + mb_shard_file_offset(f, i), (size_t)f->width);
    return bits;
}

int64_t mb_shard_file_offset(const mb_shard_file *f, int64_t i)
{
    return f->start + i * f->width;
}
