/* Sequences that grow: prompts and sampled tokens go through the model once, and attention looks at
   what it kept of those before. What to sample is not decided here. */
#include "models/block.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

struct mb_decoder {
    mb_model *m;
    int64_t batch, len;
    int32_t *fed;    /* (B) tokens of each sequence so far */
    mb_cache *cache; /* (N) */
    void *data;      /* of all of them */
};

static size_t layer_bytes(const mb_decoder *d)
{
    return (size_t)(d->batch * d->len * 2 * d->m->config.width) *
           (size_t)mb_ctx_keeping(d->m->c).activation;
}

size_t mb_decoder_bytes(const mb_decoder *d)
{
    return (size_t)d->m->config.layers * layer_bytes(d);
}

mb_err mb_decoder_open(mb_model *m, int64_t batch, int64_t len, mb_decoder **out)
{
    int layers = m->config.layers;
    mb_decoder *d;

    *out = NULL;
    if (m->arch->ffn == MB_BY_ROUTER && m->arch->choice == MB_EXPERT_CHOOSES && !m->cut)
        return mb_fail(MB_EINVAL, "arch %s: its experts choose among all tokens: expected cuts",
                       m->arch->name);
    if (batch < 1 || len < 1 || batch > INT32_MAX / len)
        return mb_fail(MB_EINVAL, "%lld sequences of %lld tokens: not a size of a batch",
                       (long long)batch, (long long)len);
    d = mb_zalloc(1, sizeof *d);
    *d = (mb_decoder){ .m = m,
                       .batch = batch,
                       .len = len,
                       .fed = mb_zalloc((size_t)batch, sizeof *d->fed),
                       .cache = mb_zalloc((size_t)layers, sizeof *d->cache) };
    d->data = mb_ctx_alloc(m->c, mb_decoder_bytes(d));
    if (!d->data) {
        mb_decoder_close(d);
        return mb_fail_in(MB_ENOMEM, "keys and values of %lld sequences of %lld tokens",
                          (long long)batch, (long long)len);
    }
    for (int i = 0; i < layers; i++)
        d->cache[i] = (mb_cache){ len, (void *)((char *)d->data + (size_t)i * layer_bytes(d)) };
    *out = d;
    return MB_OK;
}

void mb_decoder_close(mb_decoder *d)
{
    if (!d)
        return;
    mb_ctx_free(d->m->c, d->data);
    free(d->cache);
    free(d->fed);
    free(d);
}

void mb_decoder_clear(mb_decoder *d)
{
    memset(d->fed, 0, (size_t)d->batch * sizeof *d->fed);
}

static mb_err check(const mb_decoder *d, const mb_feed *f)
{
    const mb_model_config *g = &d->m->config;

    for (int64_t i = 0; i < f->n; i++) {
        int32_t noise = f->noise ? f->noise[i] : -1;

        if (f->token[i] < 0 || f->token[i] >= g->vocab || f->modality[i] >= g->modalities ||
            f->sequence[i] < 0 || f->sequence[i] >= d->batch)
            return mb_fail(MB_EINVAL,
                           "row %lld: token %d, modality %d, sequence %d: expected tokens 0 to %d, "
                           "modalities 0 to %d, sequences 0 to %lld",
                           (long long)i, f->token[i], f->modality[i], f->sequence[i], g->vocab - 1,
                           g->modalities - 1, (long long)d->batch - 1);
        if (noise < -1 || noise > 0 ||
            (noise == 0 && (g->patch == 0 || f->modality[i] != MB_IMAGE)))
            return mb_fail(MB_EINVAL,
                           "row %lld: noise %d, modality %d: expected -1 or clean patches of an "
                           "image, and a model that has some",
                           (long long)i, noise, f->modality[i]);
    }
    return MB_OK;
}

