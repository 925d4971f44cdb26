/* Multi-head attention. One task per sequence and head: its keys and values are copied into blocks
   of slots (slots.h), then each block of queries meets the blocks of keys that one of its queries
   sees, and no others, in squares of transposed scores: a vector holds eight queries and one key,
   so that a softmax never sums within a vector.

   Forward, the scores of a block of queries (at most a sequence) are held whole, so there is no
   running softmax; the backward makes them again from lse, a piece at a time. */
#include "models/kernels/cpu/cpu.h"

#include "models/kernels/cpu/simd.h"
#include "models/kernels/cpu/slots.h"
#include "models/kernels/cpu/square.h"
#include "models/kernels/cpu/tile.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Of the backward: queries of a group, and keys that they meet at once. Scores of both kinds then
   take 32 kB. */
enum { QUERIES = 64, KEYS = 64, PANEL = KEYS * SIDE };

enum { AHEAD = 16 }; /* slots whose rows are asked for before they are copied */

typedef struct attention { /* arguments of a call; dx, dy: backward only */
    const mb_ctx *ctx;
    const mb_span *span;
    const float *x, *dy;
    float *y, *lse, *dx; /* y and lse: results of the forward, borrowed by the backward */
    int64_t d, e, heads;
    int64_t wide; /* e in whole spans: between the rows of all copies */
    float scale;  /* of the scores: 1/sqrt(e) */
    bool add;
} attention;

typedef struct workspace {       /* of a thread, for one sequence and head */
    float *k, *v, *dk, *dv;      /* (slots, wide) */
    float *q, *dy, *dq, *out;    /* (QUERIES, wide): of one group, forward of one block */
    float *q_turned, *dy_turned; /* each block (e, SIDE) */
    float *p, *dp;               /* squares of scores, then of probabilities: those of one block
                                    of queries after another, PANEL apart */
    slots s;                     /* of the sequence */
    int64_t head;
} workspace;

/* ---- memory --------------------------------------------------------------------------------- */

static int64_t scores_needed(int64_t len)
{
    int64_t forward = slots_most(len) * SIDE;

    return forward > KEYS * QUERIES ? forward : KEYS * QUERIES;
}

static int64_t space_needed(int64_t len, int64_t wide)
{
    return (4 * slots_most(len) + 6 * QUERIES) * wide + 2 * scores_needed(len);
}

static void divide(workspace *w, float *space, int64_t len, int64_t wide)
{
    float **all[] = { &w->k, &w->v, &w->dk, &w->dv };
    float **group[] = { &w->q, &w->dy, &w->dq, &w->out, &w->q_turned, &w->dy_turned };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++, space += slots_most(len) * wide)
        *all[i] = space;
    for (size_t i = 0; i < sizeof group / sizeof *group; i++, space += QUERIES * wide)
        *group[i] = space;
    w->p = space;
    w->dp = space + scores_needed(len);
}

/* Asks for e columns of the row of a slot somewhat after I: rows lie so far apart that the machine
   does not guess them. Always inlined, since gcc takes a function that only asks for one without an
   effect, and drops its calls. */
LANES_INLINE void ask_ahead(const float *from, int64_t width, int64_t column, int64_t i,
                            const workspace *w, const attention *a)
{
    const float *row;

    if (i + AHEAD >= w->s.blocks * SIDE || w->s.row[i + AHEAD] < 0)
        return;
    row = from + w->s.row[i + AHEAD] * width + column;
    for (int64_t j = 0; j < a->e; j += LINE)
        __builtin_prefetch(row + j);
}

/* to (end-begin, wide) = the slots' rows of FROM (T, WIDTH), e columns from COLUMN on; 0 elsewhere.
 */
static void copy_in(float *to, const float *from, int64_t width, int64_t column, int64_t begin,
                    int64_t end, const workspace *w, const attention *a)
{
    for (int64_t i = begin; i < end; i++, to += a->wide) {
        const float *row = from + w->s.row[i] * width + column;
        int64_t there = w->s.row[i] < 0 ? 0 : a->e, j = 0;

        ask_ahead(from, width, column, i, w, a);
        for (; j + SIDE <= there; j += SIDE)
            put_lanes(to + j, lanes_at(row + j));
        for (; j < there; j++)
            to[j] = row[j];
        for (; j < a->wide; j++)
            to[j] = 0;
    }
    as_operands(a->ctx, to - (end - begin) * a->wide, (end - begin) * a->wide);
}

