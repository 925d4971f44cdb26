/* The thin front over the backends: asserts shapes, takes scratch, dispatches, enters costs,
   records.

   Every operation stands here twice, forward and backward, one under the other. What they compute
   is said in op.h, how in the backends. */
#include "models/kernels/op.h"

#include "models/kernels/tape.h"

#include <assert.h>

/* Vector FLOPs per element, a fixed convention (never part of an MFU). */
enum {
    NORM_FLOPS = 4,
    NORM_BWD_FLOPS = 8,
    ROPE_FLOPS = 3,
    SWIGLU_FLOPS = 5,
    SWIGLU_BWD_FLOPS = 9,
    SOFTMAX_FLOPS = 5,
    ADAMW_FLOPS = 14
};

static uint64_t bytes_of(int64_t floats)
{
    return (uint64_t)floats * sizeof(float);
}

/* Cost of a vector operation: FLOPS per element of N, and MOVED floats read or written. */
static mb_cost vector_cost(int64_t flops, int64_t n, int64_t moved)
{
    return (mb_cost){ .vector = (uint64_t)(flops * n), .bytes = bytes_of(moved) };
}

static void enter(mb_ctx *c, const char *op, mb_pass_kind pass, mb_cost cost, uint64_t since)
{
    mb_tape_enter(c, op, pass, -1, cost, mb_tape_clock(c) - since);
}

/* ---- routes --------------------------------------------------------------------------------- */

const mb_route *mb_route_padded(mb_ctx *c, int groups, const int64_t *count, const int64_t *rows)
{
    int64_t *offset = mb_ctx_host(c, (size_t)(groups + 1) * sizeof *offset);
    int64_t *asked = mb_ctx_host(c, (size_t)groups * sizeof *asked);
    mb_route *r = mb_ctx_host(c, sizeof *r);

    offset[0] = 0;
    for (int g = 0; g < groups; g++) {
        asked[g] = count[g];
        offset[g + 1] = offset[g] + rows[g];
    }
    *r = (mb_route){ .groups = groups,
                     .rows = offset[groups],
                     .tokens = offset[groups],
                     .offset = offset,
                     .asked = asked,
                     .kept = asked };
    return r;
}

const mb_route *mb_route_sorted(mb_ctx *c, int groups, const int64_t *count)
{
    return mb_route_padded(c, groups, count, count);
}

const mb_route *mb_route_all(mb_ctx *c, int64_t t)
{
    return mb_route_sorted(c, 1, &t);
}

/* ---- embed ---------------------------------------------------------------------------------- */

static void embed_back(mb_ctx *c, const mb_node *n)
{
    uint64_t since = mb_tape_clock(c);
    bool add;
    mb_real *dtable = mb_tape_grad(c, n->w, &add);
    int64_t t = n->y->rows, d = n->y->cols;

    c->be->embed_bwd(c, dtable, n->y->grad, n->index, t, d, n->w->rows);
    enter(c, "embed", MB_BWD, vector_cost(1, t * d, 3 * t * d), since);
}

mb_tensor *mb_embed(mb_ctx *c, mb_tensor *table, const int32_t *token, int64_t t)
{
    uint64_t since = mb_tape_clock(c);
    int64_t d = table->cols;
    mb_tensor *y = mb_tape_tensor(c, "embed", t, d, table->wants);

    c->be->embed(c, mb_f32(y), mb_f32(table), token, t, d);
    enter(c, "embed", MB_FWD, vector_cost(0, 0, 2 * t * d), since);
    mb_tape_push(c, (mb_node){ .back = embed_back, .y = y, .w = table, .index = token });
    return y;
}

/* ---- gemm ----------------------------------------------------------------------------------- */

static void enter_gemm(mb_ctx *c, mb_pass_kind pass, const mb_tensor *w, const mb_route *r,
                       uint64_t since)
{
    mb_tape_enter_product(c, (mb_product_cost){ .route = r,
                                                .n = w->rows,
                                                .k = w->cols,
                                                .pass = pass,
                                                .sliced = w->slices > 1,
                                                .wall_ns = mb_tape_clock(c) - since });
}

