/* Images that stand in a sequence as patches: the way from numbers to the hidden state and back.

   A coder goes both ways. The linear one is here: a patch behind noise comes with sinusoids of its
   step, and one matrix takes both: that is the patch's embedding plus one of the time. Predictions
   are a second matrix on what the head would read. The other one is in unet.c. The embedding of the
   id at its position, which all patches share, is the bias of either. */
#include "models/block.h"

#include "base/file.h"

#include <math.h>
#include <string.h>

/* K: [cos, sin] of the step at frequencies 10000^(-2k/K), as positions in Vaswani et al. 2017. */
void mb_time_features(int32_t step, float out[MB_TIME_FEATURES])
{
    enum { HALF = MB_TIME_FEATURES / 2 };

    for (int k = 0; k < HALF; k++) {
        double angle = step * pow(10000, -(double)k / HALF);

        out[k] = (float)cos(angle);
        out[HALF + k] = (float)sin(angle);
    }
}

/* Positions with a patch at step LEAST or later: their rows, which ascend as positions do, since
   all have one modality. */
static const mb_route *route_of(const mb_pass *p, const mb_batch *batch, int32_t least)
{
    int32_t *token = mb_ctx_host(p->c, (size_t)(p->tokens + 1) * sizeof *token);
    int64_t n = 0;

    for (int64_t i = 0; i < p->tokens; i++)
        if (batch->noise[i] >= least)
            token[n++] = p->span.at ? p->span.at[i] : (int32_t)i;
    return mb_route_rows(p->c, p->rows, token, n);
}

void mb_patches_begin(mb_pass *p, const mb_model *m, const mb_batch *batch)
{
    int64_t s = batch->patch;
    mb_patches *k = &p->patches;
    float *wanted;

    *k = (mb_patches){ .size = s };
    if (s == 0)
        return;
    k->all = route_of(p, batch, 0);
    k->noisy = route_of(p, batch, 1);
    k->wanted = wanted = mb_ctx_host(p->c, (size_t)(k->noisy->rows * s) * sizeof *wanted);
    k->loss = mb_ctx_host(p->c, (size_t)k->noisy->rows * sizeof *k->loss);
    for (int64_t i = 0; i < p->tokens; i++)
        if (batch->noise[i] > 0) {
            memcpy(wanted, batch->wanted + i * s, (size_t)s * sizeof *wanted);
            wanted += s;
        }
    memset(k->loss, 0, (size_t)k->noisy->rows * sizeof *k->loss);
    mb_coder_of(&m->config)->begin(p, m, batch);
}

mb_tensor *mb_patches_in(mb_pass *p, const mb_model *m, mb_tensor *x)
{
    if (p->patches.size == 0)
        return x;
    return mb_combine(p->c, x, mb_coder_of(&m->config)->in(p, m), NULL, NULL, 0, p->patches.all);
}

mb_tensor *mb_patches_out(mb_pass *p, const mb_model *m, mb_tensor *x)
{
    return mb_coder_of(&m->config)->out(p, m, x);
}

/* ---- the linear coder ----------------------------------------------------------------------- */

static mb_err check(const mb_model_config *config)
{
    return MB_OK;
}

static void make(mb_model *m)
{
    int64_t d = m->config.width, s = m->config.patch;

    m->patch_in = mb_model_matrix(m, d, s + MB_TIME_FEATURES, mb_format("patch.in"));
    m->patch_out = mb_model_matrix(m, s, d, mb_format("patch.out"));
}

static void begin(mb_pass *p, const mb_model *m, const mb_batch *batch)
{
    int64_t s = batch->patch, wide = s + MB_TIME_FEATURES;
    float *in = mb_ctx_host(p->c, (size_t)(p->patches.all->rows * wide) * sizeof *in);

    p->patches.in = in;
    for (int64_t i = 0; i < p->tokens; i++) {
        if (batch->noise[i] < 0)
            continue;
        memcpy(in, batch->noisy + i * s, (size_t)s * sizeof *in);
        mb_time_features(batch->noise[i], in + s);
        in += wide;
    }
}

static mb_tensor *in(mb_pass *p, const mb_model *m)
{
    const mb_patches *k = &p->patches;
    mb_tensor *x = mb_input(p->c, "patches", k->all->rows, m->patch_in->cols, k->in);

    return mb_gemm(p->c, x, m->patch_in, mb_route_all(p->c, k->all->rows));
}

static mb_tensor *out(mb_pass *p, const mb_model *m, mb_tensor *x)
{
    const mb_patches *k = &p->patches;

    return mb_logits(p->c, mb_gather(p->c, x, k->noisy), m->patch_out,
                     mb_route_all(p->c, k->noisy->rows));
}

/* In: as it comes and its product; out: gathered and predicted; their gradients. */
static mb_patch_memory memory(const mb_model_config *g)
{
    return (mb_patch_memory){ .kept = 3 * g->width + 3 * g->patch + MB_TIME_FEATURES,
                              .bytes = 28 + 8 * g->patch + 4 * MB_TIME_FEATURES };
}

const mb_coder mb_linear_coder = {
    .params = 2,
    .check = check,
    .make = make,
    .begin = begin,
    .in = in,
    .out = out,
    .memory = memory,
};

const mb_coder *mb_coder_of(const mb_model_config *config)
{
    static const mb_coder *const coders[] = {
        [MB_PATCH_LINEAR] = &mb_linear_coder, [MB_PATCH_UNET] = &mb_unet_coder
    };

    return coders[config->patch_coder];
}
