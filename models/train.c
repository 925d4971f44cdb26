/* What a model does: optimiser steps, losses, logits. */
#include "models/block.h"

#include "base/diffusion.h"
#include "base/file.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sums over rows in order of positions, so that the order of rows never shows in a loss. */
static void add_losses(const mb_pass *p, mb_losses *out)
{
    double sum = 0; /* of modality m, in a register while one modality lasts */
    int m = -1;

    for (int64_t i = 0; i < p->tokens; i++) {
        int64_t row = p->span.at ? p->span.at[i] : i;

        if (p->target[row] < 0)
            continue;
        if (p->target_modality[row] != m) {
            if (m >= 0)
                out->sum[m] = sum;
            m = p->target_modality[row];
            sum = out->sum[m];
        }
        sum += p->loss[row];
        out->n[m]++;
    }
    if (m >= 0)
        out->sum[m] = sum;
    if (p->patches.size == 0)
        return;
    for (int64_t i = 0; i < p->patches.noisy->rows; i++)
        out->sum[MB_IMAGE] += p->patches.loss[i];
    out->n[MB_IMAGE] += p->patches.noisy->rows;
}

double mb_losses_mean(const mb_losses *l)
{
    double sum = 0, patches = 0;
    int64_t n = 0;

    for (int m = 0; m < MB_MODALITIES; m++) {
        if (m == MB_IMAGE && l->patch_weight > 0) {
            patches = l->n[m] ? l->patch_weight * l->sum[m] / (double)l->n[m] : 0;
            continue;
        }
        sum += l->sum[m];
        n += l->n[m];
    }
    return patches + (n ? sum / (double)n : 0);
}

static void add_routed(const mb_pass *p, mb_losses *out)
{
    int layers = p->config->layers;

    for (int i = 0; i < layers; i++) {
        const mb_routed *r = &p->routed[i];

        out->balance += r->balance * p->share / layers;
        out->router_z += r->z * p->share / layers;
        out->asked += r->asked;
        out->dropped += r->asked - r->kept;
    }
}

typedef struct scales { /* of the losses' sums over ids and over patches */
    float id, patch;
} scales;

/* Forward and losses of one batch; while recording also all gradients, of the scaled sums. */
static void run(mb_pass *p, mb_model *m, scales scale)
{
    mb_tensor *x = mb_pass_forward(p, m);

    mb_classify(m->c, x, m->head, p->target, scale.id, m->config.z_loss, p->loss);
    if (p->patches.size > 0)
        mb_regress(m->c, mb_patches_out(p, m, x), p->patches.wanted, scale.patch, p->patches.loss);
}

/* Ends a pass: waits for the backend, adds what the pass has told to OUT, takes its memory back. */
static mb_err finish(const mb_pass *p, mb_losses *out)
{
    mb_err err = mb_ctx_sync(p->c);

    out->patch_weight = p->config->patch > 0 ? p->config->patch_weight : 0;
    add_losses(p, out);
    add_routed(p, out);
    mb_ctx_reset(p->c);
    return err;
}

static bool is_valid(const mb_model *m, const mb_batch *b, int64_t i)
{
    uint32_t vocab = (uint32_t)m->config.vocab;

    return ((uint32_t)b->token[i] < vocab) & (b->target[i] < m->config.vocab) &
           (b->modality[i] < m->config.modalities) & (b->target_modality[i] < MB_MODALITIES);
}

/* Patches are images, and of ids in a batch with patches no loss is an image's. */
static mb_err check_patches(const mb_model *m, const mb_batch *b)
{
    if (b->patch != 0 && b->patch != m->config.patch)
        return mb_fail(MB_EINVAL, "a batch with patches of %d numbers: the model has %d", b->patch,
                       m->config.patch);
    for (int64_t i = 0; b->patch > 0 && i < b->batch * b->len; i++)
        if (b->noise[i] < -1 || b->noise[i] > MB_NOISE_STEPS ||
            (b->noise[i] >= 0 && b->modality[i] != MB_IMAGE) ||
            (b->target[i] >= 0 && b->target_modality[i] == MB_IMAGE))
            return mb_fail(MB_EINVAL,
                           "position %lld: noise %d, modality %d, of target %d: expected noise -1 "
                           "to %d, patches to be images and targets to be none",
                           (long long)i, b->noise[i], b->modality[i], b->target_modality[i],
                           MB_NOISE_STEPS);
    return MB_OK;
}

