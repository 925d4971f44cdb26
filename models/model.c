/* What a model is made of: its parameters, drawn from a seed. What it does is in pass.c and
 * train.c. */
#include "models/model.h"

#include "base/file.h"
#include "base/random.h"
#include "models/block.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 16 }; /* parameters start at multiples of 64 bytes */

int mb_ffn_width(int width, int multiple)
{
    int f = 2 * 4 * width / 3;

    return (f + multiple - 1) / multiple * multiple;
}

/* Upper limits are far beyond use: they keep products of sizes inside 64 bits. */
static mb_err check_ranges(const mb_arch *arch, const mb_model_config *m)
{
    const double routed = arch->ffn == MB_BY_ROUTER;
    const struct {
        const char *name;
        double value, low, high;
    } ranges[] = {
        { "vocab", m->vocab, 2, INT32_MAX },
        { "modalities", m->modalities, 1, MB_MODALITIES },
        { "width", m->width, 2, 1 << 16 },
        { "layers", m->layers, 1, 1000 },
        { "pad", m->pad, 0, 1 << 16 },
        { "heads", m->heads, 1, 1 << 15 },
        { "ffn_width", m->ffn_width, 0, 1 << 20 },
        { "ffn_multiple", m->ffn_multiple, m->ffn_width == 0, 1 << 16 },
        { "norm_eps", m->norm_eps, 0, 1 },
        { "rope_base", m->rope_base, 1, 1e12 },
        { "z_loss", m->z_loss, 0, 1e6 },
        { "patch", m->patch, 0, 1 << 16 },
        { "patch_weight", m->patch_weight, m->patch > 0 ? 1e-6 : 0, 1e6 },
        { "experts", m->experts, routed * arch->top_k, 1 << 12 },
        { "capacity", m->capacity, routed * 1e-6, 1e6 },
        { "eval_capacity", m->eval_capacity, 0, 1e6 },
        { "balance", m->balance, 0, 1e6 },
        { "router_z", m->router_z, 0, 1e6 },
        { "jitter", m->jitter, 0, 1 },
    };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high)) /* or NaN */
            return mb_fail(MB_EINVAL, "arch %s: %s %g: expected %g to %g", arch->name,
                           ranges[i].name, ranges[i].value, ranges[i].low, ranges[i].high);
    return MB_OK;
}

static mb_err check(const mb_arch *arch, const mb_model_config *m)
{
    MB_TRY(check_ranges(arch, m));
    if (m->width % m->heads != 0 || m->width / m->heads % 2 != 0)
        return mb_fail(MB_EINVAL,
                       "model: width %d with %d heads: expected heads of equal, even width",
                       m->width, m->heads);
    if (m->patch > 0)
        MB_TRY(mb_coder_of(m)->check(m));
    if (arch->ffn == MB_BY_ROUTER && m->score == MB_SIGMOID && (m->balance > 0 || m->router_z > 0))
        return mb_fail(MB_EINVAL, "arch %s: balance and router_z need score = softmax", arch->name);
    return MB_OK;
}

static int slices_of(const mb_model *m, enum mb_by by)
{
    return by == MB_BY_MODALITY ? m->config.modalities : by == MB_BY_ROUTER ? m->config.experts : 1;
}

/* Adds a parameter of (rows, cols) per slice. Matrices are (G, N, K), norms (G, D), tables (V, D).
 */
static mb_tensor *add(mb_model *m, enum mb_kind kind, enum mb_by by, int64_t rows, int64_t cols,
                      const char *name)
{
    mb_param *p = &m->params[m->n_params++];
    int slices = slices_of(m, by);

    p->kind = kind;
    p->by = by;
    p->t = (mb_tensor){ .name = name,
                        .slices = kind == MB_NORM_WEIGHT ? 1 : slices,
                        .rows = kind == MB_NORM_WEIGHT ? slices : rows,
                        .cols = cols,
                        .rank = rows == 0 || kind == MB_EMBEDDING ? 2 : 3,
                        .wants = true,
                        .parameter = true };
    return &p->t;
}

mb_tensor *mb_model_matrix(mb_model *m, int64_t rows, int64_t cols, char *name)
{
    mb_tensor *t = add(m, MB_MATRIX, MB_BY_NONE, rows, cols, name);

    t->rank = 2;
    return t;
}

mb_tensor *mb_model_norm(mb_model *m, int64_t cols, char *name)
{
    return add(m, MB_NORM_WEIGHT, MB_BY_NONE, 0, cols, name);
}

static char *layer_name(int layer, const char *part)
{
    return mb_format("layers.%d.%s", layer, part);
}

