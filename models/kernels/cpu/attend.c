/* Multi-head attention. One task per sequence and head: its q, k and v are packed for the products
   of tile.h, then strips of queries meet the keys that any of their queries sees, and no others. A
   row of scores (at most a sequence) is held whole, so there is no running softmax; the backward
   makes the scores again from lse. */
#include "models/kernels/cpu/cpu.h"

#include "models/kernels/cpu/simd.h"
#include "models/kernels/cpu/tile.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <string.h>

enum {
    QUERIES = 8 * TILE_ROWS, /* of a block, whose scores stay in the second-level cache */
    LANES = 16 /* softmax works on whole groups of keys: no remainder for scalar code */
};

typedef struct attention { /* arguments of a call; dx, dy: backward only */
    const mb_ctx *ctx;
    const mb_span *span;
    const float *x, *dy;
    float *y, *lse, *dx; /* y and lse: results of the forward, borrowed by the backward */
    int64_t d, e, heads;
    int64_t wide; /* e in whole panels */
    float scale;  /* of the scores: 1/sqrt(e) */
    bool add;
} attention;

typedef struct workspace { /* of a thread, for one sequence and head; len: L in whole groups and
                              strips, so that tiles may reach beyond L */
    float *q, *dy;         /* (len, e): rows */
    float *k_across, *v_across; /* panels of TILE_COLS keys (e, TILE_COLS) */
    float *k_down, *v_down;     /* panels of TILE_COLS columns (len, TILE_COLS) */
    float *q_down, *dy_down;
    float *dq, *dk, *dv, *out; /* (len, wide) */
    float *dot;                /* (len): dy . y */
    float *p, *dp;             /* (QUERIES, width): scores, then probabilities */
    int64_t len, width;
    const int32_t *at, *lo, *hi; /* of the sequence; at may be NULL: then */
    int64_t row, head;           /* its position p is row `row` + p */
} workspace;

/* Queries begin .. begin+n-1, a block or a strip; all they see is keys low .. low+keys-1. */
typedef struct block {
    int64_t begin, n, low, keys;
    int64_t origin; /* the key of column 0 of p: low, down to a whole panel */
} block;

typedef struct window { /* groups of columns of p: those around the keys of one query */
    int64_t begin, end;
} window;

