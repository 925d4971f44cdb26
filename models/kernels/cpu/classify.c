/* The head: logits, cross-entropy and all three gradients, in chunks of rows, so that logits are
   never kept. Only rows with a target take part. A thread takes its chunks through the vocabulary
   in blocks, twice: logits and their exponentials, then, once the row sums are known, both
   gradients. So each block is in the second-level cache while it is worked on. */
#include "models/kernels/cpu/cpu.h"

#include "models/kernels/cpu/simd.h"
#include "models/kernels/cpu/tile.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum {
    ROWS = 16 * TILE_ROWS,               /* of a chunk */
    BLOCK = 240 / TILE_COLS * TILE_COLS, /* words: whole panels, and nearly whole strips */
    WIDTH = 272,                         /* of a row of a block: an odd number of cache lines, since
                                            the gradient of w walks down its columns */
    DEPTH = 256                          /* of the products over D: a panel is then 16 kB */
};

typedef struct head { /* arguments, and w packed for the products */
    const mb_ctx *ctx;
    const float *x, *w;
    const int32_t *target;
    float scale, z, *loss, *dx;
    int64_t d, v, wide, blocks; /* wide: d in whole panels */
    float *across;              /* per panel of words (D, TILE_COLS) */
    float *down;                /* per block and panel of columns (BLOCK, TILE_COLS) */
} head;

typedef struct chunk {  /* the workspace of a thread */
    const int32_t *row; /* (n) rows of x with a target */
    int64_t n;
    float *x, *x_down; /* (ROWS, D), and per panel of columns (ROWS, TILE_COLS) */
    float *p;          /* per block (ROWS, WIDTH): logits, then what they become */
    float *sum, *lse;  /* (blocks, ROWS): of the exponentials of each block */
    float *out, *dw;   /* (ROWS, wide), (V, D) */
} chunk;

static int64_t words_of(const head *h, int64_t block)
{
    return smaller(h->v - block * BLOCK, BLOCK);
}

/* ---- packing -------------------------------------------------------------------------------- */

/* Words W .. of one panel, turned; 0 beyond the vocabulary. */
static void pack_across(const head *h, int64_t w)
{
    const float *row[TILE_COLS];

    for (int64_t i = 0; i < TILE_COLS; i++)
        row[i] = h->w + (w + i) * h->d;
    pack_turned(h->across + w * h->d, row, h->v - w, h->d);
    as_operands(h->ctx, h->across + w * h->d, TILE_COLS * h->d);
}

static void pack_chunk(const head *h, chunk *k)
{
    for (int64_t i = 0; i < k->n; i++)
        memcpy(k->x + i * h->d, h->x + k->row[i] * h->d, (size_t)h->d * sizeof *k->x);
    if (k->n < ROWS) /* of the last strip */
        memset(k->x + k->n * h->d, 0,
               (size_t)(smaller(ROWS - k->n, TILE_ROWS) * h->d) * sizeof *k->x);
    as_operands(h->ctx, k->x, k->n * h->d);
    if (h->dx)
        pack_panels(k->x_down, k->x, k->n, h->d, ROWS);
}

/* ---- forward -------------------------------------------------------------------------------- */

static void logits(const head *h, const chunk *k, int64_t block, float *p)
{
    int64_t n = words_of(h, block), strips = (k->n + TILE_ROWS - 1) / TILE_ROWS;

    for (int64_t s = 0; s < h->d; s += DEPTH) {
        int64_t depth = smaller(h->d - s, DEPTH), some = part_of_panel(depth, strips);
        const float *panel = h->across + block * BLOCK * h->d + s * TILE_COLS;

        for (int64_t j = 0; j < n; j += TILE_COLS, panel += TILE_COLS * h->d)
            for (int64_t i = 0; i < strips; i++) {
                ask_for(panel + TILE_COLS * h->d, depth, i * some, some);
                tile_rows(p + i * TILE_ROWS * WIDTH + j, WIDTH, k->x + i * TILE_ROWS * h->d + s,
                          h->d, panel, depth, s > 0);
            }
    }
}

