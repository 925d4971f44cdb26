#include "harness/metadata.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { OTHERS = 12 }; /* pairs that are no settings, at most */

/* Runs of ids that route alike. */
static char *routes_text(const mb_work *work)
{
    int v = mb_data_vocab(work->data), boundary = work->settings->mixture.boundary, from, to;
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    if (!f)
        abort();
    for (from = 0; from < v; from = to) {
        int m = mb_data_modality(work->data, from, boundary);

        for (to = from + 1; to < v && mb_data_modality(work->data, to, boundary) == m; to++)
            ;
        fprintf(f, "%s%s %d-%d", from ? ", " : "", mb_modality_name[m], from, to - 1);
    }
    if (fclose(f))
        abort();
    return text;
}

char **mb_metadata_new(const mb_job *job, mb_precision precision, const char *uuid, const char *ops)
{
    const mb_data *d = job->work->data;
    size_t n, i, k = 0;
    mb_pair *pairs = mb_settings_pairs(job->work->settings, job->arch, false, &n);
    char **out = mb_zalloc(2 * (n + OTHERS) + 1, sizeof *out);
    const mb_pair more[OTHERS] = {
        { "run.uuid", mb_format("%s", uuid) },
        { "run.workload", mb_format("%s", job->work->settings->name) },
        { "run.seed", mb_format("%" PRId64, job->seed) },
        { "run.precision", mb_format("%s", mb_precision_name[precision]) },
        { "data.name", mb_format("%s", mb_data_name(d)) },
        { "data.hash", mb_format("%s", mb_data_hash(d)) },
        { "data.vocab", mb_format("%d", mb_data_vocab(d)) },
        { "data.modalities", mb_format("%d", mb_data_modalities(d)) },
        { "data.patch", mb_format("%d", mb_data_patch(d)) },
        { "data.bos", mb_format("%d", mb_data_bos(d)) },
        { "data.routes", routes_text(job->work) },
        { "ops", ops ? mb_format("%s", ops) : NULL },
    };

    for (i = 0; i < n; i++) {
        out[k++] = (char *)pairs[i].key;
        out[k++] = (char *)pairs[i].value;
    }
    for (i = 0; i < OTHERS && more[i].value; i++) {
        out[k++] = mb_format("%s", more[i].key);
        out[k++] = (char *)more[i].value;
    }
    free(pairs); /* its strings went into out */
    return out;
}

void mb_metadata_free(char **metadata)
{
    size_t i;

    for (i = 0; metadata[i]; i++)
        free(metadata[i]);
    free(metadata);
}

/* ---- reading ------------------------------------------------------------------------------- */

static mb_err get(const char *path, const char *section, const char *key, char **value)
{
    char *name = mb_format("%s.%s", section, key);
    mb_err err = mb_checkpoint_metadata(path, name, value);

    if (!err && !*value)
        err = mb_fail(MB_ECORRUPT, "%s: no '%s' in its metadata, expected a checkpoint of motbench",
                      path, name);
    free(name);
    return err;
}

static mb_err get_int(const char *path, const char *key, int low, int *out)
{
    char *text, *end;
    long value;

    MB_TRY(get(path, "data", key, &text));
    value = strtol(text, &end, 10);
    *out = (int)value;
    if (*end || end == text || value < low || value > 1 << 24) {
        mb_err err = mb_fail(MB_ECORRUPT, "%s: data.%s is '%.40s', expected a number from %d on",
                             path, key, text, low);

        free(text);
        return err;
    }
    free(text);
    return MB_OK;
}

static mb_err get_precision(const char *path, mb_precision *out)
{
    char *text;
    mb_err err;

    MB_TRY(get(path, "run", "precision", &text));
    err = mb_precision_find(text, out);
    free(text);
    return err ? mb_fail_in(MB_ECORRUPT, "%s", path) : MB_OK;
}

/* A setting younger than the checkpoint has its default, which is how things were before it. */
static mb_err read_setting(const char *path, mb_settings *s, const mb_setting *row,
                           const char *section)
{
    char *name = mb_format("%s.%s", row->section, row->key), *value = NULL;
    mb_err err = mb_checkpoint_metadata(path, name, &value);

    if (!err && value)
        err = mb_settings_set(s, path, false, section, row->key, value);
    free(value);
    free(name);
    return err;
}

static mb_err read_settings(const char *path, mb_settings *s)
{
    const mb_setting *row;
    mb_arch_settings *a;
    char *name, *section;
    mb_err err;

    MB_TRY(get(path, "arch", "name", &name));
    err = mb_settings_arch(s, path, name, &a);
    section = mb_format("arch %s", name);
    for (row = mb_setting_table; !err && row->section; row++) {
        bool of_arch = !strcmp(row->section, "arch");

        if (!of_arch || a->arch->ffn == MB_BY_ROUTER)
            err = read_setting(path, s, row, of_arch ? section : row->section);
    }
    free(section);
    free(name);
    return err ? err : mb_settings_check(s);
}

/* One "text 0-2051" at *AT; moves *AT behind it. */
static bool read_range(const char **at, mb_described *d)
{
    char name[16];
    int from, to, used = -1, m, id;

    sscanf(*at, "%15s %d-%d%n", name, &from, &to, &used);
    for (m = 0; used > 0 && m < d->sizes.modalities; m++) {
        if (strcmp(name, mb_modality_name[m]) || from < 0 || from > to || to >= d->sizes.vocab)
            continue;
        for (id = from; id <= to; id++)
            d->modality[id] = (uint8_t)m;
        *at += used;
        return true;
    }
    return false;
}

static mb_err read_routes(const char *path, mb_described *d)
{
    char *text;
    const char *at;
    mb_err err = MB_OK;

    MB_TRY(get(path, "data", "routes", &text));
    at = text;
    d->modality = mb_zalloc((size_t)d->sizes.vocab, 1);
    while (!err && *at) {
        if (!read_range(&at, d))
            err = mb_fail(MB_ECORRUPT, "%s: data.routes: found '%.40s', expected MODALITY FROM-TO",
                          path, at);
        at += !err && *at == ',';
    }
    free(text);
    return err;
}

mb_err mb_metadata_read(const char *path, mb_described *out)
{
    mb_err err;

    *out = (mb_described){ .settings = mb_settings_new() };
    err = read_settings(path, out->settings);
    if (!err)
        err = get_precision(path, &out->precision);
    if (!err)
        err = get_int(path, "vocab", 2, &out->sizes.vocab);
    if (!err)
        err = get_int(path, "modalities", 1, &out->sizes.modalities);
    if (!err)
        err = get_int(path, "patch", 0, &out->sizes.patch);
    if (!err)
        err = get_int(path, "bos", 0, &out->bos);
    if (!err && (out->sizes.modalities > MB_MODALITIES || out->bos >= out->sizes.vocab))
        err = mb_fail(MB_ECORRUPT, "%s: data.modalities %d and data.bos %d do not fit", path,
                      out->sizes.modalities, out->bos);
    if (!err)
        err = read_routes(path, out);
    if (err)
        mb_described_free(out);
    return err;
}

void mb_described_free(mb_described *d)
{
    mb_settings_free(d->settings);
    free(d->modality);
    *d = (mb_described){ 0 };
}
