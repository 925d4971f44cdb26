/* What a backend is: one const table of kernels. For op.c and the backends only.

   Kernels get checked shapes and write every element of their results. Where `add` is true a
   gradient adds to what is there, else it sets it; gradients of parameters (dw, dqw, dkw, dtable)
   always add. A kernel may be called with zero rows. No slot may be NULL. Meaning, shapes and
   letters: op.h.

   mb_real: an activation or a gradient of one, stored as the ctx says (`stored`); float: fp32 in
   every precision. Indices and routes are host memory (but see mb_route.device). */
#ifndef MB_KERNELS_BACKEND_H
#define MB_KERNELS_BACKEND_H

#include "models/kernels/op.h"

#include <math.h>

typedef struct mb_backend {
    const char *name;
    bool computes;                    /* false: kernels touch no memory, and neither may op.c */
    bool bf16;                        /* knows MB_BF16 */
    int copies, few, many, head_rows; /* mb_keeping */
    bool device; /* has memory of its own, in which activations are stored in the precision, and
                    learned routes have room for their capacity */
    mb_err (*open)(mb_precision precision, int threads, mb_ctx **out);
    void (*close)(mb_ctx *);
    void (*weights_changed)(mb_ctx *); /* forget what was derived from parameters */

    /* Memory for kernels, as in op.h: alloc does not clear and fails with NULL and a message. */
    void *(*alloc)(mb_ctx *, size_t bytes);
    void (*free)(mb_ctx *, void *);
    size_t (*free_bytes)(mb_ctx *);                            /* mb_ctx_free_bytes() */
    uint64_t (*workspace)(const mb_ctx *, const mb_sizes *of); /* mb_ctx_workspace() */
    void (*clear)(mb_ctx *, void *, size_t bytes);
    void (*write)(mb_ctx *, void *to, const void *from, size_t bytes);
    void (*fetch)(mb_ctx *, void *to, const void *from, size_t bytes);
    void (*sync)(mb_ctx *);  /* leaves the first error in err */
    void (*reset)(mb_ctx *); /* a pass has ended: host memory with indices may change */
    void (*graph)(mb_ctx *, uint64_t key); /* mb_ctx_graph(), counting in `graphs` */

    /* The route with its gates, which want a gradient when LOGITS do; *out for the next sync. */
    mb_route *(*choose)(mb_ctx *, const mb_tensor *logits, const mb_router *how, mb_routed *out);
    void (*choose_bwd)(mb_ctx *, float *dlogit, const mb_route *r, bool add);

    void (*embed)(mb_ctx *, mb_real *y, const float *table, const int32_t *token, int64_t t,
                  int64_t d);
    void (*embed_bwd)(mb_ctx *, float *dtable, const mb_real *dy, const int32_t *token, int64_t t,
                      int64_t d, int64_t v);

    /* y (S, N) = x (S, K) w[g] (N, K)^T; w has one slice per group, or one for all */
    void (*gemm)(mb_ctx *, mb_real *y, const mb_real *x, const mb_tensor *w, const mb_route *r);
    void (*gemm_dx)(mb_ctx *, mb_real *dx, const mb_real *dy, const mb_tensor *w, const mb_route *r,
                    bool add);
    void (*gemm_dw)(mb_ctx *, const mb_tensor *w /* its grad */, const mb_real *dy,
                    const mb_real *x, const mb_route *r);

    void (*gather)(mb_ctx *, mb_real *y, const mb_real *x, const mb_route *r, int64_t d);
    void (*gather_bwd)(mb_ctx *, mb_real *dx, const mb_real *dy, const mb_route *r, int64_t d,
                       bool add);

    void (*unfold)(mb_ctx *, mb_real *y, const mb_real *x, const int32_t *around, int places,
                   int64_t t, int64_t d);
    void (*unfold_bwd)(mb_ctx *, mb_real *dx, const mb_real *dy, const int32_t *around, int places,
                       int64_t t, int64_t d, bool add);

    /* w NULL: no norm, rstd unused; else rstd (S) is written for the backward. x may be NULL */
    void (*combine)(mb_ctx *, mb_real *y, float *rstd, const mb_real *x, const mb_real *rows,
                    const float *w, const uint8_t *slice, float eps, const mb_route *r, int64_t d);
    /* drows (S, D) is set; dgate (S) is set unless NULL; dw adds unless NULL. dx is op.c's business
     */
    void (*combine_bwd)(mb_ctx *, mb_real *drows, float *dgate, float *dw, const mb_real *dy,
                        const mb_real *rows, const float *rstd, const float *w,
                        const uint8_t *slice, const mb_route *r, int64_t d, bool add);

    void (*norm)(mb_ctx *, mb_real *y, float *rstd, const mb_real *x, const float *w,
                 const uint8_t *slice, float eps, int64_t t, int64_t d);
    void (*norm_bwd)(mb_ctx *, mb_real *dx, float *dw, const mb_real *dy, const mb_real *x,
                     const float *rstd, const float *w, const uint8_t *slice, int64_t t, int64_t d,
                     bool add);

    /* qw NULL: RoPE alone */
    void (*rope)(mb_ctx *, mb_real *y, const mb_real *x, const float *qw, const float *kw,
                 const uint8_t *slice, const int32_t *position, int64_t t, int64_t d, int heads,
                 float eps, float base);
    void (*rope_bwd)(mb_ctx *, mb_real *dx, float *dqw, float *dkw, const mb_real *dy,
                     const mb_real *x, const float *qw, const float *kw, const uint8_t *slice,
                     const int32_t *position, int64_t t, int64_t d, int heads, float eps,
                     float base, bool add);

    /* lse (T, H): log-sum-exp of the scores, in whatever order the backward expects them */
    void (*attend)(mb_ctx *, mb_real *y, float *lse, const mb_real *x, const mb_span *s, int64_t d,
                   int heads);
    void (*attend_bwd)(mb_ctx *, mb_real *dx, const mb_real *dy, const mb_real *y, const float *lse,
                       const mb_real *x, const mb_span *s, int64_t d, int heads, bool add);

    void (*attend_cached)(mb_ctx *, mb_real *y, const mb_real *x, const mb_cache *cache,
                          const mb_places *at, int64_t t, int64_t d, int heads);

    void (*swiglu)(mb_ctx *, mb_real *y, const mb_real *x, int64_t s, int64_t f);
    void (*swiglu_bwd)(mb_ctx *, mb_real *dx, const mb_real *dy, const mb_real *x, int64_t s,
                       int64_t f, bool add);

    void (*jitter)(mb_ctx *, mb_real *y, const mb_real *x, float eps, uint64_t key, int64_t t,
                   int64_t d);
    void (*jitter_bwd)(mb_ctx *, mb_real *dx, const mb_real *dy, float eps, uint64_t key, int64_t t,
                       int64_t d, bool add);

    /* w (V, D); dx and dw NULL when not recording; dx is set, dw adds */
    void (*classify)(mb_ctx *, float *loss, mb_real *dx, float *dw, const mb_real *x,
                     const mb_tensor *w, const int32_t *target, float scale, float z, int64_t t);

    /* y and dy (T, S) are fp32; dy NULL when not recording, else set; wanted (T, S) is host memory
     */
    void (*regress)(mb_ctx *, float *loss, float *dy, const float *y, const float *wanted,
                    float scale, int64_t t, int64_t s);

    void (*sum_squares)(mb_ctx *, double *sum, const float *x, int64_t n);
    void (*adamw)(mb_ctx *, float *p, float *g, float *m, float *v, int64_t n, const mb_adamw *how);
} mb_backend;

