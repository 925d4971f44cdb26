#include "models/kernels/cuda/cudnn.h"

#include "base/file.h"
#include "models/kernels/cuda/cudnn_graph.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What plans call their tensors. */
enum { Q = 1, K, V, Y, LSE, LO, HI, DQ, DK, DV, DY, ROW_SUMS, DQ_SUMS, SCALE, HIDDEN, ONE };

typedef struct shape {
    mb_attention_shape of;
    mb_plan forward, backward;
    mb_err refused; /* there are none, and asking takes long */
} shape;

struct mb_cudnn {
    mb_cudnn_api api;
    cudnnHandle_t handle;            /* NULL: offline */
    cudnnBackendDescriptor_t device; /* offline */
    shape *shapes;
    size_t n;
};

/* ---- the graphs ----------------------------------------------------------------------------- */

/* One of `parts` equal parts of every row of a (T, parts * D) tensor, by heads. */
static mb_extent part_of_rows(const mb_attention_shape *a, int parts)
{
    int64_t e = a->width, row = parts * a->heads * e;

    return (mb_extent){ { a->batch, a->heads, a->len, e }, { a->len * row, e, row, 1 } };
}

typedef struct extents {
    mb_extent qkv, y, scores, row; /* (B, H, L, e) twice, (B, H, L, L), (B, H, L, 1) */
} extents;

static extents extents_of(const mb_attention_shape *a)
{
    return (extents){ part_of_rows(a, 3), part_of_rows(a, 1),
                      mb_extent_packed(a->batch, a->heads, a->len, a->len),
                      mb_extent_packed(a->batch, a->heads, a->len, 1) };
}

/* The index of every score along AXIS: 2 is the row's position, 3 the column's. */
static mb_gtensor indices(mb_graph *g, const extents *e, int64_t axis, mb_gtensor s)
{
    mb_gtensor y = mb_graph_between(g, CUDNN_DATA_INT32, e->scores);

    mb_graph_index(g, axis, s, y);
    return y;
}

/* s where LEFT is COMPARED to RIGHT as asked, else as good as minus infinity. */
static mb_gtensor hide(mb_graph *g, const extents *e, mb_gtensor s, mb_gtensor left,
                       cudnnPointwiseMode_t compared, mb_gtensor right, mb_gtensor hidden)
{
    mb_gtensor seen = mb_graph_between(g, CUDNN_DATA_BOOLEAN, e->scores);
    mb_gtensor y = mb_graph_between(g, CUDNN_DATA_FLOAT, e->scores);

    mb_graph_pointwise(g, compared, left, right, seen);
    mb_graph_select(g, s, hidden, seen, y);
    return y;
}

/* For every row of a sequence one int32, the same for all heads. */
static mb_gtensor bounds(mb_graph *g, int64_t uid, const mb_attention_shape *a)
{
    return mb_graph_memory(g, uid, CUDNN_DATA_INT32,
                           (mb_extent){ { a->batch, 1, a->len, 1 }, { a->len, a->len, 1, 1 } });
}

/* Causal is by comparing the two indices, row first: the form by which engines know it. */
static mb_gtensor mask(mb_graph *g, const mb_attention_shape *a, const extents *e, mb_gtensor s)
{
    mb_gtensor hidden = mb_graph_scalar(g, HIDDEN), row, column;

    if (a->spans == MB_SPANS_ANY) {
        column = indices(g, e, 3, s);
        s = hide(g, e, s, column, CUDNN_POINTWISE_CMP_LE, bounds(g, HI, a), hidden);
    } else {
        row = indices(g, e, 2, s);
        column = indices(g, e, 3, s);
        s = hide(g, e, s, row, CUDNN_POINTWISE_CMP_GE, column, hidden);
    }
    if (a->spans != MB_SPANS_CAUSAL) {
        column = indices(g, e, 3, s);
        s = hide(g, e, s, column, CUDNN_POINTWISE_CMP_GE, bounds(g, LO, a), hidden);
    }
    return s;
}

static mb_gtensor apply(mb_graph *g, cudnnPointwiseMode_t mode, mb_gtensor x, mb_gtensor b,
                        mb_extent e)
{
    mb_gtensor y = mb_graph_between(g, CUDNN_DATA_FLOAT, e);

    mb_graph_pointwise(g, mode, x, b, y);
    return y;
}

static mb_gtensor bf16(mb_graph *g, int64_t uid, mb_extent e)
{
    return mb_graph_memory(g, uid, CUDNN_DATA_BFLOAT16, e);
}

