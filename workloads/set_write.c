/* Writing a prepared set: token and document files, and at last the manifest. */
#include "workloads/set.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *const mb_split_name[MB_SPLITS] = { "train", "val", "test" };
const char *const mb_section_name[MB_SECTIONS] = { "pairs", "texts", "human", "synthetic",
                                                   "unseen" };

struct mb_set_writer {
    char *folder;
    json_t *manifest, *parameters, *sources, *splits, *files;
    mb_ids ids;
    int width; /* bytes of a token */
    int split; /* being written, or -1 */
    mb_replace token, document, patch;
    int64_t tokens, modality[MB_MODALITIES], section[MB_SECTIONS];
    enum mb_section last; /* of the last document */
};

mb_set_writer *mb_set_create(const char *folder, const char *name, const char *source)
{
    mb_set_writer *w = mb_zalloc(1, sizeof *w);

    w->folder = mb_format("%s", folder);
    w->split = -1;
    w->manifest = json_object();
    w->parameters = json_object();
    w->sources = json_array();
    w->splits = json_object();
    w->files = json_array();
    json_object_set_new(w->manifest, "format", json_integer(MB_SET_FORMAT));
    json_object_set_new(w->manifest, "name", json_string(name));
    json_object_set_new(w->manifest, "source", json_string(source));
    json_object_set(w->manifest, "parameters", w->parameters);
    return w;
}

void mb_set_writer_free(mb_set_writer *w)
{
    if (!w)
        return;
    mb_replace_abort(&w->token);
    mb_replace_abort(&w->document);
    mb_replace_abort(&w->patch);
    json_decref(w->manifest);
    json_decref(w->parameters);
    json_decref(w->sources);
    json_decref(w->splits);
    json_decref(w->files);
    free(w->folder);
    free(w);
}

void mb_set_ids(mb_set_writer *w, const mb_ids *ids)
{
    json_t *j = json_pack("{si s[ii] s[ii] s[ii] si si si si si si si si}", "vocab", ids->vocab,
                          "text", ids->text[0], ids->text[1], "image", ids->image[0], ids->image[1],
                          "speech", ids->speech[0], ids->speech[1], "bos", ids->bos, "eos",
                          ids->eos, "boi", ids->boi, "eoi", ids->eoi, "boa", ids->boa, "eoa",
                          ids->eoa, "tokens_per_image", ids->tokens_per_image, "patch", ids->patch);

    if (ids->half)
        json_object_set_new(j, "half", json_true());
    w->ids = *ids;
    w->width = ids->vocab > 65536 ? 4 : 2;
    json_object_set_new(w->manifest, "ids", j);
}

const char *mb_set_folder(const mb_set_writer *w)
{
    return w->folder;
}

char *mb_set_path(const mb_set_writer *w, const char *name)
{
    return mb_format("%s/%s", w->folder, name);
}

/* Appends name, size and hash of the file at PATH to LIST. */
static mb_err describe_file(json_t *list, const char *path, const char *name)
{
    char hash[MB_HASH_SIZE];
    struct stat st;

    if (stat(path, &st))
        return mb_fail(MB_EIO, "%s: %s", path, strerror(errno));
    MB_TRY(mb_hash_file(path, hash));
    json_array_append_new(list, json_pack("{ss sI ss}", "name", name, "bytes",
                                          (json_int_t)st.st_size, "sha256", hash));
    return MB_OK;
}

mb_err mb_set_file(mb_set_writer *w, const char *name)
{
    char *path = mb_set_path(w, name);
    mb_err err = describe_file(w->files, path, name);

    free(path);
    return err;
}

mb_err mb_set_bytes(mb_set_writer *w, const char *name, const void *bytes, size_t size)
{
    char *path = mb_set_path(w, name);
    mb_replace r;
    mb_err err = mb_replace_open(path, &r);

    if (!err) {
        fwrite(bytes, 1, size, r.file); /* a failed write shows in the commit */
        err = mb_replace_commit(&r);
    }
    if (!err)
        err = mb_set_file(w, name);
    free(path);
    return err;
}

mb_err mb_set_source_file(mb_set_writer *w, const char *path)
{
    const char *slash = strrchr(path, '/');

    return describe_file(w->sources, path, slash ? slash + 1 : path);
}

void mb_set_parameter(mb_set_writer *w, const char *key, json_t *value)
{
    json_object_set_new(w->parameters, key, value);
}

/* Commits a file of the split being written and declares it. */
static mb_err close_file(mb_set_writer *w, mb_replace *r)
{
    char *name = mb_format("%s", strrchr(r->path, '/') + 1);
    mb_err err = mb_replace_commit(r);

    if (!err)
        err = mb_set_file(w, name);
    free(name);
    return err;
}

