/* Products of routed rows with the weight slices of their groups, on the micro-kernels of tile.h.
   Threads share strips of rows, or panels of columns where strips are few, of all groups together;
   sums are over fixed parts in a fixed order, so results do not depend on the threads. */
#include "models/kernels/cpu/cpu.h"

#include "models/kernels/cpu/tile.h"

#include <omp.h>
#include <string.h>

typedef struct range { /* of rows that share a slice */
    int64_t begin, rows, slice;
} range;

/* Range I of the route. One slice for all groups: all rows at once, whatever their groups. */
static range range_of(const mb_tensor *w, const mb_route *r, int i)
{
    if (w->slices == 1)
        return (range){ 0, r->rows, 0 };
    return (range){ r->offset[i], r->offset[i + 1] - r->offset[i], i };
}

static int ranges(const mb_tensor *w, const mb_route *r)
{
    return w->slices == 1 ? 1 : r->groups;
}

/* Sums are taken over at most DEPTH elements at once: a panel then has 22 kB and stays in the
   first-level cache beside a strip. BLOCK strips pass it from the second level. */
enum { DEPTH = 22528 / (TILE_COLS * sizeof(float)), BLOCK = 16 };

/* N cut into equal parts of at most LIMIT, but for rounding: the size of one. */
static int64_t part_of(int64_t n, int64_t limit)
{
    int64_t parts = (n + limit - 1) / limit;

    return parts ? (n + parts - 1) / parts : 0;
}

/* Of the depth of a product: whole pairs. */
static int64_t part_of_depth(int64_t k)
{
    return (part_of(k, DEPTH) + 1) / 2 * 2;
}

static int64_t strips_in(int64_t rows)
{
    return (rows + TILE_ROWS - 1) / TILE_ROWS;
}

/* ---- y and dx ------------------------------------------------------------------------------- */

typedef struct product { /* c (S, N) = or += a (S, K) times panels of (K, N), by groups */
    const mb_ctx *ctx;
    const mb_tensor *w;
    const mb_route *r;
    enum layout layout;      /* of w */
    const float *a, *panels; /* panels: of all slices; NULL: packed on the way */
    float *c;
    int64_t n, k, slice; /* slice: floats between the panels of two slices */
    int64_t block;       /* strips that pass a panel at once */
    bool add;
} product;

typedef struct share { /* of a thread: strips of all groups together, and columns */
    int64_t from, to, left, right;
    float *panel; /* (DEPTH, TILE_COLS) */
    float *space; /* of operand_of() */
} share;

/* N rows of a, as rows of whole strips, WIDE apart: zeros beyond. */
static void copy_rows(float *to, const float *a, int64_t lda, int64_t n, int64_t depth,
                      int64_t wide)
{
    for (int64_t i = 0; i < n; i++, to += wide) {
        memcpy(to, a + i * lda, (size_t)depth * sizeof *to);
        memset(to + depth, 0, (size_t)(wide - depth) * sizeof *to);
    }
    memset(to, 0, (size_t)((strips_in(n) * TILE_ROWS - n) * wide) * sizeof *to);
}

typedef struct operand {       /* rows of a, in strips: all as they are, but for the last ones */
    const float *a, *rest;     /* rest: strips from WHOLE on, packed */
    int64_t lda, whole, steps; /* steps: of the product, and between rows of the rest */
} operand;

/* Strips that are whole are read where they are, in fp32. */
static operand operand_of(const product *p, const share *s, const float *a, int64_t rows,
                          int64_t depth)
{
    int64_t whole = p->ctx->precision == MB_FP32 ? rows / TILE_ROWS : 0;
    int64_t wide = in_pairs(p->ctx) ? (depth + 1) / 2 * 2 : depth;

    copy_rows(s->space, a + whole * TILE_ROWS * p->k, p->k, rows - whole * TILE_ROWS, depth, wide);
    as_tile_operands(p->ctx, s->space, (strips_in(rows) - whole) * TILE_ROWS * wide, 1);
    return (operand){ a, s->space, p->k, whole, steps_of(p->ctx, depth) };
}

