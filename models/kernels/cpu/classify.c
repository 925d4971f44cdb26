/* The head: logits, cross-entropy and all three gradients, in chunks of rows, so that logits are
   never kept. Only rows with a target take part: they are packed first. */
#include "models/kernels/cpu/cpu.h"

#include "models/kernels/cpu/simd.h"

#include <string.h>

typedef struct head { /* arguments and the workspace of one chunk */
    const float *x, *w;
    const int32_t *target;
    float scale, z, *loss, *dx, *dw;
    int64_t d, v;
    int64_t *row;                 /* (rows) where the packed rows come from */
    float *packed, *logits, *out; /* (rows, D), (rows, V), (rows, D) */
} head;

/* Rows of a chunk: some 4 MB of logits, which the last-level cache holds between the passes, but
   never so few that the products become thin. */
static int64_t chunk_rows(int64_t t, int64_t v)
{
    enum { FLOATS = 1 << 20, LEAST = 64, MOST = 1024 };
    int64_t rows = FLOATS / v;

    rows = rows < LEAST ? LEAST : rows > MOST ? MOST : rows;
    return rows < t ? rows : t;
}

/* Packs up to ROWS rows with a target from row *next on; returns their number. Rows without one
   get their zeros here. */
static int64_t pack(head *h, int64_t rows, int64_t t, int64_t *next)
{
    int64_t n = 0;

    for (; n < rows && *next < t; ++*next) {
        int64_t i = *next;

        if (h->target[i] >= 0) {
            h->row[n] = i;
            memcpy(h->packed + n++ * h->d, h->x + i * h->d, (size_t)h->d * sizeof *h->x);
            continue;
        }
        h->loss[i] = 0;
        if (h->dx)
            memset(h->dx + i * h->d, 0, (size_t)h->d * sizeof *h->dx);
    }
    return n;
}

/* Loss of one row, and its logits replaced by their gradient:
   d (loss + z lse^2) / d logit[j] = (1 + 2 z lse) p[j] - (j is the target). */
static void row_loss(head *h, float *logit, int64_t i)
{
    float own = logit[h->target[i]], lse, sum = softmax_sum(logit, h->v, &lse);
    float factor = h->scale * (1 + 2 * h->z * lse) / sum;

    h->loss[i] = lse - own;
    if (!h->dx && !h->dw)
        return;
#pragma omp simd
    for (int64_t j = 0; j < h->v; j++)
        logit[j] *= factor;
    logit[h->target[i]] -= h->scale;
}

static void chunk_loss(mb_ctx *c, head *h, int64_t n)
{
    int64_t d = h->d, v = h->v;

    sgemm(c->threads, 'N', 'T', n, v, d, 1, h->packed, d, h->w, d, 0, h->logits, v);
#pragma omp parallel for num_threads(c->threads)
    for (int64_t k = 0; k < n; k++)
        row_loss(h, h->logits + k * v, h->row[k]);
    if (h->dw)
        sgemm(c->threads, 'T', 'N', v, d, n, 1, h->logits, v, h->packed, d, 1, h->dw, d);
    if (!h->dx)
        return;
    sgemm(c->threads, 'N', 'N', n, d, v, 1, h->logits, v, h->w, d, 0, h->out, d);
    for (int64_t k = 0; k < n; k++)
        memcpy(h->dx + h->row[k] * d, h->out + k * d, (size_t)d * sizeof *h->dx);
}

void cpu_classify(mb_ctx *c, float *loss, float *dx, float *dw, const float *x, const float *w,
                  const int32_t *target, float scale, float z, int64_t t, int64_t d, int64_t v)
{
    int64_t rows = chunk_rows(t, v), next = 0, n;
    int64_t wide = aligned(rows * v), narrow = aligned(rows * d);
    float *space = cpu_space(c, wide + 2 * narrow + 2 * rows);
    head h = { .x = x,
               .w = w,
               .target = target,
               .scale = scale,
               .z = z,
               .loss = loss,
               .dx = dx,
               .dw = dw,
               .d = d,
               .v = v };

    h.logits = space;
    h.packed = space + wide;
    h.out = h.packed + narrow;
    h.row = (int64_t *)(h.out + narrow);
    while ((n = pack(&h, rows, t, &next)))
        chunk_loss(c, &h, n);
}
