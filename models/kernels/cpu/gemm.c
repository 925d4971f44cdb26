/* Products of routed rows with the weight slices of their groups: y and dx by one library call per
   non-empty group, one after another, each on all threads. With four groups on two threads that
   cost 10 % over one product of the same size at 256 rows per group, and nothing from 512 on. */
#include "models/kernels/cpu/cpu.h"

#include "models/kernels/cpu/tile.h"

#include <omp.h>

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

void cpu_gemm(mb_ctx *c, float *y, const float *x, const mb_tensor *w, const mb_route *r)
{
    int64_t n = w->rows, k = w->cols;

    for (int i = 0; i < ranges(w, r); i++) {
        range g = range_of(w, r, i);

        if (g.rows)
            sgemm(c->threads, 'N', 'T', g.rows, n, k, 1, x + g.begin * k, k,
                  mb_f32(w) + g.slice * n * k, k, 0, y + g.begin * n, n);
    }
}

void cpu_gemm_dx(mb_ctx *c, float *dx, const float *dy, const mb_tensor *w, const mb_route *r,
                 bool add)
{
    int64_t n = w->rows, k = w->cols;

    for (int i = 0; i < ranges(w, r); i++) {
        range g = range_of(w, r, i);

        if (g.rows)
            sgemm(c->threads, 'N', 'N', g.rows, k, n, 1, dy + g.begin * n, n,
                  mb_f32(w) + g.slice * n * k, k, add, dx + g.begin * k, k);
    }
}

/* ---- gradients of weights ------------------------------------------------------------------- */

/* The sum over rows is the one product for which the library is slow on Zen 3 (at width 512 half as
   fast as the others), so it is made of tiles here. Threads share the strips of all slices by the
   rows behind them; the order of a sum does not depend on them. */

typedef struct outer { /* dw (N, K) += dy (rows, N)^T x (rows, K) */
    const float *dy, *x;
    float *dw;
    int64_t rows, n, k;
    float *panels, *strips; /* workspace: x and a block of dy, packed */
} outer;

enum {
    DEPTH = 256, /* rows at once: a panel of x is then 16 kB, and stays in the first-level cache */
    BLOCK = 16   /* strips at once, which pass all panels from the second level */
};

/* Rows s .. s+depth-1 of columns begin .. end-1 of dy, as strips (depth, TILE_ROWS). */
static void pack_strips(const outer *o, int64_t s, int64_t depth, int64_t begin, int64_t end)
{
    for (int64_t i = 0; i < depth; i++) {
        const float *from = o->dy + (s + i) * o->n;
        float *to = o->strips + i * TILE_ROWS;
        int64_t j = begin;

        for (; j + TILE_ROWS <= end; j += TILE_ROWS, to += depth * TILE_ROWS)
            memcpy(to, from + j, TILE_ROWS * sizeof *to);
        if (j < end) {
            memset(to, 0, TILE_ROWS * sizeof *to);
            memcpy(to, from + j, (size_t)(end - j) * sizeof *to);
        }
    }
}

/* Adds rows s .. s+depth-1 to rows begin .. end-1 of dw. */
static void add_block(const outer *o, int64_t s, int64_t depth, int64_t begin, int64_t end)
{
    pack_strips(o, s, depth, begin, end);
    for (int64_t j = 0; j < o->k; j += TILE_COLS)
        for (int64_t i = begin; i < end; i += TILE_ROWS)
            tile_at(o->dw, o->k, i, j, o->n, o->k, o->strips + (i - begin) * depth, 1, TILE_ROWS,
                    o->panels + j * depth, depth, true);
}

static void add_outer(const outer *o, int64_t begin, int64_t end)
{
    for (int64_t s = 0; begin < end && s < o->rows; s += DEPTH) {
        int64_t depth = smaller(o->rows - s, DEPTH);

        pack_panels(o->panels, o->x + s * o->k, depth, o->k, depth);
        for (int64_t i = begin; i < end; i += BLOCK * TILE_ROWS)
            add_block(o, s, depth, i, smaller(i + BLOCK * TILE_ROWS, end));
    }
}

/* The first strip of a slice with ROWS rows that belongs after WORK of its strips' rows. */
static int64_t strip_after(int64_t work, int64_t rows, int64_t strips)
{
    return work <= 0 ? 0 : smaller((work + rows - 1) / rows, strips);
}

/* The share of a thread: work FROM .. TO of all strips' rows. */
static void add_share(const mb_tensor *w, const float *dy, const float *x, const mb_route *r,
                      float *space, int64_t from, int64_t to)
{
    int64_t n = w->rows, k = w->cols, strips = (n + TILE_ROWS - 1) / TILE_ROWS;

    for (int i = 0; i < ranges(w, r); i++) {
        range g = range_of(w, r, i);
        outer o = { .dy = dy + g.begin * n,
                    .x = x + g.begin * k,
                    .dw = w->grad + g.slice * n * k,
                    .rows = g.rows,
                    .n = n,
                    .k = k,
                    .strips = space,
                    .panels = space + BLOCK * TILE_ROWS * DEPTH };

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
    int64_t work = r->rows * ((w->rows + TILE_ROWS - 1) / TILE_ROWS);
    int64_t each = aligned(DEPTH * (wide + BLOCK * TILE_ROWS));
    float *space = cpu_space(c, each * c->threads);

#pragma omp parallel num_threads(c->threads)
    {
        int me = omp_get_thread_num();

        add_share(w, dy, x, r, space + each * me, work * me / c->threads,
                  work * (me + 1) / c->threads);
    }
}