/* Exponentials of a block's logits, with their sums; the target's logit goes to the loss. */
static void exponentials(const head *h, chunk *k, int64_t block, float *p)
{
    int64_t n = words_of(h, block), filled = (n + TILE_COLS - 1) / TILE_COLS * TILE_COLS;

    for (int64_t i = 0; i < k->n; i++) {
        float *row = p + i * WIDTH;
        int64_t own = h->target[k->row[i]] - block * BLOCK;

        if (own >= 0 && own < n)
            h->loss[k->row[i]] = row[own];
        for (int64_t j = n; j < filled; j++)
            row[j] = -INFINITY;
        k->sum[block * ROWS + i] = softmax_sum(row, filled, 1, &k->lse[block * ROWS + i]);
    }
}

/* log sum exp of a row from those of its blocks */
static float lse_of(const head *h, const chunk *k, int64_t i)
{
    float most = -INFINITY, sum = 0;

    for (int64_t b = 0; b < h->blocks; b++)
        most = k->lse[b * ROWS + i] > most ? k->lse[b * ROWS + i] : most;
    if (!(most < INFINITY)) /* infinite or no number: so is the loss */
        return most - most;
    for (int64_t b = 0; b < h->blocks; b++)
        sum += expf(k->lse[b * ROWS + i] - most);
    return most + logf(sum);
}

/* Losses; then sum[b] becomes what turns block b's exponentials into gradients of the logits:
   d (loss + z lse^2) / d logit[j] = (1 + 2 z lse) e^(logit[j] - lse) - (j is the target). */
static void finish_rows(const head *h, chunk *k)
{
    for (int64_t i = 0; i < k->n; i++) {
        float lse = lse_of(h, k, i), factor = h->scale * (1 + 2 * h->z * lse);

        h->loss[k->row[i]] = lse - h->loss[k->row[i]];
        for (int64_t b = 0; b < h->blocks; b++) {
            float *sum = &k->sum[b * ROWS + i];

            *sum = factor * expf(k->lse[b * ROWS + i] - lse) / *sum;
        }
    }
}

/* ---- backward ------------------------------------------------------------------------------- */

static void logit_gradients(const head *h, const chunk *k, int64_t block, float *p)
{
    int64_t n = words_of(h, block);

    for (int64_t i = 0; i < k->n; i++) {
        int64_t own = h->target[k->row[i]] - block * BLOCK;
        float *row = p + i * WIDTH, factor = k->sum[block * ROWS + i];

#pragma omp simd
        for (int64_t j = 0; j < n; j++)
            row[j] *= factor;
        if (own >= 0 && own < n)
            row[own] -= h->scale;
        as_operands(h->ctx, row, n);
    }
}

static void gradients(const head *h, const chunk *k, int64_t block, const float *p)
{
    int64_t n = words_of(h, block), d = h->d, strips = (k->n + TILE_ROWS - 1) / TILE_ROWS;
    int64_t some = part_of_panel(n, strips);
    const float *panel = h->down + block * BLOCK * h->wide;
    float *dw = k->dw + block * BLOCK * d;

    for (int64_t j = 0; j < d; j += TILE_COLS, panel += TILE_COLS * BLOCK) {
        for (int64_t i = 0; i < strips; i++) {
            ask_for(panel + TILE_COLS * BLOCK, n, i * some, some);
            tile_rows(k->out + i * TILE_ROWS * h->wide + j, h->wide, p + i * TILE_ROWS * WIDTH,
                      WIDTH, panel, n, block > 0);
        }
        for (int64_t i = 0; i < n; i += TILE_ROWS)
            tile_columns_at(dw + i * d + j, d, p + i, WIDTH, k->x_down + j * ROWS, k->n, true,
                            n - i, d - j);
    }
}

static void classify_chunk(const head *h, chunk *k)
{
    pack_chunk(h, k);
    for (int64_t b = 0; b < h->blocks; b++) {
        logits(h, k, b, k->p + b * ROWS * WIDTH);
        exponentials(h, k, b, k->p + b * ROWS * WIDTH);
    }
    finish_rows(h, k);
    if (!h->dx)
        return;
    for (int64_t b = 0; b < h->blocks; b++) {
        logit_gradients(h, k, b, k->p + b * ROWS * WIDTH);
        gradients(h, k, b, k->p + b * ROWS * WIDTH);
    }
    for (int64_t i = 0; i < k->n; i++)
        memcpy(h->dx + k->row[i] * h->d, k->out + i * h->wide, (size_t)h->d * sizeof *h->dx);
}