/* The reverse, into dx (T, 3D). */
static void copy_out(const float *from, int64_t column, float scale, int64_t begin, int64_t end,
                     const workspace *w, const attention *a)
{
    bool add = a->add;

    for (int64_t i = begin; i < end; i++, from += a->wide) {
        float *row = a->dx + w->s.row[i] * 3 * a->d + column;

        ask_ahead(a->dx, 3 * a->d, column, i, w, a);
        if (w->s.row[i] < 0)
            continue;
#pragma omp simd
        for (int64_t j = 0; j < a->e; j++)
            row[j] = (add ? row[j] : 0) + from[j] * scale;
    }
}

/* ---- forward -------------------------------------------------------------------------------- */

/* Block q of queries does not see all of block k: what it does not see gets a score of -inf. */
static void mask(float *p, const slots *s, int64_t q, int64_t k)
{
    const int32_t *lo = s->lo + q * SIDE, *hi = s->hi + q * SIDE;

    for (int64_t r = 0; r < SIDE; r++, p += SIDE) {
        int32_t key = s->position[k * SIDE + r];

#pragma omp simd
        for (int64_t i = 0; i < SIDE; i++)
            p[i] = lo[i] <= key && key <= hi[i] ? p[i] : -INFINITY;
    }
}

/* Turns the scores of SIDE queries with N keys, times SCALE, into e^(score - largest). */
static void softmax_block(float *restrict p, int64_t n, float scale, float *restrict total,
                          float *restrict lse)
{
    float most[SIDE], sum[SIDE] = { 0 };

    for (int64_t i = 0; i < SIDE; i++)
        most[i] = p[i];
    for (int64_t j = 1; j < n; j++) {
#pragma omp simd
        for (int64_t i = 0; i < SIDE; i++)
            most[i] = p[j * SIDE + i] > most[i] ? p[j * SIDE + i] : most[i];
    }
    for (int64_t i = 0; i < SIDE; i++)
        most[i] *= scale;
    for (int64_t j = 0; j < n; j++) {
#pragma omp simd
        for (int64_t i = 0; i < SIDE; i++) {
            float y = exp_of(fused(p[j * SIDE + i], scale, -most[i]));

            p[j * SIDE + i] = y;
            sum[i] += y;
        }
    }
#pragma omp simd
    for (int64_t i = 0; i < SIDE; i++) {
        lse[i] = most[i] + log_of(sum[i]);
        total[i] = sum[i];
    }
}

static void attend_block(workspace *w, const attention *a, int64_t q)
{
    const slots *s = &w->s;
    int64_t first = s->first[q], n = s->end[q] - first, wide = a->wide;
    float total[SIDE], lse[SIDE];

    for (int64_t i = 0; i < n; i++) {
        float *p = w->p + i * SQUARE;

        square_meet(p, w->k + (first + i) * SIDE * wide, wide, w->q_turned, a->e);
        if (!all_seen(s, q, first + i))
            mask(p, s, q, first + i);
    }
    softmax_block(w->p, n * SIDE, a->scale, total, lse);
    as_operands(a->ctx, w->p, n * SQUARE);
    square_over_keys(w->out, w->p, w->v + first * SIDE * wide, wide, n, false);
    for (int64_t i = 0; i < SIDE && s->row[q * SIDE + i] >= 0; i++) {
        int64_t row = s->row[q * SIDE + i];
        float *to = a->y + row * a->d + w->head * a->e, scale = 1 / total[i];

#pragma omp simd
        for (int64_t j = 0; j < a->e; j++)
            to[j] = w->out[i * wide + j] * scale;
        a->lse[row * a->heads + w->head] = lse[i];
    }
}

static void attend_task(workspace *w, const attention *a)
{
    int64_t d = a->d, column = w->head * a->e, all = w->s.blocks * SIDE;

    copy_in(w->k, a->x, 3 * d, column + d, 0, all, w, a);
    copy_in(w->v, a->x, 3 * d, column + 2 * d, 0, all, w, a);
    for (int64_t q = 0; q < w->s.blocks; q++) {
        copy_in(w->q, a->x, 3 * d, column, q * SIDE, (q + 1) * SIDE, w, a);
        square_turn(w->q_turned, w->q, a->wide, a->e);
        attend_block(w, a, q);
    }
}

/* ---- backward ------------------------------------------------------------------------------- */

typedef struct group { /* blocks of queries begin .. end-1, and what the backward knows of them */
    int64_t begin, end;
    float lse[QUERIES], dot[QUERIES]; /* dot: dy . y */
} group;

typedef struct range { /* of blocks */
    int64_t begin, end;
} range;

