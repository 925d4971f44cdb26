/* The cuda backend: its table, opening and closing, and the slots that do little more than call a
   kernel. One device, the current one of the process. Storage is fp32 or bf16 by precision;
   weights, their gradients and moments are fp32, products of bf16 operands sum in fp32. */
#include "models/kernels/cuda/cuda.h"

#include "base/file.h"
#include "models/kernels/arena.h"
#include "models/kernels/cuda/cudnn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening -----------------------------------------------------------------------------------
 */

static void cuda_close(mb_ctx *base)
{
    cuda_ctx *c = cuda_of(base);

    cuda_forget(c);
    mb_cudnn_close(c->cudnn);
    cuda_grouped_close(c->grouped);
    cuda_lt_close(c->lt);
    if (c->cu.stream)
        cudaStreamDestroy(c->cu.stream);
    free(c);
}

static mb_err find_device(void)
{
    int devices = 0;
    cudaError_t err = cudaGetDeviceCount(&devices);

    return err == cudaSuccess && devices > 0
               ? MB_OK
               : mb_fail(MB_EMISSING, "backend 'cuda': no device can be used here: %s",
                         err == cudaSuccess ? "there is none" : cudaGetErrorString(err));
}

static mb_err open_device(cuda_ctx *c)
{
    cudaError_t err = cudaStreamCreateWithFlags(&c->cu.stream, cudaStreamNonBlocking);

    if (err != cudaSuccess)
        return mb_fail(MB_EIO, "backend 'cuda': %s", cudaGetErrorString(err));
    if (cuda_lt_open(&c->lt, &c->lanes))
        return mb_fail_in(MB_EMISSING, "backend 'cuda'");
    c->kept = c->lanes;
    if (c->cu.bf16 && mb_cudnn_open(&c->cudnn)) {
        c->cudnn = NULL; /* our own kernels serve */
        snprintf(c->no_cudnn, sizeof c->no_cudnn, "%s", mb_message());
    }
    return MB_OK;
}

static mb_err cuda_open(mb_precision precision, int threads, mb_ctx **out)
{
    cuda_ctx *c;
    mb_err err;

    MB_TRY(find_device());
    c = mb_zalloc(1, sizeof *c);
    c->base.be = &mb_cuda;
    c->base.threads = 1; /* of the host, whatever was asked */
    c->cu.bf16 = precision == MB_BF16;
    cuda_memory_open(c);
    err = open_device(c);
    if (err)
        cuda_close(&c->base);
    else
        *out = &c->base;
    return err;
}

/* ---- embed --------------------------------------------------------------------------------------
 */

static void cuda_embed(mb_ctx *base, mb_real *y, const float *table, const int32_t *token,
                       int64_t t, int64_t d)
{
    cuda_ctx *c = cuda_of(base);

    cu_embed(&c->cu, y, table, cuda_indices(c, token, (size_t)t * sizeof *token), t, d);
}

enum { WORD_CHUNK = 64 }; /* rows of a partial sum: fixed, so that the order of a sum is too */

/* As many as T rows of V words can have. */
static int64_t word_chunks(int64_t t, int64_t v)
{
    return (t < v ? t : v) + t / WORD_CHUNK;
}

/* Counting sort by word, then cut into chunks: the order of every sum is that of rows. Sizes are
   those that T rows can have at most, whatever their tokens. */
