#include "workloads/shard_map.h"

#include <stdlib.h>
#include <string.h>

typedef struct reader {
    json_t *json;
    const char *text; /* of the whole file, to find lines in */
    mb_shard_map *map;
} reader;

/* The line that KEY is on; 1 when it is nowhere. */
static int line_of(const reader *r, const char *key)
{
    char *quoted = mb_format("\"%s\"", key);
    const char *at = strstr(r->text, quoted);
    int line = 1;

    for (const char *c = r->text; at && c < at; c++)
        line += *c == '\n';
    free(quoted);
    return line;
}

static mb_err refuse(const reader *r, const char *key, const char *expected)
{
    return mb_fail(MB_EINVAL, "%s:%d: \"%s\": expected %s", r->map->path, line_of(r, key), key,
                   expected);
}

static mb_err check_keys(const reader *r)
{
    static const char *const known[] = { "name",   "vocab", "text", "image",
                                         "speech", "bos",   "eos",  "boi",
                                         "eoi",    "boa",   "eoa",  "tokens_per_image",
                                         "dtype",  "train", "val",  "test" };
    const char *key;
    json_t *value;

    json_object_foreach(r->json, key, value)
    {
        bool found = false;

        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            found |= !strcmp(key, known[i]);
        if (!found)
            return mb_fail(MB_EINVAL, "%s:%d: \"%s\" is not a known key", r->map->path,
                           line_of(r, key), key);
    }
    return MB_OK;
}

/* An integer, or DEFAULT_VALUE when there is none and one need not be. */
static mb_err get_int(const reader *r, const char *key, bool needed, int default_value, int *out)
{
    const json_t *v = json_object_get(r->json, key);

    *out = default_value;
    if (!v)
        return needed ? refuse(r, key, "this key with a number") : MB_OK;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX)
        return refuse(r, key, "a whole number of at least 0");
    *out = (int)json_integer_value(v);
    return MB_OK;
}

static mb_err get_range(const reader *r, const char *key, bool needed, int out[2])
{
    const json_t *v = json_object_get(r->json, key);

    out[0] = out[1] = 0;
    if (!v && !needed)
        return MB_OK;
    if (json_array_size(v) != 2)
        return refuse(r, key, "a range: [first id, id after the last]");
    for (size_t i = 0; i < 2; i++) {
        const json_t *end = json_array_get(v, i);

        if (!json_is_integer(end) || json_integer_value(end) < 0 ||
            json_integer_value(end) > INT32_MAX)
            return refuse(r, key, "a range: [first id, id after the last]");
        out[i] = (int)json_integer_value(end);
    }
    return MB_OK;
}

static mb_err get_ids(const reader *r)
{
    mb_ids *ids = &r->map->ids;

    MB_TRY(get_int(r, "vocab", true, 0, &ids->vocab));
    MB_TRY(get_range(r, "text", true, ids->text));
    MB_TRY(get_range(r, "image", false, ids->image));
    MB_TRY(get_range(r, "speech", false, ids->speech));
    MB_TRY(get_int(r, "bos", false, -1, &ids->bos));
    MB_TRY(get_int(r, "eos", false, -1, &ids->eos));
    MB_TRY(get_int(r, "boi", false, -1, &ids->boi));
    MB_TRY(get_int(r, "eoi", false, -1, &ids->eoi));
    MB_TRY(get_int(r, "boa", false, -1, &ids->boa));
    MB_TRY(get_int(r, "eoa", false, -1, &ids->eoa));
    MB_TRY(get_int(r, "tokens_per_image", false, 0, &ids->tokens_per_image));
    if (mb_ids_check(ids))
        return mb_fail_in(MB_EINVAL, "%s", r->map->path);
    return MB_OK;
}

/* The name becomes a part of a folder's name. */
static mb_err get_name(const reader *r)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    const char *name = json_string_value(json_object_get(r->json, "name"));

    if (!name || !*name || strlen(name) >= sizeof r->map->name ||
        strspn(name, allowed) != strlen(name))
        return refuse(r, "name", "1 to 32 letters, digits, \"_\" or \"-\"");
    strcpy(r->map->name, name);
    return MB_OK;
}

static mb_err get_dtype(const reader *r)
{
    const json_t *v = json_object_get(r->json, "dtype");
    const char *dtype = json_string_value(v);

    if (!v)
        return MB_OK;
    if (!dtype || (strcmp(dtype, "u16") && strcmp(dtype, "u32")))
        return refuse(r, "dtype", "\"u16\" or \"u32\"");
    r->map->bare = !strcmp(dtype, "u16") ? 2 : 4;
    return MB_OK;
}

/* NAME, as seen from the folder of the map. */
static char *beside(const char *map, const char *name)
{
    const char *slash = strrchr(map, '/');

    if (name[0] == '/' || !slash)
        return mb_format("%s", name);
    return mb_format("%.*s/%s", (int)(slash - map), map, name);
}

/* A string, or a list of them. */
static mb_err get_files(const reader *r, enum mb_split split)
{
    const char *key = mb_split_name[split];
    json_t *v = json_object_get(r->json, key);
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    char **file;

    if (!v)
        return split == MB_TEST ? MB_OK : refuse(r, key, "this key with the name of a file");
    r->map->file[split] = file = mb_zalloc(n + 1, sizeof *file);
    for (size_t i = 0; i < n; i++) {
        const char *name = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);

        if (!name || !*name)
            return refuse(r, key, "the name of a file or a list of names");
        file[i] = beside(r->map->path, name);
    }
    return n ? MB_OK : refuse(r, key, "at least one file");
}

static mb_err read_json(reader *r)
{
    MB_TRY(check_keys(r));
    MB_TRY(get_name(r));
    MB_TRY(get_ids(r));
    MB_TRY(get_dtype(r));
    for (int s = 0; s < MB_SPLITS; s++)
        MB_TRY(get_files(r, s));
    return MB_OK;
}

static mb_err read_text(mb_shard_map *m)
{
    reader r = { .map = m };
    json_error_t why;
    mb_map file;
    char *text;
    mb_err err;

    MB_TRY(mb_map_open(m->path, &file));
    text = mb_format("%.*s", (int)file.size, file.size ? (const char *)file.data : "");
    mb_map_close(&file);
    r.text = text;
    r.json = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (!r.json)
        err = mb_fail(MB_EINVAL, "%s:%d:%d: %s", m->path, why.line, why.column, why.text);
    else if (!json_is_object(r.json))
        err = mb_fail(MB_EINVAL, "%s:1: expected an object: { ... }", m->path);
    else
        err = read_json(&r);
    json_decref(r.json);
    free(text);
    return err;
}

mb_err mb_shard_map_read(const char *path, mb_shard_map *out)
{
    mb_err err;

    memset(out, 0, sizeof *out);
    if (!path)
        return mb_fail(MB_EINVAL, "data source \"shards\" needs the path of a modality map");
    out->path = mb_format(mb_is_folder(path) ? "%s/modality.json" : "%s", path);
    err = read_text(out);
    if (err)
        mb_shard_map_free(out);
    return err;
}

void mb_shard_map_free(mb_shard_map *m)
{
    for (int s = 0; s < MB_SPLITS; s++) {
        for (char **file = m->file[s]; file && *file; file++)
            free(*file);
        free(m->file[s]);
    }
    free(m->path);
    memset(m, 0, sizeof *m);
}
