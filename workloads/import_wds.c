/* WebDataset: a tar whose files with equal names up to the first dot are one item, one after
   another. KEY.txt is its text, or "caption" or "text" of KEY.json when there is none; KEY.jpg,
   .jpeg and .png its image; KEY.wav, .flac, .ogg, .opus and .mp3 its sound. Other files are passed
   over. */
#include "workloads/import_json.h"
#include "workloads/item.h"
#include "workloads/tar.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct reader {
    mb_tar *tar;
    char *path;
    mb_tar_entry entry; /* the first of the next item, */
    bool waiting;       /* if it is there */
} reader;

/* The files of an item that are of use. */
typedef struct files {
    char *text, *json, *image, *sound;
    size_t text_size, json_size, image_size, sound_size;
    char *image_name, *sound_name;
} files;

static void close_reader(void *user)
{
    reader *r = user;

    if (!r)
        return;
    mb_tar_close(r->tar);
    free(r->path);
    free(r);
}

static mb_err open_reader(const char *file, const mb_import *how, void **out)
{
    reader *r = mb_zalloc(1, sizeof *r);
    mb_err err = mb_tar_open(file, &r->tar);

    r->path = mb_format("%s", file);
    if (err) {
        close_reader(r);
        r = NULL;
    }
    *out = r;
    return err;
}

static void free_files(files *f)
{
    free(f->text);
    free(f->json);
    free(f->image);
    free(f->sound);
    free(f->image_name);
    free(f->sound_name);
}

/* How long the part of NAME is that files of one item share. */
static size_t key_length(const char *name)
{
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;

    return (size_t)(base - name) + strcspn(base, ".");
}

static bool is_one_of(const char *kind, const char *const *list)
{
    while (*list && strcasecmp(*list, kind))
        list++;
    return *list != NULL;
}

/* Reads the entry into one of the slots of F, if it is of use. */
static mb_err take_file(reader *r, files *f)
{
    static const char *const images[] = { "jpg", "jpeg", "png", NULL };
    static const char *const sounds[] = { "wav", "flac", "ogg", "opus", "mp3", NULL };
    const char *name = r->entry.name, *kind = name + key_length(name);
    char **slot = NULL, **called = NULL;
    size_t *size = NULL;

    kind += *kind == '.';
    if (!strcasecmp(kind, "txt"))
        slot = &f->text, size = &f->text_size;
    else if (!strcasecmp(kind, "json"))
        slot = &f->json, size = &f->json_size;
    else if (is_one_of(kind, images))
        slot = &f->image, size = &f->image_size, called = &f->image_name;
    else if (is_one_of(kind, sounds))
        slot = &f->sound, size = &f->sound_size, called = &f->sound_name;
    else
        return MB_OK;
    if (*slot)
        return mb_fail(MB_ECORRUPT, "%s: offset %lld: %s: a second file of its kind in the item",
                       r->path, (long long)r->entry.offset, name);
    if (called)
        *called = mb_format("%s", name);
    *size = (size_t)r->entry.size;
    return mb_tar_read(r->tar, slot);
}

static mb_err read_item(reader *r, mb_item *s, files *f)
{
    const char *slash = strrchr(r->path, '/');
    size_t n = key_length(r->entry.name);
    char *key = mb_format("%.*s", (int)n, r->entry.name);
    mb_err err = MB_OK;

    s->where = mb_format("%s: offset %lld: %s", r->path, (long long)r->entry.offset, key);
    s->key = mb_format("%s/%s", slash ? slash + 1 : r->path, key);
    s->id = mb_format("%s/%s", r->path, key); /* shards may count from 0 each */
    while (!err && r->waiting && key_length(r->entry.name) == n &&
           !strncmp(r->entry.name, key, n)) {
        err = take_file(r, f);
        if (!err)
            err = mb_tar_next(r->tar, &r->entry, &r->waiting);
    }
    free(key);
    return err;
}

static mb_err take_json(const files *f, mb_item *s)
{
    const json_t *text;
    json_t *object;
    mb_err err;

    if (!f->json)
        return MB_OK;
    err = mb_json_parse(f->json, f->json_size, &object);
    if (!err && !json_is_object(object))
        err = mb_fail(MB_ECORRUPT, "expected an object: { ... }");
    text = json_object_get(object, "caption");
    if (!err)
        err = mb_json_text(text ? text : json_object_get(object, "text"), "caption", s);
    if (err)
        mb_fail_in(err, "its .json");
    json_decref(object);
    return err;
}

/* Hands what was read over to the item. */
static mb_err take_parts(files *f, mb_item *s)
{
    if (f->text)
        mb_item_add(s, MB_PART_TEXT, NULL, f->text, f->text_size);
    else
        MB_TRY(take_json(f, s));
    f->text = NULL;
    if (f->image)
        mb_item_add(s, MB_PART_PICTURE, f->image_name, f->image, f->image_size);
    if (f->sound)
        mb_item_add(s, MB_PART_SOUND, f->sound_name, f->sound, f->sound_size);
    f->image = f->sound = f->image_name = f->sound_name = NULL;
    return MB_OK;
}

static mb_err next(void *user, mb_item *s, bool *more)
{
    reader *r = user;
    files f = { 0 };
    mb_err err;

    if (!r->waiting) /* at the beginning; at the end there is nothing, again */
        MB_TRY(mb_tar_next(r->tar, &r->entry, &r->waiting));
    *more = r->waiting;
    if (!*more)
        return MB_OK;
    err = read_item(r, s, &f);
    if (!err && take_parts(&f, s))
        err = mb_fail_in(MB_ECORRUPT, "%s", s->where);
    free_files(&f);
    return err;
}

const mb_import_format mb_import_wds = {
    .name = "wds",
    .about = "WebDataset: tar files of KEY.txt, KEY.jpg, KEY.json, KEY.flac, ...",
    .open = open_reader,
    .next = next,
    .close = close_reader,
};