static const float *packed_part(const product *p, int64_t slice, int64_t j, int64_t k)
{
    return p->panels + slice * p->slice + j * p->k + steps_of(p->ctx, k) * TILE_COLS;
}

/* DEPTH rows from K on of a panel that begins with column J: packed before, or now. */
static const float *panel_of(const product *p, const share *s, int64_t slice, int64_t j, int64_t k,
                             int64_t depth)
{
    if (p->panels)
        return packed_part(p, slice, j, k);
    pack_part(p->ctx, s->panel, p->w, p->layout, slice, j, k, depth);
    return s->panel;
}

/* Asks for part I of the panel that panel_of() will be asked for next. */
static void ask_for_panel(const product *p, int64_t slice, int64_t j, int64_t k, int64_t depth,
                          int64_t i, int64_t some)
{
    if (p->panels)
        ask_for(packed_part(p, slice, j, k), steps_of(p->ctx, depth), i * some, some);
    else
        ask_for_part(p->w, p->layout, slice, j, k, depth, i * some, some);
}

/* Columns J .. of a panel, of the rows G, which are A. */
static void multiply_panel(const product *p, const share *s, const range *g, const operand *a,
                           int64_t j, int64_t k, int64_t depth)
{
    int64_t strips = strips_in(g->rows), some = part_of_panel(depth, strips);
    int64_t next = j + TILE_COLS < s->right ? j + TILE_COLS : s->left;
    const float *panel = panel_of(p, s, g->slice, j, k, depth);
    float *c = p->c + g->begin * p->n + j;

    for (int64_t i = 0; i < strips; i++, c += TILE_ROWS * p->n) {
        bool whole = i < a->whole;
        int64_t lda = whole ? a->lda : a->steps;
        const float *strip =
            whole ? a->a + i * TILE_ROWS * lda : a->rest + (i - a->whole) * TILE_ROWS * lda;

        ask_for_panel(p, g->slice, next, k, depth, i, some);
        tile_rows_at(c, p->n, strip, lda, j == s->left ? TILE_ROWS * lda : 0, panel, a->steps,
                     p->add || k > 0, in_pairs(p->ctx), g->rows - i * TILE_ROWS, p->n - j);
    }
}

/* Rows of one group, at most a block. */
static void multiply_block(const product *p, const share *s, range g)
{
    int64_t part = part_of_depth(p->k);

    for (int64_t k = 0; k < p->k; k += part) {
        int64_t depth = smaller(p->k - k, part);
        operand a = operand_of(p, s, p->a + g.begin * p->k + k, g.rows, depth);

        for (int64_t j = s->left; j < s->right; j += TILE_COLS)
            multiply_panel(p, s, &g, &a, j, k, depth);
    }
}

static void multiply_share(const product *p, share s)
{
    for (int i = 0; i < ranges(p->w, p->r); i++) {
        range g = range_of(p->w, p->r, i);
        int64_t strips = strips_in(g.rows);
        int64_t begin = s.from < 0 ? 0 : s.from, end = smaller(s.to, strips);

        for (int64_t at = begin; at < end; at += p->block) {
            int64_t row = at * TILE_ROWS, to = smaller(at + p->block, end) * TILE_ROWS;

            multiply_block(p, &s, (range){ g.begin + row, smaller(to, g.rows) - row, g.slice });
        }
        s.from -= strips;
        s.to -= strips;
    }
}

