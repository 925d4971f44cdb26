/* The reference backend, inside: its kernels and the few helpers they share.

   `ref` is the definition of right: plain loops that read like the formulas of op.h, floats in and
   out, double in between, one thread. It is not fast, and no other backend may include it. What it
   computes for a row never depends on how many other rows or groups there are. */
#ifndef MB_KERNELS_REF_H
#define MB_KERNELS_REF_H

#include "models/kernels/backend.h"
#include "models/kernels/bf16.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static inline double ref_sum_products(const float *a, const float *b, int64_t n)
{
    double sum = 0;

#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

/* The two loops that every matrix product is made of, and the one place that counts them: 2 per
   multiply-add. In bf16 both operands are rounded, and nothing else is. */
static inline double ref_dot(mb_ctx *c, const float *a, const float *b, int64_t n)
{
    double sum = 0;

    c->counted += 2 * (uint64_t)n;
    if (c->precision == MB_FP32)
        return ref_sum_products(a, b, n);
    for (int64_t i = 0; i < n; i++)
        sum += (double)mb_bf16_of(a[i]) * mb_bf16_of(b[i]);
    return sum;
}

/* sum += a x */
static inline void ref_axpy(mb_ctx *c, double *sum, double a, const float *x, int64_t n)
{
    c->counted += 2 * (uint64_t)n;
    if (c->precision == MB_BF16)
        a = mb_bf16_of((float)a);
    for (int64_t i = 0; i < n; i++)
        sum[i] += a * (c->precision == MB_BF16 ? mb_bf16_of(x[i]) : x[i]);
}

/* Rounds a result once, at its end: y = v, or y += v. The sum is of floats, so that a contribution
   is the same whether it comes straight or through a buffer (a gather, say). */
static inline void ref_put(float *y, const double *v, int64_t n, bool add)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = add ? y[i] + (float)v[i] : (float)v[i];
}

static inline double ref_sigmoid(double a)
{
    return 1 / (1 + exp(-a));
}

/* What a route says, with or without an index: the routed rows of x's row t are
   ref_routed(r, k) for k = ref_first(r, t) .. ref_first(r, t + 1) - 1. */
static inline int64_t ref_token(const mb_route *r, int64_t i)
{
    return r->token ? r->token[i] : i;
}

static inline int64_t ref_first(const mb_route *r, int64_t t)
{
    return r->token ? r->first[t] : t;
}

static inline int64_t ref_routed(const mb_route *r, int64_t k)
{
    return r->token ? r->row[k] : k;
}

/* The row of position I of all of S; without a span every row is a position. */
static inline int64_t ref_row(const mb_span *s, int64_t i)
{
    return s && s->at ? s->at[i] : i;
}

/* Kernels: models/kernels/backend.h says what they do. */
void mb_ref_embed(mb_ctx *c, float *y, const float *table, const int32_t *token, int64_t t,
                  int64_t d);
void mb_ref_embed_bwd(mb_ctx *c, float *dtable, const float *dy, const int32_t *token, int64_t t,
                      int64_t d, int64_t v);
void mb_ref_gemm(mb_ctx *c, float *y, const float *x, const mb_tensor *w, const mb_route *r);
void mb_ref_gemm_dx(mb_ctx *c, float *dx, const float *dy, const mb_tensor *w, const mb_route *r,
                    bool add);
void mb_ref_gemm_dw(mb_ctx *c, const mb_tensor *w, const float *dy, const float *x,
                    const mb_route *r);
void mb_ref_gather(mb_ctx *c, float *y, const float *x, const mb_route *r, int64_t d);
void mb_ref_gather_bwd(mb_ctx *c, float *dx, const float *dy, const mb_route *r, int64_t d,
                       bool add);
void mb_ref_unfold(mb_ctx *c, float *y, const float *x, const int32_t *around, int places,
                   int64_t t, int64_t d);
void mb_ref_unfold_bwd(mb_ctx *c, float *dx, const float *dy, const int32_t *around, int places,
                       int64_t t, int64_t d, bool add);
void mb_ref_combine(mb_ctx *c, float *y, float *rstd, const float *x, const float *rows,
                    const float *w, const uint8_t *slice, float eps, const mb_route *r, int64_t d);
void mb_ref_combine_bwd(mb_ctx *c, float *drows, float *dgate, float *dw, const float *dy,
                        const float *rows, const float *rstd, const float *w, const uint8_t *slice,
                        const mb_route *r, int64_t d, bool add);
void mb_ref_norm(mb_ctx *c, float *y, float *rstd, const float *x, const float *w,
                 const uint8_t *slice, float eps, int64_t t, int64_t d);
void mb_ref_norm_bwd(mb_ctx *c, float *dx, float *dw, const float *dy, const float *x,
                     const float *rstd, const float *w, const uint8_t *slice, int64_t t, int64_t d,
                     bool add);
void mb_ref_rope(mb_ctx *c, float *y, const float *x, const float *qw, const float *kw,
                 const uint8_t *slice, const int32_t *position, const mb_span *s, int64_t t,
                 int64_t d, int heads, float eps, float base);
void mb_ref_rope_bwd(mb_ctx *c, float *dx, float *dqw, float *dkw, const float *dy, const float *x,
                     const float *qw, const float *kw, const uint8_t *slice,
                     const int32_t *position, const mb_span *s, int64_t t, int64_t d, int heads,
                     float eps, float base, bool add);
void mb_ref_attend(mb_ctx *c, float *y, float *lse, const float *x, const mb_span *s, int64_t d,
                   int heads);
void mb_ref_attend_bwd(mb_ctx *c, float *dx, const float *dy, const float *y, const float *lse,
                       const float *x, const mb_span *s, int64_t d, int heads, bool add);
void mb_ref_attend_cached(mb_ctx *c, float *y, const float *x, const mb_cache *cache,
                          const mb_places *at, int64_t t, int64_t d, int heads);
void mb_ref_swiglu(mb_ctx *c, float *y, const float *x, int64_t s, int64_t f);
void mb_ref_swiglu_bwd(mb_ctx *c, float *dx, const float *dy, const float *x, int64_t s, int64_t f,
                       bool add);
void mb_ref_jitter(mb_ctx *c, float *y, const float *x, float eps, uint64_t key, int64_t t,
                   int64_t d);
void mb_ref_jitter_bwd(mb_ctx *c, float *dx, const float *dy, float eps, uint64_t key, int64_t t,
                       int64_t d, bool add);
void mb_ref_classify(mb_ctx *c, float *loss, float *dx, float *dw, const float *x,
                     const mb_tensor *w, const int32_t *target, float scale, float z, int64_t t);
void mb_ref_regress(mb_ctx *c, float *loss, float *dy, const float *y, const float *wanted,
                    float scale, int64_t t, int64_t s);
void mb_ref_sum_squares(mb_ctx *c, double *sum, const float *x, int64_t n);
void mb_ref_adamw(mb_ctx *c, float *p, float *g, float *m, float *v, int64_t n,
                  const mb_adamw *how);

#endif