/* Scaled scores q k^T. */
static mb_gtensor scores(mb_graph *g, const extents *e, mb_gtensor q, mb_gtensor k_t,
                         mb_gtensor scale)
{
    mb_gtensor s = mb_graph_between(g, CUDNN_DATA_FLOAT, e->scores);

    mb_graph_matmul(g, q, k_t, s);
    return apply(g, CUDNN_POINTWISE_MUL, s, scale, e->scores);
}

static void forward(mb_graph *g, const mb_attention_shape *a)
{
    extents e = extents_of(a);
    mb_gtensor s = scores(g, &e, bf16(g, Q, e.qkv), bf16(g, K, mb_extent_transposed(e.qkv)),
                          mb_graph_scalar(g, SCALE));
    mb_gtensor most = mb_graph_between(g, CUDNN_DATA_FLOAT, e.row);
    mb_gtensor sum = mb_graph_between(g, CUDNN_DATA_FLOAT, e.row);
    mb_gtensor p = mb_graph_between(g, CUDNN_DATA_BFLOAT16, e.scores), exps, logs;

    s = mask(g, a, &e, s);
    mb_graph_reduce(g, CUDNN_REDUCE_TENSOR_MAX, s, most);
    s = apply(g, CUDNN_POINTWISE_SUB, s, most, e.scores);
    exps = apply(g, CUDNN_POINTWISE_EXP, s, NULL, e.scores);
    mb_graph_reduce(g, CUDNN_REDUCE_TENSOR_ADD, exps, sum);
    logs = apply(g, CUDNN_POINTWISE_LOG, sum, NULL, e.row);
    mb_graph_pointwise(g, CUDNN_POINTWISE_ADD, most, logs,
                       mb_graph_memory(g, LSE, CUDNN_DATA_FLOAT, e.row));
    mb_graph_pointwise(g, CUDNN_POINTWISE_DIV, exps, sum, p);
    mb_graph_matmul(g, p, bf16(g, V, e.qkv), bf16(g, Y, e.y));
}

/* x (.., L, L) fp32 as bf16, transposed. */
static mb_gtensor turned(mb_graph *g, const extents *e, mb_gtensor x)
{
    mb_gtensor y = mb_graph_between(g, CUDNN_DATA_BFLOAT16, mb_extent_transposed(e->scores));

    mb_graph_reshape(g, x, y);
    return y;
}

/* The sum of dy * y over each row, in memory since two kernels share it. */
static mb_gtensor row_sums(mb_graph *g, const extents *e, mb_gtensor dy)
{
    mb_gtensor both = apply(g, CUDNN_POINTWISE_MUL, dy, bf16(g, Y, e->y), e->y);
    mb_gtensor sum = mb_graph_between(g, CUDNN_DATA_FLOAT, e->row);
    mb_gtensor out = mb_graph_memory(g, ROW_SUMS, CUDNN_DATA_FLOAT, e->row);

    mb_graph_reduce(g, CUDNN_REDUCE_TENSOR_ADD, both, sum);
    mb_graph_pointwise(g, CUDNN_POINTWISE_MUL, sum, mb_graph_scalar(g, ONE), out);
    return out;
}

/* dq = ds k. Deterministic is without the sums in memory: engines add to those in any order. */
static void gradient_of_q(mb_graph *g, const mb_attention_shape *a, const extents *e, mb_gtensor ds,
                          mb_gtensor k_t)
{
    mb_gtensor k = mb_graph_between(g, CUDNN_DATA_BFLOAT16, e->qkv), dq = bf16(g, DQ, e->qkv), sums;

    mb_graph_reshape(g, k_t, k);
    if (!a->fast) {
        mb_graph_matmul(g, ds, k, dq);
        return;
    }
    sums = mb_graph_memory(g, DQ_SUMS, CUDNN_DATA_FLOAT,
                           mb_extent_packed(a->batch, a->heads, a->len, a->width));
    mb_graph_matmul(g, ds, k, sums);
    mb_graph_pointwise(g, CUDNN_POINTWISE_IDENTITY, sums, NULL, dq);
}

