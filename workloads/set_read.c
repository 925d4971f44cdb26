/* Reading a prepared set. What a manifest says is believed once its checksum and the files' sizes
   are right; what the files hold is checked where it is used, and as a whole by mb_set_verify(). */
#include "workloads/set.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static mb_err missing(const mb_data *d, const char *key)
{
    return mb_fail(MB_ECORRUPT, "%s/manifest.json: expected %s", d->folder, key);
}

static mb_err get_int(const mb_data *d, const json_t *object, const char *key, int64_t *out)
{
    const json_t *v = json_object_get(object, key);

    if (!json_is_integer(v))
        return missing(d, key);
    *out = json_integer_value(v);
    return MB_OK;
}

/* The same of what may be absent: sets are older than speech. */
static mb_err get_count(const mb_data *d, const json_t *object, const char *key, int64_t *out)
{
    *out = 0;
    return json_object_get(object, key) ? get_int(d, object, key, out) : MB_OK;
}

static mb_err read_ids(mb_data *d)
{
    json_t *ids = json_object_get(d->json, "ids");
    mb_ids *i = &d->ids;

    int half = 0;

    i->boa = i->eoa = -1;
    if (!ids ||
        json_unpack(ids, "{si s[ii] s[ii] s?[ii] si si si si s?i s?i si s?i s?b}", "vocab",
                    &i->vocab, "text", &i->text[0], &i->text[1], "image", &i->image[0],
                    &i->image[1], "speech", &i->speech[0], &i->speech[1], "bos", &i->bos, "eos",
                    &i->eos, "boi", &i->boi, "eoi", &i->eoi, "boa", &i->boa, "eoa", &i->eoa,
                    "tokens_per_image", &i->tokens_per_image, "patch", &i->patch, "half", &half))
        return missing(d, "ids");
    i->half = half;
    d->width = i->vocab > 65536 ? 4 : 2;
    if (mb_ids_check(i))
        return mb_fail_in(MB_ECORRUPT, "%s/manifest.json", d->folder);
    return MB_OK;
}

static mb_err check_sizes(const mb_data *d)
{
    const json_t *files = json_object_get(d->json, "files"), *f;
    size_t i;

    if (!json_is_array(files))
        return missing(d, "files");
    json_array_foreach(files, i, f)
    {
        const char *name = json_string_value(json_object_get(f, "name"));
        int64_t bytes = 0;
        char path[4096];
        struct stat st;

        if (!name || strchr(name, '/'))
            return missing(d, "names of files");
        MB_TRY(get_int(d, f, "bytes", &bytes));
        snprintf(path, sizeof path, "%s/%s", d->folder, name);
        if (stat(path, &st))
            return mb_fail(MB_ECORRUPT, "%s: %s; expected %lld bytes", path, strerror(errno),
                           (long long)bytes);
        if (st.st_size != bytes)
            return mb_fail(MB_ECORRUPT, "%s: %lld bytes found, %lld expected", path,
                           (long long)st.st_size, (long long)bytes);
    }
    return MB_OK;
}

/* Every image is that of a pair, and every pair has one. */
static mb_err read_patches(const mb_data *d, mb_set_split *s)
{
    int64_t patches = s->section[MB_PAIRS] * d->ids.tokens_per_image;

    MB_TRY(mb_map_open(s->patch_path, &s->patch));
    if (s->modality[MB_IMAGE] != patches ||
        s->patch.size / mb_patch_size(&d->ids) != (size_t)patches ||
        s->patch.size % mb_patch_size(&d->ids) != 0)
        return mb_fail(MB_ECORRUPT, "%s: %zu bytes found, expected %lld pairs of %d patches of %zu",
                       s->patch_path, s->patch.size, (long long)s->section[MB_PAIRS],
                       d->ids.tokens_per_image, mb_patch_size(&d->ids));
    return MB_OK;
}

static mb_err read_split(mb_data *d, enum mb_split split)
{
    const json_t *j = json_object_get(json_object_get(d->json, "splits"), mb_split_name[split]);
    mb_set_split *s = &d->split[split];

    if (!j)
        return MB_OK;
    MB_TRY(get_int(d, j, "tokens", &s->tokens));
    for (int m = 0; m < MB_MODALITIES; m++)
        MB_TRY(get_count(d, j, mb_modality_name[m], &s->modality[m]));
    for (int p = 0; p < MB_SECTIONS; p++) {
        MB_TRY(get_count(d, j, mb_section_name[p], &s->section[p]));
        if (s->section[p] < 0)
            return missing(d, "counts of at least 0");
        s->documents += s->section[p];
    }
    s->token_path = mb_format("%s/%s.tokens.u%d", d->folder, mb_split_name[split], 8 * d->width);
    s->document_path = mb_format("%s/%s.documents.u64", d->folder, mb_split_name[split]);
    s->patch_path = mb_format("%s/%s.%s", d->folder, mb_split_name[split], mb_patch_file(&d->ids));
    s->present = true;
    MB_TRY(mb_map_open(s->token_path, &s->token));
    MB_TRY(mb_map_open(s->document_path, &s->document));
    if (s->tokens < 0 || s->token.size / (size_t)d->width != (size_t)s->tokens ||
        s->document.size / 8 != (size_t)(s->documents + 1))
        return mb_fail(MB_ECORRUPT,
                       "%s: %zu tokens and %zu documents found, %lld and %lld expected",
                       s->token_path, s->token.size / (size_t)d->width, s->document.size / 8 - 1,
                       (long long)s->tokens, (long long)s->documents);
    return d->ids.patch > 0 ? read_patches(d, s) : MB_OK;
}

