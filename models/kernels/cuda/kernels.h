/* The kernels of the cuda backend, as its C files see them: each call enqueues on a stream. Kernels
   know no tensor, route or ctx; what they compute is said in op.h, letters too.

   Pointers are to device memory. `void *` is an activation or its gradient: bf16 or fp32, as ON
   says. No kernel uses an atomic operation on a result: the same arguments give the same bits.

   What a call is given decides what a captured step does whenever it is replayed (graph.c). So
   numbers that change from step to step lie in device memory, and structs that kernels take have no
   padding: their bytes are compared. */
#ifndef MB_KERNELS_CUDA_KERNELS_H
#define MB_KERNELS_CUDA_KERNELS_H

#include <cuda_runtime.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cu { /* where kernels go, and how activations are stored */
    cudaStream_t stream;
    bool bf16;
    cudaError_t err; /* of the first launch that failed */
    bool noting;     /* a graph is under way: whatever is asked for is noted; */
    bool replaying;  /* it is there already: nothing is enqueued */
    uint64_t noted;  /* digest of all that was asked for since it began */
} cu;

/* Adds BYTES that tell what is asked for to the digest. */
static inline void cu_note(cu *on, const void *call, size_t bytes)
{
    const unsigned char *p = (const unsigned char *)call;

    for (size_t i = 0; on->noting && i < bytes; i++)
        on->noted = (on->noted ^ p[i]) * 0x100000001b3u; /* FNV-1a */
}

/* Routed rows, from mb_route: token NULL when row i is row i. row and token may hold -1. */
typedef struct cu_route {
    int64_t rows, tokens;
    const int32_t *token, *first, *row;
    const float *gate; /* NULL: every gate is 1 */
} cu_route;

/* ---- move.cu -------------------------------------------------------------------------------- */

void cu_embed(cu *on, void *y, const float *table, const int32_t *token, int64_t t, int64_t d);

/* Rows of dy by word: chunk c sums rows order[chunk[c]] .. order[chunk[c+1]-1], word number w the
   chunks first[w] .. first[w+1]-1 into row word[w] of dtable. There are n[0] words and n[1] chunks,
   at most `words` and `chunks`. partial (chunks, D). */
typedef struct cu_words {
    int64_t words, chunks;
    const int32_t *order, *chunk, *first, *word, *n;
} cu_words;
void cu_embed_bwd(cu *on, float *dtable, const void *dy, const cu_words *w, float *partial,
                  int64_t d);

void cu_gather(cu *on, void *y, const void *x, const cu_route *r, int64_t d);
void cu_gather_bwd(cu *on, void *dx, const void *dy, const cu_route *r, int64_t d, bool add);
void cu_unfold(cu *on, void *y, const void *x, const int32_t *around, int places, int64_t t,
               int64_t d);
void cu_unfold_bwd(cu *on, void *dx, const void *dy, const int32_t *around, int places, int64_t t,
                   int64_t d, bool add);
void cu_swiglu(cu *on, void *y, const void *x, int64_t s, int64_t f);
void cu_swiglu_bwd(cu *on, void *dx, const void *dy, const void *x, int64_t s, int64_t f, bool add);
/* y (+)= x (1 + eps u): forward and backward alike. */
void cu_jitter(cu *on, void *y, const void *x, float eps, const uint64_t *key, int64_t n, bool add);
void cu_to_bf16(cu *on, void *y, const float *x, int64_t n);

/* ---- norm.cu -------------------------------------------------------------------------------- */

/* w, rstd, x NULL as in op.h. */
void cu_combine(cu *on, void *y, float *rstd, const void *x, const void *rows, const float *w,
                const uint8_t *slice, float eps, const cu_route *r, int64_t d);
/* drows and dgate may be NULL. dw adds unless NULL, over SLICES slices, with partial of
   cu_partials(r->rows, slices, d) floats. */
void cu_combine_bwd(cu *on, void *drows, float *dgate, float *dw, const void *dy, const void *rows,
                    const float *rstd, const float *w, const uint8_t *slice, int slices,
                    const cu_route *r, int64_t d, bool add, float *partial);
int64_t cu_partials(int64_t rows, int slices, int64_t d);
/* total (n) += the sum of partial (parts, n), in order. */
void cu_add_parts(cu *on, float *total, const float *partial, int64_t parts, int64_t n);

/* ---- rope.cu -------------------------------------------------------------------------------- */

enum { CU_HEAD_WIDTH = 256 }; /* the widest head, here and in attention */

typedef struct cu_rope {
    const float *qw, *kw; /* NULL: RoPE alone */
    const uint8_t *slice;
    const int32_t *position;
    const float *cosine, *sine; /* (positions, D / heads / 2) */
    const int32_t *at;          /* (T) row i of y is made of row at[i] of x; NULL: of row i */
    int64_t t, d, heads;        /* t: rows of y */
    int slices;
    float eps;
} cu_rope;
/* slice and position are those of rows of x. Heads of at most CU_HEAD_WIDTH. */
void cu_rope_fwd(cu *on, void *y, const void *x, const cu_rope *p);
/* Rows of dx like those of x; what is in no row of `at` is left as it is. partial of
   cu_rope_partials() floats, for dqw and dkw (NULL: none). */
void cu_rope_bwd(cu *on, void *dx, float *dqw, float *dkw, const void *dy, const void *x,
                 const cu_rope *p, bool add, float *partial);
