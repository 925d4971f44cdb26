/* JSONL: a JSON object a line, each a document.

     {"text": "a red bag", "image": "images/7.png", "audio": "clips/7.flac"}
     {"segments": [{"text": "first"}, {"image": [3, 17, ...]}, {"text": "then"}]}

   "image" and "audio" are files, or arrays of ids that the user's own tokenizer made. Beside them
   may be "id", which no other document may have; "split" (train, val, test); and "key": documents
   of one key go to the same split, else those of one image, else those of one text. */
#include "workloads/import_json.h"
#include "workloads/item.h"

#include <stdlib.h>
#include <string.h>

typedef struct reader {
    mb_lines lines;
    char *root;
} reader;

static void close_reader(void *user)
{
    reader *r = user;

    if (!r)
        return;
    mb_lines_close(&r->lines);
    free(r->root);
    free(r);
}

static mb_err open_reader(const char *file, const mb_import *how, void **out)
{
    reader *r = mb_zalloc(1, sizeof *r);
    mb_err err = mb_lines_open(file, &r->lines);

    r->root = mb_root_of(file, how->root);
    if (err) {
        close_reader(r);
        r = NULL;
    }
    *out = r;
    return err;
}

/* The keys of a document or segment that are parts, in the order that they get. */
static mb_err take_parts(const reader *r, const json_t *object, mb_item *s)
{
    MB_TRY(mb_json_text(json_object_get(object, "text"), "text", s));
    MB_TRY(mb_json_media(json_object_get(object, "image"), "image", r->root, MB_PART_PICTURE, s));
    return mb_json_media(json_object_get(object, "audio"), "audio", r->root, MB_PART_SOUND, s);
}

static mb_err take_segments(const reader *r, const json_t *segments, mb_item *s)
{
    static const char *const known[] = { "text", "image", "audio", NULL };
    const json_t *segment;
    size_t i;

    if (segments && json_array_size(segments) == 0)
        return mb_fail(MB_ECORRUPT, "\"segments\": expected a list of objects");
    json_array_foreach(segments, i, segment)
    {
        MB_TRY(mb_json_keys(segment, known));
        if (json_object_size(segment) != 1)
            return mb_fail(MB_ECORRUPT,
                           "\"segments\": item %zu: expected one of text, image, audio", i);
        MB_TRY(take_parts(r, segment, s));
    }
    return MB_OK;
}

/* What decides the split when nothing says it. */
static void take_key(const reader *r, const json_t *object, mb_item *s)
{
    const char *said = json_string_value(json_object_get(object, "key"));
    const mb_part *best = NULL;

    for (size_t i = 0; i < s->parts; i++) {
        if (!best || (best->kind == MB_PART_TEXT && s->part[i].kind != MB_PART_TEXT))
            best = &s->part[i];
    }
    if (said)
        s->key = mb_format("%s", said);
    else if (best && best->path)
        s->key = mb_format("%s", best->path + strlen(r->root)); /* wherever that is */
    else if (best && best->kind == MB_PART_TEXT)
        s->key = mb_format("%s", (const char *)best->data);
    else
        s->key = mb_format("%s", s->where);
}

static mb_err take_object(const reader *r, const json_t *object, mb_item *s)
{
    static const char *const known[] = { "text", "image", "audio", "segments",
                                         "id",   "split", "key",   NULL };

    MB_TRY(mb_json_keys(object, known));
    MB_TRY(mb_json_strings(object, (const char *const[]){ "id", "split", "key", NULL }));
    MB_TRY(take_parts(r, object, s));
    MB_TRY(take_segments(r, json_object_get(object, "segments"), s));
    MB_TRY(mb_json_split(json_object_get(object, "split"), s));
    if (json_object_get(object, "id"))
        s->id = mb_format("%s", json_string_value(json_object_get(object, "id")));
    take_key(r, object, s);
    return MB_OK;
}

static mb_err next(void *user, mb_item *s, bool *more)
{
    reader *r = user;
    json_t *object;
    mb_err err;

    do { /* blank lines are nothing */
        MB_TRY(mb_lines_next(&r->lines, more));
    } while (*more && strspn(r->lines.line, " \t") == r->lines.size);
    if (!*more)
        return MB_OK;
    s->where = mb_format("%s:%lld", r->lines.path, (long long)r->lines.number);
    err = mb_json_parse(r->lines.line, r->lines.size, &object);
    if (!err)
        err = take_object(r, object, s);
    if (err)
        mb_fail_in(err, "%s", s->where);
    json_decref(object);
    return err;
}

const mb_import_format mb_import_jsonl = {
    .name = "jsonl",
    .about = "a JSON object a line: text, image and audio as files or ids, or segments of these",
    .open = open_reader,
    .next = next,
    .close = close_reader,
};