static void add_layer(mb_model *m, int i)
{
    const mb_model_config *g = &m->config;
    const mb_arch *a = m->arch;
    int64_t d = g->width, f = g->ffn_width, e = d / g->heads;
    mb_layer *l = &m->layers[i];

    l->norm1 = add(m, MB_NORM_WEIGHT, a->norms, 0, d, layer_name(i, "attention.norm"));
    l->qkv = add(m, MB_MATRIX, a->qkv, 3 * d, d, layer_name(i, "attention.qkv"));
    if (g->qk_norm) {
        l->qnorm = add(m, MB_NORM_WEIGHT, a->norms, 0, e, layer_name(i, "attention.q_norm"));
        l->knorm = add(m, MB_NORM_WEIGHT, a->norms, 0, e, layer_name(i, "attention.k_norm"));
    }
    l->out = add(m, MB_MATRIX, a->out, d, d, layer_name(i, "attention.out"));
    l->norm2 = add(m, MB_NORM_WEIGHT, a->norms, 0, d, layer_name(i, "feed_forward.norm"));
    if (a->ffn == MB_BY_ROUTER)
        l->router = mb_model_matrix(m, g->experts, d, layer_name(i, "feed_forward.router"));
    l->up = add(m, MB_MATRIX, a->ffn, 2 * f, d, layer_name(i, "feed_forward.up"));
    l->down = add(m, MB_MATRIX, a->ffn, d, f, layer_name(i, "feed_forward.down"));
}

static int64_t aligned_count(const mb_tensor *t)
{
    return (mb_count(t) + ALIGN - 1) / ALIGN * ALIGN;
}

/* Gives every parameter its place: all of one kind, then the next. */
static void place(mb_model *m)
{
    int64_t at = 0;

    for (int kind = MB_MATRIX; kind <= MB_NORM_WEIGHT; kind++) {
        for (size_t i = 0; i < m->n_params; i++) {
            mb_tensor *t = &m->params[i].t;

            if ((int)m->params[i].kind != kind)
                continue;
            if (m->data) {
                t->data = m->data + at;
                t->grad = m->grad + at;
            }
            at += aligned_count(t);
        }
        if (kind == MB_MATRIX)
            m->n_matrices = at;
        else if (kind == MB_EMBEDDING)
            m->n_embeddings = at - m->n_matrices;
    }
    m->total = at;
}

/* One allocation: that it fits is known before any of it is used. */
static mb_err allocate(mb_model *m)
{
    place(m);
    m->data = mb_ctx_alloc(m->c, 4 * sizeof(float) * (size_t)m->total + sizeof *m->squares);
    if (!m->data)
        return mb_model_refuse(m);
    m->grad = m->data + m->total;
    m->moment[0] = m->grad + m->total;
    m->moment[1] = m->moment[0] + m->total;
    m->squares = (double *)(m->moment[1] + m->total);
    place(m);
    return MB_OK;
}

/* Standard deviations: embeddings 0.02; matrices 1/sqrt(fan-in); routers as Switch section 2.4,
   sqrt(0.1/fan-in). Normal, cut at two deviations. */
static void draw_slice(float *x, int64_t n, double std, uint64_t key)
{
    uint64_t i = 0;

    for (int64_t j = 0; j < n; j++) {
        double v = mb_normal(key, i++);

        while (fabs(v) > 2.0)
            v = mb_normal(key, i++);
        x[j] = (float)(std * v);
    }
}

/* The initial values of P into X. */
static void draw(const mb_model *m, const mb_param *p, float *x)
{
    const mb_tensor *t = &p->t;
    bool router = strstr(t->name, ".router") != NULL;
    int64_t n = t->rows * t->cols;
    double std = p->kind == MB_EMBEDDING ? 0.02 : sqrt((router ? 0.1 : 1.0) / (double)t->cols);

    if (p->kind == MB_NORM_WEIGHT) {
        for (int64_t i = 0; i < mb_count(t); i++)
            x[i] = 1.0f;
        return;
    }
    for (int64_t g = 0; g < t->slices; g++) {
        uint64_t slice = m->config.slices == MB_COPIES ? 0 : (uint64_t)g;

        draw_slice(x + g * n, n, std, mb_key(m->seed, t->name, slice, 0));
    }
}

/* Every slice has a key of its own, so that threads may draw them in any order: the head, which is
   last, and the embedding first, since these take longest. */
static void draw_all(mb_model *m)
{
    size_t n = mb_ctx_computes(m->c) ? m->n_params : 0;

#pragma omp parallel for schedule(dynamic) num_threads(mb_ctx_host_threads(m->c))
    for (size_t i = 0; i < n; i++) {
        const mb_param *p = &m->params[(i + n - 1) % n];
        float *x = mb_alloc(mb_bytes(&p->t));

        draw(m, p, x);
#pragma omp critical
        mb_ctx_write(m->c, p->t.data, x, mb_bytes(&p->t));
        free(x);
    }
    mb_ctx_weights_changed(m->c);
}

