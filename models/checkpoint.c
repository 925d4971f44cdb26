/* Checkpoints: parameters, and for --resume both moments and the step, as .safetensors.

   Names and shapes: models/README.md. A state file holds every parameter NAME as NAME,
   moment.m.NAME and moment.v.NAME, and its step in the metadata.

   The metadata also holds a digest of all tensors: a flipped bit of a weight is no error of the
   format, yet everything computed from it would be wrong. Files without one are accepted. */
#include "base/file.h"
#include "models/block.h"
#include "models/safetensors.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE, FIRST, SECOND, COPIES }; /* what of a parameter a tensor of the file holds */
static const char *const prefix[COPIES] = { "", "moment.m.", "moment.v." };
static const char digest_name[] = "sha256";

/* Where the backend keeps copy COPY of P. */
static float *copy_of(const mb_model *m, const mb_param *p, int copy)
{
    int64_t at = mb_f32(&p->t) - m->data;

    return copy == VALUE ? mb_f32(&p->t) : m->moment[copy - FIRST] + at;
}

/* The tensor of the file, without its data. */
static mb_st_tensor describe(const mb_param *p, int copy)
{
    const mb_tensor *t = &p->t;
    mb_st_tensor s = { .name = mb_format("%s%s", prefix[copy], t->name),
                       .dtype = "F32",
                       .rank = t->rank,
                       .size = (size_t)mb_count(t) * sizeof(float) };
    int64_t shape[3] = { t->slices, t->rows, t->cols };

    memcpy(s.shape, shape + 3 - t->rank, (size_t)t->rank * sizeof *shape);
    return s;
}

/* SHA-256 over lines "NAME DIGEST", one per tensor, in the order of the file. */
static void digest(const mb_st_tensor *tensors, size_t n, char out[MB_HASH_SIZE])
{
    char *text = NULL, hash[MB_HASH_SIZE];
    size_t size;
    FILE *f = open_memstream(&text, &size);

    if (!f)
        abort();
    for (size_t i = 0; i < n; i++) {
        mb_hash(tensors[i].data, tensors[i].size, hash);
        fprintf(f, "%s %s\n", tensors[i].name, hash);
    }
    if (fclose(f))
        abort();
    mb_hash(text, size, out);
    free(text);
}

/* METADATA ("key", "value", ..., NULL; or NULL) and one pair more; the strings stay the callers'.
 */
static const char **with_pair(const char *const *metadata, const char *key, const char *value)
{
    const char **all;
    size_t n = 0;

    while (metadata && metadata[n])
        n++;
    all = mb_zalloc(n + 3, sizeof *all);
    for (size_t i = 0; i < n; i++)
        all[i] = metadata[i];
    all[n] = key;
    all[n + 1] = value;
    return all;
}

/* Describes N tensors, and copies their data to host memory. */
static mb_err fetch(mb_st_tensor *tensors, size_t n, mb_model *m)
{
    for (size_t i = 0; i < n; i++) {
        const mb_param *p = &m->params[i % m->n_params];
        int copy = (int)(i / m->n_params);
        void *data = mb_alloc(mb_bytes(&p->t));

        tensors[i] = describe(p, copy);
        tensors[i].data = data;
        mb_ctx_fetch(m->c, data, copy_of(m, p, copy), mb_bytes(&p->t));
    }
    return mb_ctx_sync(m->c);
}

static mb_err save(const char *path, mb_model *m, int copies, const char *const *metadata)
{
    size_t n = m->n_params * (size_t)copies;
    mb_st_tensor *tensors = mb_zalloc(n, sizeof *tensors);
    char hash[MB_HASH_SIZE];
    const char **all;
    mb_err err;

    err = fetch(tensors, n, m);
    if (err)
        goto out;
    digest(tensors, n, hash);
    all = with_pair(metadata, digest_name, hash);
    err = mb_safetensors_write(path, tensors, n, all);
    free(all);
out:
    for (size_t i = 0; i < n; i++) {
        free((char *)tensors[i].name);
        free((void *)tensors[i].data);
    }
    free(tensors);
    return err;
}

mb_err mb_checkpoint_save(const char *path, mb_model *m, const char *const *metadata)
{
    return save(path, m, 1, metadata);
}