typedef struct mb_arena { /* bump allocation; the first pass grows it, later passes reuse it */
    struct mb_block *blocks;
    void *(*alloc)(mb_ctx *of, size_t bytes); /* where blocks come from; NULL: host memory */
    void (*free)(mb_ctx *of, void *p);
    mb_ctx *of;
    size_t used, peak;
    bool fake; /* hands out addresses without memory: `null`, and sizing */
} mb_arena;

struct mb_ctx { /* first member of each backend's own struct */
    const mb_backend *be;
    int threads;
    mb_precision precision;
    mb_precision stored; /* activations and their gradients */
    mb_precision result; /* y, or dy, of the product under way: stored, or fp32 */
    bool padded;         /* learned routes have room for their capacity */
    enum mb_attention attention;
    enum mb_grouping grouping;
    uint64_t graphs;   /* passes that were launched whole */
    uint64_t counted;  /* `ref` counts its multiplications and additions here */
    uint64_t executed; /* FLOPs in the products of the call under way: op.c sets what was asked for,
                          a kernel that issues more (whole tiles across a mask) sets that */
    mb_arena data, host;
    size_t own; /* most bytes that the backend kept for itself: workspace, copies of weights */
    mb_ledger *ledger;
    struct mb_node *nodes;
    size_t n_nodes, max_nodes;
    struct mb_lent *lent; /* memory of gradients */
    size_t n_lent, max_lent;
    struct mb_late *late; /* costs that the next sync will know */
    size_t n_late, max_late;
    mb_part part;
    int layer;
    const mb_watch *watch;
    bool record, trace, count;
    bool again; /* the calls under way were made before: recompute.c */
    mb_err err;
    char note[512]; /* mb_ctx_note() */
};

extern const mb_backend mb_ref, mb_cpu, mb_cuda, mb_null;

/* What the gradient is multiplied by so that its norm is HOW's clip at most. */
static inline float mb_grad_scale(const mb_adamw *how)
{
    double norm = how->clip > 0 ? sqrt(*how->squares) : 0;

    return norm > how->clip ? (float)(how->clip / norm) : 1.0f;
}

/* Rows of one expert for each N rows that share the capacity; N when there is no limit. */
int64_t mb_router_room(const mb_router *how, int64_t n, int experts);

/* The slots of backends that keep everything in host memory: host.c, choose.c. */
void *mb_host_alloc(mb_ctx *c, size_t bytes);
void mb_host_free(mb_ctx *c, void *p);
void mb_host_clear(mb_ctx *c, void *p, size_t bytes);
void mb_host_write(mb_ctx *c, void *to, const void *from, size_t bytes);
void mb_host_fetch(mb_ctx *c, void *to, const void *from, size_t bytes);
void mb_host_done(mb_ctx *c); /* kernels have finished when they return */
void mb_host_graph(mb_ctx *c, uint64_t key);
size_t mb_host_free_bytes(mb_ctx *c);
uint64_t mb_host_workspace(const mb_ctx *c, const mb_sizes *of);
mb_route *mb_host_choose(mb_ctx *c, const mb_tensor *logits, const mb_router *how, mb_routed *out);
void mb_host_choose_bwd(mb_ctx *c, float *dlogit, const mb_route *r, bool add);
#define MB_HOST_SLOTS                                                                              \
    .alloc = mb_host_alloc, .free = mb_host_free, .clear = mb_host_clear, .write = mb_host_write,  \
    .fetch = mb_host_fetch, .sync = mb_host_done, .reset = mb_host_done, .graph = mb_host_graph,   \
    .free_bytes = mb_host_free_bytes, .workspace = mb_host_workspace, .choose = mb_host_choose,    \
    .choose_bwd = mb_host_choose_bwd

#endif