/* Positions of the new rows, and which row is the last of each sequence (-1: none) into LAST. */
static mb_err place_rows(const mb_decoder *d, const mb_feed *f, int32_t *position, int32_t *last)
{
    int32_t *fed = mb_ctx_host(d->m->c, (size_t)d->batch * sizeof *fed);

    memcpy(fed, d->fed, (size_t)d->batch * sizeof *fed);
    memset(last, -1, (size_t)d->batch * sizeof *last);
    for (int64_t i = 0; i < f->n; i++) {
        int32_t b = f->sequence[i];

        if (fed[b] == d->len)
            return mb_fail(MB_EINVAL, "sequence %d: expected at most %lld tokens", b,
                           (long long)d->len);
        position[i] = fed[b]++;
        last[b] = (int32_t)i;
    }
    return MB_OK;
}

/* The last position that each row sees: its own, of a patch that of its image. */
static int32_t *look_ahead(mb_ctx *c, const mb_feed *f, const int32_t *position)
{
    int32_t *hi = mb_ctx_host(c, (size_t)f->n * sizeof *hi);

    for (int64_t i = f->n - 1; i >= 0; i--) {
        bool inside = i + 1 < f->n && f->noise && f->noise[i] >= 0 && f->noise[i + 1] >= 0 &&
                      f->sequence[i] == f->sequence[i + 1];

        hi[i] = inside ? hi[i + 1] : position[i];
    }
    return hi;
}

/* The pass over rows that form one long sequence as far as anything but attention can tell. */
static void begin(const mb_decoder *d, mb_pass *p, const mb_feed *f, int32_t *position)
{
    mb_ctx *c = d->m->c;
    int32_t *lo = mb_ctx_host(c, (size_t)f->n * sizeof *lo), *hi = look_ahead(c, f, position);
    mb_batch rows = { .batch = 1,
                      .len = f->n,
                      .token = (int32_t *)f->token,
                      .modality = (uint8_t *)f->modality,
                      .position = position,
                      .lo = lo,
                      .hi = hi,
                      .patch = f->noise ? d->m->config.patch : 0,
                      .noise = (int32_t *)f->noise,
                      .noisy = (float *)f->noisy };

    memset(lo, 0, (size_t)f->n * sizeof *lo);
    mb_pass_begin(p, d->m, &rows);
    p->cache = d->cache;
    p->places = (mb_places){ .sequence = mb_pass_order(p, f->sequence),
                             .position = p->position,
                             .hi = mb_pass_order(p, hi),
                             .pairs = p->span.pairs };
}

/* Logits after the rows LAST (B) of those that have one. */
static void predict(const mb_decoder *d, mb_pass *p, mb_tensor *x, const int32_t *last,
                    float *logits)
{
    mb_ctx *c = d->m->c;
    int64_t v = d->m->config.vocab, n = 0;
    int32_t *row = mb_ctx_host(c, (size_t)d->batch * sizeof *row);
    mb_tensor *y;

    for (int64_t b = 0; b < d->batch; b++)
        if (last[b] >= 0)
            row[n++] = p->span.at ? p->span.at[last[b]] : last[b];
    y = mb_gather(c, x, mb_route_rows(c, p->rows, row, n));
    y = mb_logits(c, y, d->m->head, mb_route_all(c, n));
    n = 0;
    for (int64_t b = 0; b < d->batch; b++)
        if (last[b] >= 0)
            mb_ctx_fetch(c, logits + b * v, mb_f32(y) + n++ * v, (size_t)v * sizeof *logits);
}

static mb_err feed(mb_decoder *d, const mb_feed *f, float *logits)
{
    mb_ctx *c = d->m->c;
    int32_t *position = mb_ctx_host(c, (size_t)f->n * sizeof *position);
    int32_t *last = mb_ctx_host(c, (size_t)d->batch * sizeof *last);
    mb_pass p;

    MB_TRY(place_rows(d, f, position, last));
    begin(d, &p, f, position);
    predict(d, &p, mb_pass_forward(&p, d->m), last, logits);
    MB_TRY(mb_ctx_sync(c));
    for (int64_t i = 0; i < f->n; i++)
        d->fed[f->sequence[i]]++;
    return MB_OK;
}

mb_err mb_decoder_feed(mb_decoder *d, const mb_feed *f, float *logits)
{
    mb_err err;

    MB_TRY(check(d, f));
    if (f->n == 0)
        return MB_OK;
    err = feed(d, f, logits);
    mb_ctx_reset(d->m->c);
    return err;
}
