/* RMS norm of tokens, and combine: how the output of a sub-layer re-joins the residual stream.
   One pass over the rows each. Gradients of norm weights are summed per block of rows, then over
   the blocks in order. */
#include "models/kernels/cpu/cpu.h"

#include "models/kernels/cpu/rms.h"

#include <string.h>

/* y += g w x r */
static void add_scaled(float *y, float g, const float *x, const float *w, int64_t d)
{
#pragma omp simd
    for (int64_t j = 0; j < d; j++)
        y[j] += g * x[j] * w[j];
}

static const float *slice_of(const float *w, const uint8_t *slice, int64_t t, int64_t d)
{
    return w + (slice ? slice[t] * d : 0);
}

void cpu_norm(mb_ctx *c, float *y, float *rstd, const float *x, const float *w,
              const uint8_t *slice, float eps, int64_t t, int64_t d)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < t; i++) {
        const float *from = x + i * d, *wi = slice_of(w, slice, i, d);
        float *to = y + i * d, r = inverse_rms(from, d, eps);

        rstd[i] = r;
#pragma omp simd
        for (int64_t j = 0; j < d; j++)
            to[j] = from[j] * r * wi[j];
    }
}

void cpu_norm_bwd(mb_ctx *c, float *dx, float *dw, const float *dy, const float *x,
                  const float *rstd, const float *w, const uint8_t *slice, int64_t t, int64_t d,
                  bool add)
{
    int64_t blocks = row_blocks(t), size = slices_in(slice, t) * d, stride = aligned(size);
    float *partial = cpu_space(c, blocks * stride);

#pragma omp parallel for num_threads(c->threads)
    for (int64_t b = 0; b < blocks; b++) {
        float *part = partial + b * stride;

        memset(part, 0, (size_t)size * sizeof *part);
        for (int64_t i = b * ROW_BLOCK; i < block_end(b, t); i++) {
            int64_t at = slice ? slice[i] * d : 0;

            rms_bwd(dx + i * d, part + at, 1, dy + i * d, x + i * d, w + at, rstd[i], d, add);
        }
    }
    if (dw)
        add_partials(dw, partial, blocks, stride, size);
}

static float gate_of(const mb_route *r, int64_t row)
{
    return r->gate ? mb_f32(r->gate)[row] : 1;
}

static void combine_row(float *y, float *rstd, const float *rows, const float *w, float eps,
                        const mb_route *r, int64_t t, int64_t d)
{
    for (int64_t k = first_of(r, t); k < first_of(r, t + 1); k++) {
        int64_t i = routed_row(r, k);
        const float *v = rows + i * d;
        float g = gate_of(r, i);

        if (w) {
            rstd[i] = inverse_rms(v, d, eps);
            add_scaled(y, g * rstd[i], v, w, d);
            continue;
        }
#pragma omp simd
        for (int64_t j = 0; j < d; j++)
            y[j] += g * v[j];
    }
}

void cpu_combine(mb_ctx *c, float *y, float *rstd, const float *x, const float *rows,
                 const float *w, const uint8_t *slice, float eps, const mb_route *r, int64_t d)
{
#pragma omp parallel for num_threads(c->threads)
    for (int64_t t = 0; t < r->tokens; t++) {
        if (x)
            memcpy(y + t * d, x + t * d, (size_t)d * sizeof *y);
        else
            memset(y + t * d, 0, (size_t)d * sizeof *y);
        combine_row(y + t * d, rstd, rows, w ? slice_of(w, slice, t, d) : NULL, eps, r, t, d);
    }
}

/* Without a norm: drow (+)= g dy; returns sum(dy row). */
static float scale_bwd(float *drow, float g, const float *dy, const float *row, int64_t d, bool add)
{
    float sum = 0;

#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < d; j++) {
        sum += dy[j] * row[j];
        drow[j] = (add ? drow[j] : 0) + g * dy[j];
    }
    return sum;
}

void cpu_combine_bwd(mb_ctx *c, float *drows, float *dgate, float *dw, const float *dy,
                     const float *rows, const float *rstd, const float *w, const uint8_t *slice,
                     const mb_route *r, int64_t d, bool add)
{
    int64_t blocks = row_blocks(r->rows), size = slices_in(slice, r->tokens) * d;
    int64_t stride = aligned(size);
    float *partial = cpu_space(c, blocks * stride);

#pragma omp parallel for num_threads(c->threads)
    for (int64_t b = 0; b < blocks; b++) {
        float *part = partial + b * stride;

        memset(part, 0, (size_t)size * sizeof *part);
        for (int64_t i = b * ROW_BLOCK; i < block_end(b, r->rows); i++) {
            int64_t t = token_of(r, i), at = slice ? slice[t] * d : 0;
            const float *up = dy + t * d, *row = rows + i * d;
            float g = gate_of(r, i);
            float sum = w ? rms_bwd(drows + i * d, part + at, g, up, row, w + at, rstd[i], d, add)
                          : scale_bwd(drows + i * d, g, up, row, d, add);

            if (dgate)
                dgate[i] = sum;
        }
    }
    if (dw)
        add_partials(dw, partial, blocks, stride, size);
}