static void gemm_back(mb_ctx *c, const mb_node *n)
{
    bool add;
    mb_real *dx = mb_tape_grad(c, n->x, &add);
    uint64_t since = mb_tape_clock(c);

    c->result = n->y->dtype;
    if (dx) {
        c->be->gemm_dx(c, dx, n->y->grad, n->w, n->route, add);
        enter_gemm(c, MB_BWD, n->w, n->route, since);
        since = mb_tape_clock(c);
    }
    if (mb_tape_grad(c, n->w, &add)) {
        c->be->gemm_dw(c, n->w, n->y->grad, mb_f32(n->x), n->route);
        enter_gemm(c, MB_BWD, n->w, n->route, since);
    }
}

/* y = x w^T into the tensor Y. */
static mb_tensor *multiply(mb_ctx *c, mb_tensor *y, mb_tensor *x, mb_tensor *w, const mb_route *r)
{
    uint64_t since = mb_tape_clock(c);

    assert(x->cols == w->cols && x->rows == r->rows);
    assert(w->slices == 1 || w->slices == r->groups);
    c->result = y->dtype;
    c->be->gemm(c, y->data, x->data, w, r);
    enter_gemm(c, MB_FWD, w, r, since);
    mb_tape_push(c, (mb_node){ .back = gemm_back, .y = y, .x = x, .w = w, .route = r });
    return y;
}

mb_tensor *mb_gemm(mb_ctx *c, mb_tensor *x, mb_tensor *w, const mb_route *r)
{
    bool wants = x->wants || w->wants;

    return multiply(c, mb_tape_tensor(c, w->name, x->rows, w->rows, wants), x, w, r);
}

mb_tensor *mb_logits(mb_ctx *c, mb_tensor *x, mb_tensor *w, const mb_route *r)
{
    bool wants = x->wants || w->wants;

    return multiply(c, mb_tape_floats(c, w->name, x->rows, w->rows, wants), x, w, r);
}

/* ---- choose --------------------------------------------------------------------------------- */

static void choose_back(mb_ctx *c, const mb_node *n)
{
    uint64_t since = mb_tape_clock(c);
    bool add;
    mb_real *dlogit = mb_tape_grad(c, n->x, &add);

    c->be->choose_bwd(c, dlogit, n->route, add);
    enter(c, "choose", MB_BWD, vector_cost(8, mb_count(n->x), 2 * mb_count(n->x)), since);
}

const mb_route *mb_choose(mb_ctx *c, mb_tensor *logits, const mb_router *how, mb_routed *out)
{
    uint64_t since = mb_tape_clock(c);
    mb_router *kept = mb_ctx_host(c, sizeof *kept);
    mb_route *r;

    assert(how->choice == MB_EXPERT_CHOOSES ? how->capacity > 0
                                            : how->top_k >= 1 && how->top_k <= logits->cols);
    assert(how->choice == MB_EXPERT_CHOOSES || (!how->cut && !how->least));
    assert(how->score == MB_SOFTMAX || (how->balance == 0 && how->z == 0));
    *kept = *how;
    r = c->be->choose(c, logits, kept, out);
    enter(c, "choose", MB_FWD, vector_cost(5, mb_count(logits), 2 * mb_count(logits)), since);
    mb_tape_push(c, (mb_node){ .back = choose_back, .y = r->gate, .x = logits, .route = r });
    return r;
}

/* ---- gather --------------------------------------------------------------------------------- */

static void gather_back(mb_ctx *c, const mb_node *n)
{
    uint64_t since = mb_tape_clock(c);
    bool add;
    mb_real *dx = mb_tape_grad(c, n->x, &add);
    int64_t d = n->x->cols;

    c->be->gather_bwd(c, dx, n->y->grad, n->route, d, add);
    enter(c, "gather", MB_BWD, vector_cost(1, n->y->rows * d, (n->y->rows + n->x->rows) * d),
          since);
}