mb_err mb_checkpoint_save_state(const char *path, mb_model *m, int64_t step,
                                const char *const *metadata)
{
    char *text = mb_format("%lld", (long long)step);
    const char **all = with_pair(metadata, "step", text);
    mb_err err = save(path, m, COPIES, all);

    free(all);
    free(text);
    return err;
}

/* Copies tensor COPY of P from the file; with COMMIT false only checks that it is the model's. */
static mb_err load_one(const char *path, const mb_safetensors *s, mb_model *m, const mb_param *p,
                       int copy, bool commit)
{
    mb_st_tensor want = describe(p, copy);
    const mb_st_tensor *have = mb_safetensors_find(s, want.name);
    mb_err err = MB_OK;

    if (!have)
        err = mb_fail(MB_ECORRUPT, "%s: no tensor '%s', which the model has", path, want.name);
    else if (strcmp(have->dtype, "F32") != 0)
        err = mb_fail(MB_ECORRUPT, "%s: tensor '%s' is %s: expected F32", path, want.name,
                      have->dtype);
    else if (have->rank != want.rank ||
             memcmp(have->shape, want.shape, (size_t)want.rank * sizeof *want.shape) != 0)
        err = mb_fail(MB_ECORRUPT,
                      "%s: tensor '%s' has %zu bytes in %d dimensions: expected %zu bytes in %d",
                      path, want.name, have->size, have->rank, want.size, want.rank);
    else if (commit)
        mb_ctx_write(m->c, copy_of(m, p, copy), have->data, want.size);
    free((char *)want.name);
    return err;
}

static mb_err parse_step(const char *path, const mb_safetensors *s, int64_t *step)
{
    const char *text = mb_safetensors_metadata(s, "step");
    char *end = NULL;

    errno = 0;
    *step = text ? strtoll(text, &end, 10) : -1;
    if (!text || end == text || *end || errno || *step < 0)
        return mb_fail(MB_ECORRUPT, "%s: metadata 'step' is '%.100s': expected a number", path,
                       text ? text : "missing");
    return MB_OK;
}

static mb_err check_digest(const char *path, const mb_safetensors *s)
{
    const char *want = mb_safetensors_metadata(s, digest_name);
    char have[MB_HASH_SIZE];

    if (!want || mb_safetensors_count(s) == 0)
        return MB_OK;
    digest(mb_safetensors_at(s, 0), mb_safetensors_count(s), have);
    return strcmp(want, have) ? mb_fail(MB_ECORRUPT,
                                        "%s: its tensors have the SHA-256 %.12s..., expected "
                                        "%.12s... as of its metadata: the file is damaged",
                                        path, have, want)
                              : MB_OK;
}

/* Checks everything before it copies anything: a refused file leaves the model as it was. */
static mb_err load(const char *path, mb_model *m, int copies, int64_t *step)
{
    mb_safetensors *s;
    size_t n = m->n_params * (size_t)copies;
    mb_err err = mb_safetensors_open(path, &s);

    if (!err && mb_safetensors_count(s) != n)
        err = mb_fail(MB_ECORRUPT, "%s: %zu tensors: expected the model's %zu", path,
                      mb_safetensors_count(s), n);
    if (!err && step)
        err = parse_step(path, s, step);
    if (!err)
        err = check_digest(path, s);
    for (size_t i = 0; !err && i < 2 * n; i++)
        err = load_one(path, s, m, &m->params[i % m->n_params], (int)(i % n / m->n_params), i >= n);
    mb_ctx_weights_changed(m->c);
    mb_safetensors_close(s);
    return err;
}

mb_err mb_checkpoint_load(const char *path, mb_model *m)
{
    return load(path, m, 1, NULL);
}

mb_err mb_checkpoint_load_state(const char *path, mb_model *m, int64_t *step)
{
    return load(path, m, COPIES, step);
}

mb_err mb_checkpoint_metadata(const char *path, const char *key, char **value)
{
    mb_safetensors *s;
    const char *text;

    *value = NULL;
    MB_TRY(mb_safetensors_open(path, &s));
    text = mb_safetensors_metadata(s, key);
    if (text)
        *value = mb_format("%s", text);
    mb_safetensors_close(s);
    return MB_OK;
}
