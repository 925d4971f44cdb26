/* QK-norm and rotary positions on the q and k parts of [q k v]: one warp per head of a row, whose
   lanes take pairs (j, j + e/2). Angles come from a table. */
#include "models/kernels/cuda/kernel.cuh"

enum { HEADS = THREADS / WARP }; /* of one block */

/* Head H of row T of y, 0 .. 3 heads: those of q, k, v. */
typedef struct place {
    int64_t t, at, from; /* its first element of y, and of x */
    int part;            /* 0 q, 1 k, 2 v */
    const float *w, *cosine, *sine;
} place;

__device__ static inline place place_of(const cu_rope &p, int64_t item, int64_t e)
{
    int h = (int)(item % (3 * p.heads));
    int64_t row;
    place a;

    a.t = item / (3 * p.heads);
    row = p.at ? p.at[a.t] : a.t;
    a.at = a.t * 3 * p.d + h * e;
    a.from = row * 3 * p.d + h * e;
    a.part = h / p.heads;
    a.w = a.part == 0 ? p.qw : a.part == 1 ? p.kw : NULL;
    if (a.w && p.slice)
        a.w += p.slice[row] * e;
    a.cosine = p.cosine + p.position[row] * (e / 2);
    a.sine = p.sine + p.position[row] * (e / 2);
    return a;
}

template <typename T> __device__ static inline float head_rstd(const T *v, int64_t e, float eps)
{
    float sum = 0;

    for (int64_t j = threadIdx.x % WARP; j < e; j += WARP)
        sum += to_float(v[j]) * to_float(v[j]);
    return 1 / sqrtf(lane_sum(sum) / (float)e + eps);
}

template <typename T> __global__ void rope(void *to, const void *from, cu_rope p)
{
    int64_t item = (int64_t)blockIdx.x * HEADS + threadIdx.x / WARP, e = p.d / p.heads;

    if (item >= p.t * 3 * p.heads)
        return;
    place a = place_of(p, item, e);
    const T *x = (const T *)from + a.from;
    T *y = (T *)to + a.at;
    float r = a.w ? head_rstd(x, e, p.eps) : 1;

    for (int64_t j = threadIdx.x % WARP; j < e / 2; j += WARP) {
        float u = to_float(x[j]), v = to_float(x[j + e / 2]);
        float c = a.part < 2 ? a.cosine[j] : 1, s = a.part < 2 ? a.sine[j] : 0;

        if (a.w) {
            u = a.w[j] * (u * r);
            v = a.w[j + e / 2] * (v * r);
        }
        set(y[j], u * c - v * s);
        set(y[j + e / 2], u * s + v * c);
    }
}

void cu_rope_fwd(cu *on, void *y, const void *x, const cu_rope *p)
{
    launch(on, on->bf16 ? rope<bf16> : rope<float>, blocks_for(p->t * 3 * p->heads, HEADS), THREADS,
           y, x, *p);
}

/* ---- backward ------------------------------------------------------------------------------- */

/* The gradient of what was rotated: pair J of dy, turned back. */
template <typename T>
__device__ static inline void turn_back(float &u, float &v, const T *dy, const place &a, int64_t j,
                                        int64_t half)
{
    float c = a.part < 2 ? a.cosine[j] : 1, s = a.part < 2 ? a.sine[j] : 0;
    float du = to_float(dy[j]), dv = to_float(dy[j + half]);

    u = du * c + dv * s;
    v = dv * c - du * s;
}

template <typename T> __device__ static inline void give_one(T &to, float x, bool add)
{
    set(to, add ? to_float(to) + x : x);
}

template <typename T>
__global__ void rope_bwd(void *to, const void *up, const void *from, cu_rope p, bool add,
                         float *rstd)
{
    int64_t item = (int64_t)blockIdx.x * HEADS + threadIdx.x / WARP, e = p.d / p.heads;
    int64_t half = e / 2;

    if (item >= p.t * 3 * p.heads)
        return;
    place a = place_of(p, item, e);
    const T *x = (const T *)from + a.from, *dy = (const T *)up + a.at;
    T *dx = (T *)to + a.from;
    float r = a.w ? head_rstd(x, e, p.eps) : 1, mean = 0, u, v;

    if (a.w) {
        for (int64_t j = threadIdx.x % WARP; j < half; j += WARP) {
            turn_back(u, v, dy, a, j, half);
            mean += a.w[j] * u * to_float(x[j]) + a.w[j + half] * v * to_float(x[j + half]);
        }
        mean = lane_sum(mean) / (float)e;
        if (threadIdx.x % WARP == 0)
            rstd[a.t * 2 * p.heads + item % (3 * p.heads)] = r;
    }
    for (int64_t j = threadIdx.x % WARP; j < half; j += WARP) {
        turn_back(u, v, dy, a, j, half);
        if (a.w) {
            u = r * (a.w[j] * u - to_float(x[j]) * r * r * mean);
            v = r * (a.w[j + half] * v - to_float(x[j + half]) * r * r * mean);
        }
        give_one(dx[j], u, add);
        give_one(dx[j + half], v, add);
    }
}

/* Part b of rows for weights of q (even blocks) or k: one thread per pair, as in norm.cu. */
template <typename T>
__global__ void rope_weights_bwd(float *partial, const void *up, const void *from, cu_rope p,
                                 const float *rstd, int64_t each, int64_t parts)
{
    int64_t e = p.d / p.heads, half = e / 2, part = blockIdx.x / 2;
    int64_t end = (part + 1) * each < p.t ? (part + 1) * each : p.t;
    int which = blockIdx.x % 2;

    partial += (which * parts + part) * p.slices * e;
    for (int64_t j = threadIdx.x; j < half; j += blockDim.x) {
        for (int s = 0; s < p.slices; s++)
            partial[s * e + j] = partial[s * e + j + half] = 0;
        for (int64_t t = part * each; t < end; t++) {
            int64_t row = p.at ? p.at[t] : t;
            float *sum = partial + (p.slice ? p.slice[row] * e : 0), du = 0, dv = 0, u, v;

            for (int h = which * p.heads; h < (which + 1) * p.heads; h++) {
                place a = place_of(p, t * 3 * p.heads + h, e);
                const T *x = (const T *)from + a.from;
                float r = rstd[t * 2 * p.heads + h];

                turn_back(u, v, (const T *)up + a.at, a, j, half);
                du += u * to_float(x[j]) * r;
                dv += v * to_float(x[j + half]) * r;
            }
            sum[j] += du;
            sum[j + half] += dv;
        }
    }
}

void cu_rope_bwd(cu *on, void *dx, float *dqw, float *dkw, const void *dy, const void *x,
                 const cu_rope *p, bool add, float *rstd, float *partial)
{
    int64_t e = p->d / p->heads, n = p->slices * e, parts = cu_partials(p->t, p->slices, e) / n;
    int64_t each = parts ? blocks_for(p->t, parts) : 0;

    launch(on, on->bf16 ? rope_bwd<bf16> : rope_bwd<float>, blocks_for(p->t * 3 * p->heads, HEADS),
           THREADS, dx, dy, x, *p, add, rstd);
    if (!p->qw)
        return;
    launch(on, on->bf16 ? rope_weights_bwd<bf16> : rope_weights_bwd<float>, 2 * parts, THREADS,
           partial, dy, x, *p, rstd, each, parts);
    if (dqw)
        cu_add_parts(on, dqw, partial, parts, n);
    if (dkw)
        cu_add_parts(on, dkw, partial + parts * n, parts, n);
}
