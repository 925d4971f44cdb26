/* What the files of the fast CPU backend share: the context and its workspace, matrix products,
   fixed blocks of rows. Meaning of the kernels: op.h; contract: backend.h.

   Results depend on the arguments alone: work is split by index, never by thread. */
#ifndef MB_KERNELS_CPU_CPU_H
#define MB_KERNELS_CPU_CPU_H

#include "models/kernels/backend.h"

/* cos and sin of position * base^(-2j/e) for j < e/2, kept from call to call. */
typedef struct rotations {
    int64_t positions, half;
    float base;
    float *cosine, *sine; /* (positions, half) */
} rotations;

typedef struct cpu_ctx {
    mb_ctx base;
    float *space; /* see cpu_space() */
    int64_t space_count;
    rotations rotations;
    mb_arena weights; /* see packed_weights() */
    struct panels_copy *copies;
    int n_copies, max_copies;
} cpu_ctx;

/* At least COUNT floats of uninitialised memory, on a cache line, until the next call: a kernel
   asks once and divides what it gets. Grows to the largest request and is then kept, so that a
   steady training step allocates nothing. */
float *cpu_space(mb_ctx *c, int64_t count);

/* To be called when workspace or packed weights have grown: mb_ctx_held() tells them. */
void cpu_note_own(cpu_ctx *c);

/* COUNT rounded up so that what follows in a workspace starts on a cache line. */
static inline int64_t aligned(int64_t count)
{
    return (count + 15) / 16 * 16;
}

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rounds what was packed for a product as the precision asks: to bf16, kept in floats, or not. */
void as_operands(const mb_ctx *c, float *x, int64_t n);

/* The same for the tiles of tile.h, which may take pairs of bf16: K steps of a product are then
   steps_of(K) for them. */
bool in_pairs(const mb_ctx *c);
int64_t steps_of(const mb_ctx *c, int64_t k);

/* pack.c: operands whose steps are the rows of x (ROWS, WIDTH): becomes (steps_of(ROWS), WIDTH), in
   place; zeros are the other half of an odd row. Steps that lie side by side have a WIDTH of 1 and
   are even. Writes up to a vector beyond the end unless WIDTH is whole vectors. */
void as_tile_operands(const mb_ctx *c, float *x, int64_t rows, int64_t width);

/* Rows in one unit of work: a constant, so that sums over rows do not depend on the threads. */
enum { ROW_BLOCK = 32 };

static inline int64_t row_blocks(int64_t rows)
{
    return (rows + ROW_BLOCK - 1) / ROW_BLOCK;
}

static inline int64_t block_end(int64_t block, int64_t rows)
{
    return (block + 1) * ROW_BLOCK < rows ? (block + 1) * ROW_BLOCK : rows;
}

/* Slices that occur in SLICE (T); 1 for NULL. */
int64_t slices_in(const uint8_t *slice, int64_t t);

/* total[j] += sum over blocks b, in order, of partial[b * stride + j], j < n. */
void add_partials(float *total, const float *partial, int64_t blocks, int64_t stride, int64_t n);

/* A route without an index sends row i of x to routed row i. */
static inline int64_t token_of(const mb_route *r, int64_t row)
{
    return r->token ? r->token[row] : row;
}

/* The routed rows of token t: routed_row(k) for first_of(t) <= k < first_of(t + 1). */
static inline int64_t first_of(const mb_route *r, int64_t t)
{
    return r->token ? r->first[t] : t;
}

static inline int64_t routed_row(const mb_route *r, int64_t k)
{
    return r->token ? r->row[k] : k;
}

/* The layouts of a weight slice (N, K) as right operand of a product: panels of TILE_COLS columns
   (tile.h) of its transpose, for y = x w^T, or of itself, for dx = dy w. */
enum layout { TURNED, STRAIGHT };

/* Where each slice of several meets so many rows, on average, its panels are packed on the way to
   their product and no copy is kept. All of the rows then stay in the second-level cache while the
   panels pass, and both layouts together cost less than to write and read copies that serve once.
   Fewer rows occur in decoding, where copies serve token after token. */
enum { FEW_ROWS = 18, MANY_ROWS = 384 };

/* All slices of w, packed; one after another, slice_size() floats each. Valid until the weights
   change. */
const float *packed_weights(mb_ctx *c, const mb_tensor *w, enum layout layout);
int64_t slice_size(const mb_tensor *w, enum layout layout);

/* One panel of a slice, that which begins with column J, from its row K on: DEPTH rows. Or asks the
   second-level cache for N of the DEPTH lines that this will read, from line BEGIN on. */
void pack_part(const mb_ctx *c, float *to, const mb_tensor *w, enum layout layout, int64_t slice,
               int64_t j, int64_t k, int64_t depth);
