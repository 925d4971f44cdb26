/* Reference: RMS norm, alone, inside the combination with the residual, and per head before RoPE.

   n(v) = w * v * rstd with rstd = 1 / sqrt(mean(v^2) + eps). Its gradient for g = dL/dn:
     dw = g * v * rstd
     dv = rstd * (w * g - v * rstd^2 * mean(w * g * v)) */
#include "models/kernels/ref/ref.h"

#include "base/file.h"

static double rstd_of(const float *v, int64_t n, float eps)
{
    return 1 / sqrt(ref_sum_products(v, v, n) / (double)n + eps);
}

/* dv is set; dw adds. */
static void norm_row_bwd(double *dv, double *dw, const double *g, const float *v, double rstd,
                         const float *w, int64_t n)
{
    double mean = 0;

    for (int64_t j = 0; j < n; j++)
        mean += w[j] * g[j] * v[j] / (double)n;
    for (int64_t j = 0; j < n; j++) {
        dw[j] += g[j] * v[j] * rstd;
        dv[j] = rstd * (w[j] * g[j] - v[j] * rstd * rstd * mean);
    }
}

/* Elements of the slices that are in use: no kernel is told how many there are. */
static int64_t slices_size(const uint8_t *slice, int64_t t, int64_t d)
{
    int64_t last = 0;

    for (int64_t i = 0; slice && i < t; i++)
        last = slice[i] > last ? slice[i] : last;
    return (last + 1) * d;
}

static int64_t slice_of(const uint8_t *slice, int64_t t)
{
    return slice ? slice[t] : 0;
}

void mb_ref_norm(mb_ctx *c, float *y, float *rstd, const float *x, const float *w,
                 const uint8_t *slice, float eps, int64_t t, int64_t d)
{
    for (int64_t i = 0; i < t; i++) {
        const float *wi = w + slice_of(slice, i) * d;
        double r = rstd_of(x + i * d, d, eps);

        for (int64_t j = 0; j < d; j++)
            y[i * d + j] = (float)(wi[j] * (x[i * d + j] * r));
        rstd[i] = (float)r;
    }
}

void mb_ref_norm_bwd(mb_ctx *c, float *dx, float *dw, const float *dy, const float *x,
                     const float *rstd, const float *w, const uint8_t *slice, int64_t t, int64_t d,
                     bool add)
{
    int64_t size = slices_size(slice, t, d);
    double *dws = mb_zalloc((size_t)size, sizeof *dws);
    double *g = mb_alloc((size_t)d * sizeof *g), *dv = mb_alloc((size_t)d * sizeof *dv);

    for (int64_t i = 0; i < t; i++) {
        int64_t s = slice_of(slice, i) * d;

        for (int64_t j = 0; j < d; j++)
            g[j] = dy[i * d + j];
        norm_row_bwd(dv, dws + s, g, x + i * d, rstd[i], w + s, d);
        if (dx)
            ref_put(dx + i * d, dv, d, add);
    }
    if (dw)
        ref_put(dw, dws, size, true);
    free(dws);
    free(g);
    free(dv);
}

/* sum += gate * n(v), or gate * v without a norm */
static void add_row(double *sum, double gate, const float *v, const float *w, double rstd,
                    int64_t d)
{
    for (int64_t j = 0; j < d; j++)
        sum[j] += gate * (w ? w[j] * (v[j] * rstd) : v[j]);
}

void mb_ref_combine(mb_ctx *c, float *y, float *rstd, const float *x, const float *rows,
                    const float *w, const uint8_t *slice, float eps, const mb_route *r, int64_t d)
{
    double *sum = mb_alloc((size_t)d * sizeof *sum);

    for (int64_t t = 0; t < r->tokens; t++) {
        const float *wt = w ? w + slice_of(slice, t) * d : NULL;

        for (int64_t j = 0; j < d; j++)
            sum[j] = x ? x[t * d + j] : 0;
        for (int64_t k = ref_first(r, t); k < ref_first(r, t + 1); k++) {
            int64_t i = ref_routed(r, k);
            double rs = w ? rstd_of(rows + i * d, d, eps) : 1;

            add_row(sum, r->gate ? mb_f32(r->gate)[i] : 1, rows + i * d, wt, rs, d);
            if (w)
                rstd[i] = (float)rs;
        }
        ref_put(y + t * d, sum, d, false);
    }
    free(sum);
}

