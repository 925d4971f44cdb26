/* Images that stand in a sequence as patches: the way from numbers to the hidden state and back.

   A patch behind noise comes with sinusoids of its step, and one matrix takes both: that is the
   patch's embedding plus one of the time. The embedding of the id at its position, which all
   patches share, is the bias. Predictions are a second matrix on what the head would read. */
#include "models/block.h"

#include <math.h>
#include <string.h>

/* K: [cos, sin] of the step at frequencies 10000^(-2k/K), as positions in Vaswani et al. 2017. */
static void time_features(int32_t step, float out[MB_TIME_FEATURES])
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
    return mb_route_some(p->c, p->rows, token, n);
}

void mb_patches_begin(mb_pass *p, const mb_batch *batch)
{
    int64_t s = batch->patch, wide = s + MB_TIME_FEATURES;
    mb_patches *k = &p->patches;
    float *in, *wanted;

    *k = (mb_patches){ .size = s };
    if (s == 0)
        return;
    k->all = route_of(p, batch, 0);
    k->noisy = route_of(p, batch, 1);
    k->in = in = mb_ctx_host(p->c, (size_t)(k->all->rows * wide) * sizeof *in);
    k->wanted = wanted = mb_ctx_host(p->c, (size_t)(k->noisy->rows * s) * sizeof *wanted);
    k->loss = mb_ctx_host(p->c, (size_t)k->noisy->rows * sizeof *k->loss);
    for (int64_t i = 0; i < p->tokens; i++) {
        if (batch->noise[i] < 0)
            continue;
        memcpy(in, batch->noisy + i * s, (size_t)s * sizeof *in);
        time_features(batch->noise[i], in + s);
        in += wide;
        if (batch->noise[i] > 0) {
            memcpy(wanted, batch->wanted + i * s, (size_t)s * sizeof *wanted);
            wanted += s;
        }
    }
    memset(k->loss, 0, (size_t)k->noisy->rows * sizeof *k->loss);
}

mb_tensor *mb_patches_in(mb_pass *p, const mb_model *m, mb_tensor *x)
{
    const mb_patches *k = &p->patches;
    mb_tensor *in;

    if (k->size == 0)
        return x;
    in = mb_input(p->c, "patches", k->all->rows, m->patch_in->cols, k->in);
    in = mb_gemm(p->c, in, m->patch_in, mb_route_all(p->c, k->all->rows));
    return mb_combine(p->c, x, in, NULL, NULL, 0, k->all);
}

mb_tensor *mb_patches_out(mb_pass *p, const mb_model *m, mb_tensor *x)
{
    const mb_patches *k = &p->patches;

    return mb_logits(p->c, mb_gather(p->c, x, k->noisy), m->patch_out,
                     mb_route_all(p->c, k->noisy->rows));
}