/* The blocks of keys among THESE that block q of queries sees. */
static range seen(const slots *s, int64_t q, range these)
{
    return (range){ s->first[q] > these.begin ? s->first[q] : these.begin,
                    smaller(s->end[q], these.end) };
}

/* dot (SIDE) = dy . y of block q of queries; 0 for empty slots. */
static void dots_of(float *dot, int64_t q, const workspace *w, const attention *a)
{
    int64_t column = w->head * a->e;
    float part[SQUARE] = { 0 };

    for (int64_t i = 0; i < SIDE; i++) {
        int64_t slot = q * SIDE + i, at = w->s.row[slot] * a->d + column;

        ask_ahead(a->y, a->d, column, slot, w, a);
        if (w->s.row[slot] >= 0)
            put_lanes(part + i * SIDE, dot_lanes(a->dy + at, a->y + at, a->e));
    }
    row_sums(dot, part);
}

static void copy_group(group *g, workspace *w, const attention *a)
{
    int64_t d = a->d, e = a->e, column = w->head * e, begin = g->begin * SIDE, end = g->end * SIDE;

    copy_in(w->q, a->x, 3 * d, column, begin, end, w, a);
    copy_in(w->dy, a->dy, d, column, begin, end, w, a);
    for (int64_t i = 0; i < end - begin; i += SIDE) {
        square_turn(w->q_turned + i * e, w->q + i * a->wide, a->wide, e);
        square_turn(w->dy_turned + i * e, w->dy + i * a->wide, a->wide, e);
    }
    for (int64_t q = g->begin; q < g->end; q++)
        dots_of(g->dot + q * SIDE - begin, q, w, a);
    for (int64_t i = begin; i < end; i++) {
        int64_t row = w->s.row[i];

        g->lse[i - begin] = row < 0 ? 0 : a->lse[row * a->heads + w->head];
    }
}

/* Of a square of scores S and dP = dy v^T: P = softmax(S), dS = P (dP - dot). */
static void score_gradients(float *restrict p, float *restrict dp, const float *restrict lse,
                            const float *restrict dot, const attention *a)
{
    float scale = a->scale;

    for (int64_t r = 0; r < SIDE; r++, p += SIDE, dp += SIDE) {
#pragma omp simd
        for (int64_t i = 0; i < SIDE; i++) {
            p[i] = exp_of(fused(p[i], scale, -lse[i]));
            dp[i] = p[i] * (dp[i] - dot[i]);
        }
    }
    as_operands(a->ctx, p - SQUARE, SQUARE);
    as_operands(a->ctx, dp - SQUARE, SQUARE);
}

/* Block q of queries and the keys it sees of THESE: probabilities and dS, and so dq. */
static void block_bwd(workspace *w, const attention *a, const group *g, int64_t q, range these)
{
    range keys = seen(&w->s, q, these);
    int64_t at = (q - g->begin) * SIDE, wide = a->wide;
    int64_t square = at / SIDE * PANEL + (keys.begin - these.begin) * SQUARE;
    float *p = w->p + square, *dp = w->dp + square;

    if (keys.begin >= keys.end)
        return;
    for (int64_t k = keys.begin; k < keys.end; k++) {
        int64_t i = (k - keys.begin) * SQUARE;

        square_meet(p + i, w->k + k * SIDE * wide, wide, w->q_turned + at * a->e, a->e);
        square_meet(dp + i, w->v + k * SIDE * wide, wide, w->dy_turned + at * a->e, a->e);
        if (!all_seen(&w->s, q, k))
            mask(p + i, &w->s, q, k);
        score_gradients(p + i, dp + i, g->lse + at, g->dot + at, a);
    }
    square_over_keys(w->dq + at * wide, dp, w->k + keys.begin * SIDE * wide, wide,
                     keys.end - keys.begin, true);
}

/* Block k of keys, the first of THESE being at the top of p: dk and dv from the queries that see
   it, which are all there is between two that do, but for spans of an odd kind. */
static void keys_bwd(workspace *w, const attention *a, const group *g, int64_t k, range these)
{
    int64_t wide = a->wide, top = (k - these.begin) * SQUARE, run;
    range this = { k, k + 1 };

    for (int64_t q = g->begin; q < g->end; q = run + 1) {
        int64_t at = (q - g->begin) * SIDE;

        for (run = q; run < g->end; run++) {
            range keys = seen(&w->s, run, this);

            if (keys.begin >= keys.end)
                break;
        }
        if (run == q)
            continue;
        if (run == q)
            continue;
        square_over_queries(w->dv + k * SIDE * wide, w->p + top + at / SIDE * PANEL, PANEL,
                            w->dy + at * wide, wide, run - q);
        square_over_queries(w->dk + k * SIDE * wide, w->dp + top + at / SIDE * PANEL, PANEL,
                            w->q + at * wide, wide, run - q);
    }
}

