/* How much memory training takes: said in advance by formulas, and as it was. The formulas stand in
   README.md, "Memory", where the letters are. */
#include "models/block.h"

#include <math.h>
#include <stdio.h>

/* R: T, and where groups by modality are padded, what that takes at most. */
static int64_t rows(const mb_model *m)
{
    const mb_model_config *g = &m->config;
    bool padded = mb_arch_by_modality(m->arch) && g->pad > 1;

    return g->batch * g->len + (padded ? g->modalities * (int64_t)(g->pad - 1) : 0);
}

/* S: rows that the feed-forward parts take. */
static int64_t routed_rows(const mb_model *m, bool padded)
{
    const mb_model_config *g = &m->config;
    int64_t t = rows(m), k = m->arch->top_k;
    bool experts_choose = m->arch->choice == MB_EXPERT_CHOOSES;
    double share = g->capacity * (experts_choose ? 1 : (double)k) / g->experts;
    int64_t room = (int64_t)ceil(share * (double)t);

    if (m->arch->ffn != MB_BY_ROUTER)
        return t;
    room = (g->capacity > 0 && room < t ? room : t) * g->experts;
    return padded || experts_choose || room < t * k ? room : t * k;
}

/* Elements that the forward of one layer makes. */
static int64_t layer_elements(const mb_model *m, int64_t s)
{
    const mb_model_config *g = &m->config;
    int64_t t = rows(m), d = g->width, f = g->ffn_width;
    int64_t n = 10 * t * d + t * g->heads + s * (d + 3 * f);

    if (g->norm == MB_PRE)
        n += 2 * t * d;
    if (m->arch->ffn == MB_BY_ROUTER) {
        n += s * d + t * g->experts;
        if (g->jitter > 0)
            n += t * d;
        if (g->gate == MB_INSIDE)
            n += t * d;
    }
    return n;
}

/* Elements of the buffers that gradients pass on to each other. */
static int64_t gradient_elements(const mb_model *m, int64_t s)
{
    const mb_model_config *g = &m->config;
    int64_t t = rows(m), d = g->width, n = 9 * t * d + 3 * s * g->ffn_width;

    return m->arch->ffn == MB_BY_ROUTER ? n + s * d + t * g->experts : n;
}

static mb_patch_memory patch_memory(const mb_model *m)
{
    return m->config.patch > 0 ? mb_coder_of(&m->config)->memory(&m->config)
                               : (mb_patch_memory){ 0 };
}

/* With a patch at every position, if there are any. What is made again is there for one at a time.
 */
static int64_t activation_elements(const mb_model *m, int64_t s)
{
    const mb_model_config *g = &m->config;
    const mb_patch_memory patch = patch_memory(m);
    int64_t t = g->batch * g->len, under = t * patch.under;
    int64_t td = rows(m) * g->width, layer = layer_elements(m, s), n = g->layers;
    int64_t gradients = gradient_elements(m, s), kept = 2 * td + t * patch.kept;

    if (g->recompute == MB_RECOMPUTE_NONE)
        return kept + n * layer + gradients + under;
    layer += gradients;
    return kept + n * td + (under > layer ? under : layer);
}

/* Scores, choices and indices of learned routes; a recomputed layer chooses twice. */
static int64_t route_bytes(const mb_model *m)
{
    const mb_model_config *g = &m->config;
    int64_t t = rows(m), k = m->arch->top_k;
    int64_t chosen = m->arch->choice == MB_EXPERT_CHOOSES ? g->experts : k;
    int64_t layer = t * (4 * g->experts + 12 * chosen + 16 * k + 16);

    if (m->arch->ffn != MB_BY_ROUTER)
        layer = 0;
    return 22 * t + g->layers * layer * (g->recompute == MB_RECOMPUTE_LAYER ? 2 : 1);
}

/* Of matrices that have copies. */
static uint64_t copied_elements(const mb_model *m, mb_keeping keeping)
{
    bool routed = m->arch->ffn == MB_BY_ROUTER;
    int64_t s = routed ? routed_rows(m, keeping.padded) : rows(m);
    uint64_t n = 0;

    for (size_t i = 0; i < m->n_params; i++) {
        const mb_tensor *w = &m->params[i].t;
        bool passes =
            w->slices > 1 && s >= keeping.few * w->slices && s <= keeping.many * w->slices;

        if (m->params[i].kind == MB_MATRIX && !passes)
            n += (uint64_t)mb_count(w);
    }
    return n;
}

static mb_memory memory_kept(const mb_model *m, mb_keeping keeping)
{
    const mb_model_config *g = &m->config;
    const mb_sizes sizes = { g->batch, g->len, rows(m), g->width, g->heads, g->vocab };
    uint64_t weights = mb_model_params_total(m) * sizeof(float);
    int64_t threads = mb_ctx_threads(m->c), v = g->vocab, d = g->width;
    int64_t head = threads * keeping.head_rows * (v + 3 * d);

    mb_ctx_ways(m->c, g->attention, g->grouping);
    return (mb_memory){
        .weights = weights,
        .gradients = weights,
        .moments = 2 * weights,
        .copies = (uint64_t)keeping.copies * copied_elements(m, keeping),
        .activations =
            (uint64_t)(keeping.activation * activation_elements(m, routed_rows(m, keeping.padded))),
        .routes = (uint64_t)(route_bytes(m) + g->batch * g->len * patch_memory(m).bytes),
        .head = (uint64_t)head * sizeof(float) + mb_ctx_workspace(m->c, &sizes),
    };
}

mb_memory mb_model_memory(const mb_model *m)
{
    return memory_kept(m, mb_ctx_keeping(m->c));
}

static double gib(const mb_memory *b)
{
    return (double)mb_memory_total(b) / (1 << 30);
}

/* What M would take if it was another in one thing. */
static double if_recomputed(const mb_model *m)
{
    mb_model other = *m;
    mb_memory b;

    other.config.recompute = MB_RECOMPUTE_LAYER;
    b = mb_model_memory(&other);
    return gib(&b);
}

static double if_halved(const mb_model *m)
{
    mb_model other = *m;
    mb_memory b;

    other.config.batch = (m->config.batch + 1) / 2;
    b = mb_model_memory(&other);
    return gib(&b);
}

static double if_narrow(const mb_model *m)
{
    mb_keeping narrow = mb_ctx_keeping(m->c);
    mb_memory b;

    narrow.activation = narrow.copies = (int)mb_size(MB_BF16);
    b = memory_kept(m, narrow);
    return gib(&b);
}

mb_err mb_model_refuse(const mb_model *m)
{
    const mb_memory b = mb_model_memory(m);
    char inner[256];

    snprintf(inner, sizeof inner, "%s", mb_message());
    return mb_fail(
        MB_ENOMEM,
        "%s: a step takes %.2f GiB, of which weights, gradients and moments %.2f: with "
        "recompute = layer it would be %.2f, with batch = %lld %.2f, in bf16 on a device "
        "%.2f (%s)",
        m->arch->name, gib(&b), (double)(b.weights + b.gradients + b.moments) / (1 << 30),
        if_recomputed(m), (long long)(m->config.batch + 1) / 2, if_halved(m), if_narrow(m), inner);
}

uint64_t mb_memory_total(const mb_memory *b)
{
    return b->weights + b->gradients + b->moments + b->copies + b->activations + b->routes +
           b->head;
}

uint64_t mb_model_held(const mb_model *m)
{
    return 4 * sizeof(float) * (uint64_t)m->total + mb_ctx_held(m->c);
}