static cu_words sort_words(mb_ctx *c, const int32_t *token, int64_t t, int64_t v)
{
    int64_t words = t < v ? t : v, chunks = word_chunks(t, v);
    int32_t *next = mb_ctx_host(c, (size_t)(v + 1) * sizeof *next);
    int32_t *order = mb_ctx_host(c, (size_t)t * sizeof *order);
    int32_t *chunk = mb_ctx_host(c, (size_t)(chunks + 1) * sizeof *chunk);
    int32_t *first = mb_ctx_host(c, (size_t)(words + 1) * sizeof *first);
    int32_t *word = mb_ctx_host(c, (size_t)words * sizeof *word);
    int32_t *n = mb_ctx_host(c, 2 * sizeof *n);

    n[0] = n[1] = 0;
    memset(next, 0, (size_t)(v + 1) * sizeof *next);
    for (int64_t i = 0; i < t; i++)
        next[token[i] + 1]++;
    for (int64_t j = 0; j < v; j++) {
        int32_t begin = next[j], end = begin + next[j + 1];

        next[j + 1] = end;
        if (begin == end)
            continue;
        word[n[0]] = (int32_t)j;
        first[n[0]++] = n[1];
        for (int32_t at = begin; at < end; at += WORD_CHUNK)
            chunk[n[1]++] = at;
    }
    first[n[0]] = n[1];
    chunk[n[1]] = (int32_t)t;
    for (int64_t i = 0; i < t; i++)
        order[next[token[i]]++] = (int32_t)i;
    return (cu_words){ words, chunks, order, chunk, first, word, n };
}

static void cuda_embed_bwd(mb_ctx *base, float *dtable, const mb_real *dy, const int32_t *token,
                           int64_t t, int64_t d, int64_t v)
{
    cuda_ctx *c = cuda_of(base);
    cu_words w = sort_words(base, token, t, v);
    float *partial = cuda_space(c, (size_t)(w.chunks * d) * sizeof *partial);

    w.order = cuda_indices(c, w.order, (size_t)t * sizeof *w.order);
    w.chunk = cuda_indices(c, w.chunk, (size_t)(w.chunks + 1) * sizeof *w.chunk);
    w.first = cuda_indices(c, w.first, (size_t)(w.words + 1) * sizeof *w.first);
    w.word = cuda_indices(c, w.word, (size_t)w.words * sizeof *w.word);
    w.n = cuda_indices(c, w.n, 2 * sizeof *w.n);
    cu_embed_bwd(&c->cu, dtable, dy, &w, partial, d);
}

/* ---- rows
 * ---------------------------------------------------------------------------------------- */

static void cuda_gather(mb_ctx *base, mb_real *y, const mb_real *x, const mb_route *r, int64_t d)
{
    cuda_ctx *c = cuda_of(base);
    cu_route on = cuda_route(c, r);

    cu_gather(&c->cu, y, x, &on, d);
}

static void cuda_gather_bwd(mb_ctx *base, mb_real *dx, const mb_real *dy, const mb_route *r,
                            int64_t d, bool add)
{
    cuda_ctx *c = cuda_of(base);
    cu_route on = cuda_route(c, r);

    cu_gather_bwd(&c->cu, dx, dy, &on, d, add);
}

static const int32_t *stage_around(cuda_ctx *c, const int32_t *around, int places, int64_t t)
{
    return cuda_indices(c, around, (size_t)(t * places) * sizeof *around);
}

static void cuda_unfold(mb_ctx *base, mb_real *y, const mb_real *x, const int32_t *around,
                        int places, int64_t t, int64_t d)
{
    cuda_ctx *c = cuda_of(base);

    cu_unfold(&c->cu, y, x, stage_around(c, around, places, t), places, t, d);
}

static void cuda_unfold_bwd(mb_ctx *base, mb_real *dx, const mb_real *dy, const int32_t *around,
                            int places, int64_t t, int64_t d, bool add)
{
    cuda_ctx *c = cuda_of(base);

    cu_unfold_bwd(&c->cu, dx, dy, stage_around(c, around, places, t), places, t, d, add);
}

static void cuda_combine(mb_ctx *base, mb_real *y, float *rstd, const mb_real *x,
                         const mb_real *rows, const float *w, const uint8_t *slice, float eps,
                         const mb_route *r, int64_t d)
{
    cuda_ctx *c = cuda_of(base);
    cu_route on = cuda_route(c, r);

    cu_combine(&c->cu, y, rstd, x, rows, w, cuda_indices(c, slice, (size_t)r->tokens), eps, &on, d);
}

