/* Source "imported": sets that were made from the user's own files, under a name of the user's own.

   The files are read twice, one item at a time: first the tokenizers see an even sample of the
   training split, then everything becomes tokens and goes through the spool. So memory is bounded
   whatever their size; the disk needs room for the set twice. Token files go another way: they are
   ids already (see shards.c). */
#include "workloads/import_tokens.h"
#include "workloads/source.h"
#include "workloads/split.h"
#include "workloads/spool.h"

#include <string.h>

static const mb_import_format *const formats[] = { &mb_import_jsonl, &mb_import_wds,
                                                   &mb_import_coco,  &mb_import_librispeech,
                                                   &mb_import_units, &mb_import_latents };
enum { FORMATS = sizeof formats / sizeof *formats };

static const char shards_name[] = "shards";

const char *mb_import_format_name(int i, const char **about)
{
    if (about)
        *about = i < FORMATS ? formats[i]->about : i == FORMATS ? mb_shards.about : NULL;
    return i < FORMATS ? formats[i]->name : i == FORMATS ? shards_name : NULL;
}

typedef struct import {
    const mb_import *how;
    const mb_import_format *format;
    mb_import_tokens *tokens;
    mb_spool *spool; /* NULL in the first pass */
    mb_document document;
    int64_t items;
    mb_progress progress;
    const char *what;
} import;

/* ---- one pass -------------------------------------------------------------------------------- */

/* Which split an item goes to; GIVEN is the one of its file. */
static enum mb_split choose_split(const import *im, const mb_item *s, enum mb_split given)
{
    if (s->split != MB_SPLIT_DRAWN)
        return (enum mb_split)s->split;
    if (given != MB_TRAIN || im->how->file[MB_VAL])
        return given;
    return mb_split_is_val(s->key, strlen(s->key), (unsigned)im->how->hold_out) ? MB_VAL : MB_TRAIN;
}

static mb_err use_item(import *im, const mb_item *s, enum mb_split split)
{
    enum mb_section section;
    mb_err err;

    if (!im->spool) {
        err = mb_import_tokens_see(im->tokens, s, split);
        return err ? mb_fail_in(err, "%s", s->where) : MB_OK;
    }
    err = mb_import_tokens_apply(im->tokens, s, &im->document, &section);
    if (err)
        return mb_fail_in(err, "%s", s->where);
    return mb_spool_add(im->spool, split, section, &im->document, s->where, s->id);
}

static void tell(import *im)
{
    char text[96];

    if (im->items++ % 256)
        return;
    snprintf(text, sizeof text, "%s (%lld)", im->what, (long long)im->items - 1);
    mb_progress_tell(&im->progress, text, 0.5);
}

static mb_err read_file(import *im, const char *path, enum mb_split given)
{
    mb_item s = { 0 };
    void *reader = NULL;
    bool more = true;
    mb_err err = im->format->open(path, im->how, &reader);

    while (!err && more) {
        mb_item_clear(&s);
        err = im->format->next(reader, &s, &more);
        if (!err && more)
            err = use_item(im, &s, choose_split(im, &s, given));
        tell(im);
    }
    mb_item_clear(&s);
    im->format->close(reader);
    return err;
}

static mb_err read_all(import *im, const char *what, double from, double to, const mb_progress *p)
{
    im->items = 0;
    im->what = what;
    im->progress = mb_progress_share(p, from, to);
    for (enum mb_split split = 0; split < MB_SPLITS; split++) {
        for (const char *const *file = im->how->file[split]; file && *file; file++)
            MB_TRY(read_file(im, *file, split));
    }
    return MB_OK;
}

/* ---- the source ------------------------------------------------------------------------------ */

/* JSONL, lists and archives as sources of the set; of trees the parts are too many to name. */
static mb_err describe(const mb_import *how, mb_set_writer *w)
{
    mb_set_parameter(w, "format", json_string(how->format));
    mb_set_parameter(w, "hold_out", json_integer(how->hold_out));
    for (enum mb_split split = 0; split < MB_SPLITS; split++) {
        for (const char *const *file = how->file[split]; file && *file; file++) {
            if (!mb_is_folder(*file))
                MB_TRY(mb_set_source_file(w, *file));
        }
    }
    return MB_OK;
}

static mb_err import_items(import *im, mb_set_writer *w, const mb_progress *p)
{
    mb_progress learning = mb_progress_share(p, 0.3, 0.4);
    int64_t dropped;

    MB_TRY(read_all(im, "looking at the data", 0, 0.3, p));
    MB_TRY(mb_import_tokens_learn(im->tokens, w, &learning));
    im->spool = mb_spool_open(mb_set_folder(w));
    MB_TRY(read_all(im, "turning everything into tokens", 0.4, 0.9, p));
    mb_progress_tell(p, "writing", 0.9);
    MB_TRY(mb_spool_write(im->spool, w, im->how->drop, &dropped));
    mb_set_parameter(w, "dropped", json_integer(dropped));
    return describe(im->how, w);
}

/* Token files: one modality map says it all. */
static mb_err import_shards(const mb_import *how, mb_set_writer *w, const mb_progress *p)
{
    const char *const *file = how->file[MB_TRAIN];

    if (file[1] || how->file[MB_VAL] || how->file[MB_TEST])
        return mb_fail(MB_EINVAL, "shards: expected one modality map, which names the token files "
                                  "of all splits");
    mb_set_parameter(w, "format", json_string(how->format));
    return mb_shards.prepare(&(mb_data_request){ .path = file[0] }, w, p);
}

static mb_err prepare(const mb_data_request *r, mb_set_writer *w, const mb_progress *p)
{
import im = {.how = r->import };
    mb_err err;

    if (!strcmp(im.how->format, shards_name))
        return import_shards(im.how, w, p);
    for (int i = 0; i < FORMATS; i++) {
        if (!strcmp(im.how->format, formats[i]->name))
            im.format = formats[i];
    }
    if (!im.format)
        return mb_fail(MB_EINVAL, "format \"%s\" is not known", im.how->format);
    im.tokens = mb_import_tokens_new(im.how);
    err = import_items(&im, w, p);
    mb_spool_close(im.spool);
    mb_document_free(&im.document);
    mb_import_tokens_free(im.tokens);
    return err;
}

static mb_err identify(const mb_data_request *r, char **out)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    const char *name = r->source ? r->source : "";
    size_t n = strlen(name);

    *out = NULL;
    if (n < 1 || n > 32 || strspn(name, allowed) != n)
        return mb_fail(MB_EINVAL,
                       "\"%.40s\": expected a name of 1 to 32 letters, digits, \"_\" or \"-\"",
                       name);
    *out = mb_format("%s", name);
    return MB_OK;
}

const mb_source mb_imported = {
    .name = "imported",
    .about = "your own texts, pictures, sounds or tokens (motbench data import)",
    .version = 1,
    .identify = identify,
    .prepare = prepare,
};