mb_tensor *mb_gather(mb_ctx *c, mb_tensor *x, const mb_route *r)
{
    uint64_t since = mb_tape_clock(c);
    mb_tensor *y;

    assert(x->rows == r->tokens);
    if (!r->token)
        return x;
    y = mb_tape_tensor(c, "gather", r->rows, x->cols, x->wants);
    c->be->gather(c, mb_f32(y), mb_f32(x), r, x->cols);
    enter(c, "gather", MB_FWD, vector_cost(0, 0, 2 * r->rows * x->cols), since);
    mb_tape_push(c, (mb_node){ .back = gather_back, .y = y, .x = x, .route = r });
    return y;
}

/* ---- combine -------------------------------------------------------------------------------- */

/* The residual's gradient is y's own: combine is the last use of x, so y's buffer becomes x's, and
   the earlier uses of x, met later in the reversal, add to it. */
static void combine_back(mb_ctx *c, const mb_node *n)
{
    uint64_t since = mb_tape_clock(c);
    const mb_route *r = n->route;
    int64_t d = n->y->cols, s = r->rows;
    float *dgate = NULL, *dw = NULL, *drows;
    bool add;

    if (r->gate)
        dgate = mb_tape_grad(c, r->gate, &add);
    if (n->w)
        dw = mb_tape_grad(c, n->w, &add);
    drows = mb_tape_grad(c, n->x, &add);
    assert(drows);
    c->be->combine_bwd(c, drows, dgate, dw, n->y->grad, mb_f32(n->x),
                       n->saved ? mb_f32(n->saved) : NULL, n->w ? mb_f32(n->w) : NULL, n->slice, r,
                       d, add);
    if (n->w2 && n->w2->wants) {
        assert(!n->w2->parameter && !n->w2->grad_live);
        n->w2->grad = n->y->grad;
        n->w2->grad_live = true;
        n->y->grad = NULL;
    }
    enter(c, "combine", MB_BWD, vector_cost(n->w ? NORM_BWD_FLOPS + 2 : 2, s * d, 3 * s * d),
          since);
}

mb_tensor *mb_combine(mb_ctx *c, mb_tensor *x, mb_tensor *rows, mb_tensor *w, const uint8_t *slice,
                      float eps, const mb_route *r)
{
    uint64_t since = mb_tape_clock(c);
    int64_t d = rows->cols, t = r->tokens;
    mb_tensor *y, *rstd = NULL;

    assert(rows->rows == r->rows && (!x || (x->rows == t && x->cols == d)));
    assert(!w || w->cols == d);
    if (!x && !w && !r->token && !r->gate)
        return rows;
    y = mb_tape_tensor(c, "combine", t, d,
                       rows->wants || (x && x->wants) || (w && w->wants) ||
                           (r->gate && r->gate->wants));
    if (w)
        rstd = mb_tape_floats(c, "rstd", 1, r->rows, false);
    c->be->combine(c, mb_f32(y), rstd ? mb_f32(rstd) : NULL, x ? mb_f32(x) : NULL, mb_f32(rows),
                   w ? mb_f32(w) : NULL, slice, eps, r, d);
    enter(c, "combine", MB_FWD,
          vector_cost(w ? NORM_FLOPS + 2 : 2, r->rows * d, (r->rows + (x ? 2 : 1) * t) * d), since);
    mb_tape_push(c, (mb_node){ .back = combine_back,
                               .y = y,
                               .x = rows,
                               .w = w,
                               .w2 = x,
                               .saved = rstd,
                               .slice = slice,
                               .route = r });
    return y;
}

/* ---- norm ----------------------------------------------------------------------------------- */

