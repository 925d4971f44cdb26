/* Operations: what each one means. This is the one front that models use; op.c alone calls
   backends.

   Every call computes its result into scratch of the ctx, enters its cost into the ledger and,
   while gradients are wanted, records itself, so that mb_backward() can run the recorded calls in
   reverse. A model is therefore written once, forward.

   Operations cannot fail: shapes are asserted, scratch is sized beforehand (mb_ctx_reserve), and
   what a device reports stays with the ctx until mb_ctx_sync() returns it.

   A device works behind the back of its caller: what an operation says in host memory (losses,
   statistics of a route) holds after mb_ctx_sync(), and so does what mb_ctx_fetch() copies.
   Indices (tokens, positions, slices, spans, targets) are host memory that must not change before
   mb_ctx_reset(). All else that kernels read or write is memory of the backend (mb_ctx_alloc).

   Letters: T tokens (rows of x), S routed rows, D width, H heads, e = D/H, F feed-forward width,
   G groups, E experts, V vocabulary, B sequences of length L. Arguments are borrowed. */
#ifndef MB_KERNELS_OP_H
#define MB_KERNELS_OP_H

#include "base/err.h"
#include "models/kernels/ledger.h"
#include "models/kernels/route.h"
#include "models/kernels/tensor.h"

typedef struct mb_ctx mb_ctx; /* an open backend: threads, scratch, ledger, recorded calls */

/* BACKEND: "ref" (plain loops, double accumulation), "cpu", "cuda" or "null" (computes nothing).
   PRECISION: of the operands of products; all else is computed in fp32 at least.
   THREADS: 0 for the machine's own choice. Fails on an unknown backend, a precision that it does
   not know, and a device that is not there. */
mb_err mb_ctx_open(const char *backend, mb_precision precision, int threads, mb_ctx **out);
/* A ctx of "null" that takes the scratch that LIKE would: to size it before a run. */
mb_err mb_ctx_open_sizing(const mb_ctx *like, mb_ctx **out);
void mb_ctx_close(mb_ctx *c); /* accepts NULL */
const char *mb_ctx_backend(const mb_ctx *c);
int mb_ctx_threads(const mb_ctx *c);
/* Threads for work of the host itself: beside a device, which has one, all that there are. */
int mb_ctx_host_threads(const mb_ctx *c);
bool mb_ctx_computes(const mb_ctx *c); /* false: `null`, whose memory holds nothing */
/* NULL-terminated names of the backends in this build. */
const char *const *mb_backends(void);
extern const char *const mb_precision_name[]; /* "fp32", "bf16", NULL */
mb_err mb_precision_find(const char *name, mb_precision *out);
/* What makes the matrix products of "cpu", and with which instructions: "own tiles of 6 x 16,
 * avx2". */
void mb_products_about(char *text, size_t size);

/* To be called when the values of parameters (tensors marked so) have changed, by the optimiser
   too, or their memory goes to others: a backend may keep copies of them in layouts of its own. */
void mb_ctx_weights_changed(mb_ctx *c);

/* Makes sure that BYTES of scratch are there, so that nothing allocates later. */
mb_err mb_ctx_reserve(mb_ctx *c, size_t bytes);
size_t mb_ctx_peak(const mb_ctx *c); /* most scratch bytes in use at once since opening */
/* Most bytes that it held at once of the memory that kernels work on: scratch, indices, and what
   the backend keeps for itself. */
size_t mb_ctx_held(const mb_ctx *c);
/* Bytes that it has left to give, or 0 where nobody can say. */
size_t mb_ctx_free_bytes(mb_ctx *c);
typedef struct mb_keeping { /* what makes a backend need more or less memory than another */
    int activation;         /* bytes of an element of an activation */
    int copies;             /* bytes that products keep beside each element of a matrix, */
    int few, many;          /* but not of slices that meet FEW to MANY rows each, of several */
    int head_rows;          /* rows of logits that each thread holds at once */
    bool padded;            /* learned routes have room for their capacity */
} mb_keeping;
mb_keeping mb_ctx_keeping(const mb_ctx *c);
typedef struct mb_sizes { /* of the largest batch: rows of the hidden state, and what they go
                             through */
    int64_t batch, len, rows, width, heads, vocab;
} mb_sizes;
/* Bytes that a training step takes of what the backend keeps for itself, copies of weights left
   out. */
