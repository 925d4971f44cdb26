/* Multi-head attention. One task per sequence and head: its q, k and v are packed, then each block
   of queries meets the keys that any of its queries sees, and no others. A row of scores (at most
   a sequence) is held whole, so there is no running softmax; the backward makes the scores again
   from lse. */
#include "models/kernels/cpu/cpu.h"

#include "models/kernels/cpu/simd.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum {
    QUERIES = 64, /* of a block: fewer meet fewer masked keys, more make better products */
    LANES = 16    /* softmax works on whole groups of keys: no remainder for scalar code */
};

typedef struct attention { /* arguments of a call; dx, dy: backward only */
    const mb_span *span;
    const float *x, *dy;
    float *y, *lse, *dx; /* y and lse: results of the forward, borrowed by the backward */
    int64_t d, e, heads;
    float scale; /* of the scores: 1/sqrt(e) */
    bool add;
} attention;

typedef struct workspace {           /* of a thread, for one sequence and head */
    float *q, *k, *v, *dq, *dk, *dv; /* (L, e) */
    float *dy, *out, *dot;           /* (L, e), (L, e), (L): dy . y */
    float *p, *dp;                   /* (QUERIES, width): scores, then probabilities */
    int64_t width;                   /* L in whole groups */
    const int32_t *at, *lo, *hi;     /* of the sequence; at may be NULL: then */
    int64_t row, head;               /* its position p is row `row` + p */
} workspace;

typedef struct block { /* queries begin .. begin+n-1; all they see is keys low .. low+keys-1 */
    int64_t begin, n, low, keys;
} block;

typedef struct window { /* the groups of keys, relative to the block's, around those of one query */
    int64_t begin, end;
} window;

static int64_t space_needed(int64_t len, int64_t e)
{
    return 8 * aligned(len * e) + aligned(len) * (1 + 2 * QUERIES);
}

static void divide(workspace *w, float *space, int64_t len, int64_t e)
{
    float **rows[] = { &w->q, &w->k, &w->v, &w->dq, &w->dk, &w->dv, &w->dy, &w->out };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++, space += aligned(len * e))
        *rows[i] = space;
    w->width = aligned(len);
    w->dot = space;
    w->p = w->dot + w->width;
    w->dp = w->p + QUERIES * w->width;
}

static void enter(workspace *w, const attention *a, int64_t task)
{
    const mb_span *s = a->span;
    int64_t b = task / a->heads;

    w->head = task % a->heads;
    w->row = b * s->len;
    w->at = s->at ? s->at + w->row : NULL;
    w->lo = s->lo + w->row;
    w->hi = s->hi + w->row;
}

static int64_t row_of(const workspace *w, int64_t p)
{
    return w->at ? w->at[p] : w->row + p;
}

/* to (L, e) = the columns from COLUMN on of the sequence's rows of FROM (T, WIDTH). */
static void pack(float *to, const float *from, int64_t width, int64_t column, const workspace *w,
                 const attention *a)
{
    for (int64_t p = 0; p < a->span->len; p++)
        memcpy(to + p * a->e, from + row_of(w, p) * width + column, (size_t)a->e * sizeof *to);
}

/* The reverse, into dx (T, 3D). */
static void unpack(const float *from, int64_t column, float scale, const workspace *w,
                   const attention *a)
{
    int64_t e = a->e;
    bool add = a->add;

    for (int64_t p = 0; p < a->span->len; p++) {
        float *row = a->dx + row_of(w, p) * 3 * a->d + column;

#pragma omp simd
        for (int64_t j = 0; j < e; j++)
            row[j] = (add ? row[j] : 0) + from[p * e + j] * scale;
    }
}

static void pack_qkv(workspace *w, const attention *a)
{
    int64_t d = a->d, column = w->head * a->e;

    pack(w->q, a->x, 3 * d, column, w, a);
    pack(w->k, a->x, 3 * d, column + d, w, a);
    pack(w->v, a->x, 3 * d, column + 2 * d, w, a);
}

