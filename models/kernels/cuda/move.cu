/* Rows that move, and numbers that are worked on alone: embeddings, gather, unfold, SwiGLU, jitter,
   bf16. */
#include "models/kernels/cuda/kernel.cuh"

static const int64_t ELEMENTS = 1024, MOST_BLOCKS = 4096; /* of a loop over elements */

__device__ static inline int64_t thread_index()
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

__device__ static inline int64_t thread_count()
{
    return (int64_t)gridDim.x * blockDim.x;
}

static int64_t grid_for(int64_t n)
{
    int64_t blocks = blocks_for(n, ELEMENTS);

    return blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS;
}

/* ---- embed ---------------------------------------------------------------------------------- */

template <typename T, int N>
__global__ void embed(void *to, const float *table, const int32_t *token, int64_t t, int64_t d)
{
    T *y = (T *)to;

    for (int64_t i = thread_index() * N; i < t * d; i += thread_count() * N) {
        float v[N];

        load(v, table + token[i / d] * d + i % d);
        store(y + i, v);
    }
}

void cu_embed(cu *on, void *y, const float *table, const int32_t *token, int64_t t, int64_t d)
{
    LAUNCH(on, embed, wide(d, y, table), grid_for(t * d), THREADS, y, table, token, t, d);
}

template <typename T>
__global__ void sum_chunk(float *partial, const void *from, const int32_t *order,
                          const int32_t *chunk, const int32_t *n, int64_t d)
{
    const T *dy = (const T *)from;
    int64_t c = blockIdx.x;

    if (c >= n[1])
        return;
    for (int64_t j = threadIdx.x; j < d; j += blockDim.x) {
        float sum = 0;

        for (int32_t i = chunk[c]; i < chunk[c + 1]; i++)
            sum += to_float(dy[order[i] * d + j]);
        partial[c * d + j] = sum;
    }
}

__global__ void sum_word(float *dtable, const float *partial, const int32_t *first,
                         const int32_t *word, const int32_t *n, int64_t d)
{
    int64_t w = blockIdx.x;

    if (w >= n[0])
        return;
    for (int64_t j = threadIdx.x; j < d; j += blockDim.x) {
        float sum = 0;

        for (int64_t c = first[w]; c < first[w + 1]; c++)
            sum += partial[c * d + j];
        dtable[word[w] * d + j] += sum;
    }
}

void cu_embed_bwd(cu *on, float *dtable, const void *dy, const cu_words *w, float *partial,
                  int64_t d)
{
    launch(on, on->bf16 ? sum_chunk<bf16> : sum_chunk<float>, w->chunks, THREADS, partial, dy,
           w->order, w->chunk, w->n, d);
    launch(on, sum_word, w->words, THREADS, dtable, partial, w->first, w->word, w->n, d);
}

/* ---- gather --------------------------------------------------------------------------------- */

template <typename T, int N>
__global__ void gather(void *to, const void *from, const int32_t *token, int64_t rows, int64_t d)
{
    T *y = (T *)to;
    const T *x = (const T *)from;

    for (int64_t i = thread_index() * N; i < rows * d; i += thread_count() * N) {
        int64_t row = token ? token[i / d] : i / d;
        float v[N] = {};

        if (row >= 0)
            load(v, x + row * d + i % d);
        store(y + i, v);
    }
}

void cu_gather(cu *on, void *y, const void *x, const cu_route *r, int64_t d)
{
    LAUNCH(on, gather, wide(d, y, x), grid_for(r->rows * d), THREADS, y, x, r->token, r->rows, d);
}

template <typename T, int N>
__global__ void gather_bwd(void *to, const void *from, cu_route r, int64_t d, bool add)
{
    T *dx = (T *)to;
    const T *dy = (const T *)from;

    for (int64_t i = thread_index() * N; i < r.tokens * d; i += thread_count() * N) {
        int64_t t = i / d, k = r.token ? r.first[t] : t, end = r.token ? r.first[t + 1] : t + 1;
        float sum[N] = {};

        for (; k < end; k++) {
            int64_t row = r.token ? r.row[k] : k;
            float v[N];

            if (row < 0)
                continue;
            load(v, dy + row * d + i % d);
            for (int j = 0; j < N; j++)
                sum[j] += v[j];
        }
        give(dx + i, sum, add);
    }
}

void cu_gather_bwd(cu *on, void *dx, const void *dy, const cu_route *r, int64_t d, bool add)
{
    LAUNCH(on, gather_bwd, wide(d, dx, dy), grid_for(r->tokens * d), THREADS, dx, dy, *r, d, add);
}

/* ---- unfold --------------------------------------------------------------------------------- */

template <typename T, int N>
__global__ void unfold(void *to, const void *from, const int32_t *around, int64_t rows, int64_t d)
{
    T *y = (T *)to;
    const T *x = (const T *)from;

    for (int64_t i = thread_index() * N; i < rows * d; i += thread_count() * N) {
        int64_t row = around[i / d];
        float v[N] = {};

        if (row >= 0)
            load(v, x + row * d + i % d);
        store(y + i, v);
    }
}

void cu_unfold(cu *on, void *y, const void *x, const int32_t *around, int places, int64_t t,
               int64_t d)
{
    int64_t rows = t * places;

    LAUNCH(on, unfold, wide(d, y, x), grid_for(rows * d), THREADS, y, x, around, rows, d);
}