/* Slices that occur in SLICE (T); 1 for NULL. */
static int slices_in(const uint8_t *slice, int64_t t)
{
    uint8_t last = 0;

    for (int64_t i = 0; slice && i < t; i++)
        last = slice[i] > last ? slice[i] : last;
    return last + 1;
}

static void cuda_combine_bwd(mb_ctx *base, mb_real *drows, float *dgate, float *dw,
                             const mb_real *dy, const mb_real *rows, const float *rstd,
                             const float *w, const uint8_t *slice, const mb_route *r, int64_t d,
                             bool add)
{
    cuda_ctx *c = cuda_of(base);
    int slices = slices_in(slice, r->tokens);
    size_t partial = dw ? (size_t)cu_partials(r->rows, slices, d) * sizeof(float) : 0;
    cu_route on = cuda_route(c, r);

    cu_combine_bwd(&c->cu, drows, dgate, dw, dy, rows, rstd, w,
                   cuda_indices(c, slice, (size_t)r->tokens), slices, &on, d, add,
                   cuda_space(c, partial));
}

static void cuda_norm(mb_ctx *base, mb_real *y, float *rstd, const mb_real *x, const float *w,
                      const uint8_t *slice, float eps, int64_t t, int64_t d)
{
    mb_route all = { .rows = t, .tokens = t };

    cuda_combine(base, y, rstd, NULL, x, w, slice, eps, &all, d);
}

static void cuda_norm_bwd(mb_ctx *base, mb_real *dx, float *dw, const mb_real *dy, const mb_real *x,
                          const float *rstd, const float *w, const uint8_t *slice, int64_t t,
                          int64_t d, bool add)
{
    mb_route all = { .rows = t, .tokens = t };

    cuda_combine_bwd(base, dx, NULL, dw, dy, x, rstd, w, slice, &all, d, add);
}

/* ---- rope
 * ---------------------------------------------------------------------------------------- */

static size_t angle_bytes(const cuda_angles *a)
{
    return (size_t)(2 * a->positions * a->half) * sizeof *a->table;
}

/* The table for these positions; for as many as there are rows at least, so that batches of one
   shape find the table that the first of them made. */
static void find_angles(cuda_ctx *c, const int32_t *position, int64_t t, int64_t half, float base)
{
    cuda_angles *a = &c->angles;
    int32_t last = 0;
    int64_t n;
    float *table;

    for (int64_t i = 0; i < t; i++)
        last = position[i] > last ? position[i] : last;
    if (a->table && last < a->positions && half == a->half && base == a->base)
        return;
    cuda_give_back(c, a->table, angle_bytes(a));
    *a = (cuda_angles){ .positions = last < t ? t : (int64_t)last + 1, .half = half, .base = base };
    n = a->positions * half;
    table = mb_alloc((size_t)(2 * n) * sizeof *table);
    for (int64_t i = 0; i < n; i++) {
        double angle = (double)(i / half) * pow(base, -(double)(i % half) / (double)half);

        table[i] = (float)cos(angle);
        table[n + i] = (float)sin(angle);
    }
    a->table = cuda_take(c, angle_bytes(a));
    if (a->table)
        cuda_write(&c->base, a->table, table, angle_bytes(a));
    else
        cuda_keep(c, MB_ENOMEM);
    free(table);
}