static void norm_back(mb_ctx *c, const mb_node *n)
{
    uint64_t since = mb_tape_clock(c);
    int64_t t = n->y->rows, d = n->y->cols;
    bool add, add_dx;
    mb_real *dw = mb_tape_grad(c, n->w, &add), *dx = mb_tape_grad(c, n->x, &add_dx);

    c->be->norm_bwd(c, dx, dw, n->y->grad, mb_f32(n->x), mb_f32(n->saved), mb_f32(n->w), n->slice,
                    t, d, add_dx);
    enter(c, "norm", MB_BWD, vector_cost(NORM_BWD_FLOPS, t * d, 3 * t * d), since);
}

mb_tensor *mb_norm(mb_ctx *c, mb_tensor *x, mb_tensor *w, const uint8_t *slice, float eps)
{
    uint64_t since = mb_tape_clock(c);
    int64_t t = x->rows, d = x->cols;
    mb_tensor *y = mb_tape_tensor(c, "norm", t, d, x->wants || w->wants);
    mb_tensor *rstd = mb_tape_floats(c, "rstd", 1, t, false);

    assert(w->cols == d);
    c->be->norm(c, mb_f32(y), mb_f32(rstd), mb_f32(x), mb_f32(w), slice, eps, t, d);
    enter(c, "norm", MB_FWD, vector_cost(NORM_FLOPS, t * d, 2 * t * d), since);
    mb_tape_push(
        c, (mb_node){ .back = norm_back, .y = y, .x = x, .w = w, .saved = rstd, .slice = slice });
    return y;
}

/* ---- rope ----------------------------------------------------------------------------------- */

/* Kernels write the rows of POSITIONS alone; X has more where groups are padded. */
static void clear_padding(mb_ctx *c, mb_real *x, const mb_tensor *like, int64_t positions)
{
    if (like->rows > positions)
        c->be->clear(c, x, mb_bytes(like));
}

static mb_cost rope_cost(const mb_node *n, int passes)
{
    int64_t elements = 2 * n->y->rows * n->y->cols / 3; /* q and k */

    return vector_cost(passes * (ROPE_FLOPS + (n->w ? NORM_FLOPS : 0)), elements,
                       (passes + 1) * mb_count(n->y));
}

static void rope_back(mb_ctx *c, const mb_node *n)
{
    uint64_t since = mb_tape_clock(c);
    bool add, add_dx;
    float *dqw = n->w ? mb_tape_grad(c, n->w, &add) : NULL;
    float *dkw = n->w2 ? mb_tape_grad(c, n->w2, &add) : NULL;
    mb_real *dx = mb_tape_grad(c, n->x, &add_dx);

    if (!add_dx)
        clear_padding(c, dx, n->x, n->y->rows);
    c->be->rope_bwd(c, dx, dqw, dkw, n->y->grad, mb_f32(n->x), n->w ? mb_f32(n->w) : NULL,
                    n->w2 ? mb_f32(n->w2) : NULL, n->slice, n->index, n->span, n->x->rows,
                    n->y->cols / 3, n->heads, n->eps, n->base, add_dx);
    enter(c, "rope", MB_BWD, rope_cost(n, 2), since);
}

mb_tensor *mb_rope(mb_ctx *c, mb_tensor *x, mb_tensor *qw, mb_tensor *kw, const uint8_t *slice,
                   const int32_t *position, const mb_span *span, int heads, float eps, float base)
{
    uint64_t since = mb_tape_clock(c);
    int64_t d = x->cols / 3, t = span ? span->batch * span->len : x->rows;
    mb_node n = { .back = rope_back,
                  .x = x,
                  .w = qw,
                  .w2 = kw,
                  .slice = slice,
                  .index = position,
                  .span = span,
                  .heads = heads,
                  .eps = eps,
                  .base = base };

    assert(x->cols == 3 * d && d % heads == 0 && d / heads % 2 == 0 && !qw == !kw);
    assert(!span || (x->rows == span->rows && (span->at || t == span->rows)));
    n.y = mb_tape_tensor(c, "rope", t, x->cols, x->wants || (qw && qw->wants));
    c->be->rope(c, mb_f32(n.y), mb_f32(x), qw ? mb_f32(qw) : NULL, kw ? mb_f32(kw) : NULL, slice,
                position, span, x->rows, d, heads, eps, base);
    enter(c, "rope", MB_FWD, rope_cost(&n, 1), since);
    mb_tape_push(c, n);
    return n.y;
}