static void write_offset(mb_set_writer *w)
{
    uint64_t at = (uint64_t)w->tokens;

    fwrite(&at, sizeof at, 1, w->document.file); /* a failed write shows in the commit */
}

static json_t *counts_to_json(const mb_set_writer *w)
{
    json_t *j = json_pack("{sI}", "tokens", (json_int_t)w->tokens);

    for (int m = 0; m < MB_MODALITIES; m++)
        json_object_set_new(j, mb_modality_name[m], json_integer(w->modality[m]));
    for (int p = 0; p < MB_SECTIONS; p++)
        json_object_set_new(j, mb_section_name[p], json_integer(w->section[p]));
    return j;
}

static mb_err end_split(mb_set_writer *w)
{
    if (w->split < 0)
        return MB_OK;
    write_offset(w);
    MB_TRY(close_file(w, &w->token));
    MB_TRY(close_file(w, &w->document));
    if (w->ids.patch > 0)
        MB_TRY(close_file(w, &w->patch));
    json_object_set_new(w->splits, mb_split_name[w->split], counts_to_json(w));
    w->split = -1;
    return MB_OK;
}

static mb_err open_file(mb_set_writer *w, enum mb_split split, const char *what, mb_replace *out)
{
    char *path = mb_format("%s/%s.%s", w->folder, mb_split_name[split], what);
    mb_err err = mb_replace_open(path, out);

    free(path);
    return err;
}

mb_err mb_set_begin(mb_set_writer *w, enum mb_split split)
{
    assert(w->width);
    MB_TRY(end_split(w));
    w->tokens = 0;
    memset(w->modality, 0, sizeof w->modality);
    memset(w->section, 0, sizeof w->section);
    w->last = 0;
    MB_TRY(open_file(w, split, w->width == 2 ? "tokens.u16" : "tokens.u32", &w->token));
    MB_TRY(open_file(w, split, "documents.u64", &w->document));
    if (w->ids.patch > 0)
        MB_TRY(open_file(w, split, mb_patch_file(&w->ids), &w->patch));
    w->split = (int)split;
    return MB_OK;
}

mb_err mb_set_document(mb_set_writer *w, enum mb_section section, const int32_t *token, int64_t n)
{
    assert(n > 0 && section >= w->last);
    write_offset(w);
    for (int64_t i = 0; i < n; i++) {
        enum mb_id_kind kind = mb_id_kind(&w->ids, token[i]);
        uint32_t bits = (uint32_t)token[i];

        w->modality[kind == MB_ID_IMAGE ? MB_IMAGE : kind == MB_ID_SPEECH ? MB_SPEECH : MB_TEXT]++;
        fwrite(&bits, (size_t)w->width, 1, w->token.file); /* its low bytes: little-endian */
    }
    w->tokens += n;
    w->section[section]++;
    w->last = section;
    if (ferror(w->token.file) || ferror(w->document.file))
        return mb_fail(MB_EIO, "%s: %s", w->token.temporary, strerror(errno));
    return MB_OK;
}

mb_err mb_set_patches(mb_set_writer *w, const void *bytes, size_t n)
{
    assert(w->ids.patch > 0);
    if (fwrite(bytes, 1, n, w->patch.file) != n)
        return mb_fail(MB_EIO, "%s: %s", w->patch.temporary, strerror(errno));
    return MB_OK;
}

mb_err mb_set_finish(mb_set_writer *w)
{
    char hash[MB_HASH_SIZE], *path, *text;
    mb_replace r;
    mb_err err;

    MB_TRY(end_split(w));
    json_object_set(w->manifest, "sources", w->sources);
    json_object_set(w->manifest, "splits", w->splits);
    json_object_set(w->manifest, "files", w->files);
    mb_manifest_data_hash(w->manifest, hash);
    json_object_set_new(w->manifest, "hash", json_string(hash));
    mb_manifest_hash(w->manifest, hash);
    json_object_set_new(w->manifest, "sha256", json_string(hash));
    path = mb_set_path(w, "manifest.json");
    text = json_dumps(w->manifest, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    err = mb_replace_open(path, &r);
    if (!err) {
        fprintf(r.file, "%s\n", text);
        err = mb_replace_commit(&r);
    }
    free(text);
    free(path);
    return err;
}

void mb_manifest_hash(const json_t *manifest, char hash[MB_HASH_SIZE])
{
    json_t *copy = json_copy((json_t *)manifest);
    char *text;

    json_object_del(copy, "sha256");
    text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
    mb_hash(text, strlen(text), hash);
    free(text);
    json_decref(copy);
}

void mb_manifest_data_hash(const json_t *manifest, char hash[MB_HASH_SIZE])
{
    char *text = json_dumps(json_object_get(manifest, "files"), JSON_COMPACT | JSON_SORT_KEYS);

    mb_hash(text, strlen(text), hash);
    free(text);
}