int64_t cu_rope_partials(const cu_rope *p);

/* ---- attend.cu ------------------------------------------------------------------------------ */

typedef struct cu_span {
    int64_t batch, len;
    const int32_t *at, *lo, *hi; /* at: rows of y and dy; NULL: in order of positions, as x is */
} cu_span;
/* lse (T, heads), by position */
void cu_attend(cu *on, void *y, float *lse, const void *x, const cu_span *s, int64_t d, int heads);
/* delta (T, heads), by position */
void cu_attend_bwd(cu *on, void *dx, const void *dy, const void *y, const float *lse, const void *x,
                   const cu_span *s, int64_t d, int heads, bool add, float *delta);
/* Positions in a tile of the forward, and of the backward; each is a square of the two. */
int cu_attend_tile(int64_t width);
int cu_attend_bwd_tile(int64_t width);
/* y (T, cols) = x in order of positions, or back: y[i] = x[at[i]], y[at[i]] (+)= x[i]. */
void cu_to_positions(cu *on, void *y, const void *x, const int32_t *at, int64_t t, int64_t cols);
void cu_from_positions(cu *on, void *y, const void *x, const int32_t *at, int64_t t, int64_t cols,
                       bool add);

/* ---- cached.cu ------------------------------------------------------------------------------ */

typedef struct cu_cached { /* T rows that join sequences; keys and values of those in CACHE */
    void *cache;           /* (sequences, room, 2D) */
    int64_t room, t;
    const int32_t *sequence, *position, *hi;
} cu_cached;
/* Keeps keys and values of x (T, 3D), then attends; score (T, heads, room) is scratch. */
void cu_attend_cached(cu *on, void *y, const void *x, const cu_cached *a, int64_t d, int heads,
                      float *score);

/* ---- classify.cu ---------------------------------------------------------------------------- */

/* Losses of rows of logits (T, V) fp32; dlogits (T, V) as activations, NULL: none. scale (1). */
void cu_cross_entropy(cu *on, float *loss, void *dlogits, const float *logits,
                      const int32_t *target, const float *scale, float z, int64_t t, int64_t v);

/* ---- regress.cu ----------------------------------------------------------------------------- */

/* loss (T), dy (T, S) or NULL: as in op.h, all on the device. */
void cu_regress(cu *on, float *loss, float *dy, const float *y, const float *wanted, float scale,
                int64_t t, int64_t s);

/* ---- adamw.cu ------------------------------------------------------------------------------- */

/* partial: cu_squares_partials(n) doubles */
void cu_sum_squares(cu *on, double *sum, double *partial, const float *x, int64_t n);
int64_t cu_squares_partials(int64_t n);

typedef struct cu_adamw { /* of one step, in device memory */
    float beta1, beta2, eps;
    float rate;            /* lr / (1 - beta1^step) */
    float unbias;          /* 1 / (1 - beta2^step) */
    float keep;            /* lr decay */
    float clip;            /* 0: none */
    const double *squares; /* of the gradient's norm, when clip > 0 */
} cu_adamw;
void cu_adamw_step(cu *on, float *p, float *g, float *m, float *v, int64_t n, const cu_adamw *how);

/* ---- choose.cu ------------------------------------------------------------------------------ */

typedef struct cu_routed { /* as mb_routed */
    int64_t asked, kept;
    double balance, z;
} cu_routed;

typedef struct cu_choice {    /* what a learned route is made of; see choose.c */
    int64_t t, group, groups; /* rows, rows that share a capacity, how often */
    int experts, k;           /* k: experts per token; expert choice: E */
    int by_experts, softmax, renormalise, random_second; /* 0 or 1 */
    int64_t room, last_room; /* of one expert per group of rows, and in the last group */
    double balance, z;
    const uint64_t *key;               /* (1) */
    const float *logit;                /* (T, E) */
    float *score, *lse;                /* (E, T), (T) */
    float *norm;                       /* (T) */
    int32_t *top;                      /* (T, k) */
    int32_t *place;                    /* (E, T) expert choice: the row of a token, or -1 */
    int64_t *asked, *kept;             /* (E) */
    int64_t *group_asked, *group_kept; /* (groups, E) */
    double *first, *terms;             /* (E), (E + 1): parts of the balance loss, then z */
    struct cu_routed *routed;
    int32_t *token, *inverse; /* (S), (T k): the route's token and row */
    float *gate;              /* (S) */
    const float *cut;      /* (E) expert choice: scores from which rows are taken; NULL: the best */
    float *least;          /* (E) the same as it came out, mean over groups of rows */
    float *group_least;    /* (groups, E) */
    const int64_t *offset; /* (E + 1) where an expert's rows begin; NULL: e times its room */
} cu_choice;
void cu_scores(cu *on, const cu_choice *c);
/* Counts of groups alone when c->token is NULL. */
void cu_assign(cu *on, const cu_choice *c);
/* first (T + 1) of the route, and what cu_assign() has left of inverse. */
void cu_list_rows(cu *on, int32_t *first, const cu_choice *c);
/* Counts of all groups, first, and what the choice did into *routed: after cu_assign(). */
void cu_choice_losses(cu *on, const cu_choice *c);
void cu_choose_bwd(cu *on, float *dlogit, const float *dgate, const cu_choice *c, bool add);

#ifdef __cplusplus
}
#endif

#endif