static int64_t whole(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* Columns of p: the keys, a strip beyond them, and an odd number of cache lines, since the products
   of the backward walk down its columns. */
static int64_t width_of(int64_t len)
{
    return whole(len + TILE_COLS, 2 * LANES) + LANES;
}

static int64_t length_of(int64_t len)
{
    return whole(len, TILE_COLS) + LANES;
}

static int64_t space_needed(int64_t len, int64_t wide)
{
    return 12 * length_of(len) * wide + length_of(len) + 2 * QUERIES * width_of(len);
}

static void divide(workspace *w, float *space, int64_t len, int64_t wide)
{
    float **rows[] = { &w->q,      &w->dy,      &w->k_across, &w->v_across, &w->k_down, &w->v_down,
                       &w->q_down, &w->dy_down, &w->dq,       &w->dk,       &w->dv,     &w->out };

    w->len = length_of(len);
    w->width = width_of(len);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++, space += w->len * wide)
        *rows[i] = space;
    w->dot = space;
    w->p = w->dot + w->len;
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

/* ---- packing -------------------------------------------------------------------------------- */

/* to (L, e) = the columns from COLUMN on of the sequence's rows of FROM (T, WIDTH). */
static void pack_rows(float *to, const float *from, int64_t width, int64_t column,
                      const workspace *w, const attention *a)
{
    int64_t e = a->e, len = a->span->len;

    for (int64_t p = 0; p < len; p++) {
        const float *row = from + row_of(w, p) * width + column;

#pragma omp simd
        for (int64_t j = 0; j < e; j++)
            to[p * e + j] = row[j];
    }
    as_operands(a->ctx, to, len * e);
}

/* The same as panels of columns, one after another; 0 beyond e. */
static void pack_down(float *to, const float *from, int64_t width, int64_t column,
                      const workspace *w, const attention *a)
{
    int64_t len = a->span->len;

    for (int64_t p = 0; p < len; p++)
        for (int64_t j = 0; j < a->wide; j += TILE_COLS)
            pack_panel(to + j * w->len + p * TILE_COLS, from + row_of(w, p) * width + column + j, 1,
                       width, a->e - j);
    for (int64_t j = 0; j < a->wide; j += TILE_COLS)
        as_operands(a->ctx, to + j * w->len, len * TILE_COLS);
}

/* The same, turned: panels of keys; 0 beyond L. */
static void pack_across(float *to, const float *from, int64_t width, int64_t column,
                        const workspace *w, const attention *a)
{
    int64_t len = a->span->len;

    for (int64_t p = 0; p < len; p += TILE_COLS) {
        const float *row[TILE_COLS];

        for (int64_t i = 0; i < TILE_COLS; i++)
            row[i] = p + i < len ? from + row_of(w, p + i) * width + column : NULL;
        pack_turned(to + p * a->e, row, len - p, a->e);
        as_operands(a->ctx, to + p * a->e, TILE_COLS * a->e);
    }
}

/* The reverse of pack_rows, into dx (T, 3D). */
static void unpack(const float *from, int64_t column, float scale, const workspace *w,
                   const attention *a)
{
    int64_t e = a->e;
    bool add = a->add;

    for (int64_t p = 0; p < a->span->len; p++) {
        float *row = a->dx + row_of(w, p) * 3 * a->d + column;

#pragma omp simd
        for (int64_t j = 0; j < e; j++)
            row[j] = (add ? row[j] : 0) + from[p * a->wide + j] * scale;
    }
}

/* ---- blocks and strips ---------------------------------------------------------------------- */

static block block_at(const workspace *w, int64_t begin, int64_t end)
{
    int64_t low = w->lo[begin], high = w->hi[begin];

    for (int64_t i = begin; i < end; i++) {
        low = w->lo[i] < low ? w->lo[i] : low;
        high = w->hi[i] > high ? w->hi[i] : high;
    }
    assert(0 <= low && low <= high); /* every query sees a key */
    return (block){ begin, end - begin, low, high - low + 1, low / TILE_COLS * TILE_COLS };
}

static block next_block(const workspace *w, int64_t begin, int64_t len)
{
    return block_at(w, begin, smaller(begin + QUERIES, len));
}

/* The strip of block b that begins I queries into it; its columns are the block's. */
static block strip_of(const workspace *w, const block *b, int64_t i)
{
    block s = block_at(w, b->begin + i, b->begin + smaller(i + TILE_ROWS, b->n));

    s.origin = b->origin;
    return s;
}

/* The columns of p that tiles of this strip or block fill. */
static window columns_of(const block *s)
{
    return (window){ s->low / TILE_COLS * TILE_COLS - s->origin,
                     whole(s->low + s->keys, TILE_COLS) - s->origin };
}

/* p (strip, columns) = rows (strip, e) times panels of keys */
static void meet(float *p, const float *rows, const float *across, const workspace *w,
                 const attention *a, const block *s)
{
    window seen = columns_of(s);

    for (int64_t j = seen.begin; j < seen.end; j += TILE_COLS)
        tile_rows(p + j, w->width, rows + s->begin * a->e, a->e, across + (s->origin + j) * a->e,
                  a->e, false);
}

/* to (strip, e) = p (strip, keys) times the keys' rows of panels of columns */
static void gather_keys(float *to, const float *p, const float *down, const workspace *w,
                        const attention *a, const block *s)
{
    for (int64_t j = 0; j < a->wide; j += TILE_COLS)
        tile_rows(to + j, a->wide, p + s->low - s->origin, w->width,
                  down + j * w->len + s->low * TILE_COLS, s->keys, false);
}

/* to (keys, e) += p^T times the block's rows of panels of columns; a strip of keys takes only the
   queries from the first to the last that see one of them. */
static void gather_queries(float *to, const float *p, const float *down, const workspace *w,
                           const attention *a, const block *b)
{
    for (int64_t key = b->low; key < b->low + b->keys; key += TILE_ROWS) {
        int64_t first = b->begin, last = b->begin + b->n - 1;

        while (first <= last && (w->hi[first] < key || w->lo[first] >= key + TILE_ROWS))
            first++;
        while (first < last && (w->hi[last] < key || w->lo[last] >= key + TILE_ROWS))
            last--;
        for (int64_t j = 0; first <= last && j < a->wide; j += TILE_COLS)
            tile_columns(to + key * a->wide + j, a->wide,
                         p + (first - b->begin) * w->width + key - b->origin, w->width,
                         down + j * w->len + first * TILE_COLS, last - first + 1, true);
    }
}

/* Query I: of the groups that hold keys it sees, the others' scores become -inf; all groups outside
   the window are left alone. */
static window mask(float *p, const workspace *w, int64_t origin, int64_t i)
{
    int64_t first = w->lo[i] - origin, last = w->hi[i] - origin;
    window seen = { first / LANES * LANES, (last + LANES) / LANES * LANES };

    for (int64_t j = seen.begin; j < first; j++)
        p[j] = -INFINITY;
    for (int64_t j = last + 1; j < seen.end; j++)
        p[j] = -INFINITY;
    return seen;
}

/* Zeros in the columns outside the window that products read. */
static void clear_outside(float *p, window seen, window all)
{
    if (all.begin < seen.begin)
        memset(p + all.begin, 0, (size_t)(seen.begin - all.begin) * sizeof *p);
    if (seen.end < all.end)
        memset(p + seen.end, 0, (size_t)(all.end - seen.end) * sizeof *p);
}

/* ---- forward -------------------------------------------------------------------------------- */

static void attend_strip(workspace *w, const attention *a, const block *s)
{
    int64_t e = a->e;
    float total[TILE_ROWS];

    meet(w->p, w->q, w->k_across, w, a, s);
    for (int64_t i = 0; i < s->n; i++) {
        float *p = w->p + i * w->width;
        window seen = mask(p, w, s->origin, s->begin + i);

        total[i] = softmax_sum(p + seen.begin, seen.end - seen.begin, a->scale,
                               a->lse + row_of(w, s->begin + i) * a->heads + w->head);
        as_operands(a->ctx, p + seen.begin, seen.end - seen.begin);
        clear_outside(p, seen, columns_of(s));
    }
    gather_keys(w->out, w->p, w->v_down, w, a, s);
    for (int64_t i = 0; i < s->n; i++) {
        float *to = a->y + row_of(w, s->begin + i) * a->d + w->head * e, scale = 1 / total[i];

#pragma omp simd
        for (int64_t j = 0; j < e; j++)
            to[j] = w->out[i * a->wide + j] * scale;
    }
}

static void attend_task(workspace *w, const attention *a)
{
    int64_t d = a->d, column = w->head * a->e, len = a->span->len;

    pack_rows(w->q, a->x, 3 * d, column, w, a);
    pack_across(w->k_across, a->x, 3 * d, column + d, w, a);
    pack_down(w->v_down, a->x, 3 * d, column + 2 * d, w, a);
    for (int64_t begin = 0; begin < len; begin += QUERIES) {
        block b = next_block(w, begin, len);

        for (int64_t i = 0; i < b.n; i += TILE_ROWS) {
            block s = strip_of(w, &b, i);

            attend_strip(w, a, &s);
        }
    }
}

/* ---- backward ------------------------------------------------------------------------------- */

/* Of a strip whose scores and dP = dy v^T begin at p and dp: P = softmax(S), dS = P (dP - dot),
   dot = dy . y. */
static void score_gradients(workspace *w, const attention *a, const block *s, float *p, float *dp,
                            window all)
{
    for (int64_t i = 0; i < s->n; i++, p += w->width, dp += w->width) {
        float lse = a->lse[row_of(w, s->begin + i) * a->heads + w->head];
        float dot = w->dot[s->begin + i], scale = a->scale;
        window seen = mask(p, w, s->origin, s->begin + i);

#pragma omp simd
        for (int64_t j = seen.begin; j < seen.end; j++) {
            p[j] = exp_of(fused(p[j], scale, -lse));
            dp[j] = p[j] * (dp[j] - dot);
        }
        as_operands(a->ctx, p + seen.begin, seen.end - seen.begin);
        as_operands(a->ctx, dp + seen.begin, seen.end - seen.begin);
        clear_outside(p, seen, all);
        clear_outside(dp, seen, all);
    }
}

static void attend_bwd_block(workspace *w, const attention *a, const block *b)
{
    window all = columns_of(b);

    all.end += TILE_ROWS; /* strips of keys reach so far */
    for (int64_t i = 0; i < b->n; i += TILE_ROWS) {
        block s = strip_of(w, b, i);
        float *p = w->p + i * w->width, *dp = w->dp + i * w->width;

        meet(p, w->q, w->k_across, w, a, &s);
        meet(dp, w->dy, w->v_across, w, a, &s);
        score_gradients(w, a, &s, p, dp, all);
        gather_keys(w->dq + s.begin * a->wide, dp, w->k_down, w, a, &s);
    }
    gather_queries(w->dv, w->p, w->dy_down, w, a, b);
    gather_queries(w->dk, w->dp, w->q_down, w, a, b);
}

static void pack_backward(workspace *w, const attention *a)
{
    int64_t d = a->d, column = w->head * a->e;

    pack_rows(w->q, a->x, 3 * d, column, w, a);
    pack_rows(w->dy, a->dy, d, column, w, a);
    pack_across(w->k_across, a->x, 3 * d, column + d, w, a);
    pack_across(w->v_across, a->x, 3 * d, column + 2 * d, w, a);
    pack_down(w->k_down, a->x, 3 * d, column + d, w, a);
    pack_down(w->q_down, a->x, 3 * d, column, w, a);
    pack_down(w->dy_down, a->dy, d, column, w, a);
}

static void attend_bwd_task(workspace *w, const attention *a)
{
    int64_t len = a->span->len, e = a->e, d = a->d, column = w->head * e;

    pack_backward(w, a);
    for (int64_t p = 0; p < len; p++) {
        const float *y = a->y + row_of(w, p) * d + column, *dy = a->dy + row_of(w, p) * d + column;
        float dot = 0;

#pragma omp simd reduction(+ : dot)
        for (int64_t j = 0; j < e; j++)
            dot += dy[j] * y[j];
        w->dot[p] = dot;
    }
    memset(w->dk, 0, (size_t)(w->len * a->wide) * sizeof *w->dk);
    memset(w->dv, 0, (size_t)(w->len * a->wide) * sizeof *w->dv);
    for (int64_t begin = 0; begin < len; begin += QUERIES) {
        block b = next_block(w, begin, len);

        attend_bwd_block(w, a, &b);
    }
    unpack(w->dq, column, a->scale, w, a);
    unpack(w->dk, column + d, a->scale, w, a);
    unpack(w->dv, column + 2 * d, 1, w, a);
}

/* FLOPs of tiles: ACROSS products fill the panels of keys that a strip of queries sees, DOWN
   products sum over its keys. */
static uint64_t issued(const attention *a, uint64_t across, uint64_t down)
{
    uint64_t pairs = 0;
    workspace w;

    for (int64_t b = 0; b < a->span->batch; b++) {
        enter(&w, a, b * a->heads);
        for (int64_t begin = 0; begin < a->span->len; begin += QUERIES) {
            block k = next_block(&w, begin, a->span->len);

            for (int64_t i = 0; i < k.n; i += TILE_ROWS) {
                block s = strip_of(&w, &k, i);
                window filled = columns_of(&s);

                pairs += (uint64_t)s.n *
                         (across * (uint64_t)(filled.end - filled.begin) + down * (uint64_t)s.keys);
            }
        }
    }
    return 2 * (uint64_t)a->d * pairs;
}

/* Tasks are independent, so who takes which does not matter to the result. */
static void each_task(mb_ctx *c, const attention *a, void (*work)(workspace *, const attention *))
{
    int64_t len = a->span->len, tasks = a->span->batch * a->heads;
    int64_t each = space_needed(len, a->wide);
    float *space = cpu_space(c, each * c->threads);

#pragma omp parallel num_threads(c->threads)
    {
        workspace w;

        divide(&w, space + each * omp_get_thread_num(), len, a->wide);
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < tasks; task++) {
            enter(&w, a, task);
            work(&w, a);
        }
    }
}

static attention attention_of(const mb_ctx *c, const float *x, float *y, float *lse,
                              const mb_span *s, int64_t d, int heads)
{
    int64_t e = d / heads;

    return (attention){ .ctx = c,
                        .span = s,
                        .x = x,
                        .y = y,
                        .lse = lse,
                        .d = d,
                        .e = e,
                        .wide = whole(e, TILE_COLS),
                        .heads = heads,
                        .scale = 1 / sqrtf((float)e) };
}

void cpu_attend(mb_ctx *c, float *y, float *lse, const float *x, const mb_span *s, int64_t d,
                int heads)
{
    attention a = attention_of(c, x, y, lse, s, d, heads);

    c->executed = issued(&a, 1, 1);
    each_task(c, &a, attend_task);
}

void cpu_attend_bwd(mb_ctx *c, float *dx, const float *dy, const float *y, const float *lse,
                    const float *x, const mb_span *s, int64_t d, int heads, bool add)
{
    attention a = attention_of(c, x, (float *)y, (float *)lse, s, d, heads);

    a.dy = dy;
    a.dx = dx;
    a.add = add;
    c->executed = issued(&a, 2, 3);
    each_task(c, &a, attend_bwd_task);
}