static mb_err check_batch(const mb_model *m, const mb_batch *b)
{
    int64_t t = b->batch * b->len, i;
    int valid = 1;

    for (i = 0; i < t; i++) /* without a way out it is a few operations on many at once */
        valid &= is_valid(m, b, i);
    if (valid)
        return check_patches(m, b);
    for (i = 0; is_valid(m, b, i); i++)
        ;
    return mb_fail(MB_EINVAL,
                   "position %lld: token %d, target %d, modality %d, of target %d: expected "
                   "tokens 0 to %d, modalities 0 to %d",
                   (long long)i, b->token[i], b->target[i], b->modality[i], b->target_modality[i],
                   m->config.vocab - 1, m->config.modalities - 1);
}

/* What makes means over all micro-batches of sums. */
static scales scale_of(const mb_model *m, const mb_batch *batches, int n)
{
    int64_t ids = 0, patches = 0;

    for (int b = 0; b < n; b++)
        for (int64_t i = 0; i < batches[b].batch * batches[b].len; i++) {
            ids += batches[b].target[i] >= 0;
            patches += batches[b].patch > 0 && batches[b].noise[i] > 0;
        }
    return (scales){ .id = ids > 0 ? 1.0f / (float)ids : 0.0f,
                     .patch = patches > 0 ? m->config.patch_weight / (float)patches : 0.0f };
}

/* A device knows the shapes of a pass beforehand, but for learned routes without a limit, and
   patches, of which every batch has others. */
static bool has_known_shapes(const mb_model *m)
{
    return m->config.patch == 0 && (m->arch->ffn != MB_BY_ROUTER || m->config.capacity > 0);
}

/* Gradients of the mean loss of N micro-batches, added to what the parameters hold. The pass of the
   last one is left to the caller to finish, who has more for the backend to do if UPDATES. */
static mb_err accumulate(mb_model *m, const mb_batch *batches, int n, int64_t step, bool updates,
                         mb_pass *p, mb_losses *out)
{
    scales scale = scale_of(m, batches, n);

    for (int b = 0; b < n; b++)
        MB_TRY(check_batch(m, &batches[b]));
    for (int b = 0; b < n; b++) {
        if (b > 0)
            MB_TRY(finish(p, out));
        mb_pass_begin(p, m, &batches[b]);
        p->training = true;
        p->share = 1.0 / n;
        p->draw = (uint64_t)step * (uint64_t)n + (uint64_t)b;
        if (m->config.graph && has_known_shapes(m))
            mb_ctx_graph(m->c, mb_pass_key(p, m, updates && b == n - 1));
        mb_ctx_record(m->c, true);
        run(p, m, scale);
        mb_backward(m->c);
        mb_ctx_record(m->c, false);
    }
    return MB_OK;
}

mb_err mb_model_gradients(mb_model *m, const mb_batch *batch, int64_t step, mb_losses *out)
{
    mb_pass p;

    memset(out, 0, sizeof *out);
    mb_ctx_clear(m->c, m->grad, (size_t)m->total * sizeof *m->grad);
    MB_TRY(accumulate(m, batch, 1, step, false, &p, out));
    return finish(&p, out);
}

/* Updates parameters START .. START+N-1. */
static void update(mb_model *m, int64_t start, int64_t n, mb_adamw how, bool decays)
{
    if (!decays)
        how.decay = 0;
    mb_adamw_step(m->c, m->data + start, m->grad + start, m->moment[0] + start,
                  m->moment[1] + start, n, &how);
}

mb_err mb_model_step(mb_model *m, const mb_batch *batches, int n, const mb_optimizer_config *how,
                     int64_t step, mb_losses *out)
{
    int64_t norms_at = m->n_matrices + m->n_embeddings;
    mb_adamw adamw = { .lr = how->lr,
                       .beta1 = how->beta1,
                       .beta2 = how->beta2,
                       .eps = how->eps,
                       .decay = how->decay,
                       .clip = how->clip,
                       .squares = m->squares,
                       .step = step + 1 };

    double squares = 0;
    mb_pass p;

    memset(out, 0, sizeof *out);
    MB_TRY(accumulate(m, batches, n, step, true, &p, out));
    mb_ctx_at(m->c, MB_OPTIMIZER, -1);
    mb_sum_squares(m->c, m->squares, m->grad, m->total);
    mb_ctx_fetch(m->c, &squares, m->squares, sizeof squares);
    update(m, 0, m->n_matrices, adamw, true);
    update(m, m->n_matrices, m->n_embeddings, adamw, how->decay_embeddings);
    update(m, norms_at, m->total - norms_at, adamw, how->decay_norms);
    mb_ctx_weights_changed(m->c);
    MB_TRY(finish(&p, out));
    out->grad_norm = sqrt(squares);
    return MB_OK;
}

