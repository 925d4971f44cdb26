/* What the C files of the cuda backend share: the context, device memory, products. Kernels are in
   the .cu files, behind kernels.h. Meaning of the slots: op.h; contract: backend.h.

   Everything goes to one stream, but for products of several groups, which fork from it and join it
   again; so memory that a kernel is done with may be reused by the next one at once. */
#ifndef MB_KERNELS_CUDA_CUDA_H
#define MB_KERNELS_CUDA_CUDA_H

#include "models/kernels/backend.h"
#include "models/kernels/cuda/kernels.h"

typedef struct cuda_copy { /* host memory and its copy on the device */
    const void *host;
    size_t bytes;
    void *device;
} cuda_copy;

typedef struct cuda_weights { /* fp32 weights and their bf16 copy */
    const float *from;
    int64_t n;
    void *to;
    uint64_t version; /* of all weights, when the copy was made */
} cuda_weights;

typedef struct cuda_fetch { /* a copy to host memory that the next sync completes */
    void *to;
    const void *staged;
    size_t bytes;
} cuda_fetch;

typedef struct cuda_list { /* of any of these */
    void *items;
    size_t n, room;
} cuda_list;

typedef struct cuda_angles { /* cosines, then sines, of position * base^(-j / half) */
    float *table;
    int64_t positions, half;
    float base;
} cuda_angles;

typedef struct cuda_graph { /* a captured pass */
    uint64_t key;
    uint64_t noted;       /* digest of the calls that are in it */
    uint64_t used;        /* when last; 0: no key was given yet */
    cudaGraphExec_t exec; /* NULL: only seen so far */
} cuda_graph;

enum { CUDA_GRAPHS = 32 }; /* kept at most */

typedef struct cuda_ctx {
    mb_ctx base;
    cu cu;
    char why[512];                /* message of the first error, when base.err is one */
    struct cuda_lt *lt;           /* matrix products */
    struct cuda_grouped *grouped; /* NULL: not asked for yet */
    struct mb_cudnn *cudnn;       /* NULL: attention by our own kernels, since */
    char no_cudnn[256];
    mb_arena indices;  /* until the reset, also when the scratch is given back before */
    cuda_list copies;  /* cuda_copy, of this pass */
    cuda_list weights; /* cuda_weights */
    cuda_list fetches; /* cuda_fetch */
    uint64_t version;  /* of the weights: what changes them counts it up */
    mb_arena stage;    /* page-locked host memory for copies of both ways, until a flush */
    void *space;       /* see cuda_space() */
    size_t space_size;
    size_t kept; /* bytes of device memory that are the backend's own now */
    cuda_angles angles;
    cuda_graph graphs[CUDA_GRAPHS], *graph; /* the one under way */
    uint64_t clock;                         /* passes with a key so far */
    bool capturing;
    bool keyed;   /* the pass under way is one of those that graphs are made of */
    size_t lanes; /* bytes that products keep: cuda_lt_open() */
} cuda_ctx;

/* ---- memory.c ------------------------------------------------------------------------------- */

void cuda_memory_open(cuda_ctx *c); /* before any of these; cuda_forget() closes */

/* Of all errors the first is kept, with its message, for the next sync: after it most calls fail.
   Keeps what a call of CUDA reports; WHAT was asked for. */
void cuda_check(cuda_ctx *c, cudaError_t err, const char *what);
/* Keeps ERR, with the message that was left; MB_OK: what a kernel that did not start has left. */
void cuda_keep(cuda_ctx *c, mb_err err);

/* Where kernels find BYTES of host memory that do not change before the next reset. NULL for NULL
   alone: no rows of some are not all rows. */
const void *cuda_indices(cuda_ctx *c, const void *host, size_t bytes);
/* The same for a number or a few that the caller does not keep. */
const void *cuda_numbers(cuda_ctx *c, const void *numbers, size_t bytes);

/* At least BYTES of device memory, 256-byte aligned and uninitialised, until the next call: a slot
   asks once and divides what it gets. Grows to the largest request and is then kept. */
void *cuda_space(cuda_ctx *c, size_t bytes);

/* W (n floats) as products take it: itself, or its bf16 copy, made anew after an update. */
const void *cuda_operand(cuda_ctx *c, const float *w, int64_t n);

/* The next item of L, zeroed, of SIZE bytes. */
void *cuda_list_add(cuda_list *l, size_t size);

/* Device memory that is the backend's own; NULL, with a message. Both count it. */
void *cuda_take(cuda_ctx *c, size_t bytes);
void cuda_give_back(cuda_ctx *c, void *p, size_t bytes);

void *cuda_alloc(mb_ctx *base, size_t bytes);
void cuda_free(mb_ctx *base, void *p);
size_t cuda_free_bytes(mb_ctx *base);
void cuda_clear(mb_ctx *base, void *p, size_t bytes);
void cuda_write(mb_ctx *base, void *to, const void *from, size_t bytes);
void cuda_fetch_to(mb_ctx *base, void *to, const void *from, size_t bytes);
void cuda_sync(mb_ctx *base);
void cuda_reset(mb_ctx *base);
void cuda_forget(cuda_ctx *c); /* frees all of the above: before closing */

/* ---- graph.c --------------------------------------------------------------------------------- */

/* A pass with a key of which nothing is known runs call by call, so that all that it needs is made;
   the next one is captured, and those after it replay that. */
