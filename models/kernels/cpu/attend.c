/* Multi-head attention. One task per sequence and head: its keys and values are copied into blocks
   of slots (slots.h), then groups of blocks of queries meet the blocks of keys that one of their
   queries sees, and no others, in squares of transposed scores: a vector holds eight queries and
   one key, so that a softmax never sums within a vector.

   Forward, the scores of a group (at most with a whole sequence) are held, so there is no running
   softmax; the backward makes them again from lse, a piece at a time. */
#include "models/kernels/cpu/cpu.h"

#include "models/kernels/cpu/simd.h"
#include "models/kernels/cpu/slots.h"
#include "models/kernels/cpu/square.h"
#include "models/kernels/cpu/tile.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Queries of a group, and keys whose values it sums at once: its scores with them, of both kinds in
   the backward, and the keys of narrow heads then stay in the first-level cache. */
enum { QUERIES = 32, KEYS = 32, PANEL = KEYS * SIDE };

enum { Q, K, V }; /* parts of x */

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
    float *q, *dy, *out;         /* (QUERIES, wide); out: dq in the backward */
    float *q_turned, *dy_turned; /* each two blocks (wide, SPAN) */
    float *p, *dp;               /* squares of scores, then of probabilities; those of a block of
                                    queries are one after another, a panel */
    slots s;                     /* of the sequence */
    int64_t begin, head;         /* begin: the sequence's first position of all */
} workspace;

typedef struct columns { /* e of those of x, or of y: slot i's begin at from + row[i] * width */
    int64_t from, width;
    const int32_t *row;
} columns;

typedef struct group { /* blocks of queries, and of keys that one of them sees */
    range queries, keys;
    float lse[QUERIES], dot[QUERIES]; /* for the backward; dot: dy . y */
} group;

/* ---- memory --------------------------------------------------------------------------------- */

/* Between panels of the forward, which hold all keys. */
static int64_t panel_of(int64_t len)
{
    return slots_most(len) * SIDE;
}

static int64_t scores_needed(int64_t len)
{
    return QUERIES / SIDE * (panel_of(len) > PANEL ? panel_of(len) : PANEL);
}

static int64_t space_needed(int64_t len, int64_t wide)
{
    return (4 * slots_most(len) + 5 * QUERIES) * wide + scores_needed(len) + QUERIES * KEYS;
}

static void divide(workspace *w, float *space, int64_t len, int64_t wide)
{
    float **all[] = { &w->k, &w->v, &w->dk, &w->dv };
    float **some[] = { &w->q, &w->dy, &w->out, &w->q_turned, &w->dy_turned };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++, space += slots_most(len) * wide)
        *all[i] = space;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++, space += QUERIES * wide)
        *some[i] = space;
    w->p = space;
    w->dp = space + scores_needed(len);
}

/* Of a part of x or its gradient, which are in order of positions. */
static columns columns_of(int part, const workspace *w, const attention *a)
{
    return (columns){ (w->begin * 3 + part) * a->d + w->head * a->e, 3 * a->d, w->s.position };
}

/* Of y or its gradient, which are in the order of rows. */
static columns output_columns(const workspace *w, const attention *a)
{
    return (columns){ w->head * a->e, a->d, w->s.row };
}

/* Asks for the columns of a slot somewhat after I: rows lie so far apart that the machine does not
   guess them. Always inlined, since gcc takes a function that only asks for one without an effect,
   and drops its calls. */
LANES_INLINE void ask_ahead(const float *from, columns of, int64_t i, const workspace *w,
                            const attention *a)
{
    const float *row;

    if (i + AHEAD >= w->s.blocks * SIDE || of.row[i + AHEAD] < 0)
        return;
    row = from + of.from + of.row[i + AHEAD] * of.width;
    for (int64_t j = 0; j < a->e; j += LINE)
        __builtin_prefetch(row + j);
}