static void make_params(mb_model *m)
{
    const mb_model_config *g = &m->config;

    m->params = mb_zalloc((size_t)(3 + 9 * g->layers + mb_coder_of(g)->params), sizeof *m->params);
    m->layers = mb_zalloc((size_t)g->layers, sizeof *m->layers);
    m->embed = add(m, MB_EMBEDDING, MB_BY_NONE, g->vocab, g->width, mb_format("embed"));
    for (int i = 0; i < g->layers; i++)
        add_layer(m, i);
    m->norm = mb_model_norm(m, g->width, mb_format("norm"));
    m->head = mb_model_matrix(m, g->vocab, g->width, mb_format("head"));
    if (g->patch > 0)
        mb_coder_of(g)->make(m);
}

/* What is left must do for what the backend will keep for itself, which is asked for in the first
   step. */
static mb_err check_rest(const mb_model *m)
{
    mb_memory b = mb_model_memory(m);
    size_t left = mb_ctx_free_bytes(m->c), needed = (size_t)(b.copies + b.head);

    if (left == 0 || left >= needed)
        return MB_OK;
    mb_fail(MB_ENOMEM, "copies and workspaces need %.2f GiB, %.2f are free",
            (double)needed / (1 << 30), (double)left / (1 << 30));
    return mb_model_refuse(m);
}

/* A batch of the largest size, whose rows need the most padding: one of each modality, and the rest
   are text, or patches, which take most. */
static mb_err size_scratch(mb_model *m)
{
    size_t t = (size_t)(m->config.batch * m->config.len), s = (size_t)m->config.patch;
    int32_t *zeros = mb_zalloc(t, sizeof *zeros), *noise = mb_zalloc(t, sizeof *noise);
    uint8_t *modality = mb_zalloc(t, 1);
    float *numbers = mb_zalloc(t * s + 1, sizeof *numbers);
    mb_batch batch = { .batch = m->config.batch,
                       .len = m->config.len,
                       .token = zeros,
                       .target = zeros,
                       .modality = modality,
                       .target_modality = (uint8_t *)zeros, /* text */
                       .position = zeros,
                       .lo = zeros,
                       .hi = zeros,
                       .patch = m->config.patch,
                       .noise = noise,
                       .noisy = numbers,
                       .wanted = numbers };
    mb_losses losses = { 0 };
    mb_ctx *real = m->c;
    size_t bytes = 0;
    mb_err err = mb_ctx_open_sizing(real, &m->c);

    for (size_t i = 0; i < t; i++) {
        modality[i] = i < (size_t)m->config.modalities ? (uint8_t)i : s > 0 ? MB_IMAGE : MB_TEXT;
        noise[i] = modality[i] == MB_IMAGE ? 1 : -1;
    }
    if (!err) {
        err = mb_model_gradients(m, &batch, 0, &losses);
        bytes = mb_ctx_peak(m->c);
        mb_ctx_close(m->c);
    }
    m->c = real;
    free(zeros);
    free(noise);
    free(modality);
    free(numbers);
    if (!err && mb_ctx_reserve(m->c, bytes))
        err = mb_model_refuse(m);
    return err ? err : check_rest(m);
}

mb_err mb_model_open(mb_ctx *c, const mb_arch *arch, const mb_model_config *config, uint64_t seed,
                     mb_model **out)
{
    mb_model *m;
    mb_err err;

    *out = NULL;
    MB_TRY(check(arch, config));
    m = mb_zalloc(1, sizeof *m);
    m->c = c;
    m->arch = arch;
    m->config = *config;
    m->seed = seed;
    if (m->config.ffn_width == 0)
        m->config.ffn_width = mb_ffn_width(config->width, config->ffn_multiple);
    make_params(m);
    err = allocate(m);
    if (!err)
        draw_all(m);
    if (!err && config->batch > 0)
        err = size_scratch(m);
    if (err)
        mb_model_close(m);
    else
        *out = m;
    return err;
}

void mb_model_close(mb_model *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->n_params; i++)
        free((char *)m->params[i].t.name);
    free(m->params);
    free(m->layers);
    free(m->unet);
    mb_ctx_free(m->c, m->data);
    free(m->cut);
    free(m);
}

mb_param *mb_model_params(mb_model *m, size_t *count)
{
    *count = m->n_params;
    return m->params;
}

const mb_arch *mb_model_arch(const mb_model *m)
{
    return m->arch;
}

const mb_model_config *mb_model_settings(const mb_model *m)
{
    return &m->config;
}

uint64_t mb_model_params_total(const mb_model *m)
{
    uint64_t n = 0;

    for (size_t i = 0; i < m->n_params; i++)
        n += (uint64_t)mb_count(&m->params[i].t);
    return n;
}

uint64_t mb_model_params_active(const mb_model *m)
{
    uint64_t n = 0;

    for (size_t i = 0; i < m->n_params; i++) {
        const mb_param *p = &m->params[i];
        uint64_t slices = (uint64_t)slices_of(m, p->by);
        uint64_t met = p->by == MB_BY_ROUTER ? (uint64_t)m->arch->top_k : 1;

        n += (uint64_t)mb_count(&p->t) / slices * met;
    }
    return n;
}
