/* The null backend: computes nothing and has no memory, so that a run with it measures the harness
   alone, and the cost of a model of any size can be asked for. */
#include "models/kernels/backend.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

static mb_err null_open(mb_precision precision, int threads, mb_ctx **out)
{
    *out = mb_zalloc(1, sizeof **out);
    (*out)->be = &mb_null;
    (*out)->threads = 1;
    return MB_OK;
}

static void null_close(mb_ctx *c)
{
    free(c);
}

/* An address that nothing is read from or written to, aligned as kernels may want it. */
static void *null_alloc(mb_ctx *c, size_t bytes)
{
    return (void *)(uintptr_t)4096;
}

static void null_free(mb_ctx *c, void *p)
{
}

static void null_clear(mb_ctx *c, void *p, size_t bytes)
{
}

static void null_write(mb_ctx *c, void *to, const void *from, size_t bytes)
{
}

static void null_fetch(mb_ctx *c, void *to, const void *from, size_t bytes)
{
    memset(to, 0, bytes);
}

static void weights_changed(mb_ctx *c)
{
}

static void embed(mb_ctx *c, float *y, const float *table, const int32_t *token, int64_t t,
                  int64_t d)
{
}

static void embed_bwd(mb_ctx *c, float *dtable, const float *dy, const int32_t *token, int64_t t,
                      int64_t d, int64_t v)
{
}

static void gemm(mb_ctx *c, float *y, const float *x, const mb_tensor *w, const mb_route *r)
{
}

static void gemm_dx(mb_ctx *c, float *dx, const float *dy, const mb_tensor *w, const mb_route *r,
                    bool add)
{
}

static void gemm_dw(mb_ctx *c, const mb_tensor *w, const float *dy, const float *x,
                    const mb_route *r)
{
}

static void gather(mb_ctx *c, float *y, const float *x, const mb_route *r, int64_t d)
{
}

static void gather_bwd(mb_ctx *c, float *dx, const float *dy, const mb_route *r, int64_t d,
                       bool add)
{
}

static void unfold(mb_ctx *c, float *y, const float *x, const int32_t *around, int places,
                   int64_t t, int64_t d)
{
}

static void unfold_bwd(mb_ctx *c, float *dx, const float *dy, const int32_t *around, int places,
                       int64_t t, int64_t d, bool add)
{
}

static void combine(mb_ctx *c, float *y, float *rstd, const float *x, const float *rows,
                    const float *w, const uint8_t *slice, float eps, const mb_route *r, int64_t d)
{
}

static void combine_bwd(mb_ctx *c, float *drows, float *dgate, float *dw, const float *dy,
                        const float *rows, const float *rstd, const float *w, const uint8_t *slice,
                        const mb_route *r, int64_t d, bool add)
{
}

static void norm(mb_ctx *c, float *y, float *rstd, const float *x, const float *w,
                 const uint8_t *slice, float eps, int64_t t, int64_t d)
{
}

static void norm_bwd(mb_ctx *c, float *dx, float *dw, const float *dy, const float *x,
                     const float *rstd, const float *w, const uint8_t *slice, int64_t t, int64_t d,
                     bool add)
{
}

static void rope(mb_ctx *c, float *y, const float *x, const float *qw, const float *kw,
                 const uint8_t *slice, const int32_t *position, const mb_span *s, int64_t t,
                 int64_t d, int heads, float eps, float base)
{
}

static void rope_bwd(mb_ctx *c, float *dx, float *dqw, float *dkw, const float *dy, const float *x,
                     const float *qw, const float *kw, const uint8_t *slice,
                     const int32_t *position, const mb_span *s, int64_t t, int64_t d, int heads,
                     float eps, float base, bool add)
{
}

static void attend(mb_ctx *c, float *y, float *lse, const float *x, const mb_span *s, int64_t d,
                   int heads)
{
}

static void attend_bwd(mb_ctx *c, float *dx, const float *dy, const float *y, const float *lse,
                       const float *x, const mb_span *s, int64_t d, int heads, bool add)
{
}

static void attend_cached(mb_ctx *c, float *y, const float *x, const mb_cache *cache,
                          const mb_places *at, int64_t t, int64_t d, int heads)
{
}

static void swiglu(mb_ctx *c, float *y, const float *x, int64_t s, int64_t f)
{
}

static void swiglu_bwd(mb_ctx *c, float *dx, const float *dy, const float *x, int64_t s, int64_t f,
                       bool add)
{
}

static void jitter(mb_ctx *c, float *y, const float *x, float eps, uint64_t key, int64_t t,
                   int64_t d)
{
}

static void jitter_bwd(mb_ctx *c, float *dx, const float *dy, float eps, uint64_t key, int64_t t,
                       int64_t d, bool add)
{
}

static void classify(mb_ctx *c, float *loss, float *dx, float *dw, const float *x,
                     const mb_tensor *w, const int32_t *target, float scale, float z, int64_t t)
{
}

static void regress(mb_ctx *c, float *loss, float *dy, const float *y, const float *wanted,
                    float scale, int64_t t, int64_t s)
{
}

static void sum_squares(mb_ctx *c, double *sum, const float *x, int64_t n)
{
}

static void adamw(mb_ctx *c, float *p, float *g, float *m, float *v, int64_t n, const mb_adamw *how)
{
}

const mb_backend mb_null = {
    .name = "null",
    .computes = false,
    .bf16 = true,
    .open = null_open,
    .close = null_close,
    .alloc = null_alloc,
    .free = null_free,
    .clear = null_clear,
    .write = null_write,
    .fetch = null_fetch,
    .sync = mb_host_done,
    .reset = mb_host_done,
    .graph = mb_host_graph,
    .free_bytes = mb_host_free_bytes,
    .workspace = mb_host_workspace,
    .choose = mb_host_choose,
    .choose_bwd = mb_host_choose_bwd,
    .weights_changed = weights_changed,
    .embed = embed,
    .embed_bwd = embed_bwd,
    .gemm = gemm,
    .gemm_dx = gemm_dx,
    .gemm_dw = gemm_dw,
    .gather = gather,
    .gather_bwd = gather_bwd,
    .unfold = unfold,
    .unfold_bwd = unfold_bwd,
    .combine = combine,
    .combine_bwd = combine_bwd,
    .norm = norm,
    .norm_bwd = norm_bwd,
    .rope = rope,
    .rope_bwd = rope_bwd,
    .attend = attend,
    .attend_bwd = attend_bwd,
    .attend_cached = attend_cached,
    .swiglu = swiglu,
    .swiglu_bwd = swiglu_bwd,
    .jitter = jitter,
    .jitter_bwd = jitter_bwd,
    .classify = classify,
    .regress = regress,
    .sum_squares = sum_squares,
    .adamw = adamw,
};