/* to (end-begin, wide) = columns OF the slots' rows of FROM; 0 elsewhere. */
static void copy_in(float *to, const float *from, columns of, int64_t begin, int64_t end,
                    const workspace *w, const attention *a)
{
    for (int64_t i = begin; i < end; i++, to += a->wide) {
        const float *row = from + of.from + of.row[i] * of.width;
        int64_t there = of.row[i] < 0 ? 0 : a->e, j = 0;

        ask_ahead(from, of, i, w, a);
        for (; j + SIDE <= there; j += SIDE)
            put_lanes(to + j, lanes_at(row + j));
        for (; j < there; j++)
            to[j] = row[j];
        for (; j < a->wide; j++)
            to[j] = 0;
    }
    as_operands(a->ctx, to - (end - begin) * a->wide, (end - begin) * a->wide);
}

/* The reverse, into dx. */
static void copy_out(const float *from, columns of, float scale, int64_t begin, int64_t end,
                     const workspace *w, const attention *a)
{
    bool add = a->add;

    for (int64_t i = begin; i < end; i++, from += a->wide) {
        float *row = a->dx + of.from + of.row[i] * of.width;

        ask_ahead(a->dx, of, i, w, a);
        if (of.row[i] < 0)
            continue;
#pragma omp simd
        for (int64_t j = 0; j < a->e; j++)
            row[j] = (add ? row[j] : 0) + from[j] * scale;
    }
}

/* ---- groups --------------------------------------------------------------------------------- */

static group group_at(const slots *s, int64_t q)
{
    group g = { .queries = { q, smaller(q + QUERIES / SIDE, s->blocks) },
                .keys = { s->first[q], s->end[q] } };

    for (; q < g.queries.end; q++) {
        g.keys.begin = smaller(g.keys.begin, s->first[q]);
        g.keys.end = g.keys.end > s->end[q] ? g.keys.end : s->end[q];
    }
    return g;
}

/* The group's rows of FROM, and turned. */
static void copy_group(float *to, float *turned, const float *from, columns of, const group *g,
                       const workspace *w, const attention *a)
{
    int64_t begin = g->queries.begin * SIDE, end = g->queries.end * SIDE;

    copy_in(to, from, of, begin, end, w, a);
    for (int64_t i = 0; i < end - begin; i += SIDE)
        square_turn(turned + i / SPAN * SPAN * a->wide + i % SPAN, to + i * a->wide, a->wide);
}

/* p = the squares of the group with the blocks of keys THESE, which are rows of ROWS; panels are
   PANEL apart. */
static void meet(float *p, int64_t panel, const float *rows, const float *turned, const group *g,
                 range these, const workspace *w, const attention *a)
{
    for (int64_t k = these.begin; k < these.end; k++) {
        const float *row = rows + k * SIDE * a->wide;

        for (int64_t q = g->queries.begin; q < g->queries.end; q += 2) {
            bool one = sees(&w->s, q, k), two = q + 1 < g->queries.end && sees(&w->s, q + 1, k);
            int64_t i = q - g->queries.begin;
            const float *t = turned + i * SIDE * a->wide;
            float *s = p + i * panel + (k - these.begin) * SQUARE;

            if (one && two)
                square_meet_two(s, panel, row, a->wide, t);
            else if (one)
                square_meet(s, row, a->wide, t);
            else if (two)
                square_meet(s + panel, row, a->wide, t + SIDE);
        }
    }
}

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

/* ---- forward -------------------------------------------------------------------------------- */

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

/* The probabilities of block q of queries, not yet divided by their TOTAL; P: its square with the
   first block of keys that it sees. */
static void softmax_of(float *p, int64_t q, float *total, const workspace *w, const attention *a)
{
    const slots *s = &w->s;
    int64_t first = s->first[q], n = s->end[q] - first;
    float lse[SIDE];

    for (int64_t i = 0; i < n; i++)
        if (!all_seen(s, q, first + i))
            mask(p + i * SQUARE, s, q, first + i);
    softmax_block(p, n * SIDE, a->scale, total, lse);
    as_operands(a->ctx, p, n * SQUARE);
    for (int64_t i = 0; i < SIDE && s->position[q * SIDE + i] >= 0; i++)
        a->lse[(w->begin + s->position[q * SIDE + i]) * a->heads + w->head] = lse[i];
}