void cuda_graph_begin(mb_ctx *base, uint64_t key);
/* Before waiting: launches what is under way. */
void cuda_graph_end(cuda_ctx *c);
/* What graphs point to may go: they are captured anew. */
void cuda_graphs_drop(cuda_ctx *c);
/* The same, and what their passes need is to be made again, which capturing cannot. */
void cuda_graphs_forget(cuda_ctx *c);

/* ---- product.c ------------------------------------------------------------------------------- */

/* C (M, N) = op(A) op(B), or += ; row-major and dense; op turns its operand where it is told to. Of
   `batch` such products, operands lie STRIDE elements apart. */
typedef struct cuda_product {
    int64_t m, n, k;
    bool turn_a, turn_b;
    bool bf16, result_bf16; /* operands; C: bf16 or fp32 */
    bool add;
    int64_t batch, stride_a, stride_b, stride_c;
} cuda_product;

/* One product now, on the stream of the kernels. */
void cuda_multiply(cuda_ctx *c, const cuda_product *p, void *to, const void *a, const void *b);

/* Of device memory: the workspace of one stream of products, and fp32 logits that are made at a
   time. Each chunk of these reads and writes all gradients of the head's weights, so few are
   better; the emulated device, which fills all memory that it gives, is to have several. */
#ifdef MB_EMULATE
enum { CUDA_PRODUCT_BYTES = 4 << 10, CUDA_HEAD_BYTES = 16 << 10 };
#else
enum { CUDA_PRODUCT_BYTES = 32 << 20, CUDA_HEAD_BYTES = 1 << 30 };
#endif

/* cublas.c: cuBLASLt behind these. Lanes run side by side between a fork and a join, each with a
   stream and a workspace; lane -1 is the stream of the kernels. */
enum { CUDA_LANES = 4 };
mb_err cuda_lt_open(struct cuda_lt **out, size_t *bytes); /* of device memory, which it keeps */
void cuda_lt_close(struct cuda_lt *lt);                   /* accepts NULL */
mb_err cuda_lt_multiply(struct cuda_lt *lt, int lane, cudaStream_t stream, const cuda_product *p,
                        void *to, const void *a, const void *b);

/* Lets all lanes begin after what is on STREAM, and STREAM go on after all lanes. */
mb_err cuda_lt_fork(struct cuda_lt *lt, cudaStream_t stream);
mb_err cuda_lt_join(struct cuda_lt *lt, cudaStream_t stream);

/* grouped.c: cuBLAS's grouped product behind these. Of N products P, at most CUDA_GROUPS and alike
   but for their rows, AT has first all C, then all A, then all B: addresses of the device, in
   memory of the device. Not to be captured in a graph. It keeps CUDA_PRODUCT_BYTES. */
enum { CUDA_GROUPS = 1024 };
mb_err cuda_grouped_open(struct cuda_grouped **out, cudaStream_t stream);
void cuda_grouped_close(struct cuda_grouped *g); /* accepts NULL */
bool cuda_grouped_takes(const cuda_product *p);  /* whatever its rows */
mb_err cuda_grouped_multiply(struct cuda_grouped *g, const cuda_product *p, int n,
                             const void *const *at);

void cuda_gemm(mb_ctx *base, mb_real *y, const mb_real *x, const mb_tensor *w, const mb_route *r);
void cuda_gemm_dx(mb_ctx *base, mb_real *dx, const mb_real *dy, const mb_tensor *w,
                  const mb_route *r, bool add);
void cuda_gemm_dw(mb_ctx *base, const mb_tensor *w, const mb_real *dy, const mb_real *x,
                  const mb_route *r);
/* Bytes of the workspace of the head over T rows. */
size_t cuda_head_bytes(const cuda_ctx *c, int64_t t, int64_t v);
void cuda_classify(mb_ctx *base, float *loss, mb_real *dx, float *dw, const mb_real *x,
                   const mb_tensor *w, const int32_t *target, float scale, float z, int64_t t);

/* ---- route.c --------------------------------------------------------------------------------- */

/* The route as kernels take it. */
cu_route cuda_route(cuda_ctx *c, const mb_route *r);
mb_route *cuda_choose(mb_ctx *base, const mb_tensor *logits, const mb_router *how, mb_routed *out);
void cuda_choose_bwd(mb_ctx *base, float *dlogit, const mb_route *r, bool add);

/* ---- attention.c ----------------------------------------------------------------------------- */

void cuda_attend(mb_ctx *base, mb_real *y, float *lse, const mb_real *x, const mb_span *s,
                 int64_t d, int heads);
void cuda_attend_bwd(mb_ctx *base, mb_real *dx, const mb_real *dy, const mb_real *y,
                     const float *lse, const mb_real *x, const mb_span *s, int64_t d, int heads,
                     bool add);
void cuda_attend_cached(mb_ctx *base, mb_real *y, const mb_real *x, const mb_cache *cache,
                        const mb_places *at, int64_t t, int64_t d, int heads);

/* Whether heads are of a width that our kernels know; else the next sync tells. */
bool cuda_fits(cuda_ctx *c, int64_t width);
/* Bytes of the workspace of attention, at most. */
size_t cuda_attention_bytes(const cuda_ctx *c, const mb_sizes *of);

static inline cuda_ctx *cuda_of(mb_ctx *base)
{
    return (cuda_ctx *)base;
}

/* Bytes rounded up so that what follows in a workspace is aligned. */
static inline size_t cuda_aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* Bytes of N numbers of an activation. */
static inline size_t cuda_bytes(const cuda_ctx *c, int64_t n)
{
    return (size_t)n * mb_size(c->base.stored);
}

#endif
