/* QK-norm and rotary positions on the q and k parts of [q k v]. A warp has q or k of a row, or of
   some rows, and moves half of v. Of each head a lane has up to PAIRS pairs (j, j + e/2), the same
   columns in all heads: gradients of weights are sums that it keeps to itself. Angles come from a
   table. */
#include "models/kernels/cuda/kernel.cuh"

enum { WARPS = THREADS / WARP, PARTS = 2 /* q and k */, PAIRS = 8 };

struct pairs {
    float u[PAIRS], v[PAIRS];
};

/* Lanes that share a head, a power of two: other heads lie beside it in a warp. */
static int lanes_for(int64_t half)
{
    int lanes = 1;

    while (lanes * PAIRS < half)
        lanes *= 2;
    return lanes;
}

/* A lane's columns: pairs j .. j + n - 1 of head number `head` of those side by side. */
struct columns {
    int head, j, n;
};

__device__ static inline columns columns_of(int half, int lanes)
{
    int lane = threadIdx.x % WARP, j = lane % lanes * PAIRS, left = half - j;

    return { lane / lanes, j, left < 0 ? 0 : left < PAIRS ? left : PAIRS };
}

/* Over lanes whose numbers differ in the bits FROM .. BELOW / 2. */
__device__ static inline float sum_across(float x, int from, int below)
{
    for (int step = from; step < below; step *= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

alignas(16) __device__ const float zeros[PAIRS] = {};

/* The first COUNT of PAIRS numbers, N at once, which divides COUNT; the others are 0. Those that
   have none read zeros: a branch would make each load wait for the one before. */
template <int N, typename T>
__device__ static inline void load_first(float (&to)[PAIRS], const T *from, int count)
{
#pragma unroll
    for (int i = 0; i < PAIRS; i += N) {
        float x[N];

        load(x, i < count ? from + i : reinterpret_cast<const T *>(zeros));
#pragma unroll
        for (int k = 0; k < N; k++)
            to[i + k] = x[k];
    }
}

template <int N, typename T>
__device__ static inline pairs load_pairs(const T *u, const T *v, int count)
{
    pairs p;

    load_first<N>(p.u, u, count);
    load_first<N>(p.v, v, count);
    return p;
}

template <int N, typename T>
__device__ static inline void give_first(T *to, const float (&from)[PAIRS], int count, bool add)
{
#pragma unroll
    for (int i = 0; i < PAIRS; i += N) {
        float x[N];

#pragma unroll
        for (int k = 0; k < N; k++)
            x[k] = from[i + k];
        if (i < count)
            give(to + i, x, add);
    }
}

/* v is as it was: the half that goes with PART, in rows of 3 D at TO and FROM. */
template <typename T, int N>
__device__ static inline void move_half(T *__restrict__ to, const T *__restrict__ from, int part,
                                        int d, bool add)
{
    int end = 2 * d + (part + 1) * d / 2;

#pragma unroll 2
    for (int j = end - d / 2 + (int)threadIdx.x % WARP * N; j < end; j += WARP * N) {
        float x[N];

        load(x, from + j);
        give(to + j, x, add);
    }
}

/* u: cosines, v: sines, of a lane's pairs */
template <int N>
__device__ static inline pairs angles_of(const cu_rope &p, int64_t position, int half,
                                         const columns &c)
{
    int64_t at = position * half + c.j;

    return load_pairs<N>(p.cosine + at, p.sine + at, c.n);
}

/* Zeros where there is no norm. */
template <int N>
__device__ static inline pairs weights_of(const float *w, int half, int slice, const columns &c)
{
    const float *from = w ? w + (int64_t)slice * 2 * half + c.j : zeros;

    return load_pairs<N>(from, from + half, w ? c.n : 0);
}

/* Of a head, X on this lane. */
__device__ static inline float head_rstd(const pairs &x, int half, int lanes, float eps)
{
    float sum = 0;

#pragma unroll
    for (int i = 0; i < PAIRS; i++)
        sum += x.u[i] * x.u[i] + x.v[i] * x.v[i];
    return 1 / sqrtf(sum_across(sum, 1, lanes) / (float)(2 * half) + eps);
}

__device__ static inline void normalise(pairs &x, const pairs &w, int half, int lanes, float eps)
{
    float r = head_rstd(x, half, lanes, eps);

#pragma unroll
    for (int k = 0; k < PAIRS; k++) {
        x.u[k] = w.u[k] * (x.u[k] * r);
        x.v[k] = w.v[k] * (x.v[k] * r);
    }
}

/* Row i of y. */
template <typename T, int N>
__global__ void rope(void *to, const void *from, cu_rope p, int half, int lanes)
{
    int64_t item = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, i = item / PARTS;
    int part = (int)(item % PARTS), d = (int)p.d;

    if (i >= p.t)
        return;
    int64_t row = p.at ? p.at[i] : i;
    const T *x = (const T *)from + row * 3 * d;
    T *y = (T *)to + i * 3 * d;
    const float *weight = part == 0 ? p.qw : p.kw;
    columns c = columns_of(half, lanes);
    pairs w = weights_of<N>(weight, half, p.slice ? p.slice[row] : 0, c);
    pairs angle = angles_of<N>(p, p.position[row], half, c);

    move_half<T, N>(y, x, part, d, false);
    for (int h = c.head; h - c.head < p.heads; h += WARP / lanes) {
        int n = h < p.heads ? c.n : 0, at = part * d + h * 2 * half + c.j;
        pairs a = load_pairs<N>(x + at, x + at + half, n), b;

        if (weight)
            normalise(a, w, half, lanes, p.eps);
#pragma unroll
        for (int k = 0; k < PAIRS; k++) {
            b.u[k] = a.u[k] * angle.u[k] - a.v[k] * angle.v[k];
            b.v[k] = a.u[k] * angle.v[k] + a.v[k] * angle.u[k];
        }
        give_first<N>(y + at, b.u, n, false);
        give_first<N>(y + at + half, b.v, n, false);
    }
}

void cu_rope_fwd(cu *on, void *y, const void *x, const cu_rope *p)
{
    int64_t half = p->d / p->heads / 2;

    LAUNCH(on, rope, wide(half, y, x, p->qw, p->kw, p->cosine, p->sine),
           blocks_for(p->t * PARTS, WARPS), THREADS, y, x, *p, (int)half, lanes_for(half));
}

/* ---- backward ------------------------------------------------------------------------------- */

/* Rows whose gradients of weights one warp sums. */
static const int64_t MOST_CHUNKS = 2048, LEAST_ROWS = 8;

static int64_t rows_per_chunk(int64_t t)
{
    int64_t each = blocks_for(t, MOST_CHUNKS);

    return each > LEAST_ROWS ? each : LEAST_ROWS;
}

int64_t cu_rope_partials(const cu_rope *p)
{
    return 2 * blocks_for(p->t, rows_per_chunk(p->t)) * p->slices * (p->d / p->heads);
}

/* The gradient of what was turned. */
__device__ static inline void turn_back(pairs &g, const pairs &angle)
{
#pragma unroll
    for (int k = 0; k < PAIRS; k++) {
        float u = g.u[k], v = g.v[k];

        g.u[k] = u * angle.u[k] + v * angle.v[k];
        g.v[k] = v * angle.u[k] - u * angle.v[k];
    }
}

/* From the gradient of a head's norm to the head's, as in norm.cu; adds the weights' to SUM. */
__device__ static inline void norm_back(pairs &g, pairs &sum, const pairs &x, const pairs &w,
                                        int half, int lanes, float eps)
{
    float r = head_rstd(x, half, lanes, eps), mean = 0;

#pragma unroll
    for (int k = 0; k < PAIRS; k++) {
        sum.u[k] += g.u[k] * x.u[k] * r;
        sum.v[k] += g.v[k] * x.v[k] * r;
        g.u[k] *= w.u[k];
        g.v[k] *= w.v[k];
        mean += g.u[k] * x.u[k] + g.v[k] * x.v[k];
    }
    mean = sum_across(mean, 1, lanes) / (float)(2 * half);
#pragma unroll
    for (int k = 0; k < PAIRS; k++) {
        g.u[k] = r * (g.u[k] - x.u[k] * r * r * mean);
        g.v[k] = r * (g.v[k] - x.v[k] * r * r * mean);
    }
}

/* Adds what a warp has summed to TO, of one slice. Each column has one lane that ever writes it. */
__device__ static inline void add_sum(float *to, pairs &sum, int half, int lanes, const columns &c)
{
    for (int step = lanes; step < WARP; step *= 2) {
#pragma unroll
        for (int k = 0; k < PAIRS; k++) {
            sum.u[k] += __shfl_xor_sync(0xffffffffu, sum.u[k], step);
            sum.v[k] += __shfl_xor_sync(0xffffffffu, sum.v[k], step);
        }
    }
#pragma unroll
    for (int k = 0; k < PAIRS; k++)
        if (c.head == 0 && k < c.n) {
            to[c.j + k] += sum.u[k];
            to[c.j + k + half] += sum.v[k];
        }
    sum = {};
}

__device__ static inline void clear_sums(float *to, int slices, int half, const columns &c)
{
    for (int k = 0; c.head == 0 && k < c.n; k++)
        for (int s = 0; s < slices; s++)
            to[s * 2 * half + c.j + k] = to[s * 2 * half + c.j + k + half] = 0;
}

/* Slices mostly come in runs, so a sum is kept in registers until the slice changes. */
template <typename T, int N>
__global__ void rope_bwd(void *to, const void *up, const void *from, cu_rope p, int half, int lanes,
                         bool add, float *partial, int64_t each, int64_t chunks)
{
    int64_t item = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, i = item / PARTS * each;
    int64_t end = i + each < p.t ? i + each : p.t;
    int part = (int)(item % PARTS), slice = -1, d = (int)p.d;
    const float *weight = part == 0 ? p.qw : p.kw;
    columns c = columns_of(half, lanes);
    pairs sum = {};

    if (i >= p.t)
        return;
    partial += (part * chunks + item / PARTS) * p.slices * 2 * half;
    if (weight)
        clear_sums(partial, p.slices, half, c);
    for (; i < end; i++) {
        int64_t row = p.at ? p.at[i] : i;
        int now = p.slice ? p.slice[row] : 0, position = p.position[row];
        const T *x = (const T *)from + row * 3 * d, *dy = (const T *)up + i * 3 * d;
        T *dx = (T *)to + row * 3 * d;

        move_half<T, N>(dx, dy, part, d, add);
        if (weight && now != slice) {
            if (slice >= 0)
                add_sum(partial + slice * 2 * half, sum, half, lanes, c);
            slice = now;
        }
        for (int h = c.head; h - c.head < p.heads; h += WARP / lanes) {
            int n = h < p.heads ? c.n : 0, at = part * d + h * 2 * half + c.j;
            pairs g = load_pairs<N>(dy + at, dy + at + half, n);
            pairs a = load_pairs<N>(x + at, x + at + half, weight ? n : 0);
            pairs w = weights_of<N>(weight, half, now, c);

            turn_back(g, angles_of<N>(p, position, half, c));
            if (weight)
                norm_back(g, sum, a, w, half, lanes, p.eps);
            give_first<N>(dx + at, g.u, n, add);
            give_first<N>(dx + at + half, g.v, n, add);
        }
    }
    if (slice >= 0)
        add_sum(partial + slice * 2 * half, sum, half, lanes, c);
}

void cu_rope_bwd(cu *on, void *dx, float *dqw, float *dkw, const void *dy, const void *x,
                 const cu_rope *p, bool add, float *partial)
{
    int64_t each = rows_per_chunk(p->t), chunks = blocks_for(p->t, each);
    int64_t e = p->d / p->heads, n = p->slices * e;

    LAUNCH(on, rope_bwd, wide(e / 2, dx, dy, x, p->qw, p->kw, p->cosine, p->sine),
           blocks_for(chunks * PARTS, WARPS), THREADS, dx, dy, x, *p, (int)(e / 2),
           lanes_for(e / 2), add, partial, each, chunks);
    if (dqw)
        cu_add_parts(on, dqw, partial, chunks, n);
    if (dkw)
        cu_add_parts(on, dkw, partial + chunks * n, chunks, n);
}
