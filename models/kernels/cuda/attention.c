/* Attention: through cuDNN where that is there, knows the shape, and works in the precision; else
   by our own kernels. cuDNN knows the order of positions alone, so where rows have another one, y
   and dy are brought to it or back. */
#include "models/kernels/cuda/cuda.h"

#include "models/kernels/cuda/cudnn.h"

#include <stdio.h>

/* ---- our own -----------------------------------------------------------------------------------
 */

static cu_span span_on_device(cuda_ctx *c, const mb_span *s)
{
    size_t bytes = (size_t)(s->batch * s->len) * sizeof *s->lo;

    return (cu_span){ .batch = s->batch,
                      .len = s->len,
                      .at = cuda_indices(c, s->at, bytes),
                      .lo = cuda_indices(c, s->lo, bytes),
                      .hi = cuda_indices(c, s->hi, bytes) };
}

/* Query-key pairs in the tiles that kernels work on: whole ones, also where they cross a mask. */
static uint64_t pairs_in_tiles(const mb_span *s, int64_t tile)
{
    uint64_t tiles = 0;

    for (int64_t i = 0; i < s->batch * s->len;) {
        int64_t last = i % s->len + tile < s->len ? i + tile : i - i % s->len + s->len;
        int64_t lo = s->len, hi = -1;

        for (; i < last; i++) {
            lo = s->lo[i] < lo ? s->lo[i] : lo;
            hi = s->hi[i] > hi ? s->hi[i] : hi;
        }
        tiles += (uint64_t)(hi / tile - lo / tile + 1);
    }
    return tiles * (uint64_t)(tile * tile);
}

bool cuda_fits(cuda_ctx *c, int64_t width)
{
    if (width > CU_HEAD_WIDTH)
        cuda_keep(c, mb_fail(MB_EINVAL, "cuda: heads of width %lld: expected %d at most",
                             (long long)width, CU_HEAD_WIDTH));
    return width <= CU_HEAD_WIDTH;
}

static void attend_own(cuda_ctx *c, mb_real *y, float *lse, const mb_real *x, const mb_span *s,
                       int64_t d, int heads)
{
    cu_span span = span_on_device(c, s);

    if (!cuda_fits(c, d / heads))
        return;
    cu_attend(&c->cu, y, lse, x, &span, d, heads);
    c->base.executed = 4 * (uint64_t)d * pairs_in_tiles(s, cu_attend_tile(d / heads));
}

static void attend_own_bwd(cuda_ctx *c, mb_real *dx, const mb_real *dy, const mb_real *y,
                           const float *lse, const mb_real *x, const mb_span *s, int64_t d,
                           int heads, bool add)
{
    cu_span span = span_on_device(c, s);
    float *delta = cuda_space(c, (size_t)(s->batch * s->len * heads) * sizeof *delta);

    if (!cuda_fits(c, d / heads))
        return;
    cu_attend_bwd(&c->cu, dx, dy, y, lse, x, &span, d, heads, add, delta);
    c->base.executed = 14 * (uint64_t)d * pairs_in_tiles(s, cu_attend_bwd_tile(d / heads));
}

/* ---- cuDNN -------------------------------------------------------------------------------------
 */

typedef struct call { /* of cuDNN, with what it takes of the workspace */
    mb_attention_shape shape;
    cu_span span;
    size_t workspace;
    int64_t t, d;
} call;

/* Whether cuDNN may be asked at all. */
static bool takes_shape(const cuda_ctx *c, int64_t width)
{
    return c->base.attention != MB_ATTENTION_OWN && c->cudnn && c->cu.bf16 && width % 8 == 0 &&
           width <= 128;
}

/* Whoever did not ask for our own kernels is told. */
static void note(cuda_ctx *c, const char *why)
{
    if (c->cu.bf16 && c->base.attention == MB_ATTENTION_AUTO && !*c->base.note)
        snprintf(c->base.note, sizeof c->base.note,
                 "attention by our own kernels, which are slow, not cuDNN's: %s", why);
}