uint64_t mb_ctx_workspace(const mb_ctx *c, const mb_sizes *of);
void mb_ctx_reset(mb_ctx *c); /* ends a pass: forgets results and recorded calls */
/* Waits until everything asked for is done and fetched; the first error of a device since the last
   call. */
mb_err mb_ctx_sync(mb_ctx *c);

/* ---- memory of the backend: host memory, or a device's ------------------------------------- */

void *mb_ctx_alloc(mb_ctx *c, size_t bytes); /* zeroed; NULL, with a message, when there is none */
void mb_ctx_free(mb_ctx *c, void *p);        /* accepts NULL */
void mb_ctx_clear(mb_ctx *c, void *p, size_t bytes);
void mb_ctx_write(mb_ctx *c, void *to, const void *from, size_t bytes); /* from host memory */
void mb_ctx_fetch(mb_ctx *c, void *to, const void *from, size_t bytes); /* to host memory, for the
                                                                            next mb_ctx_sync() */

/* What makes attention on a device: the fastest that is there and takes the shape; our own tiles
   alone; cuDNN or an error; or cuDNN that may add up the gradients of queries in any order, so that
   bits differ from run to run. */
enum mb_attention { MB_ATTENTION_AUTO, MB_ATTENTION_OWN, MB_ATTENTION_CUDNN, MB_ATTENTION_FAST };
/* What makes products of groups of unequal size on a device: one product each, side by side on
   streams; or one grouped product of the library for all, where it takes them and no graph is
   made. */
enum mb_grouping { MB_GROUPING_STREAMS, MB_GROUPING_LIBRARY };
/* Of the passes that follow. Backends in host memory have one way of each and take no notice. */
void mb_ctx_ways(mb_ctx *c, enum mb_attention attention, enum mb_grouping grouping);
/* What made passes so far much slower than they could be, in one line; "": nothing known. */
const char *mb_ctx_note(const mb_ctx *c);

/* ---- the pass under way --------------------------------------------------------------------- */

/* Until the next mb_ctx_sync() the calls are those, on tensors of those shapes, of every other time
   with this KEY, although what lies in host memory, and the numbers of mb_adamw, keys and scales,
   may be others. A device may then capture them once and launch them as a whole; it refuses, in
   that sync, calls that differ all the same. Does nothing where somebody traces or watches. */
void mb_ctx_graph(mb_ctx *c, uint64_t key);
uint64_t mb_ctx_graphs(const mb_ctx *c); /* passes that were launched whole so far */
void mb_ctx_record(mb_ctx *c, bool on);  /* off: forward only, nothing kept for a backward */
void mb_ctx_trace(mb_ctx *c, bool on);   /* on: the ledger also takes wall time per operation */
/* For whoever attributes a device's work to operations: `boundary` is called where one begins and
   where it has ended, `entered` after the latter, for each entry that it makes in the ledger.
   Neither may call operations. NULL: nobody watches. W is borrowed. */
typedef struct mb_watch {
    void (*boundary)(void *user);
    void (*entered)(void *user, const char *op, mb_part part, int layer, mb_pass_kind pass);
    void *user;
} mb_watch;
void mb_ctx_watch(mb_ctx *c, const mb_watch *w);
void mb_ctx_count(mb_ctx *c, bool on);              /* off: the ledger takes nothing (evaluation) */
void mb_ctx_at(mb_ctx *c, mb_part part, int layer); /* where the following calls belong */
mb_ledger *mb_ctx_ledger(mb_ctx *c);
/* Floating-point operations in matrix products as counted by the loops of `ref` since the last
   call; 0 from other backends. */
uint64_t mb_ctx_counted(mb_ctx *c);

