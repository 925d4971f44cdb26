#include "workloads/import_json.h"

#include <stdlib.h>
#include <string.h>

mb_err mb_json_parse(const char *text, size_t size, json_t **out)
{
    json_error_t why;

    *out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    return *out ? MB_OK : mb_fail(MB_ECORRUPT, "column %d: %s", why.column, why.text);
}

mb_err mb_json_keys(const json_t *object, const char *const *known)
{
    const char *key;
    json_t *value;

    if (!json_is_object(object))
        return mb_fail(MB_ECORRUPT, "expected an object: { ... }");
    json_object_foreach((json_t *)object, key, value)
    {
        const char *const *k = known;

        while (*k && strcmp(*k, key))
            k++;
        if (!*k)
            return mb_fail(MB_ECORRUPT, "\"%.40s\" is not a known key", key);
    }
    return MB_OK;
}

mb_err mb_json_strings(const json_t *object, const char *const *keys)
{
    for (; *keys; keys++) {
        const json_t *v = json_object_get(object, *keys);

        if (v && (!json_is_string(v) || json_string_length(v) == 0))
            return mb_fail(MB_ECORRUPT, "\"%s\": expected a string that is not empty", *keys);
    }
    return MB_OK;
}

mb_err mb_json_text(const json_t *v, const char *key, mb_item *s)
{
    size_t size = json_string_length(v);
    char *copy;

    if (!v)
        return MB_OK;
    if (!json_is_string(v))
        return mb_fail(MB_ECORRUPT, "\"%s\": expected a string", key);
    copy = mb_alloc(size + 1);
    memcpy(copy, json_string_value(v), size + 1);
    mb_item_add(s, MB_PART_TEXT, NULL, copy, size);
    return MB_OK;
}

static mb_err take_ids(const json_t *v, const char *key, enum mb_part_kind kind, mb_item *s)
{
    size_t n = json_array_size(v);
    int32_t *id = mb_alloc(n * sizeof *id);

    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(v, i);

        if (!json_is_integer(one) || json_integer_value(one) < 0 ||
            json_integer_value(one) > INT32_MAX) {
            free(id);
            return mb_fail(MB_ECORRUPT, "\"%s\": item %zu is no id, expected a whole number", key,
                           i);
        }
        id[i] = (int32_t)json_integer_value(one);
    }
    mb_item_add(s, kind == MB_PART_PICTURE ? MB_PART_CODES : MB_PART_UNITS, NULL, id, n);
    return MB_OK;
}

mb_err mb_json_media(const json_t *v, const char *key, const char *root, enum mb_part_kind kind,
                     mb_item *s)
{
    char *path;

    if (!v)
        return MB_OK;
    if (json_is_array(v))
        return take_ids(v, key, kind, s);
    if (!json_is_string(v))
        return mb_fail(MB_ECORRUPT, "\"%s\": expected the name of a file, or an array of ids", key);
    path = mb_path_below(root, json_string_value(v));
    if (!path)
        return mb_fail(MB_ECORRUPT, "\"%s\": expected the name of a file below %s", key, root);
    mb_item_add(s, kind, path, NULL, 0);
    return MB_OK;
}

mb_err mb_json_split(const json_t *v, mb_item *s)
{
    const char *name = json_string_value(v);

    if (!v)
        return MB_OK;
    for (int split = 0; name && split < MB_SPLITS; split++) {
        if (!strcmp(name, mb_split_name[split])) {
            s->split = split;
            return MB_OK;
        }
    }
    return mb_fail(MB_ECORRUPT, "\"split\": expected train, val or test");
}