/* cuDNN is not there or does not take heads of WIDTH: an error where it was demanded. */
static void refuse(cuda_ctx *c, int64_t width)
{
    enum mb_attention by = c->base.attention;
    char why[384];

    if (c->cu.bf16 && !c->cudnn)
        snprintf(why, sizeof why, "%s", c->no_cudnn);
    else
        snprintf(why, sizeof why,
                 "it takes bf16 and heads of a width that 8 divides, 128 at most; these are %s, "
                 "%lld",
                 mb_precision_name[c->base.precision], (long long)width);
    if (by == MB_ATTENTION_CUDNN || by == MB_ATTENTION_FAST)
        cuda_keep(c, mb_fail(MB_EMISSING, "gpu.attention: cuDNN cannot be used: %s", why));
    note(c, why);
}

/* Forward and backward must agree, since the log-sum-exp is in an order of cuDNN's own. */
static bool takes(cuda_ctx *c, const mb_span *s, int64_t d, int heads, call *out)
{
    enum mb_attention by = c->base.attention;
    int64_t width = d / heads;

    if (s->batch * s->len == 0)
        return false;
    if (!takes_shape(c, width)) {
        refuse(c, width);
        return false;
    }
    *out = (call){ .shape = { .batch = s->batch,
                              .len = s->len,
                              .heads = heads,
                              .width = (int)width,
                              .spans = mb_spans_kind(s->lo, s->hi, s->batch, s->len),
                              .fast = by == MB_ATTENTION_FAST },
                   .span = span_on_device(c, s),
                   .t = s->batch * s->len,
                   .d = d };
    if (mb_cudnn_plan(c->cudnn, &out->shape, &out->workspace, NULL) == MB_OK)
        return true;
    if (by != MB_ATTENTION_AUTO)
        cuda_keep(c, mb_fail_in(MB_EIO, "gpu.attention"));
    note(c, mb_message());
    return false;
}

/* Query-key pairs that cuDNN works on, at least: its kernels leave out what lies above the diagonal
   where nothing there is seen, but not what they read that a row hides. */
static uint64_t pairs_seen(const mb_attention_shape *a)
{
    uint64_t len = (uint64_t)a->len;

    return (uint64_t)a->batch * (a->spans == MB_SPANS_ANY ? len * len : len * (len + 1) / 2);
}

/* The next COLS columns of the workspace. */
static char *part(const cuda_ctx *c, const call *a, char **space, int64_t cols)
{
    char *p = *space;

    *space += cuda_aligned(cuda_bytes(c, a->t * cols));
    return p;
}

/* Y, or DY, (T, D) in order of positions: itself, or a copy. */
static const void *in_positions(cuda_ctx *c, const call *a, char **space, const void *y)
{
    char *copy;

    if (!a->span.at)
        return y;
    copy = part(c, a, space, a->d);
    cu_to_positions(&c->cu, copy, y, a->span.at, a->t, a->d);
    return copy;
}

/* Whether cuDNN is to be called: the graph under way may have the call already. UP and OUT are of
   the backward. */
static bool wanted(cuda_ctx *c, const call *a, const void *to, const void *up, const void *out,
                   const void *from, const void *lse, const void *workspace)
{
    const void *at[] = { to, up, out, from, lse, workspace, a->span.lo, a->span.hi };
    const int64_t what[] = { a->shape.batch, a->shape.len,   a->shape.heads,
                             a->shape.width, a->shape.spans, a->shape.fast };

    cu_note(&c->cu, at, sizeof at);
    cu_note(&c->cu, what, sizeof what);
    return !c->cu.replaying;
}

static void attend_cudnn(cuda_ctx *c, const call *a, mb_real *y, float *lse, const mb_real *x)
{
    size_t copy = a->span.at ? cuda_aligned(cuda_bytes(c, a->t * a->d)) : 0;
    char *workspace = cuda_space(c, cuda_aligned(a->workspace) + copy);
    char *space = workspace + cuda_aligned(a->workspace);
    void *to = a->span.at ? part(c, a, &space, a->d) : (void *)y;

    if (wanted(c, a, to, NULL, NULL, x, lse, workspace))
        cuda_keep(c, mb_cudnn_attend(c->cudnn, &a->shape, to, lse, x, a->span.lo, a->span.hi,
                                     workspace, c->cu.stream));
    if (a->span.at)
        cu_from_positions(&c->cu, y, to, a->span.at, a->t, a->d, false);
    c->base.executed = 4 * (uint64_t)a->d * pairs_seen(&a->shape);
}

