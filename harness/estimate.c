#include "harness/estimate.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct sample { /* a batch, and what a model must know of the data */
    mb_data_sizes sizes;
    mb_batch batch;
    mb_data *data;     /* NULL: not prepared, ... */
    mb_stream *stream; /* ... else the batch is of this */
} sample;

static void free_sample(sample *x)
{
    if (!x->stream)
        mb_batch_free(&x->batch);
    mb_stream_close(x->stream);
    mb_data_close(x->data);
}

static mb_err draw_sample(const mb_settings *s, sample *x)
{
    x->sizes = mb_settings_sizes(x->data);
    MB_TRY(mb_stream_open(x->data, MB_TRAIN, &s->mixture, 0, s->batch, s->len, &x->stream));
    return mb_stream_next(x->stream, &x->batch);
}

/* An image of each sequence's part of images, behind noise. */
static void make_up_patches(const mb_settings *s, sample *x)
{
    mb_batch *b = &x->batch;

    x->sizes.patch = s->model.patch_side * s->model.patch_side * s->patch_channels;
    mb_batch_hold_patches(b, x->sizes.patch);
    for (int64_t i = 0; i < b->batch * b->len; i++)
        if (b->modality[i] == MB_IMAGE) {
            b->noise[i] = 1;
            b->target[i] = -1;
            b->hi[i] = (int32_t)b->len - 1;
        }
}

/* As the workload's kind would have them: each modality has its part of every sequence. */
static mb_err make_up_sample(const mb_settings *s, sample *x)
{
    int64_t t = s->batch * s->len, i;
    int32_t *token = mb_zalloc((size_t)t, sizeof *token);
    uint8_t *modality = mb_zalloc((size_t)t, 1);
    mb_err err;

    x->sizes.vocab = s->model.vocab;
    x->sizes.modalities = s->kind == MB_CHAMELEON_SPEECH ? MB_SPEECH + 1 : MB_IMAGE + 1;
    for (i = 0; i < t; i++)
        modality[i] = (uint8_t)(i % s->len * x->sizes.modalities / s->len);
    err = mb_batch_from_tokens(token, modality, s->batch, s->len, x->sizes.vocab, -1, &x->batch);
    free(token);
    free(modality);
    if (!err && s->kind == MB_TRANSFUSION)
        make_up_patches(s, x);
    return err;
}

static mb_err open_sample(const mb_settings *s, sample *x, bool *known)
{
    mb_data_request request = mb_settings_data(s);
    mb_err err = mb_data_open(&request, &x->data);

    *known = !err || (s->model.vocab > 0 && (s->kind != MB_TRANSFUSION || s->patch_channels > 0));
    if (!err)
        return draw_sample(s, x);
    if (err != MB_EMISSING)
        return err;
    return *known ? make_up_sample(s, x) : MB_OK;
}

/* Adds the runs of architecture A. */
static mb_err add_runs(const mb_settings *s, const mb_arch_settings *a, const sample *x, mb_ctx *c,
                       mb_estimate *out)
{
    mb_model_config config = mb_settings_model(s, a, x->sizes);
    mb_losses losses;
    mb_model *m;
    mb_err err;

    mb_ledger_clear(mb_ctx_ledger(c));
    MB_TRY(mb_model_open(c, a->arch, &config, 0, &m));
    err = mb_model_step(m, &x->batch, 1, &s->optimizer, 0, &losses);
    out->parameters = fmax(out->parameters, (double)mb_model_params_total(m));
    out->flops += (double)mb_ledger_total(mb_ctx_ledger(c)).executed * s->accumulate *
                  (double)s->steps * s->seeds.n;
    mb_model_close(m);
    return err;
}

mb_err mb_estimate_make(const mb_settings *s, mb_estimate *out)
{
    sample x = { .data = NULL };
    mb_ctx *c = NULL;
    bool known;
    mb_err err = open_sample(s, &x, &known);

    *out = (mb_estimate){ known ? 0 : NAN, known ? 0 : NAN };
    if (!err && known)
        err = mb_ctx_open("null", MB_FP32, 1, &c);
    for (int i = 0; !err && known && i < s->archs; i++)
        err = add_runs(s, &s->arch[i], &x, c, out);
    mb_ctx_close(c);
    free_sample(&x);
    return err;
}

/* The share of the peak that a step of WIDTH reaches: a curve through what `make bench` measured at
   128, 256 and 512 (results/). */
static double share_of_peak(int width)
{
    return 0.85 * width / (width + 50.0);
}

double mb_estimate_seconds(const mb_settings *s, const mb_estimate *e, double peak)
{
    return e->flops / (share_of_peak(s->model.width) * peak);
}
