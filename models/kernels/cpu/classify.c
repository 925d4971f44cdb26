/* The head: logits, cross-entropy and all three gradients, in chunks of rows, so that logits are
   never kept. Only rows with a target take part. Each thread takes a chunk through the vocabulary
   in blocks, twice: logits and their exponentials, then, once the row sums are known, the gradients
   of logits and x. So each block is in the second-level cache while it is worked on. Then the
   threads share the gradient of w by words, each summing over the chunks in their order: no result
   depends on the number of threads. */
#include "models/kernels/cpu/cpu.h"

#include "models/kernels/cpu/simd.h"
#include "models/kernels/cpu/tile.h"

#include <math.h>
#include <omp.h>
#include <string.h>

enum {
    ROWS = 16 * TILE_ROWS,               /* of a chunk */
    BLOCK = 240 / TILE_COLS * TILE_COLS, /* words: whole panels, and nearly whole strips */
    SHARE = 10 * TILE_ROWS,              /* words in one unit of work on the gradient of w */
    WIDTH = 272,                         /* of a row of a block: an odd number of cache lines, since
                                            the gradient of w walks down its columns */
    DEPTH = 256                          /* of the products over D: a panel is then 16 kB */
};

typedef struct head { /* arguments, and what all threads share */
    const mb_ctx *ctx;
    const float *x;
    const int32_t *target;
    float scale, z, *loss, *dx, *dw;
    int64_t d, v, wide, blocks; /* wide: d in whole panels */
    int64_t steps, even;        /* steps: of d; even: d in whole steps */
    const float *across, *down; /* w packed: panels of words, panels of columns (weights.c) */
    int32_t *row;               /* (n) rows of x with a target */
    int64_t n, each;            /* each: floats of a thread's workspace */
    float *space;
} head;

typedef struct chunk {  /* rows of a thread, and its workspace */
    const int32_t *row; /* (n) */
    int64_t n;
    float *x, *x_down; /* (ROWS, steps), and per panel of columns (ROWS, TILE_COLS) */
    float *p;          /* per block (ROWS, WIDTH): logits, then what they become */
    float *pairs;      /* (ROWS, BLOCK): of a block of these, where products take pairs */
    float *sum, *lse;  /* (blocks, ROWS): of the exponentials of each block */
    float *out;        /* (ROWS, wide) */
} chunk;

static int64_t words_of(const head *h, int64_t block)
{
    return smaller(h->v - block * BLOCK, BLOCK);
}

static void pack_chunk(const head *h, const chunk *k)
{
    int64_t rows = smaller(k->n + TILE_ROWS, ROWS); /* with zeros for the last strip */

    memset(k->x, 0, (size_t)(rows * h->even) * sizeof *k->x);
    for (int64_t i = 0; i < k->n; i++)
        memcpy(k->x + i * h->even, h->x + k->row[i] * h->d, (size_t)h->d * sizeof *k->x);
    if (h->dx)
        pack_panels(k->x_down, k->x, k->n, h->even, ROWS);
    for (int64_t j = 0; h->dx && j < h->d; j += TILE_COLS)
        as_tile_operands(h->ctx, k->x_down + j * ROWS, k->n, TILE_COLS);
    as_tile_operands(h->ctx, k->x, rows * h->even, 1);
}

/* ---- forward -------------------------------------------------------------------------------- */

static void logits(const head *h, const chunk *k, int64_t block, float *p)
{
    int64_t n = words_of(h, block), strips = (k->n + TILE_ROWS - 1) / TILE_ROWS;

    for (int64_t s = 0; s < h->d; s += DEPTH) {
        int64_t begin = steps_of(h->ctx, s), steps = steps_of(h->ctx, smaller(h->d - s, DEPTH));
        int64_t some = part_of_panel(steps, strips);
        const float *panel = h->across + block * BLOCK * h->d + begin * TILE_COLS;

        for (int64_t j = 0; j < n; j += TILE_COLS, panel += TILE_COLS * h->d)
            for (int64_t i = 0; i < strips; i++) {
                ask_for(panel + TILE_COLS * h->d, steps, i * some, some);
                tile_rows(p + i * TILE_ROWS * WIDTH + j, WIDTH,
                          k->x + i * TILE_ROWS * h->steps + begin, h->steps, panel, steps, s > 0,
                          in_pairs(h->ctx));
            }
    }
}

/* Exponentials of a block's logits, with their sums; the target's logit goes to the loss. */
static void exponentials(const head *h, const chunk *k, int64_t block, float *p)
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
static void finish_rows(const head *h, const chunk *k)
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

/* The gradients of a block's logits in pairs of words, which dx sums over; they themselves become
   pairs of rows, which dw sums over. */
static void pair_gradients(const head *h, const chunk *k, int64_t block, float *p)
{
    int64_t n = words_of(h, block);

    for (int64_t i = 0; i < k->n; i++) {
        float *row = k->pairs + i * BLOCK;

        memcpy(row, p + i * WIDTH, (size_t)n * sizeof *row);
        if (n % 2)
            row[n] = 0;
        as_tile_operands(h->ctx, row, (n + 1) / 2 * 2, 1);
    }
    as_tile_operands(h->ctx, p, k->n, WIDTH);
}