/* A tensor of the ctx's own dtype for activations, over memory of the caller. */
mb_tensor *mb_wrap(mb_ctx *c, const char *name, int64_t rows, int64_t cols, mb_real *data);
/* Host memory for indices, until mb_ctx_reset(). */
void *mb_ctx_host(mb_ctx *c, size_t bytes);

/* y = f(x), as f's own calls would compute it, by which only x and y are kept: what lies between is
   made again by the backward, in the same bits. f is a residual function: its last use of x is
   mb_combine, and y has the shape of x. ARG is borrowed until mb_backward() has ended; f must do
   nothing else that counts when it is done twice. The ledger takes the second time as FLOPs
   executed by the backward, neither model nor useful. */
typedef mb_tensor *mb_residual(void *arg, mb_tensor *x);
mb_tensor *mb_recompute(mb_ctx *c, mb_residual *f, void *arg, mb_tensor *x);

/* Runs the recorded calls in reverse. y->grad must be set (all heads but mb_classify, which sets
   its own). Gradients of parameters add to what is there; all others start from nothing. */
void mb_backward(mb_ctx *c);

/* ---- routes ------------------------------------------------------------------------------ */

/* All T rows in one group; no index. */
const mb_route *mb_route_all(mb_ctx *c, int64_t t);

/* Rows already sorted by group: COUNT[g] rows in group g; no index. */
const mb_route *mb_route_sorted(mb_ctx *c, int groups, const int64_t *count);
/* The same where group g has ROWS[g] rows, of which no more than COUNT[g] are asked for: the others
   are there for the shape alone. */
const mb_route *mb_route_padded(mb_ctx *c, int groups, const int64_t *count, const int64_t *rows);

/* Rows ROW[0] .. ROW[N-1] of T in one group; a row may occur never or often. ROW is borrowed. */
const mb_route *mb_route_rows(mb_ctx *c, int64_t t, const int32_t *row, int64_t n);

enum mb_score { MB_SOFTMAX, MB_SIGMOID };
enum mb_choice { MB_TOKEN_CHOOSES, MB_EXPERT_CHOOSES };

typedef struct mb_router {
    enum mb_choice choice;
    enum mb_score score;
    int top_k;          /* token choice: experts per token (1: Switch, 2: GShard) */
    double capacity;    /* rows per expert = ceil(capacity * top_k * n / E) of each group of n rows;
                           expert choice: ceil(capacity * n / E); 0: no limit (token choice) */
    int64_t group_rows; /* n: consecutive rows that share the capacity; 0: all T */
    bool renormalise;   /* GShard: gates of one token sum to 1 */
    bool random_second; /* GShard: keep expert 2 with probability min(1, 2 g2) */
    double balance;     /* weight of E * sum_e f_e P_e [Switch eq. 4]; 0: none */
    double z;           /* weight of mean(logsumexp^2) [ST-MoE eq. 5]; 0: none */
    uint64_t key;       /* of the random draws */
    const float *cut;   /* (E) expert choice: each takes all rows whose score is at least this, so
                           that a row's experts depend on nothing but itself; NULL: its best rows */
    float *least; /* (E) expert choice: gets the score of the weakest row that each expert took,
                     the mean over groups of rows; holds after mb_ctx_sync(). NULL: not wanted */
} mb_router;

typedef struct mb_routed { /* what a learned route did; holds after mb_ctx_sync() */
    int64_t asked, kept;   /* assignments wanted and made; asked - kept were dropped */
    double balance, z;     /* E * sum_e f_e P_e and mean(logsumexp^2), unweighted */
} mb_routed;

/* The route that LOGITS (T, E) choose. Token choice fills experts in row order and drops what comes
   after the capacity is full: rank 1 of all rows before rank 2. Ties go to the lower index. Expert
   choice: each expert takes its best rows of each group. Gates are the scores; their gradient, and
   those of both auxiliary losses, flow into logits. LOGITS come from mb_logits(). *out must live
   until mb_ctx_sync(). */
const mb_route *mb_choose(mb_ctx *c, mb_tensor *logits, const mb_router *how, mb_routed *out);