static void multiply(mb_ctx *c, const product *p)
{
    enum { EACH = 8 }; /* strips of a thread, at least, before columns are shared instead */
    int64_t strips = 0, panels = (p->n + TILE_COLS - 1) / TILE_COLS;
    int64_t panel = DEPTH * TILE_COLS;
    int64_t rest = (c->precision == MB_FP32 ? 1 : p->block) * TILE_ROWS * part_of_depth(p->k);
    int64_t room = aligned(panel + rest);
    float *space = cpu_space(c, room * c->threads);

    for (int i = 0; i < ranges(p->w, p->r); i++)
        strips += strips_in(range_of(p->w, p->r, i).rows);
#pragma omp parallel num_threads(c->threads)
    {
        int me = omp_get_thread_num(), threads = omp_get_num_threads();
        float *own = space + room * me;
        share s = { 0, strips, 0, p->n, own, own + panel };

        if (strips >= EACH * threads) {
            s.from = strips * me / threads;
            s.to = strips * (me + 1) / threads;
        } else {
            s.left = panels * me / threads * TILE_COLS;
            s.right = smaller(panels * (me + 1) / threads * TILE_COLS, p->n);
        }
        multiply_share(p, s);
    }
}

/* Are weights packed on the way? */
static bool on_the_way(const mb_tensor *w, const mb_route *r)
{
    return w->slices > 1 && r->rows >= FEW_ROWS * r->groups && r->rows <= MANY_ROWS * r->groups;
}

static product product_of(mb_ctx *c, float *to, const float *a, const mb_tensor *w,
                          enum layout layout, const mb_route *r)
{
    bool turned = layout == TURNED, packed = !on_the_way(w, r);

    return (product){ .ctx = c,
                      .w = w,
                      .r = r,
                      .layout = layout,
                      .a = a,
                      .panels = packed ? packed_weights(c, w, layout) : NULL,
                      .c = to,
                      .n = turned ? w->rows : w->cols,
                      .k = turned ? w->cols : w->rows,
                      .slice = slice_size(w, layout),
                      .block = packed ? BLOCK : MANY_ROWS / TILE_ROWS };
}

void cpu_gemm(mb_ctx *c, float *y, const float *x, const mb_tensor *w, const mb_route *r)
{
    product p = product_of(c, y, x, w, TURNED, r);

    multiply(c, &p);
}

void cpu_gemm_dx(mb_ctx *c, float *dx, const float *dy, const mb_tensor *w, const mb_route *r,
                 bool add)
{
    product p = product_of(c, dx, dy, w, STRAIGHT, r);

    p.add = add;
    multiply(c, &p);
}

/* ---- gradients of weights ------------------------------------------------------------------- */

/* Threads share the strips of all slices by the rows behind them. */

typedef struct outer { /* dw (N, K) += dy (rows, N)^T x (rows, K) */
    const mb_ctx *ctx;
    const float *dy, *x;
    float *dw;
    int64_t rows, n, k;
    float *panels, *strips; /* workspace: x and a block of dy, packed */
} outer;

enum { STRIP_ROOM = DEPTH * TILE_ROWS + 16 }; /* packing writes a little beyond */

typedef struct block { /* what is worked on at once: rows of dy and x, columns of dy */
    int64_t s, depth, begin, end;
} block;

/* Asks the second-level cache for part I of N of ROWS rows of a matrix, COLS columns of each. */
static void ask_for_rows(const float *from, int64_t ld, int64_t rows, int64_t cols, int64_t i,
                         int64_t n)
{
    for (int64_t row = rows * i / n; row < rows * (i + 1) / n; row++)
        for (int64_t j = 0; j < cols; j += LINE)
            __builtin_prefetch(from + row * ld + j, 0, 2);
}

