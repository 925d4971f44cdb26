/* QK-norm and rotary positions on the q and k parts of [q k v], one pass over the rows. Angles
   come from a table that is made once in double precision and kept. */
#include "models/kernels/cpu/cpu.h"

#include "base/file.h"
#include "models/kernels/cpu/rms.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void rotations_free(rotations *r)
{
    free(r->cosine);
    free(r->sine);
    *r = (rotations){ 0 };
}

static void rotations_make(rotations *r, int64_t positions, int64_t half, float base)
{
    size_t size = (size_t)(positions * half) * sizeof(float);

    rotations_free(r);
    *r = (rotations){ positions, half, base, mb_alloc(size), mb_alloc(size) };
    for (int64_t j = 0; j < half; j++) {
        double step = pow(base, -(double)j / (double)half);

        for (int64_t p = 0; p < positions; p++) {
            r->cosine[p * half + j] = (float)cos((double)p * step);
            r->sine[p * half + j] = (float)sin((double)p * step);
        }
    }
}

/* The table for these positions; a longer one than asked for, so that it soon stops growing. */
static const rotations *rotations_for(mb_ctx *base_ctx, const int32_t *position, int64_t t,
                                      int64_t half, float base)
{
    rotations *r = &((cpu_ctx *)base_ctx)->rotations;
    int32_t last = 0;

    for (int64_t i = 0; i < t; i++)
        last = position[i] > last ? position[i] : last;
    if (last >= r->positions || half != r->half || base != r->base)
        rotations_make(r, 2 * (int64_t)last + 1, half, base);
    return r;
}

enum { SOME = 8 }; /* heads at once: their sums over elements are finished together */

/* r[h] = inverse_rms() of each of N <= SOME heads. */
static void inverse_rms_some(float *r, const float *x, int64_t n, int64_t e, float eps)
{
    float part[SOME * SOME] = { 0 };

    for (int64_t h = 0; h < n; h++)
        put_lanes(part + h * SOME, dot_lanes(x + h * e, x + h * e, e));
    row_sums(r, part);
#pragma omp simd
    for (int64_t h = 0; h < SOME; h++)
        r[h] = 1 / sqrtf(r[h] / (float)e + eps);
}

/* One head: (a, b) = halves of w x r, y = (a cos - b sin, b cos + a sin). w NULL: y rotates x. */
static void rotate(float *y, const float *x, const float *w, float r, const float *cosine,
                   const float *sine, int64_t half)
{
    const float *wb = w ? w + half : NULL;

#pragma omp simd
    for (int64_t j = 0; j < half; j++) {
        float a = w ? x[j] * r * w[j] : x[j], b = w ? x[j + half] * r * wb[j] : x[j + half];

        y[j] = a * cosine[j] - b * sine[j];
        y[j + half] = b * cosine[j] + a * sine[j];
    }
}

void cpu_rope(mb_ctx *c, float *y, const float *x, const float *qw, const float *kw,
              const uint8_t *slice, const int32_t *position, const mb_span *s, int64_t t, int64_t d,
              int heads, float eps, float base)
{
    int64_t e = d / heads, half = e / 2, positions = s ? s->batch * s->len : t;
    const rotations *table = rotations_for(c, position, t, half, base);

#pragma omp parallel for num_threads(c->threads)
    for (int64_t i = 0; i < positions; i++) {
        int64_t row = s && s->at ? s->at[i] : i, at = slice ? slice[row] * e : 0;
        const float *from = x + row * 3 * d;
        const float *cosine = table->cosine + position[row] * half;
        const float *sine = table->sine + position[row] * half;
        float *to = y + i * 3 * d, r[SOME];

        for (int64_t h = 0; h < 2 * heads; h++) { /* the heads of q, then those of k */
            const float *w = !qw ? NULL : h < heads ? qw + at : kw + at;

            if (w && h % SOME == 0)
                inverse_rms_some(r, from + h * e, smaller(2 * heads - h, SOME), e, eps);
            rotate(to + h * e, from + h * e, w, r[h % SOME], cosine, sine, half);
        }
        memcpy(to + 2 * d, from + 2 * d, (size_t)d * sizeof *to);
    }
}

static void add_or_set(float *to, const float *from, int64_t n, bool add)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        to[j] = (add ? to[j] : 0) + from[j];
}

/* The inverse rotation, and dz times x. */
static void rotate_back(float *dz, float *dzx, const float *dy, const float *x, const float *cosine,
                        const float *sine, int64_t half)
{
#pragma omp simd
    for (int64_t j = 0; j < half; j++) {
        float a = dy[j] * cosine[j] + dy[j + half] * sine[j];
        float b = dy[j + half] * cosine[j] - dy[j] * sine[j];

        dz[j] = a;
        dz[j + half] = b;
        dzx[j] = a * x[j];
        dzx[j + half] = b * x[j + half];
    }
}