/* ---- operations with gradients ------------------------------------------------------------ */

/* X (rows, cols), host memory, as an activation into which no gradient flows. */
mb_tensor *mb_input(mb_ctx *c, const char *name, int64_t rows, int64_t cols, const float *x);

/* y[t] = table[token[t]].  table (V, D), token (T); returns (T, D). */
mb_tensor *mb_embed(mb_ctx *c, mb_tensor *table, const int32_t *token, int64_t t);

/* y[i] = W[g] x[i] for each row i of group g.  x (S, K), w (G or 1, N, K); returns (S, N).
   FLOPs: 2 K N per row. An empty group costs nothing and its slice gets no gradient. */
mb_tensor *mb_gemm(mb_ctx *c, mb_tensor *x, mb_tensor *w, const mb_route *r);

/* The same with an fp32 result in every precision: for what a softmax or a choice is made of. */
mb_tensor *mb_logits(mb_ctx *c, mb_tensor *x, mb_tensor *w, const mb_route *r);

/* y[i] = x[token[i]]; x itself when the route has no index.  x (T, D); returns (S, D). */
mb_tensor *mb_gather(mb_ctx *c, mb_tensor *x, const mb_route *r);

/* y[i] = the rows of x around row i, side by side: x[around[i * places + s]] for s = 0 .. places-1,
   zeros where that is -1. Being around is mutual: if j is in place s of i, then i is in place
   places-1-s of j. x (T, D), around (T, places); returns (T, places D). With a product after it, a
   convolution. */
mb_tensor *mb_unfold(mb_ctx *c, mb_tensor *x, const int32_t *around, int places);

/* The numbers of x, in their order, as (rows, cols): no copy. */
mb_tensor *mb_reshape(mb_ctx *c, mb_tensor *x, int64_t rows, int64_t cols);

/* y[t] = x[t] + sum over the routed rows i of t: gate[i] * n(rows[i]), n(v) = w[slice[t]] * v /
   rms(v), rms(v) = sqrt(mean(v^2) + eps).  x (T, D) or NULL for 0; rows (S, D); w (M or 1, D), or
   NULL for no norm; slice (T) or NULL for slice 0. Returns (T, D), zero plus x[t] for a dropped
   row. Returns rows itself when there is nothing to do. This is every way in which a sub-layer's
   output re-joins the residual stream (MoT eq. 1 and 2: x + norm(f(x))). */
mb_tensor *mb_combine(mb_ctx *c, mb_tensor *x, mb_tensor *rows, mb_tensor *w, const uint8_t *slice,
                      float eps, const mb_route *r);

/* y[t] = w[slice[t]] * x[t] / rms(x[t]).  x (T, D), w (M or 1, D); returns (T, D). */
mb_tensor *mb_norm(mb_ctx *c, mb_tensor *x, mb_tensor *w, const uint8_t *slice, float eps);

/* QK-norm, then RoPE, on the q and k parts of x = [q k v] (T, 3D); v is copied. Per head: q = qw *
   q / rms(q) with qw, kw (M or 1, e) by slice[t] (NULL: no QK-norm), then pair (j, j + e/2) is
   rotated by position[t] * base^(-2j/e), the "half-split" form. e must be even. Returns (T, 3D). */
mb_tensor *mb_rope(mb_ctx *c, mb_tensor *x, mb_tensor *qw, mb_tensor *kw, const uint8_t *slice,
                   const int32_t *position, int heads, float eps, float base);

/* Which rows attend to which. Position p of sequence b is row at[b*len + p] (NULL: b*len + p); its
   query sees positions lo[b*len + p] .. hi[b*len + p] of its own sequence, inclusive. */
typedef struct mb_span {
    int64_t batch, len;
    const int32_t *at, *lo, *hi;
    uint64_t pairs; /* sum of hi - lo + 1: exact FLOPs are 4 e H pairs */
} mb_span;