/* ---- attend --------------------------------------------------------------------------------- */

/* MODEL products of 2 D FLOPs per query-key pair; ISSUED of them are what a kernel must at least do
   (a backward that recomputes the scores does one more). */
static mb_cost attend_cost(mb_ctx *c, const mb_span *s, int64_t d, int heads, unsigned model)
{
    uint64_t per_product = 2 * (uint64_t)d * s->pairs;

    return (mb_cost){ .model = model * per_product,
                      .useful = model * per_product,
                      .executed = c->executed,
                      .vector = (uint64_t)SOFTMAX_FLOPS * (uint64_t)heads * s->pairs * (model / 2),
                      .bytes = bytes_of(s->batch * s->len * d * 2 * (int64_t)model) };
}

static void attend_back(mb_ctx *c, const mb_node *n)
{
    uint64_t since = mb_tape_clock(c);
    int64_t d = n->y->cols;
    bool add;
    mb_real *dx = mb_tape_grad(c, n->x, &add);

    c->executed = 10 * (uint64_t)d * n->span->pairs;
    c->be->attend_bwd(c, dx, n->y->grad, mb_f32(n->y), mb_f32(n->saved), mb_f32(n->x), n->span, d,
                      n->heads, add);
    enter(c, "attend", MB_BWD, attend_cost(c, n->span, d, n->heads, 4), since);
}

mb_tensor *mb_attend(mb_ctx *c, mb_tensor *x, const mb_span *span, int heads)
{
    uint64_t since = mb_tape_clock(c);
    int64_t t = x->rows, d = x->cols / 3;
    mb_tensor *y = mb_tape_tensor(c, "attend", span->rows, d, x->wants);
    mb_tensor *lse = mb_tape_floats(c, "lse", t, heads, false);

    assert(t == span->batch * span->len && x->cols == 3 * d && d % heads == 0);
    assert(span->at || t == span->rows);
    clear_padding(c, y->data, y, t);
    c->executed = 4 * (uint64_t)d * span->pairs;
    c->be->attend(c, mb_f32(y), mb_f32(lse), mb_f32(x), span, d, heads);
    enter(c, "attend", MB_FWD, attend_cost(c, span, d, heads, 2), since);
    mb_tape_push(
        c, (mb_node){
               .back = attend_back, .y = y, .x = x, .saved = lse, .span = span, .heads = heads });
    return y;
}

/* ---- swiglu --------------------------------------------------------------------------------- */

static void swiglu_back(mb_ctx *c, const mb_node *n)
{
    uint64_t since = mb_tape_clock(c);
    int64_t s = n->y->rows, f = n->y->cols;
    bool add;
    mb_real *dx = mb_tape_grad(c, n->x, &add);

    c->be->swiglu_bwd(c, dx, n->y->grad, mb_f32(n->x), s, f, add);
    enter(c, "swiglu", MB_BWD, vector_cost(SWIGLU_BWD_FLOPS, s * f, 5 * s * f), since);
}

mb_tensor *mb_swiglu(mb_ctx *c, mb_tensor *x)
{
    uint64_t since = mb_tape_clock(c);
    int64_t s = x->rows, f = x->cols / 2;
    mb_tensor *y = mb_tape_tensor(c, "swiglu", s, f, x->wants);

    assert(x->cols == 2 * f);
    c->be->swiglu(c, mb_f32(y), mb_f32(x), s, f);
    enter(c, "swiglu", MB_FWD, vector_cost(SWIGLU_FLOPS, s * f, 3 * s * f), since);
    mb_tape_push(c, (mb_node){ .back = swiglu_back, .y = y, .x = x });
    return y;
}