static void backward(mb_graph *g, const mb_attention_shape *a)
{
    extents e = extents_of(a);
    mb_extent transposed = mb_extent_transposed(e.qkv);
    mb_gtensor q = bf16(g, Q, e.qkv), k_t = bf16(g, K, transposed), v_t = bf16(g, V, transposed);
    mb_gtensor dy = bf16(g, DY, e.y), scale = mb_graph_scalar(g, SCALE);
    mb_gtensor sums = row_sums(g, &e, dy), p, dp = mb_graph_between(g, CUDNN_DATA_FLOAT, e.scores),
               ds;

    p = scores(g, &e, q, k_t, scale);
    p = apply(g, CUDNN_POINTWISE_SUB, p, mb_graph_memory(g, LSE, CUDNN_DATA_FLOAT, e.row),
              e.scores);
    p = apply(g, CUDNN_POINTWISE_EXP, mask(g, a, &e, p), NULL, e.scores);
    mb_graph_matmul(g, turned(g, &e, p), dy, bf16(g, DV, e.qkv));
    mb_graph_matmul(g, dy, v_t, dp);
    ds = apply(g, CUDNN_POINTWISE_SUB, dp, sums, e.scores);
    ds = apply(g, CUDNN_POINTWISE_MUL, ds, p, e.scores);
    ds = apply(g, CUDNN_POINTWISE_MUL, ds, scale, e.scores);
    mb_graph_matmul(g, turned(g, &e, ds), q, bf16(g, DK, e.qkv));
    gradient_of_q(g, a, &e, ds, k_t);
}

static mb_err plan(mb_cudnn *c, const mb_attention_shape *a,
                   void (*make)(mb_graph *, const mb_attention_shape *), mb_plan *out)
{
    mb_graph g;
    mb_err err;

    mb_graph_open(&g, &c->api);
    make(&g, a);
    err = mb_graph_plan(&g, c->handle, c->device, !a->fast, out);
    mb_graph_close(&g);
    return err;
}

/* ---- plans ---------------------------------------------------------------------------------- */

static bool same(const mb_attention_shape *a, const mb_attention_shape *b)
{
    return a->batch == b->batch && a->len == b->len && a->heads == b->heads &&
           a->width == b->width && a->spans == b->spans && a->fast == b->fast;
}

static shape *find(mb_cudnn *c, const mb_attention_shape *a)
{
    size_t i;

    for (i = 0; i < c->n; i++)
        if (same(&c->shapes[i].of, a))
            return &c->shapes[i];
    return NULL;
}

/* Sums that a call adds to are for the caller to clear before cuDNN 9.6. */
enum { CLEARS_SUMS = 90600 };

static mb_err make_plans(mb_cudnn *c, const mb_attention_shape *a, shape *out)
{
    mb_err err;

    if (a->fast && c->api.version() < CLEARS_SUMS)
        return mb_fail(MB_EMISSING, "cuDNN %zu: fast attention needs 9.6 or later",
                       c->api.version());
    MB_TRY(plan(c, a, forward, &out->forward));
    err = plan(c, a, backward, &out->backward);
    if (err)
        mb_plan_close(&out->forward);
    return err;
}

static shape *make_shape(mb_cudnn *c, const mb_attention_shape *a)
{
    shape *s;

    c->shapes = realloc(c->shapes, (c->n + 1) * sizeof *c->shapes);
    if (!c->shapes)
        abort();
    s = &c->shapes[c->n++];
    *s = (shape){ .of = *a };
    s->refused = make_plans(c, a, s);
    return s;
}

static size_t round_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* What the backward keeps beside the plan's own workspace. */
static size_t row_sums_size(const mb_attention_shape *a)
{
    return round_up((size_t)(a->batch * a->heads * a->len) * sizeof(float));
}

static size_t dq_sums_size(const mb_attention_shape *a)
{
    return a->fast ? round_up(row_sums_size(a) * (size_t)a->width) : 0;
}

mb_err mb_cudnn_plan(mb_cudnn *c, const mb_attention_shape *a, size_t *workspace, int *offered)
{
    shape *s = find(c, a);
    size_t backward_size;

    assert(a->width % 8 == 0 && a->width <= 128);
    if (s && s->refused)
        return mb_fail(s->refused, "cuDNN %zu has refused this shape before", c->api.version());
    if (!s)
        s = make_shape(c, a);
    MB_TRY(s->refused);
    backward_size = s->backward.workspace + row_sums_size(a) + dq_sums_size(a);
    *workspace = backward_size > s->forward.workspace ? backward_size : s->forward.workspace;
    if (offered)
        *offered =
            s->forward.offered < s->backward.offered ? s->forward.offered : s->backward.offered;
    return MB_OK;
}

/* ---- running -------------------------------------------------------------------------------- */

/* Tensors by name, for one call. */
typedef struct names {
    int64_t uid[16];
    void *at[16];
    int64_t n;
    float scale, hidden, one;
} names;

static void name(names *all, int64_t uid, const void *at)
{
    all->uid[all->n] = uid;
    all->at[all->n++] = (void *)at;
}