static void group_bwd(workspace *w, const attention *a, int64_t begin, int64_t end)
{
    group g = { .begin = begin, .end = end };
    range all = { w->s.first[begin], 0 };

    copy_group(&g, w, a);
    memset(w->dq, 0, (size_t)((end - begin) * SIDE * a->wide) * sizeof *w->dq);
    for (int64_t q = begin; q < end; q++) {
        all.begin = smaller(all.begin, w->s.first[q]);
        all.end = all.end > w->s.end[q] ? all.end : w->s.end[q];
    }
    for (int64_t k = all.begin; k < all.end; k += KEYS / SIDE) {
        range these = { k, smaller(k + KEYS / SIDE, all.end) };

        for (int64_t q = begin; q < end; q++)
            block_bwd(w, a, &g, q, these);
        for (int64_t i = these.begin; i < these.end; i++)
            keys_bwd(w, a, &g, i, these);
    }
    copy_out(w->dq, w->head * a->e, a->scale, begin * SIDE, end * SIDE, w, a);
}

static void attend_bwd_task(workspace *w, const attention *a)
{
    int64_t d = a->d, column = w->head * a->e, all = w->s.blocks * SIDE;

    copy_in(w->k, a->x, 3 * d, column + d, 0, all, w, a);
    copy_in(w->v, a->x, 3 * d, column + 2 * d, 0, all, w, a);
    memset(w->dk, 0, (size_t)(all * a->wide) * sizeof *w->dk);
    memset(w->dv, 0, (size_t)(all * a->wide) * sizeof *w->dv);
    for (int64_t q = 0; q < w->s.blocks; q += QUERIES / SIDE)
        group_bwd(w, a, q, smaller(q + QUERIES / SIDE, w->s.blocks));
    copy_out(w->dk, column + d, a->scale, 0, all, w, a);
    copy_out(w->dv, column + 2 * d, 1, 0, all, w, a);
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* Tasks are independent, so who takes which does not matter to the result. Of each square in which
   queries and keys meet, ACROSS products are made over e and DOWN over whole spans of it. */
static void each_task(mb_ctx *c, const attention *a, void (*work)(workspace *, const attention *),
                      int64_t across, int64_t down)
{
    int64_t len = a->span->len, batch = a->span->batch, squares = 0;
    int64_t each = aligned(space_needed(len, a->wide)), map = 1 + slots_size(len);
    float *space = cpu_space(c, each * c->threads + batch * map);
    int32_t *maps = (int32_t *)(space + each * c->threads);

#pragma omp parallel num_threads(c->threads) reduction(+ : squares)
    {
        workspace w;

        divide(&w, space + each * omp_get_thread_num(), len, a->wide);
#pragma omp for
        for (int64_t b = 0; b < batch; b++) {
            w.s = slots_in(maps + b * map + 1, len);
            squares += slots_make(&w.s, a->span, b);
            maps[b * map] = (int32_t)w.s.blocks;
        }
#pragma omp for schedule(dynamic)
        for (int64_t task = 0; task < batch * a->heads; task++) {
            int32_t *of = maps + task / a->heads * map;

            w.s = slots_in(of + 1, len);
            w.s.blocks = *of;
            w.head = task % a->heads;
            work(&w, a);
        }
    }
    c->executed =
        2 * SIDE * SIDE * (uint64_t)(squares * a->heads * (across * a->e + down * a->wide));
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
                        .wide = (e + SPAN - 1) / SPAN * SPAN,
                        .heads = heads,
                        .scale = 1 / sqrtf((float)e) };
}

void cpu_attend(mb_ctx *c, float *y, float *lse, const float *x, const mb_span *s, int64_t d,
                int heads)
{
    attention a = attention_of(c, x, y, lse, s, d, heads);

    each_task(c, &a, attend_task, 1, 1);
}

void cpu_attend_bwd(mb_ctx *c, float *dx, const float *dy, const float *y, const float *lse,
                    const float *x, const mb_span *s, int64_t d, int heads, bool add)
{
    attention a = attention_of(c, x, (float *)y, (float *)lse, s, d, heads);

    a.dy = dy;
    a.dx = dx;
    a.add = add;
    each_task(c, &a, attend_bwd_task, 2, 3);
}