static cu_rope describe_rope(cuda_ctx *c, const float *qw, const float *kw, const uint8_t *slice,
                             const int32_t *position, const mb_span *s, int64_t t, int64_t d,
                             int heads, float eps, float base)
{
    int64_t positions = s ? s->batch * s->len : t;

    find_angles(c, position, t, d / heads / 2, base);
    return (cu_rope){ .qw = qw,
                      .kw = kw,
                      .slice = cuda_indices(c, slice, (size_t)t),
                      .position = cuda_indices(c, position, (size_t)t * sizeof *position),
                      .at = s ? cuda_indices(c, s->at, (size_t)positions * sizeof *s->at) : NULL,
                      .cosine = c->angles.table,
                      .sine = c->angles.table + c->angles.positions * c->angles.half,
                      .t = positions,
                      .d = d,
                      .heads = heads,
                      .slices = slices_in(slice, t),
                      .eps = eps };
}

static void cuda_rope(mb_ctx *base_ctx, mb_real *y, const mb_real *x, const float *qw,
                      const float *kw, const uint8_t *slice, const int32_t *position,
                      const mb_span *s, int64_t t, int64_t d, int heads, float eps, float base)
{
    cuda_ctx *c = cuda_of(base_ctx);
    cu_rope p = describe_rope(c, qw, kw, slice, position, s, t, d, heads, eps, base);

    if (cuda_fits(c, d / heads))
        cu_rope_fwd(&c->cu, y, x, &p);
}

static void cuda_rope_bwd(mb_ctx *base_ctx, mb_real *dx, float *dqw, float *dkw, const mb_real *dy,
                          const mb_real *x, const float *qw, const float *kw, const uint8_t *slice,
                          const int32_t *position, const mb_span *s, int64_t t, int64_t d,
                          int heads, float eps, float base, bool add)
{
    cuda_ctx *c = cuda_of(base_ctx);
    cu_rope p = describe_rope(c, qw, kw, slice, position, s, t, d, heads, eps, base);
    float *partial = cuda_space(c, (size_t)cu_rope_partials(&p) * sizeof *partial);

    if (cuda_fits(c, d / heads))
        cu_rope_bwd(&c->cu, dx, dqw, dkw, dy, x, &p, add, partial);
}

/* ---- single elements
 * ------------------------------------------------------------------------------ */

static void cuda_swiglu(mb_ctx *base, mb_real *y, const mb_real *x, int64_t s, int64_t f)
{
    cu_swiglu(&cuda_of(base)->cu, y, x, s, f);
}

static void cuda_swiglu_bwd(mb_ctx *base, mb_real *dx, const mb_real *dy, const mb_real *x,
                            int64_t s, int64_t f, bool add)
{
    cu_swiglu_bwd(&cuda_of(base)->cu, dx, dy, x, s, f, add);
}

static void cuda_jitter(mb_ctx *base, mb_real *y, const mb_real *x, float eps, uint64_t key,
                        int64_t t, int64_t d)
{
    cuda_ctx *c = cuda_of(base);

    cu_jitter(&c->cu, y, x, eps, cuda_numbers(c, &key, sizeof key), t * d, false);
}

static void cuda_jitter_bwd(mb_ctx *base, mb_real *dx, const mb_real *dy, float eps, uint64_t key,
                            int64_t t, int64_t d, bool add)
{
    cuda_ctx *c = cuda_of(base);

    cu_jitter(&c->cu, dx, dy, eps, cuda_numbers(c, &key, sizeof key), t * d, add);
}

/* ---- optimiser
 * ------------------------------------------------------------------------------------ */

static void cuda_regress(mb_ctx *base, float *loss, float *dy, const float *y, const float *wanted,
                         float scale, int64_t t, int64_t s)
{
    cuda_ctx *c = cuda_of(base);
    float *losses = cuda_space(c, (size_t)t * sizeof *losses);

    if (t == 0)
        return;
    cu_regress(&c->cu, losses, dy, y, cuda_indices(c, wanted, (size_t)(t * s) * sizeof *wanted),
               scale, t, s);
    cuda_fetch_to(base, loss, losses, (size_t)t * sizeof *loss);
}