/* The I-th of the three parts of [q k v]. */
static const void *part(const void *x, const mb_attention_shape *a, int i)
{
    return (const char *)x + (size_t)(i * a->heads * a->width) * 2;
}

/* What both passes read. */
static void name_inputs(names *all, const mb_attention_shape *a, const void *x, const int32_t *lo,
                        const int32_t *hi)
{
    name(all, Q, part(x, a, 0));
    name(all, K, part(x, a, 1));
    name(all, V, part(x, a, 2));
    if (a->spans != MB_SPANS_CAUSAL)
        name(all, LO, lo);
    if (a->spans == MB_SPANS_ANY)
        name(all, HI, hi);
    all->scale = 1 / sqrtf((float)a->width);
    /* so low that exp() of it is 0 beside anything seen; finite, so that a whole tile that is
       hidden has differences of 0 and not NaN, and what it adds is scaled away */
    all->hidden = -1e30F;
    all->one = 1;
    name(all, SCALE, &all->scale);
    name(all, HIDDEN, &all->hidden);
}

static mb_err run(mb_cudnn *c, const mb_plan *p, const names *all, void *workspace, void *stream)
{
    cudnnStatus_t status = c->api.set_stream(c->handle, stream);

    if (status)
        return mb_cudnn_failed(&c->api, "setting the stream", status);
    return mb_plan_run(p, c->handle, all->uid, all->at, all->n, workspace);
}

mb_err mb_cudnn_attend(mb_cudnn *c, const mb_attention_shape *a, void *y, float *lse, const void *x,
                       const int32_t *lo, const int32_t *hi, void *workspace, void *stream)
{
    const shape *s = find(c, a);
    names all = { .n = 0 };

    assert(s && s->forward.plan);
    name_inputs(&all, a, x, lo, hi);
    name(&all, Y, y);
    name(&all, LSE, lse);
    return run(c, &s->forward, &all, workspace, stream);
}

mb_err mb_cudnn_attend_bwd(mb_cudnn *c, const mb_attention_shape *a, void *dx, const void *dy,
                           const void *y, const float *lse, const void *x, const int32_t *lo,
                           const int32_t *hi, void *workspace, void *stream)
{
    const shape *s = find(c, a);
    char *rest = workspace;
    names all = { .n = 0 };

    assert(s && s->backward.plan);
    name_inputs(&all, a, x, lo, hi);
    name(&all, Y, y);
    name(&all, LSE, lse);
    name(&all, DY, dy);
    name(&all, DQ, part(dx, a, 0));
    name(&all, DK, part(dx, a, 1));
    name(&all, DV, part(dx, a, 2));
    name(&all, ONE, &all.one);
    name(&all, ROW_SUMS, rest);
    rest += row_sums_size(a);
    if (a->fast)
        name(&all, DQ_SUMS, rest);
    return run(c, &s->backward, &all, rest + dq_sums_size(a), stream);
}

/* ---- the rest ------------------------------------------------------------------------------- */

static mb_err open_library(mb_cudnn **out)
{
    mb_cudnn *c = mb_zalloc(1, sizeof *c);

    *out = c;
    return mb_cudnn_api_open(&c->api);
}

mb_err mb_cudnn_open(mb_cudnn **out)
{
    mb_err err = open_library(out);
    cudnnStatus_t status;

    if (!err && (status = (*out)->api.create(&(*out)->handle)))
        err = mb_cudnn_failed(&(*out)->api, "opening the device", status);
    if (err) {
        mb_cudnn_close(*out);
        *out = NULL;
    }
    return err;
}

mb_err mb_cudnn_open_offline(const char *device, mb_cudnn **out)
{
    mb_err err = open_library(out);
    const mb_cudnn_api *api = &(*out)->api;
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;

    if (!err)
        status = api->make(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &(*out)->device);
    if (!err && !status)
        status = api->set((*out)->device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                          CUDNN_TYPE_CHAR, (int64_t)strlen(device), device);
    if (!err && !status)
        status = api->finalize((*out)->device);
    if (!err && status)
        err = mb_cudnn_failed(api, "device properties", status);
    if (err) {
        mb_cudnn_close(*out);
        *out = NULL;
    }
    return err;
}

void mb_cudnn_close(mb_cudnn *c)
{
    if (!c)
        return;
    while (c->n > 0) {
        shape *s = &c->shapes[--c->n];

        mb_plan_close(&s->forward);
        mb_plan_close(&s->backward);
    }
    free(c->shapes);
    if (c->device)
        c->api.drop(c->device);
    if (c->handle)
        c->api.destroy(c->handle);
    mb_cudnn_api_close(&c->api);
    free(c);
}
