/* One pass of a batch through the model: home order, known routes, forward. */
#include "models/block.h"

#include "base/random.h"

#include <string.h>

static bool by_modality(const mb_arch *a)
{
    return a->qkv == MB_BY_MODALITY || a->out == MB_BY_MODALITY || a->ffn == MB_BY_MODALITY ||
           a->norms == MB_BY_MODALITY;
}

/* Stable counting sort of the T positions by modality: at[position] = row. */
static int32_t *sort_rows(mb_ctx *c, const uint8_t *modality, int64_t t, const int64_t *count)
{
    int32_t *at = mb_ctx_host(c, (size_t)t * sizeof *at);
    int64_t next[MB_MODALITIES] = { 0 };

    for (int i = 1; i < MB_MODALITIES; i++)
        next[i] = next[i - 1] + count[i - 1];
    for (int64_t i = 0; i < t; i++)
        at[i] = (int32_t)next[modality[i]]++;
    return at;
}

static const int32_t *in_home_order(mb_ctx *c, const int32_t *x, const int32_t *at, int64_t t)
{
    int32_t *y;

    if (!at)
        return x;
    y = mb_ctx_host(c, (size_t)t * sizeof *y);
    for (int64_t i = 0; i < t; i++)
        y[at[i]] = x[i];
    return y;
}

static const uint8_t *bytes_in_home_order(mb_ctx *c, const uint8_t *x, const int32_t *at, int64_t t)
{
    uint8_t *y;

    if (!at)
        return x;
    y = mb_ctx_host(c, (size_t)t);
    for (int64_t i = 0; i < t; i++)
        y[at[i]] = x[i];
    return y;
}

void mb_pass_begin(mb_pass *p, mb_model *m, const mb_batch *batch)
{
    int64_t t = batch->batch * batch->len, count[MB_MODALITIES] = { 0 };
    int32_t *at = NULL;

    for (int64_t i = 0; i < t; i++)
        count[batch->modality[i]]++;
    if (by_modality(m->arch))
        at = sort_rows(m->c, batch->modality, t, count);
    *p = (mb_pass){ .c = m->c,
                    .arch = m->arch,
                    .config = &m->config,
                    .share = 1.0,
                    .seed = m->seed,
                    .rows = t,
                    .token = in_home_order(m->c, batch->token, at, t),
                    .target = in_home_order(m->c, batch->target, at, t),
                    .position = in_home_order(m->c, batch->position, at, t),
                    .modality = bytes_in_home_order(m->c, batch->modality, at, t),
                    .target_modality = bytes_in_home_order(m->c, batch->target_modality, at, t),
                    .span = { .batch = batch->batch,
                              .len = batch->len,
                              .at = at,
                              .lo = batch->lo,
                              .hi = batch->hi },
                    .routed = mb_ctx_host(m->c, (size_t)m->config.layers * sizeof *p->routed),
                    .loss = mb_ctx_host(m->c, (size_t)t * sizeof *p->loss) };
    memset(p->routed, 0, (size_t)m->config.layers * sizeof *p->routed);
    memset(p->loss, 0, (size_t)t * sizeof *p->loss);
    if (m->arch->norms == MB_BY_MODALITY)
        p->norm_slice = p->modality;
    for (int64_t i = 0; i < t; i++)
        p->span.pairs += (uint64_t)(batch->hi[i] - batch->lo[i] + 1);
    p->route[MB_BY_NONE] = mb_route_all(m->c, t);
    mb_patches_begin(p, batch);
    p->route[MB_BY_MODALITY] = at ? mb_route_sorted(m->c, m->config.modalities, count) : NULL;
}

typedef struct place { /* of a layer in a pass */
    mb_pass *pass;
    const mb_layer *layer;
    int index;
} place;

static mb_tensor *layer_at(void *arg, mb_tensor *x)
{
    const place *at = arg;

    return mb_block(at->pass, at->layer, at->index, x);
}

static mb_tensor *layer(mb_pass *p, const mb_model *m, int index, mb_tensor *x)
{
    place *at;

    if (m->config.recompute == MB_RECOMPUTE_NONE)
        return mb_block(p, &m->layers[index], index, x);
    at = mb_ctx_host(p->c, sizeof *at);
    *at = (place){ p, &m->layers[index], index };
    return mb_recompute(p->c, layer_at, at, x);
}

mb_tensor *mb_pass_forward(mb_pass *p, const mb_model *m)
{
    mb_tensor *x;

    mb_ctx_at(p->c, MB_EMBED, -1);
    x = mb_patches_in(p, m, mb_embed(p->c, m->embed, p->token, p->rows));
    for (int i = 0; i < m->config.layers; i++)
        x = layer(p, m, i, x);
    mb_ctx_at(p->c, MB_HEAD, -1);
    return mb_norm(p->c, x, m->norm, NULL, m->config.norm_eps);
}