static void cuda_sum_squares(mb_ctx *base, double *sum, const float *x, int64_t n)
{
    cuda_ctx *c = cuda_of(base);
    double *partial = cuda_space(c, (size_t)cu_squares_partials(n) * sizeof *partial);

    cu_sum_squares(&c->cu, sum, partial, x, n);
}

static void cuda_adamw(mb_ctx *base, float *p, float *g, float *m, float *v, int64_t n,
                       const mb_adamw *how)
{
    cuda_ctx *c = cuda_of(base);
    cu_adamw on = { .beta1 = how->beta1,
                    .beta2 = how->beta2,
                    .eps = how->eps,
                    .rate = (float)(how->lr / (1 - pow(how->beta1, (double)how->step))),
                    .unbias = (float)(1 / (1 - pow(how->beta2, (double)how->step))),
                    .keep = how->lr * how->decay,
                    .clip = how->clip,
                    .squares = how->squares };

    cu_adamw_step(&c->cu, p, g, m, v, n, cuda_numbers(c, &on, sizeof on));
}

static void cuda_weights_changed(mb_ctx *base)
{
    cuda_of(base)->version++;
}

/* The largest workspace that an operation asks for, beside what all of them share: streams of
   products, angles, indices. */
static uint64_t cuda_workspace(const mb_ctx *base, const mb_sizes *of)
{
    const cuda_ctx *c = (const cuda_ctx *)base;
    int64_t t = of->rows, half = of->width / of->heads / 2;
    size_t most = cuda_head_bytes(c, t, of->vocab), attention = cuda_attention_bytes(c, of);
    size_t words = (size_t)(word_chunks(t, of->vocab) * of->width) * sizeof(float);
    size_t indices = (size_t)(t * 8 + 2 * word_chunks(t, of->vocab)) * sizeof(int32_t);

    most = attention > most ? attention : most;
    most = words > most ? words : most;
    indices = indices < MB_ARENA_BLOCK ? MB_ARENA_BLOCK : indices;
    if (c->base.grouping == MB_GROUPING_LIBRARY)
        most += CUDA_PRODUCT_BYTES;
    return c->lanes + most + indices + (size_t)(2 * t * half) * sizeof(float);
}

const mb_backend mb_cuda = {
    .name = "cuda",
    .computes = true,
    .bf16 = true,
    .copies = 2, /* bf16, where that is the precision */
    .device = true,
    .open = cuda_open,
    .close = cuda_close,
    .weights_changed = cuda_weights_changed,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .free_bytes = cuda_free_bytes,
    .workspace = cuda_workspace,
    .clear = cuda_clear,
    .write = cuda_write,
    .fetch = cuda_fetch_to,
    .sync = cuda_sync,
    .reset = cuda_reset,
    .graph = cuda_graph_begin,
    .choose = cuda_choose,
    .choose_bwd = cuda_choose_bwd,
    .embed = cuda_embed,
    .embed_bwd = cuda_embed_bwd,
    .gemm = cuda_gemm,
    .gemm_dx = cuda_gemm_dx,
    .gemm_dw = cuda_gemm_dw,
    .gather = cuda_gather,
    .gather_bwd = cuda_gather_bwd,
    .unfold = cuda_unfold,
    .unfold_bwd = cuda_unfold_bwd,
    .combine = cuda_combine,
    .combine_bwd = cuda_combine_bwd,
    .norm = cuda_norm,
    .norm_bwd = cuda_norm_bwd,
    .rope = cuda_rope,
    .rope_bwd = cuda_rope_bwd,
    .attend = cuda_attend,
    .attend_bwd = cuda_attend_bwd,
    .attend_cached = cuda_attend_cached,
    .swiglu = cuda_swiglu,
    .swiglu_bwd = cuda_swiglu_bwd,
    .jitter = cuda_jitter,
    .jitter_bwd = cuda_jitter_bwd,
    .classify = cuda_classify,
    .regress = cuda_regress,
    .sum_squares = cuda_sum_squares,
    .adamw = cuda_adamw,
};