/* The rows that see row t in place s are those that it has in the place across. */
template <typename T, int N>
__global__ void unfold_bwd(void *to, const void *from, const int32_t *around, int places,
                           int64_t rows, int64_t d, bool add)
{
    T *dx = (T *)to;
    const T *dy = (const T *)from;

    for (int64_t i = thread_index() * N; i < rows * d; i += thread_count() * N) {
        const int32_t *across = around + (i / d + 1) * places - 1;
        float sum[N] = {};

        for (int s = 0; s < places; s++) {
            int64_t row = across[-s];
            float v[N];

            if (row < 0)
                continue;
            load(v, dy + (row * places + s) * d + i % d);
            for (int j = 0; j < N; j++)
                sum[j] += v[j];
        }
        give(dx + i, sum, add);
    }
}

void cu_unfold_bwd(cu *on, void *dx, const void *dy, const int32_t *around, int places, int64_t t,
                   int64_t d, bool add)
{
    LAUNCH(on, unfold_bwd, wide(d, dx, dy), grid_for(t * d), THREADS, dx, dy, around, places, t, d,
           add);
}

/* ---- order of positions --------------------------------------------------------------------- */

void cu_to_positions(cu *on, void *y, const void *x, const int32_t *at, int64_t t, int64_t cols)
{
    LAUNCH(on, gather, wide(cols, y, x), grid_for(t * cols), THREADS, y, x, at, t, cols);
}

template <typename T, int N>
__global__ void scatter(void *to, const void *from, const int32_t *at, int64_t t, int64_t d,
                        bool add)
{
    T *y = (T *)to;
    const T *x = (const T *)from;

    for (int64_t i = thread_index() * N; i < t * d; i += thread_count() * N) {
        int64_t row = at ? at[i / d] : i / d;
        float v[N];

        load(v, x + i);
        give(y + row * d + i % d, v, add);
    }
}

void cu_from_positions(cu *on, void *y, const void *x, const int32_t *at, int64_t t, int64_t cols,
                       bool add)
{
    LAUNCH(on, scatter, wide(cols, y, x), grid_for(t * cols), THREADS, y, x, at, t, cols, add);
}

/* ---- swiglu --------------------------------------------------------------------------------- */

template <typename T, int N>
__global__ void swiglu(void *to, const void *from, int64_t s, int64_t f)
{
    T *y = (T *)to;
    const T *x = (const T *)from;

    for (int64_t i = thread_index() * N; i < s * f; i += thread_count() * N) {
        int64_t at = i / f * 2 * f + i % f;
        float a[N], b[N];

        load(a, x + at);
        load(b, x + at + f);
        for (int j = 0; j < N; j++)
            a[j] = a[j] / (1 + expf(-a[j])) * b[j];
        store(y + i, a);
    }
}

void cu_swiglu(cu *on, void *y, const void *x, int64_t s, int64_t f)
{
    LAUNCH(on, swiglu, wide(f, y, x), grid_for(s * f), THREADS, y, x, s, f);
}

/* silu(a) = a p with p = sigmoid(a); silu'(a) = p (1 + a (1 - p)) */
template <typename T, int N>
__global__ void swiglu_bwd(void *to, const void *up, const void *from, int64_t s, int64_t f,
                           bool add)
{
    T *dx = (T *)to;
    const T *dy = (const T *)up, *x = (const T *)from;

    for (int64_t i = thread_index() * N; i < s * f; i += thread_count() * N) {
        int64_t at = i / f * 2 * f + i % f;
        float a[N], b[N], g[N];

        load(a, x + at);
        load(b, x + at + f);
        load(g, dy + i);
        for (int j = 0; j < N; j++) {
            float p = 1 / (1 + expf(-a[j])), silu = a[j] * p;

            a[j] = g[j] * b[j] * p * (1 + a[j] * (1 - p));
            b[j] = g[j] * silu;
        }
        give(dx + at, a, add);
        give(dx + at + f, b, add);
    }
}

void cu_swiglu_bwd(cu *on, void *dx, const void *dy, const void *x, int64_t s, int64_t f, bool add)
{
    LAUNCH(on, swiglu_bwd, wide(f, dx, dy, x), grid_for(s * f), THREADS, dx, dy, x, s, f, add);
}

/* ---- jitter --------------------------------------------------------------------------------- */

template <typename T>
__global__ void jitter(void *to, const void *from, float eps, const uint64_t *key, int64_t n,
                       bool add)
{
    T *y = (T *)to;
    const T *x = (const T *)from;

    for (int64_t i = thread_index(); i < n; i += thread_count()) {
        float u = (float)(2 * uniform(*key, (uint64_t)i) - 1);
        float v = to_float(x[i]) * (1 + eps * u);

        set(y[i], add ? to_float(y[i]) + v : v);
    }
}

void cu_jitter(cu *on, void *y, const void *x, float eps, const uint64_t *key, int64_t n, bool add)
{
    launch(on, on->bf16 ? jitter<bf16> : jitter<float>, grid_for(n), THREADS, y, x, eps, key, n,
           add);
}

/* ---- bf16 ----------------------------------------------------------------------------------- */

template <int N> __global__ void to_bf16(void *to, const float *x, int64_t n)
{
    bf16 *y = (bf16 *)to;

    for (int64_t i = thread_index() * N; i < n; i += thread_count() * N) {
        float v[N];

        load(v, x + i);
        store(y + i, v);
    }
}

void cu_to_bf16(cu *on, void *y, const float *x, int64_t n)
{
    launch(on, wide(n, y, x) ? to_bf16<8> : to_bf16<1>, grid_for(n), THREADS, y, x, n);
}
