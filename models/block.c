/* The architecture table and the one layer that serves all of its rows.

   Dense, Switch, expert choice and Mixture-of-Transformers differ here and nowhere else: in which
   route each part of the layer takes. */
#include "models/block.h"

#include "base/random.h"

#include <string.h>

/* clang-format off */
const mb_arch mb_archs[] = {
    /* The columns: name; routes of qkv, out, feed-forward and norms; how a learned route chooses:
       who, score, experts per token, renormalised gates, random second, capacity, balance loss. */
    { "dense", MB_BY_NONE, MB_BY_NONE, MB_BY_NONE, MB_BY_NONE, .top_k = 1,
      .about = "one set of weights for every token" },
    { "switch", MB_BY_NONE, MB_BY_NONE, MB_BY_ROUTER, MB_BY_NONE, MB_TOKEN_CHOOSES, MB_SOFTMAX, 1,
      .capacity = 1.25, .balance = 0.01,
      .about = "feed-forward experts, each token picks one (Switch Transformer)" },
    { "moe-ec", MB_BY_NONE, MB_BY_NONE, MB_BY_ROUTER, MB_BY_NONE, MB_EXPERT_CHOOSES, MB_SIGMOID, 1,
      .capacity = 1.0,
      .about = "feed-forward experts, each expert picks its tokens (the MoT paper's MoE-4x)" },
    { "gshard", MB_BY_NONE, MB_BY_NONE, MB_BY_ROUTER, MB_BY_NONE, MB_TOKEN_CHOOSES, MB_SOFTMAX, 2,
      .renormalise = true, .random_second = true, .capacity = 1.0, .balance = 0.01,
      .about = "feed-forward experts, each token picks two (GShard)" },
    { "mot", MB_BY_MODALITY, MB_BY_MODALITY, MB_BY_MODALITY, MB_BY_MODALITY, .top_k = 1,
      .about = "every non-embedding weight by modality (Mixture-of-Transformers)" },
    { "mot-ffn", MB_BY_NONE, MB_BY_NONE, MB_BY_MODALITY, MB_BY_NONE, .top_k = 1,
      .about = "only the feed-forward by modality (ablation)" },
    { "mot-ffn-qkv", MB_BY_MODALITY, MB_BY_NONE, MB_BY_MODALITY, MB_BY_NONE, .top_k = 1,
      .about = "feed-forward and q, k, v by modality (ablation)" },
    { 0 },
};
/* clang-format on */

const mb_arch *mb_arch_find(const char *name)
{
    for (const mb_arch *a = mb_archs; a->name; a++)
        if (!strcmp(a->name, name))
            return a;
    return NULL;
}

/* The learned route of this layer, chosen from s (T, D), the input of the feed-forward. */
static const mb_route *choose(mb_pass *p, const mb_layer *l, int index, mb_tensor *s)
{
    const mb_model_config *m = p->config;
    mb_router how = { .choice = p->arch->choice,
                      .score = m->score,
                      .top_k = p->arch->top_k,
                      .capacity = m->capacity,
                      .group_rows = m->group == MB_GROUP_SEQUENCE ? p->span.len : 0,
                      .renormalise = p->arch->renormalise,
                      .random_second = p->arch->random_second && p->training,
                      .balance = m->balance * p->share,
                      .z = m->router_z * p->share,
                      .key = mb_key(p->seed, "second expert", p->draw, (uint64_t)index) };
    const mb_route *r;

    if (!p->training && (m->eval_capacity > 0 || how.choice == MB_TOKEN_CHOOSES))
        how.capacity = m->eval_capacity;
    if (p->cache && how.choice == MB_TOKEN_CHOOSES) /* the other sequences do not matter */
        how.capacity = 0;
    if (p->cut)
        how.cut = p->cut + index * m->experts;
    if (p->least)
        how.least = p->least + index * m->experts;
    mb_ctx_at(p->c, MB_ROUTER, index);
    if (m->jitter > 0 && p->training)
        s = mb_jitter(p->c, s, (float)m->jitter,
                      mb_key(p->seed, "jitter", p->draw, (uint64_t)index));
    s = mb_logits(p->c, s, l->router, p->route[MB_BY_NONE]);
    r = mb_choose(p->c, s, &how, &p->routed[index]);
    mb_ctx_at(p->c, MB_FEED_FORWARD, index);
    return r;
}

/* x + norm(h) after the sub-layer [MoT eq. 1 and 2], or x + h when the norm came before it. */
static mb_tensor *rejoin(mb_pass *p, mb_tensor *x, mb_tensor *h, mb_tensor *norm, const mb_route *r)
{
    bool post = p->config->norm == MB_POST;

    if (post && p->config->gate == MB_INSIDE) { /* the gate meets the norm, which cancels it */
        h = mb_combine(p->c, NULL, h, NULL, NULL, 0, r);
        r = p->route[MB_BY_NONE];
    }
    return mb_combine(p->c, x, h, post ? norm : NULL, p->norm_slice, p->config->norm_eps, r);
}

static mb_tensor *before(mb_pass *p, mb_tensor *x, mb_tensor *norm)
{
    return p->config->norm == MB_PRE ? mb_norm(p->c, x, norm, p->norm_slice, p->config->norm_eps)
                                     : x;
}

mb_tensor *mb_block(mb_pass *p, const mb_layer *l, int index, mb_tensor *x)
{
    const mb_model_config *m = p->config;
    mb_ctx *c = p->c;
    const mb_route *by;
    mb_tensor *h;

    mb_ctx_at(c, MB_ATTENTION, index);
    h = before(p, x, l->norm1);
    h = mb_gemm(c, h, l->qkv, p->route[p->arch->qkv]);
    h = mb_rope(c, h, l->qnorm, l->knorm, p->norm_slice, p->position, p->cache ? NULL : &p->span,
                m->heads, m->norm_eps, m->rope_base);
    h = p->cache ? mb_attend_cached(c, h, &p->cache[index], &p->places, m->heads)
                 : mb_attend(c, h, &p->span, m->heads);
    h = mb_gemm(c, h, l->out, p->route[p->arch->out]);
    x = rejoin(p, x, h, l->norm1, p->route[MB_BY_NONE]);

    mb_ctx_at(c, MB_FEED_FORWARD, index);
    h = before(p, x, l->norm2);
    by = p->arch->ffn == MB_BY_ROUTER ? choose(p, l, index, h) : p->route[p->arch->ffn];
    h = mb_gather(c, h, by);
    h = mb_swiglu(c, mb_gemm(c, h, l->up, by));
    h = mb_gemm(c, h, l->down, by);
    return rejoin(p, x, h, l->norm2, by); /* gated sum over experts; x alone where dropped */
}