/* ---- threads -------------------------------------------------------------------------------- */

/* Numbers of the rows with a target into ROW; the others get their zeros. */
static int64_t list_rows(const head *h, int32_t *row, int64_t t)
{
    int64_t n = 0;

    for (int64_t i = 0; i < t; i++) {
        if (h->target[i] >= 0) {
            row[n++] = (int32_t)i;
            continue;
        }
        h->loss[i] = 0;
        if (h->dx)
            memset(h->dx + i * h->d, 0, (size_t)h->d * sizeof *h->dx);
    }
    return n;
}

static int64_t chunk_space(const head *h)
{
    return aligned(ROWS * h->d) + 2 * ROWS * h->wide + h->blocks * ROWS * (WIDTH + 2);
}

static void divide(chunk *k, const head *h, float *space)
{
    k->x = space;
    k->x_down = k->x + aligned(ROWS * h->d);
    k->out = k->x_down + ROWS * h->wide;
    k->p = k->out + ROWS * h->wide;
    k->sum = k->p + h->blocks * ROWS * WIDTH;
    k->lse = k->sum + h->blocks * ROWS;
}

/* The rows of thread ME: about as many for each. */
static void classify_rows(const head *h, chunk *k, const int32_t *row, int64_t n, int me,
                          int threads)
{
    int64_t end = n * (me + 1) / threads;

    for (int64_t i = n * me / threads; i < end; i += ROWS) {
        k->row = row + i;
        k->n = smaller(end - i, ROWS);
        classify_chunk(h, k);
    }
}

static void pack_weights(mb_ctx *c, const head *h)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t b = 0; b < h->blocks; b++) {
        int64_t n = words_of(h, b);

        for (int64_t w = 0; w < n; w += TILE_COLS)
            pack_across(h, b * BLOCK + w);
        if (!h->dx)
            continue;
        pack_panels(h->down + b * BLOCK * h->wide, h->w + b * BLOCK * h->d, n, h->d, BLOCK);
        as_operands(c, h->down + b * BLOCK * h->wide, BLOCK * h->wide);
    }
}

static void add_all(mb_ctx *c, float *to, const float *from, int64_t n)
{
#pragma omp parallel for simd num_threads(c->threads)
    for (int64_t i = 0; i < n; i++)
        to[i] += from[i];
}

/* Each thread sums its own gradient of w, the first one in place; then they are added in order. */
void cpu_classify(mb_ctx *c, float *loss, float *dx, float *dw, const float *x, const float *w,
                  const int32_t *target, float scale, float z, int64_t t, int64_t d, int64_t v)
{
    head h = { .ctx = c,
               .x = x,
               .w = w,
               .target = target,
               .scale = scale,
               .z = z,
               .loss = loss,
               .dx = dx,
               .d = d,
               .v = v };
    int64_t size, each, partial = dw ? aligned(v * d) : 0, n;
    float *space, *partials;
    int32_t *row;

    h.wide = (d + TILE_COLS - 1) / TILE_COLS * TILE_COLS;
    h.blocks = (v + BLOCK - 1) / BLOCK;
    size = h.blocks * BLOCK * h.wide;
    each = aligned(chunk_space(&h));
    space = cpu_space(c, 2 * size + each * c->threads + partial * (c->threads - 1) + aligned(t));
    h.across = space;
    h.down = h.across + size;
    space = h.down + size;
    partials = space + each * c->threads;
    row = (int32_t *)(partials + partial * (c->threads - 1));
    n = list_rows(&h, row, t);
    pack_weights(c, &h);
#pragma omp parallel num_threads(c->threads)
    {
        int me = omp_get_thread_num();
        chunk k;

        divide(&k, &h, space + each * me);
        k.dw = me ? partials + partial * (me - 1) : dw;
        if (me && dw)
            memset(k.dw, 0, (size_t)(v * d) * sizeof *dw);
        classify_rows(&h, &k, row, n, me, c->threads);
    }
    for (int64_t i = 1; dw && i < c->threads; i++)
        add_all(c, dw, partials + partial * (i - 1), v * d);
}
