/* Captions as COCO has them, {"images": [{"id", "file_name"}], "annotations": [{"id", "image_id",
   "caption"}]}, or as in Karpathy's splits, {"images": [{"filename", "filepath", "split",
   "sentences": [{"raw"}]}]}. Every caption makes a document with its image; captions of one image
   follow one another.

   The file is mapped and read an item at a time; what stays in memory is 16 bytes an image and 24 a
   caption. */
#include "workloads/array.h"
#include "workloads/import_json.h"
#include "workloads/item.h"

#include <stdlib.h>
#include <string.h>

typedef struct image { /* of COCO, by id */
    int64_t id, at;    /* offset in the file */
} image;

typedef struct caption {
    int64_t image; /* COCO: its id, then its offset; Karpathy: its offset */
    int64_t at;    /* COCO: offset; Karpathy: 0 */
    int64_t place; /* COCO: 0; Karpathy: the number of the sentence */
} caption;

typedef struct reader {
    char *path, *root;
    mb_map map;
    image *image;
    caption *caption;
    size_t images, captions, image_room, caption_room, next;
    bool karpathy;
} reader;

static void close_reader(void *user)
{
    reader *r = user;

    if (!r)
        return;
    mb_map_close(&r->map);
    free(r->path);
    free(r->root);
    free(r->image);
    free(r->caption);
    free(r);
}

static mb_err refuse(const reader *r, int64_t at, const char *reason)
{
    return mb_fail(MB_ECORRUPT, "%s: offset %lld: %s", r->path, (long long)at, reason);
}

/* ---- finding the items ----------------------------------------------------------------------- */

/* The next character that is no space, from *AT; 0 at the end. */
static char peek(const reader *r, int64_t *at)
{
    while (*at < (int64_t)r->map.size && strchr(" \t\r\n", r->map.data[*at]) && r->map.data[*at])
        ++*at;
    return *at < (int64_t)r->map.size ? (char)r->map.data[*at] : 0;
}

static bool take(const reader *r, int64_t *at, char c)
{
    bool there = peek(r, at) == c;

    *at += there;
    return there;
}

/* The value at *AT, which moves behind it. */
static mb_err read_value(const reader *r, int64_t *at, json_t **out)
{
    json_error_t why;

    *out = NULL;
    peek(r, at);
    *out = json_loadb((const char *)r->map.data + *at, r->map.size - (size_t)*at,
                      JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK | JSON_DECODE_ANY, &why);
    if (!*out)
        return refuse(r, *at + why.position, why.text);
    *at += why.position;
    return MB_OK;
}

static mb_err get_id(const reader *r, int64_t at, const json_t *item, const char *key, int64_t *out)
{
    const json_t *v = json_object_get(item, key);

    if (!json_is_integer(v))
        return mb_fail(MB_ECORRUPT, "%s: offset %lld: expected \"%s\", a whole number", r->path,
                       (long long)at, key);
    *out = json_integer_value(v);
    return MB_OK;
}

static void add_caption(reader *r, caption c)
{
    r->caption = mb_grow(r->caption, r->captions, &r->caption_room, sizeof *r->caption);
    r->caption[r->captions++] = c;
}

static mb_err see_image(reader *r, int64_t at, const json_t *item)
{
    const json_t *sentences = json_object_get(item, "sentences");
    image one = { 0, at };

    if (sentences) {
        r->karpathy = true;
        for (size_t i = 0; i < json_array_size(sentences); i++)
            add_caption(r, (caption){ at, 0, (int64_t)i });
        return MB_OK;
    }
    MB_TRY(get_id(r, at, item, "id", &one.id));
    r->image = mb_grow(r->image, r->images, &r->image_room, sizeof *r->image);
    r->image[r->images++] = one;
    return MB_OK;
}

static mb_err see_annotation(reader *r, int64_t at, const json_t *item)
{
    caption one = { 0, at, 0 };

    MB_TRY(get_id(r, at, item, "image_id", &one.image));
    add_caption(r, one);
    return MB_OK;
}

typedef mb_err see_item(reader *r, int64_t at, const json_t *item);

static mb_err see_list(reader *r, int64_t *at, see_item *see)
{
    mb_err err = MB_OK;

    if (!take(r, at, '['))
        return refuse(r, *at, "expected a list: [ ... ]");
    if (take(r, at, ']'))
        return MB_OK;
    do {
        int64_t begin;
        json_t *item;

        peek(r, at);
        begin = *at;
        MB_TRY(read_value(r, at, &item));
        err = json_is_object(item) ? see(r, begin, item)
                                   : refuse(r, begin, "expected an object: { ... }");
        json_decref(item);
    } while (!err && take(r, at, ','));
    if (!err && !take(r, at, ']'))
        err = refuse(r, *at, "expected ',' or ']'");
    return err;
}

/* A key of the outermost object, and its value. */
static mb_err see_key(reader *r, int64_t *at)
{
    json_t *key, *other = NULL;
    mb_err err;

    if (peek(r, at) != '"')
        return refuse(r, *at, "expected a key");
    MB_TRY(read_value(r, at, &key));
    if (!take(r, at, ':'))
        err = refuse(r, *at, "expected ':'");
    else if (!strcmp(json_string_value(key), "images"))
        err = see_list(r, at, see_image);
    else if (!strcmp(json_string_value(key), "annotations"))
        err = see_list(r, at, see_annotation);
    else
        err = read_value(r, at, &other);
    json_decref(other);
    json_decref(key);
    return err;
}