static block block_at(const workspace *w, int64_t begin, int64_t len)
{
    int64_t n = len - begin < QUERIES ? len - begin : QUERIES, low = len, high = -1;

    for (int64_t i = begin; i < begin + n; i++) {
        low = w->lo[i] < low ? w->lo[i] : low;
        high = w->hi[i] > high ? w->hi[i] : high;
    }
    return (block){ begin, n, low, high < low ? 0 : high - low + 1 };
}

/* p (n, keys) = q k^T / sqrt(e) */
static void scores(const workspace *w, const attention *a, const block *b)
{
    int64_t e = a->e;

    sgemm(1, 'N', 'T', b->n, b->keys, e, a->scale, w->q + b->begin * e, e, w->k + b->low * e, e, 0,
          w->p, w->width);
}

/* Query I of the block: of the groups that hold keys it sees, the others' scores become -inf; all
   groups outside the window are left alone. */
static window mask(float *p, const workspace *w, const block *b, int64_t i)
{
    int64_t first = w->lo[b->begin + i] - b->low, last = w->hi[b->begin + i] - b->low;
    window seen = { first / LANES * LANES, (last + LANES) / LANES * LANES };

    if (last < first)
        return (window){ 0, 0 };
    for (int64_t j = seen.begin; j < first; j++)
        p[j] = -INFINITY;
    for (int64_t j = last + 1; j < seen.end; j++)
        p[j] = -INFINITY;
    return seen;
}

static void clear_outside(float *p, window seen, int64_t keys)
{
    memset(p, 0, (size_t)seen.begin * sizeof *p);
    if (seen.end < keys)
        memset(p + seen.end, 0, (size_t)(keys - seen.end) * sizeof *p);
}

static void attend_block(workspace *w, const attention *a, const block *b)
{
    int64_t e = a->e;
    float total[QUERIES];

    scores(w, a, b);
    for (int64_t i = 0; i < b->n; i++) {
        float *p = w->p + i * w->width;
        window seen = mask(p, w, b, i);

        total[i] = softmax_sum(p + seen.begin, seen.end - seen.begin,
                               a->lse + row_of(w, b->begin + i) * a->heads + w->head);
        clear_outside(p, seen, b->keys);
    }
    sgemm(1, 'N', 'N', b->n, e, b->keys, 1, w->p, w->width, w->v + b->low * e, e, 0, w->out, e);
    for (int64_t i = 0; i < b->n; i++) {
        float *to = a->y + row_of(w, b->begin + i) * a->d + w->head * e, scale = 1 / total[i];

#pragma omp simd
        for (int64_t j = 0; j < e; j++)
            to[j] = w->out[i * e + j] * scale;
    }
}

/* With P = softmax(S): dS = P (dP - dot), dP = dy v^T, dot = dy . y. */
static void score_gradients(workspace *w, const attention *a, const block *b)
{
    for (int64_t i = 0; i < b->n; i++) {
        float *p = w->p + i * w->width, *dp = w->dp + i * w->width, dot = w->dot[b->begin + i];
        float lse = a->lse[row_of(w, b->begin + i) * a->heads + w->head];
        window seen = mask(p, w, b, i);

#pragma omp simd
        for (int64_t j = seen.begin; j < seen.end; j++) {
            p[j] = exp_of(p[j] - lse);
            dp[j] = p[j] * (dp[j] - dot);
        }
        clear_outside(p, seen, b->keys);
        clear_outside(dp, seen, b->keys);
    }
}

static void attend_bwd_block(workspace *w, const attention *a, const block *b)
{
    int64_t e = a->e, n = b->n, keys = b->keys, from = b->begin * e, to = b->low * e;

    scores(w, a, b);
    sgemm(1, 'N', 'T', n, keys, e, 1, w->dy + from, e, w->v + to, e, 0, w->dp, w->width);
    score_gradients(w, a, b);
    sgemm(1, 'T', 'N', keys, e, n, 1, w->p, w->width, w->dy + from, e, 1, w->dv + to, e);
    sgemm(1, 'T', 'N', keys, e, n, 1, w->dp, w->width, w->q + from, e, 1, w->dk + to, e);
    sgemm(1, 'N', 'N', n, e, keys, 1, w->dp, w->width, w->k + to, e, 0, w->dq + from, e);
}

