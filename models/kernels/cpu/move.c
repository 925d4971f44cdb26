/* Rows from one place to another: embedding lookup, gather of routed rows and of those around a
   row, and their backward passes, which sum without atomics. */
#include "models/kernels/cpu/cpu.h"

#include <string.h>

void cpu_embed(mb_ctx *c, float *y, const float *table, const int32_t *token, int64_t t, int64_t d)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < t; i++)
        memcpy(y + i * d, table + token[i] * d, (size_t)d * sizeof *y);
}

/* Each thread owns columns, in units of a cache line, and adds rows in their order. */
void cpu_embed_bwd(mb_ctx *c, float *dtable, const float *dy, const int32_t *token, int64_t t,
                   int64_t d, int64_t v)
{
    enum { LINE = 16 };

#pragma omp parallel for num_threads(c->threads)
    for (int64_t begin = 0; begin < d; begin += LINE) {
        int64_t n = d - begin < LINE ? d - begin : LINE;

        for (int64_t i = 0; i < t; i++) {
            float *to = dtable + token[i] * d + begin;
            const float *from = dy + i * d + begin;

#pragma omp simd
            for (int64_t j = 0; j < n; j++)
                to[j] += from[j];
        }
    }
}

void cpu_gather(mb_ctx *c, float *y, const float *x, const mb_route *r, int64_t d)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < r->rows; i++)
        memcpy(y + i * d, x + token_of(r, i) * d, (size_t)d * sizeof *y);
}

void cpu_gather_bwd(mb_ctx *c, float *dx, const float *dy, const mb_route *r, int64_t d, bool add)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t t = 0; t < r->tokens; t++) {
        float *to = dx + t * d;

        if (!add)
            memset(to, 0, (size_t)d * sizeof *to);
        for (int64_t k = first_of(r, t); k < first_of(r, t + 1); k++) {
            const float *from = dy + routed_row(r, k) * d;

#pragma omp simd
            for (int64_t j = 0; j < d; j++)
                to[j] += from[j];
        }
    }
}

void cpu_unfold(mb_ctx *c, float *y, const float *x, const int32_t *around, int places, int64_t t,
                int64_t d)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < t; i++)
        for (int64_t at = i * places; at < (i + 1) * places; at++)
            if (around[at] >= 0)
                memcpy(y + at * d, x + around[at] * d, (size_t)d * sizeof *y);
            else
                memset(y + at * d, 0, (size_t)d * sizeof *y);
}

/* The rows that see row j in place s are those that it has in the place across. */
void cpu_unfold_bwd(mb_ctx *c, float *dx, const float *dy, const int32_t *around, int places,
                    int64_t t, int64_t d, bool add)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < t; i++) {
        float *to = dx + i * d;

        if (!add)
            memset(to, 0, (size_t)d * sizeof *to);
        for (int s = 0; s < places; s++) {
            int64_t row = around[i * places + places - 1 - s];
            const float *from = dy + (row * places + s) * d;

            if (row < 0)
                continue;
#pragma omp simd
            for (int64_t j = 0; j < d; j++)
                to[j] += from[j];
        }
    }
}