/* Losses of BATCH, which are not training and so not in the ledger, until it counts again. */
static mb_err look(mb_model *m, const mb_batch *batch, mb_pass *p)
{
    MB_TRY(check_batch(m, batch));
    mb_ctx_count(m->c, false);
    mb_pass_begin(p, m, batch);
    run(p, m, (scales){ 0 });
    return MB_OK;
}

mb_err mb_model_evaluate(mb_model *m, const mb_batch *batch, mb_losses *out)
{
    mb_pass p;
    mb_err err;

    MB_TRY(look(m, batch, &p));
    err = finish(&p, out);
    mb_ctx_count(m->c, true);
    return err;
}

mb_err mb_model_losses(mb_model *m, const mb_batch *batch, float *loss)
{
    int64_t patch = 0;
    mb_pass p;
    mb_err err;

    MB_TRY(look(m, batch, &p));
    err = mb_ctx_sync(m->c);
    for (int64_t i = 0; i < p.tokens; i++) {
        bool noisy = batch->patch > 0 && batch->noise[i] > 0;

        loss[i] = noisy ? p.patches.loss[patch++] : p.loss[p.span.at ? p.span.at[i] : i];
    }
    mb_ctx_reset(m->c);
    mb_ctx_count(m->c, true);
    return err;
}

mb_err mb_model_learn_cuts(mb_model *m, const mb_batch *batch)
{
    size_t n = (size_t)m->config.layers * (size_t)m->config.experts;
    mb_pass p;
    mb_err err;

    if (m->arch->ffn != MB_BY_ROUTER || m->arch->choice != MB_EXPERT_CHOOSES)
        return MB_OK;
    MB_TRY(check_batch(m, batch));
    free(m->cut);
    m->cut = NULL;
    mb_ctx_count(m->c, false);
    mb_pass_begin(&p, m, batch);
    p.least = mb_zalloc(n, sizeof *p.least);
    mb_pass_forward(&p, m);
    err = mb_ctx_sync(m->c);
    mb_ctx_reset(m->c);
    mb_ctx_count(m->c, true);
    m->cut = p.least;
    return err;
}

mb_err mb_model_logits(mb_model *m, const mb_batch *batch, float *logits)
{
    int64_t t = batch->batch * batch->len, v = m->config.vocab;
    mb_tensor *y;
    mb_err err;
    mb_pass p;

    MB_TRY(check_batch(m, batch));
    mb_ctx_count(m->c, false);
    mb_pass_begin(&p, m, batch);
    y = mb_logits(m->c, mb_pass_forward(&p, m), m->head, p.route[MB_BY_NONE]);
    for (int64_t i = 0; i < t; i++) /* back to the order of positions */
        mb_ctx_fetch(m->c, logits + i * v, mb_f32(y) + (p.span.at ? p.span.at[i] : i) * v,
                     (size_t)v * sizeof *logits);
    err = mb_ctx_sync(m->c);
    mb_ctx_reset(m->c);
    mb_ctx_count(m->c, true);
    return err;
}

mb_err mb_model_predict(mb_model *m, const mb_batch *batch, float *predicted)
{
    mb_tensor *y;
    mb_err err;
    mb_pass p;

    MB_TRY(check_batch(m, batch));
    if (batch->patch == 0)
        return mb_fail(MB_EINVAL, "a batch without patches: expected some to predict");
    mb_ctx_count(m->c, false);
    mb_pass_begin(&p, m, batch);
    y = mb_patches_out(&p, m, mb_pass_forward(&p, m));
    mb_ctx_fetch(m->c, predicted, mb_f32(y), mb_bytes(y));
    err = mb_ctx_sync(m->c);
    mb_ctx_reset(m->c);
    mb_ctx_count(m->c, true);
    return err;
}
