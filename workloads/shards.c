/* Source "shards": the user's own token ids, checked and copied into the internal format.

   Files are read once for each section (with images, texts, with speech), one document in memory at
   a time. A document begins at a BOS, after an EOS, and at the beginning of a file. */
#include "workloads/array.h"
#include "workloads/shard_file.h"
#include "workloads/shard_map.h"
#include "workloads/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LONGEST_DOCUMENT = 1 << 24 }; /* more is a wrong EOS, and would not fit memory */

typedef struct walk {
    const mb_shard_map *map;
    mb_shard_file file; /* the one being walked */
    mb_set_writer *writer;
    enum mb_section section; /* whose documents are written */
    int32_t *token;          /* of the document so far */
    size_t n, room;
    enum mb_section found;   /* what the document is, by its ids so far */
    const struct span *open; /* the image or speech that is open, or NULL */
    int64_t begin;           /* where it began */
    int64_t run;             /* its ids so far */
} walk;

/* What stands between two ids of its own and nowhere else. */
static const struct span {
    enum mb_id_kind begin, id, end;
    enum mb_section section;
    const char *name, *begin_name, *end_name;
} spans[] = {
    { MB_ID_BOI, MB_ID_IMAGE, MB_ID_EOI, MB_PAIRS, "an image id", "boi", "eoi" },
    { MB_ID_BOA, MB_ID_SPEECH, MB_ID_EOA, MB_HUMAN, "a speech id", "boa", "eoa" },
};

static mb_err refuse(const walk *w, int64_t i, const char *reason)
{
    return mb_fail(MB_ECORRUPT, "%s: offset %lld: id %lld: %s", w->file.path,
                   (long long)mb_shard_file_offset(&w->file, i),
                   (long long)mb_shard_file_id(&w->file, i), reason);
}

static mb_err end_document(walk *w)
{
    mb_err err = MB_OK;

    if (w->n > 0 && w->found == w->section)
        err = mb_set_document(w->writer, w->section, w->token, (int64_t)w->n);
    w->n = 0;
    w->found = MB_TEXTS;
    return err;
}

/* Token I inside an image or speech. */
static mb_err check_inside(walk *w, int64_t i, enum mb_id_kind kind)
{
    const struct span *span = w->open;
    int64_t want = span->id == MB_ID_IMAGE ? w->map->ids.tokens_per_image : 0;
    long long since = mb_shard_file_offset(&w->file, w->begin);
    char reason[128];

    if (kind == span->id && (!want || w->run < want)) {
        w->run++;
        return MB_OK;
    }
    if (kind == span->end && (want ? w->run == want : w->run > 0)) {
        w->open = NULL;
        return MB_OK;
    }
    if (want)
        snprintf(reason, sizeof reason, "after %lld of %lld image ids since boi at offset %lld",
                 (long long)w->run, (long long)want, since);
    else
        snprintf(reason, sizeof reason, "expected %s%s%s since %s at offset %lld", span->name,
                 w->run ? " or " : "", w->run ? span->end_name : "", span->begin_name, since);
    return refuse(w, i, reason);
}

/* Token I of KIND without what must be around it. */
static mb_err refuse_alone(const walk *w, int64_t i, const struct span *span, enum mb_id_kind kind)
{
    char reason[64];

    if (kind == span->end)
        snprintf(reason, sizeof reason, "%s without %s", span->end_name, span->begin_name);
    else
        snprintf(reason, sizeof reason, "%s outside %s .. %s", span->name, span->begin_name,
                 span->end_name);
    return refuse(w, i, reason);
}

/* Token I outside of both. */
static mb_err check_outside(walk *w, int64_t i, enum mb_id_kind kind)
{
    for (size_t k = 0; k < sizeof spans / sizeof *spans; k++) {
        const struct span *span = &spans[k];

        if (kind == span->begin) {
            w->open = span;
            w->begin = i;
            w->run = 0;
            if (w->found != MB_HUMAN)
                w->found = span->section;
        } else if (kind == span->id || kind == span->end) {
            return refuse_alone(w, i, span, kind);
        }
    }
    return MB_OK;
}