static void put_out(const float *out, const float *total, int64_t q, const workspace *w,
                    const attention *a)
{
    for (int64_t i = 0; i < SIDE && w->s.row[q * SIDE + i] >= 0; i++, out += a->wide) {
        float *to = a->y + w->s.row[q * SIDE + i] * a->d + w->head * a->e, scale = 1 / total[i];

#pragma omp simd
        for (int64_t j = 0; j < a->e; j++)
            to[j] = out[j] * scale;
    }
}

/* out of block q, the sum over those keys of THESE that it sees; p: its panel, from THESE on. */
static void sum_over(float *out, const float *p, const float *rows, int64_t q, range these,
                     const workspace *w, const attention *a)
{
    range keys = seen(&w->s, q, these);

    if (keys.begin < keys.end)
        square_over_keys(out, p + (keys.begin - these.begin) * SQUARE,
                         rows + keys.begin * SIDE * a->wide, a->wide, keys.end - keys.begin,
                         keys.begin > w->s.first[q]);
}

static void attend_group(workspace *w, const attention *a, int64_t begin)
{
    group g = group_at(&w->s, begin);
    int64_t panel = panel_of(a->span->len);
    float total[QUERIES];

    copy_group(w->q, w->q_turned, a->x, columns_of(Q, w, a), &g, w, a);
    meet(w->p, panel, w->k, w->q_turned, &g, g.keys, w, a);
    for (int64_t q = begin; q < g.queries.end; q++)
        softmax_of(w->p + (q - begin) * panel + (w->s.first[q] - g.keys.begin) * SQUARE, q,
                   total + (q - begin) * SIDE, w, a);
    for (int64_t k = g.keys.begin; k < g.keys.end; k += KEYS / SIDE) {
        range these = { k, smaller(k + KEYS / SIDE, g.keys.end) };

        for (int64_t q = begin; q < g.queries.end; q++)
            sum_over(w->out + (q - begin) * SIDE * a->wide,
                     w->p + (q - begin) * panel + (k - g.keys.begin) * SQUARE, w->v, q, these, w,
                     a);
    }
    for (int64_t q = begin; q < g.queries.end; q++)
        put_out(w->out + (q - begin) * SIDE * a->wide, total + (q - begin) * SIDE, q, w, a);
}

static void attend_task(workspace *w, const attention *a)
{
    int64_t all = w->s.blocks * SIDE;

    copy_in(w->k, a->x, columns_of(K, w, a), 0, all, w, a);
    copy_in(w->v, a->x, columns_of(V, w, a), 0, all, w, a);
    for (int64_t q = 0; q < w->s.blocks; q += QUERIES / SIDE)
        attend_group(w, a, q);
}

/* ---- backward ------------------------------------------------------------------------------- */

/* dot (SIDE) = dy . y of block q of queries; 0 for empty slots. */
static void dots_of(float *dot, int64_t q, const workspace *w, const attention *a)
{
    columns of = output_columns(w, a);
    float part[SQUARE] = { 0 };

    for (int64_t i = 0; i < SIDE; i++) {
        int64_t slot = q * SIDE + i, at = of.from + of.row[slot] * of.width;

        ask_ahead(a->y, of, slot, w, a);
        if (of.row[slot] >= 0)
            put_lanes(part + i * SIDE, dot_lanes(a->dy + at, a->y + at, a->e));
    }
    row_sums(dot, part);
}

