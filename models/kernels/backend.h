/* What a backend is: one const table of kernels. For op.c and the backends only.

   Kernels get checked shapes and write every element of their results. Where `add` is true a
   gradient adds to what is there, else it sets it; gradients of parameters (dw, dqw, dkw, dtable)
   always add. A kernel may be called with zero rows. No slot may be NULL. Meaning, shapes and
   letters: op.h. */
#ifndef MB_KERNELS_BACKEND_H
#define MB_KERNELS_BACKEND_H

#include "models/kernels/op.h"

typedef struct mb_backend {
    const char *name;
    bool computes; /* false: kernels touch no memory, and neither may op.c */
    mb_err (*open)(int threads, mb_ctx **out);
    void (*close)(mb_ctx *);

    void (*embed)(mb_ctx *, float *y, const float *table, const int32_t *token, int64_t t,
                  int64_t d);
    void (*embed_bwd)(mb_ctx *, float *dtable, const float *dy, const int32_t *token, int64_t t,
                      int64_t d, int64_t v);

    /* y (S, N) = x (S, K) w[g] (N, K)^T; w has one slice per group, or one for all */
    void (*gemm)(mb_ctx *, float *y, const float *x, const mb_tensor *w, const mb_route *r);
    void (*gemm_dx)(mb_ctx *, float *dx, const float *dy, const mb_tensor *w, const mb_route *r,
                    bool add);
    void (*gemm_dw)(mb_ctx *, const mb_tensor *w /* its grad */, const float *dy, const float *x,
                    const mb_route *r);

    void (*gather)(mb_ctx *, float *y, const float *x, const mb_route *r, int64_t d);
    void (*gather_bwd)(mb_ctx *, float *dx, const float *dy, const mb_route *r, int64_t d,
                       bool add);

    /* w NULL: no norm, rstd unused; else rstd (S) is written for the backward. x may be NULL */
    void (*combine)(mb_ctx *, float *y, float *rstd, const float *x, const float *rows,
                    const float *w, const uint8_t *slice, float eps, const mb_route *r, int64_t d);
    /* drows (S, D) is set; dgate (S) is set unless NULL; dw adds unless NULL. dx is op.c's business
     */
    void (*combine_bwd)(mb_ctx *, float *drows, float *dgate, float *dw, const float *dy,
                        const float *rows, const float *rstd, const float *w, const uint8_t *slice,
                        const mb_route *r, int64_t d, bool add);

    void (*norm)(mb_ctx *, float *y, float *rstd, const float *x, const float *w,
                 const uint8_t *slice, float eps, int64_t t, int64_t d);
    void (*norm_bwd)(mb_ctx *, float *dx, float *dw, const float *dy, const float *x,
                     const float *rstd, const float *w, const uint8_t *slice, int64_t t, int64_t d,
                     bool add);

    /* qw NULL: RoPE alone */
    void (*rope)(mb_ctx *, float *y, const float *x, const float *qw, const float *kw,
                 const uint8_t *slice, const int32_t *position, int64_t t, int64_t d, int heads,
                 float eps, float base);
    void (*rope_bwd)(mb_ctx *, float *dx, float *dqw, float *dkw, const float *dy, const float *x,
                     const float *qw, const float *kw, const uint8_t *slice,
                     const int32_t *position, int64_t t, int64_t d, int heads, float eps,
                     float base, bool add);

    /* lse (T, H): log-sum-exp of the scores, in order of rows, kept for the backward */
    void (*attend)(mb_ctx *, float *y, float *lse, const float *x, const mb_span *s, int64_t d,
                   int heads);
    void (*attend_bwd)(mb_ctx *, float *dx, const float *dy, const float *y, const float *lse,
                       const float *x, const mb_span *s, int64_t d, int heads, bool add);

    void (*swiglu)(mb_ctx *, float *y, const float *x, int64_t s, int64_t f);
    void (*swiglu_bwd)(mb_ctx *, float *dx, const float *dy, const float *x, int64_t s, int64_t f,
                       bool add);

    void (*jitter)(mb_ctx *, float *y, const float *x, float eps, uint64_t key, int64_t t,
                   int64_t d);
    void (*jitter_bwd)(mb_ctx *, float *dx, const float *dy, float eps, uint64_t key, int64_t t,
                       int64_t d, bool add);

    /* dx and dw NULL when not recording; dx is set, dw adds */
    void (*classify)(mb_ctx *, float *loss, float *dx, float *dw, const float *x, const float *w,
                     const int32_t *target, float scale, float z, int64_t t, int64_t d, int64_t v);

    double (*sum_squares)(mb_ctx *, const float *x, int64_t n);
    void (*adamw)(mb_ctx *, float *p, float *g, float *m, float *v, int64_t n, const mb_adamw *how);
} mb_backend;

typedef struct mb_arena { /* bump allocation; the first pass grows it, later passes reuse it */
    struct mb_block *blocks;
    size_t used, peak;
    bool fake; /* hands out addresses without memory: `null`, and sizing */
} mb_arena;

struct mb_ctx { /* first member of each backend's own struct */
    const mb_backend *be;
    int threads;
    uint64_t counted;  /* `ref` counts its multiplications and additions here */
    uint64_t executed; /* FLOPs in the products of the call under way: op.c sets what was asked for,
                          a kernel that issues more (whole tiles across a mask) sets that */
    mb_arena data, host;
    mb_ledger *ledger;
    struct mb_node *nodes;
    size_t n_nodes, max_nodes;
    mb_part part;
    int layer;
    bool record, trace, count;
    bool again; /* the calls under way were made before: recompute.c */
    mb_err err;
};

extern const mb_backend mb_ref, mb_cpu, mb_null;

#endif