static mb_err walk_token(walk *w, int64_t i)
{
    int64_t id = mb_shard_file_id(&w->file, i);
    enum mb_id_kind kind = mb_id_kind(&w->map->ids, id);

    if (kind == MB_ID_BAD)
        return refuse(w, i,
                      id < 0 || id >= w->map->ids.vocab ? "not below vocab"
                                                        : "in no range of the modality map");
    if (w->open) {
        MB_TRY(check_inside(w, i, kind));
    } else {
        if (kind == MB_ID_BOS)
            MB_TRY(end_document(w));
        MB_TRY(check_outside(w, i, kind));
    }
    if (w->n == LONGEST_DOCUMENT)
        return refuse(w, i, "a document of more than 16777216 ids: are bos and eos right?");
    w->token = mb_grow(w->token, w->n, &w->room, sizeof *w->token);
    w->token[w->n++] = (int32_t)id;
    return kind == MB_ID_EOS ? end_document(w) : MB_OK;
}

static mb_err walk_file(walk *w, const char *path)
{
    mb_err err = MB_OK;

    MB_TRY(mb_shard_file_open(path, w->map->bare, &w->file));
    w->open = NULL;
    w->n = 0;
    w->found = MB_TEXTS;
    for (int64_t i = 0; !err && i < w->file.count; i++)
        err = walk_token(w, i);
    if (!err && w->open)
        err = refuse(w, w->begin, "the file ends within what begins here");
    if (!err)
        err = end_document(w);
    mb_shard_file_close(&w->file);
    return err;
}

static mb_err write_split(const mb_shard_map *map, enum mb_split split, mb_set_writer *writer)
{
    walk w = { .map = map, .writer = writer };
    mb_err err = mb_set_begin(writer, split);

    for (int pass = 0; !err && pass <= MB_HUMAN; pass++) {
        w.section = pass;
        if (pass == MB_HUMAN && map->ids.boa < 0)
            break;
        for (char **file = map->file[split]; !err && *file; file++)
            err = walk_file(&w, *file);
    }
    free(w.token);
    return err;
}

static mb_err write_all(const mb_shard_map *map, mb_set_writer *w, const mb_progress *p)
{
    MB_TRY(mb_set_source_file(w, map->path));
    mb_set_ids(w, &map->ids);
    for (int s = 0; s < MB_SPLITS; s++) {
        if (!map->file[s])
            continue;
        mb_progress_tell(p, "checking and copying token files", s / 3.0);
        MB_TRY(write_split(map, s, w));
        for (char **file = map->file[s]; *file; file++)
            MB_TRY(mb_set_source_file(w, *file));
    }
    return MB_OK;
}

static mb_err prepare(const mb_data_request *r, mb_set_writer *w, const mb_progress *p)
{
    mb_shard_map map;
    mb_err err;

    MB_TRY(mb_shard_map_read(r->path, &map));
    err = write_all(&map, w, p);
    mb_shard_map_free(&map);
    return err;
}

/* What identifies a file without reading it: a changed one makes another set. */
static mb_err describe(const char *path, mb_texts *out)
{
    struct stat st;
    char *line;

    if (stat(path, &st))
        return mb_fail(errno == ENOENT ? MB_EMISSING : MB_EIO, "%s: %s", path, strerror(errno));
    line = mb_format("%s %lld %lld.%09ld\n", path, (long long)st.st_size,
                     (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    mb_texts_add(out, line, strlen(line));
    free(line);
    return MB_OK;
}

static mb_err identify(const mb_data_request *r, char **out)
{
    char hash[MB_HASH_SIZE];
    mb_shard_map map;
    mb_texts text = { 0 };
    mb_err err;

    *out = NULL;
    MB_TRY(mb_shard_map_read(r->path, &map));
    err = describe(map.path, &text);
    for (int s = 0; s < MB_SPLITS; s++) {
        for (char **file = map.file[s]; !err && file && *file; file++)
            err = describe(*file, &text);
    }
    if (!err) {
        mb_hash(text.bytes, text.size, hash);
        *out = mb_format("%s-%.12s", map.name, hash);
    }
    mb_texts_free(&text);
    mb_shard_map_free(&map);
    return err;
}

const mb_source mb_shards = {
    .name = "shards",
    .about = "your own token ids: .bin (nanoGPT, llm.c) or .npy, and a modality map",
    .version = 1,
    .identify = identify,
    .prepare = prepare,
};