static void attend_task(workspace *w, const attention *a)
{
    pack_qkv(w, a);
    for (int64_t begin = 0; begin < a->span->len; begin += QUERIES) {
        block b = block_at(w, begin, a->span->len);

        attend_block(w, a, &b);
    }
}

static void attend_bwd_task(workspace *w, const attention *a)
{
    int64_t len = a->span->len, e = a->e, d = a->d, column = w->head * e;

    pack_qkv(w, a);
    pack(w->dy, a->dy, d, column, w, a);
    for (int64_t p = 0; p < len; p++) {
        const float *y = a->y + row_of(w, p) * d + column, *dy = w->dy + p * e;
        float dot = 0;

#pragma omp simd reduction(+ : dot)
        for (int64_t j = 0; j < e; j++)
            dot += dy[j] * y[j];
        w->dot[p] = dot;
    }
    memset(w->dk, 0, (size_t)(len * e) * sizeof *w->dk);
    memset(w->dv, 0, (size_t)(len * e) * sizeof *w->dv);
    for (int64_t begin = 0; begin < len; begin += QUERIES) {
        block b = block_at(w, begin, len);

        attend_bwd_block(w, a, &b);
    }
    unpack(w->dq, column, a->scale, w, a);
    unpack(w->dk, column + d, a->scale, w, a);
    unpack(w->dv, column + 2 * d, 1, w, a);
}

/* FLOPs of PRODUCTS products over all pairs of a query and a key of its block. */
static uint64_t issued(const attention *a, uint64_t products)
{
    int64_t pairs = 0;
    workspace w;

    for (int64_t b = 0; b < a->span->batch; b++) {
        enter(&w, a, b * a->heads);
        for (int64_t begin = 0; begin < a->span->len; begin += QUERIES) {
            block k = block_at(&w, begin, a->span->len);

            pairs += k.n * k.keys;
        }
    }
    return products * 2 * (uint64_t)(a->d * pairs);
}

/* Tasks are independent, so who takes which does not matter to the result. */
static void each_task(mb_ctx *c, const attention *a, void (*work)(workspace *, const attention *))
{
    int64_t len = a->span->len, tasks = a->span->batch * a->heads;
    int64_t each = space_needed(len, a->e);
    float *space = cpu_space(c, each * c->threads);

#pragma omp parallel num_threads(c->threads)
    {
        workspace w;

        divide(&w, space + each * omp_get_thread_num(), len, a->e);
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < tasks; task++) {
            enter(&w, a, task);
            work(&w, a);
        }
    }
}

static attention attention_of(const float *x, float *y, float *lse, const mb_span *s, int64_t d,
                              int heads)
{
    int64_t e = d / heads;

    return (attention){ .span = s,
                        .x = x,
                        .y = y,
                        .lse = lse,
                        .d = d,
                        .e = e,
                        .heads = heads,
                        .scale = 1 / sqrtf((float)e) };
}

void cpu_attend(mb_ctx *c, float *y, float *lse, const float *x, const mb_span *s, int64_t d,
                int heads)
{
    attention a = attention_of(x, y, lse, s, d, heads);

    c->executed = issued(&a, 2);
    each_task(c, &a, attend_task);
}

void cpu_attend_bwd(mb_ctx *c, float *dx, const float *dy, const float *y, const float *lse,
                    const float *x, const mb_span *s, int64_t d, int heads, bool add)
{
    attention a = attention_of(x, (float *)y, (float *)lse, s, d, heads);

    a.dy = dy;
    a.dx = dx;
    a.add = add;
    c->executed = issued(&a, 5);
    each_task(c, &a, attend_bwd_task);
}