enum mb_spans {
    MB_SPANS_CAUSAL,    /* every position sees its sequence up to itself */
    MB_SPANS_DOCUMENTS, /* from lo up to itself */
    MB_SPANS_ANY        /* from lo up to hi, itself among them */
};
/* The kind of the spans LO .. HI (batch * len each), by which kernels are chosen. */
enum mb_spans mb_spans_kind(const int32_t *lo, const int32_t *hi, int64_t batch, int64_t len);

/* Multi-head softmax attention over x = [q k v] (T, 3D), scores q.k / sqrt(e); returns (T, D), 0 in
   rows that are no position's. */
mb_tensor *mb_attend(mb_ctx *c, mb_tensor *x, const mb_span *span, int heads);

/* Keys and values of sequences that grow row by row: those of position p of sequence b lie at
   data + (b * room + p) * 2D, in memory of the backend, stored like activations. */
typedef struct mb_cache {
    int64_t room; /* positions of a sequence */
    mb_real *data;
} mb_cache;

/* Where rows belong: row t is position[t] of sequence[t], and sees positions 0 .. hi[t] of it. */
typedef struct mb_places {
    const int32_t *sequence, *position, *hi; /* (T) */
    uint64_t pairs;                          /* sum of hi + 1 */
} mb_places;

/* Keeps the keys and values of x = [q k v] (T, 3D) in CACHE, then attends as mb_attend() does to
   all that is kept of a row's sequence. All that a row sees must be kept by this or an earlier
   call. Returns (T, D). Forward only. */
mb_tensor *mb_attend_cached(mb_ctx *c, mb_tensor *x, const mb_cache *cache, const mb_places *at,
                            int heads);

/* y = silu(a) * b for x = [a b] (S, 2F); returns (S, F). */
mb_tensor *mb_swiglu(mb_ctx *c, mb_tensor *x);

/* y = x * (1 + eps u), u uniform in [-1, 1) from KEY: the router's input jitter. Returns (T, D). */
mb_tensor *mb_jitter(mb_ctx *c, mb_tensor *x, float eps, uint64_t key);

/* Cross-entropy of logits x W^T: for each row with target[t] >= 0
     loss[t] = lse - logit[target[t]],  lse = log sum exp(logits);   total = sum (loss[t] + z lse^2)
   * scale and, while recording, the gradients of the total with respect to x and w at once: as the
   root of the backward its upstream gradient is `scale`. Logits are made in chunks of rows and
   never kept. x (T, D), w (V, D), target and loss (T), both host memory; loss[t] = 0 without a
   target, and holds after mb_ctx_sync(). Model FLOPs are those of the rows that have one. */
void mb_classify(mb_ctx *c, mb_tensor *x, mb_tensor *w, const int32_t *target, float scale, float z,
                 float *loss);

/* Squared error: for each row
     loss[t] = mean over j of (y[t][j] - wanted[t][j])^2;   total = sum loss[t] * scale
   and, while recording, the gradient of the total with respect to y at once: a root like
   mb_classify. y (T, S) from mb_logits(); wanted (T, S) and loss (T), both host memory; loss holds
   after mb_ctx_sync(). */
void mb_regress(mb_ctx *c, mb_tensor *y, const float *wanted, float scale, float *loss);

/* ---- optimiser ----------------------------------------------------------------------------- */

/* *sum = the squares of N floats, in an order that depends on N alone. */
void mb_sum_squares(mb_ctx *c, double *sum, const float *x, int64_t n);

typedef struct mb_adamw {
    float lr, beta1, beta2, eps, decay;
    float clip;            /* > 0: the gradient is first scaled down to this global norm, */
    const double *squares; /* whose square this is: mb_sum_squares() of all parameters' */
    int64_t step;          /* from 1, for the bias correction */
} mb_adamw;

/* AdamW with decoupled decay (Loshchilov & Hutter), N parameters p with gradient g and moments m,
   v: p -= lr (m^ / (sqrt(v^) + eps) + decay p). Clears g. */
void mb_adamw_step(mb_ctx *c, float *p, float *g, float *m, float *v, int64_t n,
                   const mb_adamw *how);

#endif