/* Adds a block's rows to its rows of dw, and asks for what will be packed NEXT. */
static void add_block(const outer *o, const block *k, const block *next)
{
    int64_t strips = strips_in(k->end - k->begin), at = 0;
    int64_t tiles = strips * ((o->k + TILE_COLS - 1) / TILE_COLS);
    bool other_rows = next->s != k->s; /* then of x, too */

    pack_strips(o->strips, o->dy + k->s * o->n + k->begin, k->depth, o->n, o->n - k->begin, strips,
                STRIP_ROOM);
    for (int64_t i = 0; i < strips; i++)
        as_tile_operands(o->ctx, o->strips + i * STRIP_ROOM, k->depth, TILE_ROWS);
    for (int64_t j = 0; j < o->k; j += TILE_COLS)
        for (int64_t i = k->begin; i < k->end; i += TILE_ROWS, at++) {
            ask_for_rows(o->dy + next->s * o->n + next->begin, o->n, next->depth,
                         smaller(next->end, o->n) - next->begin, at, tiles);
            if (other_rows)
                ask_for_rows(o->x + next->s * o->k, o->k, next->depth, o->k, at, tiles);
            tile_columns_at(o->dw + i * o->k + j, o->k,
                            o->strips + (i - k->begin) / TILE_ROWS * STRIP_ROOM, TILE_ROWS,
                            o->panels + j * k->depth, steps_of(o->ctx, k->depth), true,
                            in_pairs(o->ctx), o->n - i, o->k - j);
        }
}

static void add_outer(const outer *o, int64_t begin, int64_t end)
{
    int64_t part = part_of(o->rows, DEPTH);
    int64_t wide = part_of(strips_in(end - begin), BLOCK) * TILE_ROWS;
    block k = { 0, smaller(part, o->rows), begin, smaller(begin + wide, end) }, next;

    for (; begin < end && k.depth; k = next) {
        if (k.begin == begin) {
            pack_panels(o->panels, o->x + k.s * o->k, k.depth, o->k, k.depth);
            for (int64_t j = 0; j < o->k; j += TILE_COLS)
                as_tile_operands(o->ctx, o->panels + j * k.depth, k.depth, TILE_COLS);
        }
        next = k;
        next.begin = k.end;
        if (k.end >= end) {
            next.s += k.depth;
            next.depth = smaller(part, o->rows - next.s);
            next.begin = begin;
        }
        next.end = smaller(next.begin + wide, end);
        add_block(o, &k, &next);
    }
}

/* The first strip of a slice with ROWS rows that belongs after WORK of its strips' rows. */
static int64_t strip_after(int64_t work, int64_t rows, int64_t strips)
{
    return work <= 0 ? 0 : smaller((work + rows - 1) / rows, strips);
}

/* The share of a thread: work FROM .. TO of all strips' rows. */
static void add_share(const mb_ctx *c, const mb_tensor *w, const float *dy, const float *x,
                      const mb_route *r, float *space, int64_t from, int64_t to)
{
    int64_t n = w->rows, k = w->cols, strips = strips_in(n);

    for (int i = 0; i < ranges(w, r); i++) {
        range g = range_of(w, r, i);
        outer o = { .ctx = c,
                    .dy = dy + g.begin * n,
                    .x = x + g.begin * k,
                    .dw = w->grad + g.slice * n * k,
                    .rows = g.rows,
                    .n = n,
                    .k = k,
                    .strips = space,
                    .panels = space + BLOCK * STRIP_ROOM };

        if (!g.rows)
            continue;
        add_outer(&o, strip_after(from, g.rows, strips) * TILE_ROWS,
                  smaller(strip_after(to, g.rows, strips) * TILE_ROWS, n));
        from -= g.rows * strips;
        to -= g.rows * strips;
    }
}

void cpu_gemm_dw(mb_ctx *c, const mb_tensor *w, const float *dy, const float *x, const mb_route *r)
{
    int64_t wide = (w->cols + TILE_COLS - 1) / TILE_COLS * TILE_COLS;
    int64_t work = r->rows * strips_in(w->rows);
    int64_t each = aligned(DEPTH * wide + BLOCK * STRIP_ROOM);
    float *space = cpu_space(c, each * c->threads);

#pragma omp parallel num_threads(c->threads)
    {
        int me = omp_get_thread_num(), threads = omp_get_num_threads();

        add_share(c, w, dy, x, r, space + each * me, work * me / threads,
                  work * (me + 1) / threads);
    }
}
