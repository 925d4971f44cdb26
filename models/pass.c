/* One pass of a batch through the model: home order, known routes, forward. */
#include "models/block.h"

#include "base/random.h"

#include <string.h>

bool mb_arch_by_modality(const mb_arch *a)
{
    return a->qkv == MB_BY_MODALITY || a->out == MB_BY_MODALITY || a->ffn == MB_BY_MODALITY ||
           a->norms == MB_BY_MODALITY;
}

/* Stable counting sort of the T positions by modality, of which each has ROWS[m] rows: at[position]
   = row. */
static int32_t *sort_rows(mb_ctx *c, const uint8_t *modality, int64_t t, const int64_t *rows)
{
    int32_t *at = mb_ctx_host(c, (size_t)t * sizeof *at);
    int64_t next[MB_MODALITIES] = { 0 };

    for (int i = 1; i < MB_MODALITIES; i++)
        next[i] = next[i - 1] + rows[i - 1];
    for (int64_t i = 0; i < t; i++)
        at[i] = (int32_t)next[modality[i]]++;
    return at;
}

/* X (T) in rows, those of no position EMPTY. */
static const int32_t *in_home_order(const mb_pass *p, const int32_t *x, const int32_t *at,
                                    int32_t empty)
{
    int32_t *y;

    if (!at || !x)
        return x;
    y = mb_ctx_host(p->c, (size_t)p->rows * sizeof *y);
    for (int64_t i = 0; p->rows > p->tokens && i < p->rows; i++)
        y[i] = empty;
    for (int64_t i = 0; i < p->tokens; i++)
        y[at[i]] = x[i];
    return y;
}

static const uint8_t *bytes_in_home_order(const mb_pass *p, const uint8_t *x, const int32_t *at)
{
    uint8_t *y;

    if (!at || !x)
        return x;
    y = mb_ctx_host(p->c, (size_t)p->rows);
    if (p->rows > p->tokens)
        memset(y, 0, (size_t)p->rows);
    for (int64_t i = 0; i < p->tokens; i++)
        y[at[i]] = x[i];
    return y;
}

static int64_t padded(int64_t rows, int multiple)
{
    return multiple > 1 ? (rows + multiple - 1) / multiple * multiple : rows;
}

void mb_pass_begin(mb_pass *p, mb_model *m, const mb_batch *batch)
{
    int64_t t = batch->batch * batch->len, all = t;
    int64_t count[MB_MODALITIES] = { 0 }, rows[MB_MODALITIES];
    int32_t *at = NULL;

    for (int64_t i = 0; i < t; i++)
        count[batch->modality[i]]++;
    if (mb_arch_by_modality(m->arch)) {
        all = 0;
        for (int i = 0; i < MB_MODALITIES; i++)
            all += rows[i] = padded(count[i], batch->target ? m->config.pad : 1);
        at = sort_rows(m->c, batch->modality, t, rows);
    }
    *p = (mb_pass){ .c = m->c,
                    .arch = m->arch,
                    .config = &m->config,
                    .share = 1.0,
                    .seed = m->seed,
                    .tokens = t,
                    .rows = all,
                    .span = { .batch = batch->batch,
                              .len = batch->len,
                              .rows = all,
                              .at = at,
                              .lo = batch->lo,
                              .hi = batch->hi },
                    .routed = mb_ctx_host(m->c, (size_t)m->config.layers * sizeof *p->routed),
                    .loss = mb_ctx_host(m->c, (size_t)all * sizeof *p->loss),
                    .cut = m->cut };
    p->token = in_home_order(p, batch->token, at, 0);
    p->target = in_home_order(p, batch->target, at, -1);
    p->position = in_home_order(p, batch->position, at, 0);
    p->modality = bytes_in_home_order(p, batch->modality, at);
    p->target_modality = bytes_in_home_order(p, batch->target_modality, at);
    memset(p->routed, 0, (size_t)m->config.layers * sizeof *p->routed);
    memset(p->loss, 0, (size_t)all * sizeof *p->loss);
    if (m->arch->norms == MB_BY_MODALITY)
        p->norm_slice = p->modality;
    for (int64_t i = 0; i < t; i++)
        p->span.pairs += (uint64_t)(batch->hi[i] - batch->lo[i] + 1);
    p->route[MB_BY_NONE] = mb_route_padded(m->c, 1, &t, &all);
    p->route[MB_BY_MODALITY] = at ? mb_route_padded(m->c, m->config.modalities, count, rows) : NULL;
    mb_patches_begin(p, m, batch);
    mb_ctx_ways(m->c, m->config.attention, m->config.grouping);
}

uint64_t mb_pass_key(const mb_pass *p, const mb_model *m, bool last)
{
    const mb_route *r = p->route[MB_BY_MODALITY];
    const mb_span *s = &p->span;
    int64_t shape[8 + MB_MODALITIES] = {
        (int64_t)(uintptr_t)m->data,
        m->total,
        s->batch,
        s->len,
        (int64_t)mb_spans_kind(s->lo, s->hi, s->batch, s->len),
        (int64_t)(p->share * (1 << 20)), /* scales the losses of routers, in the calls themselves */
        last,
        p->rows,
    };
    uint64_t key = 0;

    for (int g = 0; r && g < r->groups; g++)
        shape[8 + g] = r->offset[g + 1];
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        key = mb_key(key, "pass", (uint64_t)shape[i], i);
    return key;
}

const int32_t *mb_pass_order(const mb_pass *p, const int32_t *row)
{
    return in_home_order(p, row, p->span.at, 0);
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