static void attend_cudnn_bwd(cuda_ctx *c, const call *a, mb_real *dx, const mb_real *dy,
                             const mb_real *y, const float *lse, const mb_real *x, bool add)
{
    size_t copies = (a->span.at ? 2 : 0) * cuda_aligned(cuda_bytes(c, a->t * a->d)) +
                    (add ? cuda_aligned(cuda_bytes(c, a->t * 3 * a->d)) : 0);
    char *workspace = cuda_space(c, cuda_aligned(a->workspace) + copies);
    char *space = workspace + cuda_aligned(a->workspace);
    const void *out = in_positions(c, a, &space, y), *up = in_positions(c, a, &space, dy);
    void *to = add ? part(c, a, &space, 3 * a->d) : (void *)dx;

    if (wanted(c, a, to, up, out, x, lse, workspace))
        cuda_keep(c, mb_cudnn_attend_bwd(c->cudnn, &a->shape, to, up, out, lse, x, a->span.lo,
                                         a->span.hi, workspace, c->cu.stream));
    if (add)
        cu_from_positions(&c->cu, dx, to, NULL, a->t, 3 * a->d, true);
    c->base.executed = 10 * (uint64_t)a->d * pairs_seen(&a->shape);
}

/* Copies in order of positions are y and dy, in training, where nothing adds to the gradient of
   [q k v]. */
size_t cuda_attention_bytes(const cuda_ctx *c, const mb_sizes *of)
{
    const mb_attention_shape a = { .batch = of->batch,
                                   .len = of->len,
                                   .heads = of->heads,
                                   .width = (int)(of->width / of->heads),
                                   .fast = c->base.attention == MB_ATTENTION_FAST };

    if (!takes_shape(c, a.width))
        return (size_t)(of->rows * of->heads) * sizeof(float);
    return 2 * cuda_bytes(c, of->rows * of->width) + mb_cudnn_workspace(&a);
}

/* ---- the slots ---------------------------------------------------------------------------------
 */

void cuda_attend(mb_ctx *base, mb_real *y, float *lse, const mb_real *x, const mb_span *s,
                 int64_t d, int heads)
{
    cuda_ctx *c = cuda_of(base);
    call a;

    if (takes(c, s, d, heads, &a))
        attend_cudnn(c, &a, y, lse, x);
    else
        attend_own(c, y, lse, x, s, d, heads);
}

void cuda_attend_bwd(mb_ctx *base, mb_real *dx, const mb_real *dy, const mb_real *y,
                     const float *lse, const mb_real *x, const mb_span *s, int64_t d, int heads,
                     bool add)
{
    cuda_ctx *c = cuda_of(base);
    call a;

    if (takes(c, s, d, heads, &a))
        attend_cudnn_bwd(c, &a, dx, dy, y, lse, x, add);
    else
        attend_own_bwd(c, dx, dy, y, lse, x, s, d, heads, add);
}

void cuda_attend_cached(mb_ctx *base, mb_real *y, const mb_real *x, const mb_cache *cache,
                        const mb_places *at, int64_t t, int64_t d, int heads)
{
    cuda_ctx *c = cuda_of(base);
    size_t bytes = (size_t)t * sizeof *at->hi;
    cu_cached a = { .cache = cache->data,
                    .room = cache->room,
                    .t = t,
                    .sequence = cuda_indices(c, at->sequence, bytes),
                    .position = cuda_indices(c, at->position, bytes),
                    .hi = cuda_indices(c, at->hi, bytes) };

    cu_attend_cached(&c->cu, y, x, &a, d, heads,
                     cuda_space(c, (size_t)(t * heads * cache->room) * sizeof(float)));
}