static void copy_group_bwd(group *g, workspace *w, const attention *a)
{
    int64_t begin = g->queries.begin * SIDE;

    copy_group(w->q, w->q_turned, a->x, columns_of(Q, w, a), g, w, a);
    copy_group(w->dy, w->dy_turned, a->dy, output_columns(w, a), g, w, a);
    for (int64_t q = g->queries.begin; q < g->queries.end; q++)
        dots_of(g->dot + q * SIDE - begin, q, w, a);
    for (int64_t i = begin; i < g->queries.end * SIDE; i++) {
        int64_t p = w->s.position[i];

        g->lse[i - begin] = p < 0 ? 0 : a->lse[(w->begin + p) * a->heads + w->head];
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
static void queries_bwd(workspace *w, const attention *a, const group *g, int64_t q, range these)
{
    range keys = seen(&w->s, q, these);
    int64_t i = q - g->queries.begin;
    float *p = w->p + i * PANEL, *dp = w->dp + i * PANEL;

    for (int64_t k = keys.begin; k < keys.end; k++) {
        int64_t at = (k - these.begin) * SQUARE;

        if (!all_seen(&w->s, q, k))
            mask(p + at, &w->s, q, k);
        score_gradients(p + at, dp + at, g->lse + i * SIDE, g->dot + i * SIDE, a);
    }
    sum_over(w->out + i * SIDE * a->wide, dp, w->k, q, these, w, a);
}

/* Block k of keys, one of THESE: dk and dv from the queries that see it, which are all there are
   between two that do, but for spans of an odd kind. */
static void keys_bwd(workspace *w, const attention *a, const group *g, int64_t k, range these)
{
    int64_t wide = a->wide, begin = g->queries.begin, end = g->queries.end, run;

    for (int64_t q = begin; q < end; q = run + 1) {
        int64_t at = (q - begin) * PANEL + (k - these.begin) * SQUARE;

        for (run = q; run < end && sees(&w->s, run, k); run++)
            ;
        if (run == q)
            continue;
        square_over_queries(w->dv + k * SIDE * wide, w->p + at, PANEL,
                            w->dy + (q - begin) * SIDE * wide, wide, run - q);
        square_over_queries(w->dk + k * SIDE * wide, w->dp + at, PANEL,
                            w->q + (q - begin) * SIDE * wide, wide, run - q);
    }
}

static void group_bwd(workspace *w, const attention *a, int64_t begin)
{
    group g = group_at(&w->s, begin);

    copy_group_bwd(&g, w, a);
    for (int64_t k = g.keys.begin; k < g.keys.end; k += KEYS / SIDE) {
        range these = { k, smaller(k + KEYS / SIDE, g.keys.end) };

        meet(w->p, PANEL, w->k, w->q_turned, &g, these, w, a);
        meet(w->dp, PANEL, w->v, w->dy_turned, &g, these, w, a);
        for (int64_t q = begin; q < g.queries.end; q++)
            queries_bwd(w, a, &g, q, these);
        for (int64_t i = these.begin; i < these.end; i++)
            keys_bwd(w, a, &g, i, these);
    }
    copy_out(w->out, columns_of(Q, w, a), a->scale, begin * SIDE, g.queries.end * SIDE, w, a);
}

static void attend_bwd_task(workspace *w, const attention *a)
{
    int64_t all = w->s.blocks * SIDE;

    copy_in(w->k, a->x, columns_of(K, w, a), 0, all, w, a);
    copy_in(w->v, a->x, columns_of(V, w, a), 0, all, w, a);
    memset(w->dk, 0, (size_t)(all * a->wide) * sizeof *w->dk);
    memset(w->dv, 0, (size_t)(all * a->wide) * sizeof *w->dv);
    for (int64_t q = 0; q < w->s.blocks; q += QUERIES / SIDE)
        group_bwd(w, a, q);
    copy_out(w->dk, columns_of(K, w, a), a->scale, 0, all, w, a);
    copy_out(w->dv, columns_of(V, w, a), 1, 0, all, w, a);
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* Tasks are independent, so who takes which does not matter to the result. PRODUCTS of whole spans
   are made of each square in which queries and keys meet. */
static void each_task(mb_ctx *c, const attention *a, void (*work)(workspace *, const attention *),
                      int64_t products)
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
            w.begin = task / a->heads * len;
            w.head = task % a->heads;
            work(&w, a);
        }
    }
    c->executed = (uint64_t)(2 * SQUARE * squares * a->heads * products * a->wide);
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

    each_task(c, &a, attend_task, 2);
}

void cpu_attend_bwd(mb_ctx *c, float *dx, const float *dy, const float *y, const float *lse,
                    const float *x, const mb_span *s, int64_t d, int heads, bool add)
{
    attention a = attention_of(c, x, (float *)y, (float *)lse, s, d, heads);

    a.dy = dy;
    a.dx = dx;
    a.add = add;
    each_task(c, &a, attend_bwd_task, 5);
}
