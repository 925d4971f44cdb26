/* Attention in tiles, with a softmax that is corrected as it goes (flash attention): the fp32 path,
   what there is without cuDNN, and the check on it. All arithmetic is fp32.

   A block owns TILE positions of one head of one sequence, 8 threads to each. Row r of a tile is
   worked on by 8 neighbouring lanes, which take columns r % 8, r % 8 + 8, ...; sums over a row are
   sums over these lanes. The backward computes scores twice, once for the gradient of queries and
   once for that of keys and values, so that no two blocks write to one place. */
#include "models/kernels/cuda/kernel.cuh"

enum { LANES = 8 };

enum { Q, K, V };

typedef struct head { /* one head of one sequence */
    cu_span s;
    int64_t b, h, d, e;
    int heads;
    float scale;
} head;

/* x, its gradient, lse and delta are in order of positions; y and its gradient in that of rows. */
__device__ static inline int64_t vector_at(const head &a, int part, int64_t p)
{
    return ((a.b * a.s.len + p) * 3 + part) * a.d + a.h * a.e;
}

__device__ static inline int64_t sum_at(const head &a, int64_t p)
{
    return (a.b * a.s.len + p) * a.heads + a.h;
}

__device__ static inline int64_t output_at(const head &a, int64_t p)
{
    int64_t i = a.b * a.s.len + p;

    return (a.s.at ? a.s.at[i] : i) * a.d + a.h * a.e;
}

__device__ static inline head head_of(const cu_span &s, int64_t d, int heads, int64_t index)
{
    head a = { s, index / heads, index % heads, d, d / heads, heads, 0 };

    a.scale = 1 / sqrtf((float)a.e);
    return a;
}

/* The kernels are for heads of up to E numbers; E + 1: neighbouring rows start in other banks. */
template <int TILE, int E> struct tile {
    float x[TILE][E + 1];
};

/* Rows FIRST .. FIRST+TILE-1 of part PART of x; zeros beyond the sequence and beyond e. */
template <typename T, int TILE, int E>
__device__ static inline void load_tile(tile<TILE, E> &to, const T *x, const head &a, int part,
                                        int64_t first)
{
    for (int i = threadIdx.x; i < TILE * E; i += blockDim.x) {
        int r = i / E, j = i % E;
        bool is = first + r < a.s.len && j < a.e;

        to.x[r][j] = is ? to_float(x[vector_at(a, part, first + r) + j]) : 0;
    }
}

/* The same of dy (T, D). */
template <typename T, int TILE, int E>
__device__ static inline void load_output(tile<TILE, E> &to, const T *y, const head &a,
                                          int64_t first)
{
    for (int i = threadIdx.x; i < TILE * E; i += blockDim.x) {
        int r = i / E, j = i % E;
        bool is = first + r < a.s.len && j < a.e;

        to.x[r][j] = is ? to_float(y[output_at(a, first + r) + j]) : 0;
    }
}