/* The manifest as JSON and as text, its own checksum being right. */
static mb_err read_manifest(mb_data *d)
{
    char *path = mb_format("%s/manifest.json", d->folder), hash[MB_HASH_SIZE];
    const char *said;
    json_error_t why;
    mb_map map;
    mb_err err = mb_map_open(path, &map);

    if (!err) {
        d->manifest = mb_format("%.*s", (int)map.size, (const char *)map.data);
        d->json = json_loads(d->manifest, JSON_REJECT_DUPLICATES, &why);
        if (!d->json)
            err = mb_fail(MB_ECORRUPT, "%s:%d: %s", path, why.line, why.text);
        mb_map_close(&map);
    }
    if (!err) {
        mb_manifest_hash(d->json, hash);
        said = json_string_value(json_object_get(d->json, "sha256"));
        if (!said || strcmp(said, hash))
            err = mb_fail(MB_ECORRUPT, "%s: its checksum is %s, but it says %s: it was changed",
                          path, hash, said ? said : "nothing");
    }
    free(path);
    return err;
}

static mb_err open_set(mb_data *d)
{
    const char *name;
    int64_t format = 0;

    MB_TRY(read_manifest(d));
    MB_TRY(get_int(d, d->json, "format", &format));
    if (format != MB_SET_FORMAT)
        return mb_fail(MB_EINVAL, "%s/manifest.json: format %lld, expected %d", d->folder,
                       (long long)format, MB_SET_FORMAT);
    name = json_string_value(json_object_get(d->json, "name"));
    if (!name)
        return missing(d, "name");
    d->name = mb_format("%s", name);
    mb_manifest_data_hash(d->json, d->hash);
    MB_TRY(read_ids(d));
    MB_TRY(check_sizes(d));
    for (int s = 0; s < MB_SPLITS; s++)
        MB_TRY(read_split(d, s));
    return MB_OK;
}

mb_err mb_set_open(const char *folder, mb_data **out)
{
    mb_data *d = mb_zalloc(1, sizeof *d);
    mb_err err;

    d->folder = mb_format("%s", folder);
    err = open_set(d);
    if (err) {
        mb_data_close(d);
        d = NULL;
    }
    *out = d;
    return err;
}

void mb_data_close(mb_data *d)
{
    if (!d)
        return;
    for (int s = 0; s < MB_SPLITS; s++) {
        mb_map_close(&d->split[s].token);
        mb_map_close(&d->split[s].document);
        mb_map_close(&d->split[s].patch);
        free(d->split[s].token_path);
        free(d->split[s].document_path);
        free(d->split[s].patch_path);
    }
    json_decref(d->json);
    free(d->manifest);
    free(d->name);
    free(d->folder);
    free(d);
}

mb_err mb_set_find(const mb_set_split *s, int64_t i, int64_t *first, int64_t *n)
{
    uint64_t border[2];

    memcpy(border, s->document.data + i * 8, sizeof border);
    if (border[0] >= border[1] || border[1] > (uint64_t)s->tokens)
        return mb_fail(MB_ECORRUPT, "%s: offset %lld: document %llu .. %llu of %lld tokens",
                       s->document_path, (long long)i * 8, (unsigned long long)border[0],
                       (unsigned long long)border[1], (long long)s->tokens);
    *first = (int64_t)border[0];
    *n = (int64_t)(border[1] - border[0]);
    return MB_OK;
}

static mb_err verify_split(const mb_data *d, const mb_set_split *s)
{
    int64_t at = 0, first = 0, n = 0;

    for (int64_t i = 0; i < s->tokens; i++) {
        int32_t id = mb_set_token(d, s, i);

        if (mb_id_kind(&d->ids, id) == MB_ID_BAD)
            return mb_fail(MB_ECORRUPT, "%s: offset %lld: id %d has no meaning", s->token_path,
                           (long long)i * d->width, id);
    }
    for (int64_t i = 0; i < s->documents; i++, at += n) {
        MB_TRY(mb_set_find(s, i, &first, &n));
        if (first != at)
            return mb_fail(MB_ECORRUPT, "%s: offset %lld: document begins at %lld, expected %lld",
                           s->document_path, (long long)i * 8, (long long)first, (long long)at);
    }
    for (size_t i = 0; d->ids.half && i < s->patch.size / 2; i++) {
        if (!isfinite(mb_patch_number(&d->ids, s->patch.data, (int64_t)i)))
            return mb_fail(MB_ECORRUPT, "%s: offset %zu: not a finite number", s->patch_path,
                           i * 2);
    }
    return MB_OK;
}

mb_err mb_data_checksums(const mb_data *d, FILE *report)
{
    const json_t *f;
    size_t i;

    json_array_foreach(json_object_get(d->json, "files"), i, f)
    {
        const char *name = json_string_value(json_object_get(f, "name"));
        const char *said = json_string_value(json_object_get(f, "sha256"));
        char hash[MB_HASH_SIZE], path[4096];

        snprintf(path, sizeof path, "%s/%s", d->folder, name);
        MB_TRY(mb_hash_file(path, hash));
        if (!said || strcmp(hash, said))
            return mb_fail(MB_ECORRUPT, "%s: SHA-256 %s found, %s expected", path, hash,
                           said ? said : "none");
        if (report)
            fprintf(report, "%s  %s\n", hash, name);
    }
    return MB_OK;
}

mb_err mb_set_verify(const mb_data *d, FILE *report)
{
    MB_TRY(mb_data_checksums(d, report));
    for (int s = 0; s < MB_SPLITS; s++) {
        if (d->split[s].present)
            MB_TRY(verify_split(d, &d->split[s]));
    }
    return MB_OK;
}