/* P: (ROWS, LDP), in steps. */
static void add_to_dx(const head *h, const chunk *k, int64_t block, const float *p, int64_t ldp)
{
    int64_t n = steps_of(h->ctx, words_of(h, block));
    int64_t strips = (k->n + TILE_ROWS - 1) / TILE_ROWS, some = part_of_panel(n, strips);
    const float *panel = h->down + steps_of(h->ctx, block * BLOCK) * TILE_COLS;

    for (int64_t j = 0; j < h->d; j += TILE_COLS, panel += TILE_COLS * h->v)
        for (int64_t i = 0; i < strips; i++) {
            ask_for(panel + TILE_COLS * h->v, n, i * some, some);
            tile_rows(k->out + i * TILE_ROWS * h->wide + j, h->wide, p + i * TILE_ROWS * ldp, ldp,
                      panel, n, block > 0, in_pairs(h->ctx));
        }
}

static void classify_chunk(const head *h, const chunk *k)
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
        float *p = k->p + b * ROWS * WIDTH;

        logit_gradients(h, k, b, p);
        if (in_pairs(h->ctx)) {
            pair_gradients(h, k, b, p);
            add_to_dx(h, k, b, k->pairs, BLOCK);
        } else
            add_to_dx(h, k, b, p, WIDTH);
    }
    for (int64_t i = 0; i < k->n; i++)
        memcpy(h->dx + k->row[i] * h->d, k->out + i * h->wide, (size_t)h->d * sizeof *h->dx);
}

/* Words BEGIN .. of a block, at most a share. */
static void add_to_dw(const head *h, const chunk *k, int64_t block, int64_t begin)
{
    int64_t end = smaller(begin + SHARE, words_of(h, block)), d = h->d;
    const float *p = k->p + block * ROWS * WIDTH;

    for (int64_t j = 0; j < d; j += TILE_COLS)
        for (int64_t i = begin; i < end; i += TILE_ROWS)
            tile_columns_at(h->dw + (block * BLOCK + i) * d + j, d, p + i, WIDTH,
                            k->x_down + j * ROWS, steps_of(h->ctx, k->n), true, in_pairs(h->ctx),
                            end - i, d - j);
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
    return aligned(aligned(ROWS * h->even) + 2 * ROWS * h->wide + h->blocks * ROWS * (WIDTH + 2) +
                   (in_pairs(h->ctx) ? ROWS * BLOCK : 0));
}

/* What thread ME has of the rows from FIRST on, a chunk for each: none beyond the last row. */
static chunk chunk_of(const head *h, int64_t first, int me)
{
    int64_t begin = smaller(first + me * ROWS, h->n);
    chunk k = { .row = h->row + begin, .n = smaller(h->n - begin, ROWS) };

    k.x = h->space + h->each * me;
    k.x_down = k.x + aligned(ROWS * h->even);
    k.out = k.x_down + ROWS * h->wide;
    k.p = k.out + ROWS * h->wide;
    k.sum = k.p + h->blocks * ROWS * WIDTH;
    k.lse = k.sum + h->blocks * ROWS;
    k.pairs = k.lse + h->blocks * ROWS;
    return k;
}

/* All threads: a chunk each from FIRST on, then the gradient of w from all of these. */
static void classify_chunks(const head *h, int64_t first)
{
    int threads = omp_get_num_threads();
    chunk own = chunk_of(h, first, omp_get_thread_num());

    if (own.n)
        classify_chunk(h, &own);
    if (!h->dw)
        return;
#pragma omp barrier
#pragma omp for collapse(2)
    for (int64_t b = 0; b < h->blocks; b++)
        for (int64_t i = 0; i < BLOCK; i += SHARE)
            for (int t = 0; t < threads && first + t * ROWS < h->n; t++) {
                chunk k = chunk_of(h, first, t);

                add_to_dw(h, &k, b, i);
            }
}

void cpu_classify(mb_ctx *c, float *loss, float *dx, float *dw, const float *x, const mb_tensor *w,
                  const int32_t *target, float scale, float z, int64_t t)
{
    head h = { .ctx = c,
               .x = x,
               .target = target,
               .scale = scale,
               .z = z,
               .loss = loss,
               .dx = dx,
               .dw = dw,
               .d = w->cols,
               .v = w->rows,
               .across = packed_weights(c, w, TURNED),
               .down = dx ? packed_weights(c, w, STRAIGHT) : NULL };

    h.wide = (h.d + TILE_COLS - 1) / TILE_COLS * TILE_COLS;
    h.blocks = (h.v + BLOCK - 1) / BLOCK;
    h.steps = steps_of(c, h.d);
    h.even = in_pairs(c) ? 2 * h.steps : h.d;
    h.each = chunk_space(&h);
    h.space = cpu_space(c, h.each * c->threads + aligned(t));
    h.row = (int32_t *)(h.space + h.each * c->threads);
    h.n = list_rows(&h, h.row, t);
#pragma omp parallel num_threads(c->threads)
    for (int64_t first = 0; first < h.n; first += (int64_t)omp_get_num_threads() * ROWS)
        classify_chunks(&h, first);
}