/* ---- jitter --------------------------------------------------------------------------------- */

static void jitter_back(mb_ctx *c, const mb_node *n)
{
    uint64_t since = mb_tape_clock(c);
    bool add;
    mb_real *dx = mb_tape_grad(c, n->x, &add);

    c->be->jitter_bwd(c, dx, n->y->grad, n->eps, n->key, n->y->rows, n->y->cols, add);
    enter(c, "jitter", MB_BWD, vector_cost(2, mb_count(n->y), 2 * mb_count(n->y)), since);
}

mb_tensor *mb_jitter(mb_ctx *c, mb_tensor *x, float eps, uint64_t key)
{
    uint64_t since = mb_tape_clock(c);
    mb_tensor *y = mb_tape_tensor(c, "jitter", x->rows, x->cols, x->wants);

    c->be->jitter(c, mb_f32(y), mb_f32(x), eps, key, x->rows, x->cols);
    enter(c, "jitter", MB_FWD, vector_cost(2, mb_count(y), 2 * mb_count(y)), since);
    mb_tape_push(c, (mb_node){ .back = jitter_back, .y = y, .x = x, .eps = eps, .key = key });
    return y;
}

/* ---- classify ------------------------------------------------------------------------------- */

void mb_classify(mb_ctx *c, mb_tensor *x, mb_tensor *w, const int32_t *target, float scale, float z,
                 float *loss)
{
    uint64_t since = mb_tape_clock(c), wall_ns;
    int64_t t = x->rows, d = x->cols, v = w->rows, with_target = 0;
    bool add, both = c->record && x->wants;
    float *dx = NULL, *dw = NULL;
    mb_cost cost;

    assert(w->cols == d && w->slices == 1);
    for (int64_t i = 0; i < t; i++) {
        assert(target[i] < v);
        with_target += target[i] >= 0;
    }
    if (both) {
        dx = mb_tape_grad(c, x, &add);
        assert(!add); /* the root: nothing has flowed yet */
        dw = mb_tape_grad(c, w, &add);
    }
    c->executed = (uint64_t)(2 * d * v * with_target);
    c->be->classify(c, loss, dx, dw, mb_f32(x), w, target, scale, z, t);
    wall_ns = mb_tape_clock(c) - since;

    cost.model = cost.useful = (uint64_t)(2 * d * v * with_target);
    cost.executed = c->executed;
    cost.vector = (uint64_t)(SOFTMAX_FLOPS * v * with_target);
    cost.bytes = bytes_of(d * v + t * d);
    mb_tape_enter(c, "classify", MB_FWD, -1, cost, both ? wall_ns / 3 : wall_ns);
    if (!both)
        return;
    cost.model = cost.useful = 2 * cost.model;
    cost.executed *= 2;
    cost.vector = 0;
    cost.bytes = bytes_of(2 * (d * v + t * d));
    mb_tape_enter(c, "classify", MB_BWD, -1, cost, wall_ns - wall_ns / 3);
}

/* ---- optimiser ------------------------------------------------------------------------------ */

void mb_sum_squares(mb_ctx *c, double *sum, const float *x, int64_t n)
{
    uint64_t since = mb_tape_clock(c);

    c->be->sum_squares(c, sum, x, n);
    enter(c, "sum_squares", MB_OPT, vector_cost(2, n, n), since);
}

void mb_adamw_step(mb_ctx *c, float *p, float *g, float *m, float *v, int64_t n,
                   const mb_adamw *how)
{
    uint64_t since = mb_tape_clock(c);

    c->be->adamw(c, p, g, m, v, n, how);
    enter(c, "adamw", MB_OPT, vector_cost(ADAMW_FLOPS, n, 8 * n), since);
}
