/* Images that are numbers already: a .npy file of halves or floats, (N, C, H, H), or (N, H, H, C)
   with --channels-last. Beside FILE.npy may lie captions, an image each in the same order:
   FILE.txt, a line each, or FILE.jsonl:

     {"text": "a red bag", "id": "17", "split": "val", "key": "bags"}

   all of it optional. The file is mapped: what is in memory is one image. */
#include "base/npy.h"
#include "workloads/import_json.h"
#include "workloads/item.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST = 4096 /* channels, or positions of a side */ };

typedef struct reader {
    mb_npy npy;
    mb_lines caption; /* line NULL until the first; file NULL: there are none */
    bool json;        /* captions are JSON */
    bool channels_last;
    char *path;
    int side, channels;
    int64_t at;
} reader;

static void close_reader(void *user)
{
    reader *r = user;

    if (!r)
        return;
    mb_npy_close(&r->npy);
    mb_lines_close(&r->caption);
    free(r->path);
    free(r);
}

static mb_err refuse_shape(const reader *r, const char *expected)
{
    char shape[96] = "";
    size_t n = 0;

    for (int i = 0; i < r->npy.rank; i++)
        n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%lld", i ? ", " : "",
                              (long long)r->npy.shape[i]);
    return mb_fail(MB_ECORRUPT, "%s: shape (%s), expected %s", r->path, shape, expected);
}

static mb_err check_array(reader *r)
{
    const mb_npy *a = &r->npy;
    const int64_t *s = a->shape;

    if (a->kind != 'f' || a->size > 4)
        return mb_fail(MB_ECORRUPT, "%s: elements of type %c%d, expected f2 or f4", r->path,
                       a->kind, a->size);
    if (a->rank != 4 || (r->channels_last ? s[1] != s[2] : s[2] != s[3]))
        return refuse_shape(r, r->channels_last
                                   ? "(N, H, H, C)"
                                   : "(N, C, H, H); --channels-last reads (N, H, H, C)");
    if (a->count < 1 || s[1] > LARGEST || s[2] > LARGEST || s[3] > LARGEST)
        return refuse_shape(r, "at least 1 of each, and at most 4096 but of the first");
    r->channels = (int)s[r->channels_last ? 3 : 1];
    r->side = (int)s[2];
    return MB_OK;
}

/* Opens the captions beside the file, of which there may be one kind. */
static mb_err open_captions(reader *r)
{
    size_t n = strlen(r->path);
    int stem = n > 4 && !strcmp(r->path + n - 4, ".npy") ? (int)n - 4 : (int)n;
    char *text = mb_format("%.*s.txt", stem, r->path),
         *json = mb_format("%.*s.jsonl", stem, r->path);
    mb_err err = MB_OK;

    r->json = mb_exists(json);
    if (r->json && mb_exists(text))
        err =
            mb_fail(MB_EINVAL, "%s: captions in both %s and %s, expected one", r->path, text, json);
    else if (r->json || mb_exists(text))
        err = mb_lines_open(r->json ? json : text, &r->caption);
    free(text);
    free(json);
    return err;
}

static mb_err open_reader(const char *file, const mb_import *how, void **out)
{
    reader *r = mb_zalloc(1, sizeof *r);
    mb_err err;

    r->path = mb_format("%s", file);
    r->channels_last = how->channels_last;
    err = mb_npy_open(file, &r->npy);
    if (!err)
        err = check_array(r);
    if (!err)
        err = open_captions(r);
    if (err) {
        close_reader(r);
        r = NULL;
    }
    *out = r;
    return err;
}

static mb_err take_json(const mb_lines *l, mb_item *s)
{
    static const char *const known[] = { "text", "id", "split", "key", NULL };
    json_t *object;
    const char *id, *key;
    mb_err err;

    MB_TRY(mb_json_parse(l->line, l->size, &object));
    err = mb_json_keys(object, known);
    if (!err)
        err = mb_json_strings(object, known + 1);
    if (!err)
        err = mb_json_text(json_object_get(object, "text"), "text", s);
    if (!err)
        err = mb_json_split(json_object_get(object, "split"), s);
    id = json_string_value(json_object_get(object, "id"));
    key = json_string_value(json_object_get(object, "key"));
    s->id = !err && id ? mb_format("%s", id) : NULL;
    s->key = !err && key ? mb_format("%s", key) : NULL;
    json_decref(object);
    return err;
}

/* The caption of latent r->at. */
static mb_err take_caption(reader *r, mb_item *s)
{
    mb_lines *l = &r->caption;
    bool more;
    char *text;

    MB_TRY(mb_lines_next(l, &more));
    if (!more)
        return mb_fail(MB_ECORRUPT, "%s: %lld lines, expected %lld, one for each latent of %s",
                       l->path, (long long)r->at, (long long)r->npy.shape[0], r->path);
    free(s->where);
    s->where = mb_format("%s: latent %lld (%s:%lld)", r->path, (long long)r->at, l->path,
                         (long long)l->number);
    if (r->json)
        return take_json(l, s) ? mb_fail_in(MB_ECORRUPT, "%s", s->where) : MB_OK;
    text = mb_alloc(l->size + 1);
    memcpy(text, l->line, l->size + 1);
    mb_item_add(s, MB_PART_TEXT, NULL, text, l->size);
    return MB_OK;
}

/* Nothing may be left when the latents end. */
static mb_err end_captions(reader *r)
{
    bool more = false;

    if (r->caption.file)
        MB_TRY(mb_lines_next(&r->caption, &more));
    return more ? mb_fail(MB_ECORRUPT, "%s:%lld: more lines than the %lld latents of %s",
                          r->caption.path, (long long)r->caption.number, (long long)r->npy.shape[0],
                          r->path)
                : MB_OK;
}

static void take_latent(const reader *r, mb_item *s)
{
    int64_t places = (int64_t)r->side * r->side, n = places * r->channels, first = r->at * n;
    mb_latent *l = mb_alloc(sizeof *l + (size_t)n * sizeof *l->number);

    l->side = r->side;
    l->channels = r->channels;
    for (int64_t i = 0; i < n; i++) {
        int64_t from = r->channels_last ? i : i % r->channels * places + i / r->channels;

        l->number[i] = (float)mb_npy_float(&r->npy, first + from);
    }
    mb_item_add(s, MB_PART_LATENT, NULL, l, (size_t)n);
}

static mb_err next(void *user, mb_item *s, bool *more)
{
    reader *r = user;
    const char *slash = strrchr(r->path, '/');

    *more = r->at < r->npy.shape[0];
    if (!*more)
        return end_captions(r);
    s->where = mb_format("%s: latent %lld", r->path, (long long)r->at);
    if (r->caption.file)
        MB_TRY(take_caption(r, s));
    if (!s->key)
        s->key = mb_format("%s %lld", slash ? slash + 1 : r->path, (long long)r->at);
    take_latent(r, s);
    r->at++;
    return MB_OK;
}

const mb_import_format mb_import_latents = {
    .name = "latents",
    .about =
        "images as numbers: FILE.npy, (N, C, H, H) of f2 or f4; captions in FILE.txt or .jsonl",
    .open = open_reader,
    .next = next,
    .close = close_reader,
};