static mb_err see_all(reader *r)
{
    int64_t at = 0;

    if (!take(r, &at, '{'))
        return refuse(r, at, "expected an object: { ... }");
    do {
        MB_TRY(see_key(r, &at));
    } while (take(r, &at, ','));
    if (!take(r, &at, '}'))
        return refuse(r, at, "expected ',' or '}'");
    if (peek(r, &at))
        return refuse(r, at, "expected the end");
    return r->captions ? MB_OK : refuse(r, at, "no captions: neither annotations nor sentences");
}

/* ---- joining captions with images ------------------------------------------------------------ */

static int by_id(const void *a, const void *b)
{
    const image *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static int by_image(const void *a, const void *b)
{
    const caption *x = a, *y = b;

    if (x->image != y->image)
        return x->image < y->image ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

static mb_err join(reader *r)
{
    if (r->karpathy)
        return MB_OK;
    if (r->images)
        qsort(r->image, r->images, sizeof *r->image, by_id);
    for (size_t i = 1; i < r->images; i++) {
        if (r->image[i].id == r->image[i - 1].id)
            return refuse(r, r->image[i].at, "a second image of this id");
    }
    for (size_t i = 0; i < r->captions; i++) {
        image key = { r->caption[i].image, 0 };
        const image *found = NULL;

        if (r->images)
            found = bsearch(&key, r->image, r->images, sizeof *r->image, by_id);
        if (!found)
            return refuse(r, r->caption[i].at, "its image_id is not among the images");
        r->caption[i].image = found->at;
    }
    qsort(r->caption, r->captions, sizeof *r->caption, by_image);
    free(r->image);
    r->image = NULL;
    return MB_OK;
}

static mb_err open_reader(const char *file, const mb_import *how, void **out)
{
    reader *r = mb_zalloc(1, sizeof *r);
    mb_err err = mb_map_open(file, &r->map);

    r->path = mb_format("%s", file);
    r->root = mb_root_of(file, how->root);
    if (!err)
        err = see_all(r);
    if (!err)
        err = join(r);
    if (err) {
        close_reader(r);
        r = NULL;
    }
    *out = r;
    return err;
}

/* ---- items ----------------------------------------------------------------------------------- */

static mb_err take_caption(const reader *r, const json_t *item, const char *text_key,
                           const char *id_key, mb_item *s)
{
    const json_t *text = json_object_get(item, text_key), *id = json_object_get(item, id_key);

    if (!text)
        return mb_fail(MB_ECORRUPT, "expected \"%s\"", text_key);
    MB_TRY(mb_json_text(text, text_key, s));
    if (json_is_integer(id))
        s->id = mb_format("%s %lld", r->path, (long long)json_integer_value(id));
    return MB_OK;
}

/* The file of an image: "file_name", or "filename" in folder "filepath". */
static mb_err take_image(const reader *r, const json_t *item, mb_item *s)
{
    const char *key = r->karpathy ? "filename" : "file_name", *split;
    const char *folder = json_string_value(json_object_get(item, "filepath"));
    const char *name = json_string_value(json_object_get(item, key));
    json_t *path;
    mb_err err;

    if (!name)
        return mb_fail(MB_ECORRUPT, "expected \"%s\", the name of a file", key);
    path = r->karpathy && folder ? json_sprintf("%s/%s", folder, name) : json_string(name);
    s->key = mb_format("%s", json_string_value(path));
    err = mb_json_media(path, key, r->root, MB_PART_PICTURE, s);
    json_decref(path);
    split = json_string_value(json_object_get(item, "split"));
    if (err || !r->karpathy || !split)
        return err;
    if (!strcmp(split, "restval")) { /* what COCO's validation set has beyond Karpathy's */
        s->split = MB_TRAIN;
        return MB_OK;
    }
    return mb_json_split(json_object_get(item, "split"), s);
}

static mb_err make_item(const reader *r, const caption *c, mb_item *s)
{
    int64_t at = c->image, text_at = c->at;
    json_t *item, *text = NULL;
    mb_err err;

    MB_TRY(read_value(r, &at, &item));
    if (r->karpathy)
        err = take_caption(r, json_array_get(json_object_get(item, "sentences"), (size_t)c->place),
                           "raw", "sentid", s);
    else
        err = read_value(r, &text_at, &text);
    if (!err && text)
        err = take_caption(r, text, "caption", "id", s);
    if (!err)
        err = take_image(r, item, s);
    json_decref(item);
    json_decref(text);
    return err;
}

static mb_err next(void *user, mb_item *s, bool *more)
{
    reader *r = user;
    const caption *c;

    *more = r->next < r->captions;
    if (!*more)
        return MB_OK;
    c = &r->caption[r->next++];
    s->where = mb_format("%s: offset %lld", r->path, (long long)(r->karpathy ? c->image : c->at));
    return make_item(r, c, s) ? mb_fail_in(MB_ECORRUPT, "%s", s->where) : MB_OK;
}

const mb_import_format mb_import_coco = {
    .name = "coco",
    .about = "captions of images as in COCO's JSON or Karpathy's splits of it",
    .open = open_reader,
    .next = next,
    .close = close_reader,
};