template <int E> __device__ static inline float dot(const float *a, const float *b)
{
    float sum = 0;

#pragma unroll 16
    for (int i = 0; i < E; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Positions that any of queries FIRST .. FIRST+TILE-1 sees. */
template <int TILE>
__device__ static inline void seen_by(const head &a, int64_t first, int64_t *lo, int64_t *hi)
{
    *lo = a.s.len;
    *hi = -1;
    for (int64_t p = first; p < first + TILE && p < a.s.len; p++) {
        int64_t i = a.b * a.s.len + p;

        *lo = a.s.lo[i] < *lo ? a.s.lo[i] : *lo;
        *hi = a.s.hi[i] > *hi ? a.s.hi[i] : *hi;
    }
}

__device__ static inline bool sees(const head &a, int64_t query, int64_t key)
{
    int64_t i = a.b * a.s.len + query;

    return query < a.s.len && key >= a.s.lo[i] && key <= a.s.hi[i];
}

/* ---- forward -------------------------------------------------------------------------------- */

template <typename T, int TILE, int E>
__global__ void attend(void *to, float *lse, const void *from, cu_span s, int64_t d, int heads)
{
    enum { KEYS = TILE / LANES, COLUMNS = E / LANES };
    __shared__ tile<TILE, E> q, kv;
    __shared__ float p[TILE][TILE + 1];
    int64_t tiles = (s.len + TILE - 1) / TILE, first = blockIdx.x % tiles * TILE, lo, hi;
    head a = head_of(s, d, heads, blockIdx.x / tiles);
    int r = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    float top = -INFINITY, sum = 0, y[COLUMNS] = {};
    const T *x = (const T *)from;

    load_tile(q, x, a, Q, first);
    seen_by<TILE>(a, first, &lo, &hi);
    for (int64_t key = lo / TILE * TILE; key <= hi; key += TILE) {
        float score[KEYS], most = top, shrink;

        __syncthreads();
        load_tile(kv, x, a, K, key);
        __syncthreads();
        for (int i = 0; i < KEYS; i++) {
            int j = lane + i * LANES;

            score[i] = sees(a, first + r, key + j) ? dot<E>(q.x[r], kv.x[j]) * a.scale : -INFINITY;
            most = fmaxf(most, score[i]);
        }
        most = lane_max<LANES>(most);
        shrink = most > -INFINITY ? expf(top - most) : 1;
        top = most;
        sum *= shrink;
        for (int i = 0; i < KEYS; i++) {
            float e = score[i] > -INFINITY ? expf(score[i] - top) : 0;

            p[r][lane + i * LANES] = e;
            sum += e;
        }
        __syncthreads();
        load_tile(kv, x, a, V, key);
        __syncthreads();
        for (int i = 0; i < COLUMNS; i++) {
            y[i] *= shrink;
            for (int j = 0; j < TILE; j++)
                y[i] += p[r][j] * kv.x[j][lane + i * LANES];
        }
    }
    sum = lane_sum<LANES>(sum);
    if (first + r >= s.len)
        return;
    for (int i = 0; i < COLUMNS; i++)
        if (lane + i * LANES < a.e)
            set(((T *)to)[output_at(a, first + r) + lane + i * LANES], y[i] / sum);
    if (lane == 0)
        lse[sum_at(a, first + r)] = top + logf(sum);
}

/* Shared memory is what bounds a tile: two of E columns and the scores in 48 kB. */
int cu_attend_tile(int64_t width)
{
    return width <= 128 ? 32 : 16;
}

template <typename T>
static void attend_as(cu *on, void *y, float *lse, const void *x, const cu_span *s, int64_t d,
                      int heads)
{
    int64_t e = d / heads, tile = cu_attend_tile(e);
    int64_t blocks = s->batch * heads * blocks_for(s->len, tile);
    int threads = (int)tile * LANES;

    launch(on,
           e <= 64    ? attend<T, 32, 64>
           : e <= 128 ? attend<T, 32, 128>
                      : attend<T, 16, 256>,
           blocks, threads, y, lse, x, *s, d, heads);
}

void cu_attend(cu *on, void *y, float *lse, const void *x, const cu_span *s, int64_t d, int heads)
{
    (on->bf16 ? attend_as<bf16> : attend_as<float>)(on, y, lse, x, s, d, heads);
}

/* ---- backward ------------------------------------------------------------------------------- */

/* delta = dy . y of each head of each position: one warp each. */
template <typename T>
__global__ void make_delta(float *delta, const void *up, const void *out, cu_span s, int64_t heads,
                           int64_t e)
{
    int64_t item = (int64_t)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP, i = item / heads;
    const T *dy = (const T *)up, *y = (const T *)out;
    float sum = 0;

    if (i >= s.batch * s.len)
        return;
    i = ((s.at ? s.at[i] : i) * heads + item % heads) * e;
    dy += i;
    y += i;
    for (int64_t j = threadIdx.x % WARP; j < e; j += WARP)
        sum += to_float(dy[j]) * to_float(y[j]);
    sum = lane_sum(sum);
    if (threadIdx.x % WARP == 0)
        delta[item] = sum;
}

/* p = exp(s - lse) and ds = p (dy . v - delta) / sqrt(e) of one query and one key. */
template <int E>
__device__ static inline void weigh(float *p, float *ds, const head &a, int64_t query, int64_t key,
                                    const float *q, const float *k, const float *v, const float *dy,
                                    const float *lse, const float *delta)
{
    *p = *ds = 0;
    if (sees(a, query, key)) {
        *p = expf(dot<E>(q, k) * a.scale - lse[sum_at(a, query)]);
        *ds = *p * (dot<E>(dy, v) - delta[sum_at(a, query)]) * a.scale;
    }
}

template <typename T, int TILE, int E>
__device__ static inline void give_row(T *dx, const float (&sum)[E / LANES], const head &a,
                                       int part, int64_t p, int lane, bool add)
{
    if (p >= a.s.len)
        return;
    for (int i = 0; i < E / LANES; i++)
        if (lane + i * LANES < a.e) {
            T &to = dx[vector_at(a, part, p) + lane + i * LANES];

            set(to, add ? to_float(to) + sum[i] : sum[i]);
        }
}

/* A block owns queries: dq = sum over keys of ds k. */
template <typename T, int TILE, int E>
__global__ void attend_queries_bwd(void *to, const void *up, const float *lse, const float *delta,
                                   const void *from, cu_span s, int64_t d, int heads, bool add)
{
    enum { COLUMNS = E / LANES };
    __shared__ tile<TILE, E> q, k, v, dy;
    __shared__ float ds[TILE][TILE + 1];
    int64_t tiles = (s.len + TILE - 1) / TILE, first = blockIdx.x % tiles * TILE, lo, hi;
    head a = head_of(s, d, heads, blockIdx.x / tiles);
    int r = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const T *x = (const T *)from;
    float dq[COLUMNS] = {}, p;

    load_tile(q, x, a, Q, first);
    load_output(dy, (const T *)up, a, first);
    seen_by<TILE>(a, first, &lo, &hi);
    for (int64_t key = lo / TILE * TILE; key <= hi; key += TILE) {
        __syncthreads();
        load_tile(k, x, a, K, key);
        load_tile(v, x, a, V, key);
        __syncthreads();
        for (int j = lane; j < TILE; j += LANES)
            weigh<E>(&p, &ds[r][j], a, first + r, key + j, q.x[r], k.x[j], v.x[j], dy.x[r], lse,
                     delta);
        __syncthreads();
        for (int i = 0; i < COLUMNS; i++)
            for (int j = 0; j < TILE; j++)
                dq[i] += ds[r][j] * k.x[j][lane + i * LANES];
    }
    give_row<T, TILE, E>((T *)to, dq, a, Q, first + r, lane, add);
}

/* A block owns keys: dk = sum over queries of ds q, dv = sum of p dy. */
template <typename T, int TILE, int E>
__global__ void attend_keys_bwd(void *to, const void *up, const float *lse, const float *delta,
                                const void *from, cu_span s, int64_t d, int heads, bool add)
{
    enum { COLUMNS = E / LANES };
    __shared__ tile<TILE, E> q, k, v, dy;
    __shared__ float p[TILE][TILE + 1], ds[TILE][TILE + 1];
    int64_t tiles = (s.len + TILE - 1) / TILE, first = blockIdx.x % tiles * TILE;
    head a = head_of(s, d, heads, blockIdx.x / tiles);
    int r = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const T *x = (const T *)from;
    float dk[COLUMNS] = {}, dv[COLUMNS] = {};

    load_tile(k, x, a, K, first);
    load_tile(v, x, a, V, first);
    for (int64_t query = 0; query < s.len; query += TILE) {
        int64_t lo, hi;

        seen_by<TILE>(a, query, &lo, &hi);
        if (hi < first || lo >= first + TILE)
            continue; /* all threads alike */
        __syncthreads();
        load_tile(q, x, a, Q, query);
        load_output(dy, (const T *)up, a, query);
        __syncthreads();
        for (int j = lane; j < TILE; j += LANES)
            weigh<E>(&p[r][j], &ds[r][j], a, query + j, first + r, q.x[j], k.x[r], v.x[r], dy.x[j],
                     lse, delta);
        __syncthreads();
        for (int i = 0; i < COLUMNS; i++)
            for (int j = 0; j < TILE; j++) {
                dk[i] += ds[r][j] * q.x[j][lane + i * LANES];
                dv[i] += p[r][j] * dy.x[j][lane + i * LANES];
            }
    }
    give_row<T, TILE, E>((T *)to, dk, a, K, first + r, lane, add);
    give_row<T, TILE, E>((T *)to, dv, a, V, first + r, lane, add);
}

/* Four tiles of E columns, and the scores twice, in 48 kB. */
int cu_attend_bwd_tile(int64_t width)
{
    return width <= 64 ? 32 : width <= 128 ? 16 : 8;
}

template <typename T>
static void attend_bwd_as(cu *on, void *dx, const void *dy, const float *lse, const float *delta,
                          const void *x, const cu_span *s, int64_t d, int heads, bool add)
{
    int64_t e = d / heads, tile = cu_attend_bwd_tile(e);
    int64_t blocks = s->batch * heads * blocks_for(s->len, tile);
    int threads = (int)tile * LANES;

    launch(on,
           e <= 64    ? attend_queries_bwd<T, 32, 64>
           : e <= 128 ? attend_queries_bwd<T, 16, 128>
                      : attend_queries_bwd<T, 8, 256>,
           blocks, threads, dx, dy, lse, delta, x, *s, d, heads, add);
    launch(on,
           e <= 64    ? attend_keys_bwd<T, 32, 64>
           : e <= 128 ? attend_keys_bwd<T, 16, 128>
                      : attend_keys_bwd<T, 8, 256>,
           blocks, threads, dx, dy, lse, delta, x, *s, d, heads, add);
}

void cu_attend_bwd(cu *on, void *dx, const void *dy, const void *y, const float *lse, const void *x,
                   const cu_span *s, int64_t d, int heads, bool add, float *delta)
{
    int64_t items = s->batch * s->len * heads;

    launch(on, on->bf16 ? make_delta<bf16> : make_delta<float>, blocks_for(items, THREADS / WARP),
           THREADS, delta, dy, y, *s, heads, d / heads);
    (on->bf16 ? attend_bwd_as<bf16> : attend_bwd_as<float>)(on, dx, dy, lse, delta, x, s, d, heads,
                                                            add);
}