/* d gate[i] = dy . n(rows[i]); d n = gate[i] dy */
void mb_ref_combine_bwd(mb_ctx *c, float *drows, float *dgate, float *dw, const float *dy,
                        const float *rows, const float *rstd, const float *w, const uint8_t *slice,
                        const mb_route *r, int64_t d, bool add)
{
    int64_t size = slices_size(slice, r->tokens, d);
    double *dws = mb_zalloc((size_t)size, sizeof *dws);
    double *g = mb_alloc((size_t)d * sizeof *g), *dv = mb_alloc((size_t)d * sizeof *dv);

    for (int64_t i = 0; i < r->rows; i++) {
        int64_t t = ref_token(r, i), s = slice_of(slice, t) * d;
        const float *v = rows + i * d, *dyt = dy + t * d;
        double gate = r->gate ? mb_f32(r->gate)[i] : 1, dot = 0;

        for (int64_t j = 0; j < d; j++) {
            g[j] = gate * dyt[j];
            dot += dyt[j] * (w ? w[s + j] * (v[j] * (double)rstd[i]) : v[j]);
        }
        if (w)
            norm_row_bwd(dv, dws + s, g, v, rstd[i], w + s, d);
        ref_put(drows + i * d, w ? dv : g, d, add);
        if (dgate)
            dgate[i] = (float)dot;
    }
    if (dw)
        ref_put(dw, dws, size, true);
    free(dws);
    free(g);
    free(dv);
}

/* The angles of one position: cosines of pairs j = 0 .. e/2-1, then their sines. */
static void angles(double *cosines, int32_t position, int64_t e, float base)
{
    for (int64_t j = 0; j < e / 2; j++) {
        double angle = position * pow(base, -2.0 * (double)j / (double)e);

        cosines[j] = cos(angle);
        cosines[e / 2 + j] = sin(angle);
    }
}

/* Rotates pair (v[j], v[j + e/2]) forward (+1) or back (-1). */
static void rotate(double *v, const double *cosines, int64_t e, int direction)
{
    const double *sines = cosines + e / 2;

    for (int64_t j = 0; j < e / 2; j++) {
        double a = v[j], b = v[j + e / 2], s = direction * sines[j];

        v[j] = a * cosines[j] - b * s;
        v[j + e / 2] = a * s + b * cosines[j];
    }
}

static int64_t positions_of(const mb_span *s, int64_t t)
{
    return s ? s->batch * s->len : t;
}

void mb_ref_rope(mb_ctx *c, float *y, const float *x, const float *qw, const float *kw,
                 const uint8_t *slice, const int32_t *position, const mb_span *s, int64_t t,
                 int64_t d, int heads, float eps, float base)
{
    int64_t e = d / heads;
    double *cosines = mb_alloc((size_t)e * sizeof *cosines);
    double *n = mb_alloc((size_t)e * sizeof *n);

    for (int64_t i = 0; i < positions_of(s, t); i++) {
        int64_t row = ref_row(s, i);
        const float *from = x + row * 3 * d;

        angles(cosines, position[row], e, base);
        for (int h = 0; h < 2 * heads; h++) { /* the heads of q, then those of k */
            const float *w = h < heads ? qw : kw, *v = from + h * e;
            double r = w ? rstd_of(v, e, eps) : 1;

            for (int64_t j = 0; j < e; j++)
                n[j] = w ? w[slice_of(slice, row) * e + j] * (v[j] * r) : v[j];
            rotate(n, cosines, e, 1);
            ref_put(y + i * 3 * d + h * e, n, e, false);
        }
        memcpy(y + i * 3 * d + 2 * d, from + 2 * d, (size_t)d * sizeof *y);
    }
    free(cosines);
    free(n);
}

void mb_ref_rope_bwd(mb_ctx *c, float *dx, float *dqw, float *dkw, const float *dy, const float *x,
                     const float *qw, const float *kw, const uint8_t *slice,
                     const int32_t *position, const mb_span *s, int64_t t, int64_t d, int heads,
                     float eps, float base, bool add)
{
    int64_t e = d / heads, size = slices_size(slice, t, e);
    double *cosines = mb_alloc((size_t)e * sizeof *cosines);
    double *g = mb_alloc((size_t)d * sizeof *g), *dv = mb_alloc((size_t)e * sizeof *dv);
    double *dws = mb_zalloc((size_t)(2 * size), sizeof *dws); /* of qw, then of kw */

    for (int64_t i = 0; i < positions_of(s, t); i++) {
        int64_t row = ref_row(s, i), at = slice_of(slice, row) * e;

        angles(cosines, position[row], e, base);
        for (int h = 0; h < 2 * heads; h++) {
            const float *w = h < heads ? qw : kw, *v = x + row * 3 * d + h * e;

            for (int64_t j = 0; j < e; j++)
                g[j] = dy[i * 3 * d + h * e + j];
            rotate(g, cosines, e, -1);
            if (w)
                norm_row_bwd(dv, dws + (h < heads ? 0 : size) + at, g, v, rstd_of(v, e, eps),
                             w + at, e);
            ref_put(dx + row * 3 * d + h * e, w ? dv : g, e, add);
        }
        for (int64_t j = 0; j < d; j++)
            g[j] = dy[i * 3 * d + 2 * d + j];
        ref_put(dx + row * 3 * d + 2 * d, g, d, add);
    }
    if (dqw)
        ref_put(dqw, dws, size, true);
    if (dkw)
        ref_put(dkw, dws + size, size, true);
    free(cosines);
    free(g);
    free(dv);
    free(dws);
}