void ask_for_part(const mb_tensor *w, enum layout layout, int64_t slice, int64_t j, int64_t k,
                  int64_t depth, int64_t begin, int64_t n);
void weights_free(cpu_ctx *c);

void rotations_free(rotations *r);

/* The kernels of the table, by file. */
/* weights.c */
void cpu_weights_changed(mb_ctx *c);
/* gemm.c */
void cpu_gemm(mb_ctx *c, float *y, const float *x, const mb_tensor *w, const mb_route *r);
void cpu_gemm_dx(mb_ctx *c, float *dx, const float *dy, const mb_tensor *w, const mb_route *r,
                 bool add);
void cpu_gemm_dw(mb_ctx *c, const mb_tensor *w, const float *dy, const float *x, const mb_route *r);
/* move.c */
void cpu_embed(mb_ctx *c, float *y, const float *table, const int32_t *token, int64_t t, int64_t d);
void cpu_embed_bwd(mb_ctx *c, float *dtable, const float *dy, const int32_t *token, int64_t t,
                   int64_t d, int64_t v);
void cpu_gather(mb_ctx *c, float *y, const float *x, const mb_route *r, int64_t d);
void cpu_gather_bwd(mb_ctx *c, float *dx, const float *dy, const mb_route *r, int64_t d, bool add);
void cpu_unfold(mb_ctx *c, float *y, const float *x, const int32_t *around, int places, int64_t t,
                int64_t d);
void cpu_unfold_bwd(mb_ctx *c, float *dx, const float *dy, const int32_t *around, int places,
                    int64_t t, int64_t d, bool add);
/* norm.c */
void cpu_combine(mb_ctx *c, float *y, float *rstd, const float *x, const float *rows,
                 const float *w, const uint8_t *slice, float eps, const mb_route *r, int64_t d);
void cpu_combine_bwd(mb_ctx *c, float *drows, float *dgate, float *dw, const float *dy,
                     const float *rows, const float *rstd, const float *w, const uint8_t *slice,
                     const mb_route *r, int64_t d, bool add);
void cpu_norm(mb_ctx *c, float *y, float *rstd, const float *x, const float *w,
              const uint8_t *slice, float eps, int64_t t, int64_t d);
void cpu_norm_bwd(mb_ctx *c, float *dx, float *dw, const float *dy, const float *x,
                  const float *rstd, const float *w, const uint8_t *slice, int64_t t, int64_t d,
                  bool add);
/* rope.c */
void cpu_rope(mb_ctx *c, float *y, const float *x, const float *qw, const float *kw,
              const uint8_t *slice, const int32_t *position, const mb_span *s, int64_t t, int64_t d,
              int heads, float eps, float base);
void cpu_rope_bwd(mb_ctx *c, float *dx, float *dqw, float *dkw, const float *dy, const float *x,
                  const float *qw, const float *kw, const uint8_t *slice, const int32_t *position,
                  const mb_span *s, int64_t t, int64_t d, int heads, float eps, float base,
                  bool add);
/* attend.c */
void cpu_attend(mb_ctx *c, float *y, float *lse, const float *x, const mb_span *s, int64_t d,
                int heads);
void cpu_attend_bwd(mb_ctx *c, float *dx, const float *dy, const float *y, const float *lse,
                    const float *x, const mb_span *s, int64_t d, int heads, bool add);
/* cached.c */
void cpu_attend_cached(mb_ctx *c, float *y, const float *x, const mb_cache *cache,
                       const mb_places *at, int64_t t, int64_t d, int heads);
/* elementwise.c */
void cpu_swiglu(mb_ctx *c, float *y, const float *x, int64_t s, int64_t f);
void cpu_swiglu_bwd(mb_ctx *c, float *dx, const float *dy, const float *x, int64_t s, int64_t f,
                    bool add);
void cpu_jitter(mb_ctx *c, float *y, const float *x, float eps, uint64_t key, int64_t t, int64_t d);
void cpu_jitter_bwd(mb_ctx *c, float *dx, const float *dy, float eps, uint64_t key, int64_t t,
                    int64_t d, bool add);
/* classify.c */
void cpu_classify(mb_ctx *c, float *loss, float *dx, float *dw, const float *x, const mb_tensor *w,
                  const int32_t *target, float scale, float z, int64_t t);
/* adamw.c */
void cpu_regress(mb_ctx *c, float *loss, float *dy, const float *y, const float *wanted,
                 float scale, int64_t t, int64_t s);
void cpu_sum_squares(mb_ctx *c, double *sum, const float *x, int64_t n);
void cpu_adamw(mb_ctx *c, float *p, float *g, float *m, float *v, int64_t n, const mb_adamw *how);

#endif