typedef struct rope_job { /* arguments of the backward that do not change from row to row */
    const float *qw, *kw;
    int64_t d, e, heads;
    float eps;
    bool add;
} rope_job;

typedef struct rope_sums { /* of a slice, dq and dk; and scratch (SOME, e) each */
    float *dqw, *dkw, *dz, *dzx;
} rope_sums;

/* As rms_bwd() with g = 1, its sum given. */
static void unscale(float *dx, float *dw, const float *dz, const float *dzx, const float *x,
                    const float *w, float r, float sum, int64_t e, bool add)
{
    float pull = sum * r * r * r / (float)e;

#pragma omp simd
    for (int64_t j = 0; j < e; j++) {
        dw[j] += r * dzx[j];
        dx[j] = (add ? dx[j] : 0) + r * dz[j] * w[j] - x[j] * pull;
    }
}

/* Heads h .. h+n-1 of one row. */
static void rope_some_bwd(const rope_job *job, float *dx, const rope_sums *to, const float *dy,
                          const float *x, const float *cosine, const float *sine, int64_t at,
                          int64_t h, int64_t n)
{
    int64_t e = job->e;
    float part[SOME * SOME] = { 0 }, sum[SOME], r[SOME];

    for (int64_t i = 0; i < n; i++) {
        float *dzx = to->dzx + i * e;

        rotate_back(to->dz + i * e, dzx, dy + i * e, x + i * e, cosine, sine, e / 2);
        if (!job->qw)
            add_or_set(dx + i * e, to->dz + i * e, e, job->add);
        else
            put_lanes(part + i * SOME,
                      dot_lanes((h + i < job->heads ? job->qw : job->kw) + at, dzx, e));
    }
    if (!job->qw)
        return;
    row_sums(sum, part);
    inverse_rms_some(r, x, n, e, job->eps);
    for (int64_t i = 0; i < n; i++) {
        bool query = h + i < job->heads;

        unscale(dx + i * e, query ? to->dqw : to->dkw, to->dz + i * e, to->dzx + i * e, x + i * e,
                (query ? job->qw : job->kw) + at, r[i], sum[i], e, job->add);
    }
}

static void rope_row_bwd(const rope_job *job, float *dx, const rope_sums *to, const float *dy,
                         const float *x, const float *cosine, const float *sine, int64_t at)
{
    for (int64_t h = 0; h < 2 * job->heads; h += SOME) {
        int64_t from = h * job->e;

        rope_some_bwd(job, dx + from, to, dy + from, x + from, cosine, sine, at, h,
                      smaller(2 * job->heads - h, SOME));
    }
    add_or_set(dx + 2 * job->d, dy + 2 * job->d, job->d, job->add);
}

/* The position of each of T rows, or -1, in SPACE; NULL when they are in order of positions. By it
   the backward goes by rows: dx is written from front to back, and sums over the rows of a slice do
   not depend on where these stand in their sequences. */
static const int32_t *positions_of(int32_t *space, const mb_span *s, int64_t t)
{
    if (!s || !s->at)
        return NULL;
    memset(space, -1, (size_t)t * sizeof *space);
    for (int64_t i = 0; i < s->batch * s->len; i++)
        space[s->at[i]] = (int32_t)i;
    return space;
}

void cpu_rope_bwd(mb_ctx *c, float *dx, float *dqw, float *dkw, const float *dy, const float *x,
                  const float *qw, const float *kw, const uint8_t *slice, const int32_t *position,
                  const mb_span *s, int64_t t, int64_t d, int heads, float eps, float base,
                  bool add)
{
    int64_t e = d / heads, half = e / 2, blocks = row_blocks(t), size = slices_in(slice, t) * e;
    int64_t sums = aligned(2 * size), stride = sums + 2 * SOME * e; /* dqw and dkw of a block; dz */
    const rotations *table = rotations_for(c, position, t, half, base);
    rope_job job = { qw, kw, d, e, heads, eps, add };
    float *partial = cpu_space(c, blocks * stride + t);
    const int32_t *where = positions_of((int32_t *)(partial + blocks * stride), s, t);

#pragma omp parallel for num_threads(c->threads)
    for (int64_t b = 0; b < blocks; b++) {
        float *part = partial + b * stride;

        memset(part, 0, (size_t)(2 * size) * sizeof *part);
        for (int64_t i = b * ROW_BLOCK; i < block_end(b, t); i++) {
            int64_t at = slice ? slice[i] * e : 0, angle = position[i] * half;
            int64_t p = where ? where[i] : i;
            rope_sums to = { part + at, part + size + at, part + sums, part + sums + SOME * e };

            if (p >= 0)
                rope_row_bwd(&job, dx + i * 3 * d, &to, dy + p * 3 * d, x + i * 3 * d,
                             table->cosine + angle, table->sine + angle, at);
        }
    }
    if (dqw)
        add_partials(dqw, partial, blocks, stride, size);
    if (dkw)
        add_partials(dkw, partial + size, blocks, stride, size);
}
