/* Softmax, cross-entropy and the gradient of the logits, one block per row:
     loss = lse - logit[target],  d logit[j] = scale (p[j] (1 + 2 z lse) - [j == target]) */
#include "models/kernels/cuda/kernel.cuh"

#include <float.h>

/* Threads for a long row; 64 registers for each, which their kernel must say. */
enum { ROW_THREADS = 1024 };

/* e^x in fewer instructions than expf(), off by some 1e-7 (1 + |x|) of itself. */
__device__ static inline float exp_of(float x)
{
    return exp2f(x * 1.44269504f);
}

/* Every thread corrects its sum when it meets a greater number, so that x (n) is read once. */
template <int N> __device__ static float log_sum_exp(const float *x, int n)
{
    float top = -FLT_MAX, sum = 0, most, more, is[N];

    for (int j = threadIdx.x * N; j < n; j += blockDim.x * N) {
        load(is, x + j);
        most = top;
        more = 0;
#pragma unroll
        for (int i = 0; i < N; i++)
            most = fmaxf(most, is[i]);
#pragma unroll
        for (int i = 0; i < N; i++)
            more += exp_of(is[i] - most);
        sum = sum * exp_of(top - most) + more;
        top = most;
    }
    most = block_max(top);
    return most + logf(block_sum(sum * exp_of(top - most)));
}

/* Goes back from the end of the row, which was read last and may still be in a cache. */
template <typename T, int N>
__global__ void __launch_bounds__(ROW_THREADS, 1)
    cross_entropy(float *loss, void *to, const float *logits, const int32_t *target,
                  const float *by, float z, int64_t v)
{
    int64_t row = blockIdx.x;
    int own = target[row], n = (int)v, turn = blockDim.x * N;
    int j = (n - 1) / turn * turn + threadIdx.x * N;
    T *dlogits = to ? (T *)to + row * v : NULL;
    float scale = *by, lse, factor;

    logits += row * v;
    lse = own >= 0 ? log_sum_exp<N>(logits, n) : 0;
    factor = scale * (1 + 2 * z * lse);
    if (threadIdx.x == 0)
        loss[row] = own >= 0 ? lse - logits[own] : 0;
    if (!dlogits)
        return;
    if (j >= n)
        j -= turn;
    for (; j >= 0; j -= turn) {
        float x[N] = {};

        if (own >= 0) {
            load(x, logits + j);
#pragma unroll
            for (int i = 0; i < N; i++)
                x[i] = factor * exp_of(x[i] - lse) - (j + i == own ? scale : 0);
        }
        store(dlogits + j, x);
    }
}

void cu_cross_entropy(cu *on, float *loss, void *dlogits, const float *logits,
                      const int32_t *target, const float *scale, float z, int64_t t, int64_t v)
{
    int64_t warps = blocks_for(v, 8 * WARP); /* a thread has 8 words at least */
    int threads = warps * WARP < ROW_THREADS ? (int)warps * WARP : ROW_THREADS;

    LAUNCH(on, cross_entropy, wide(v, logits, dlogits), t, threads, loss, dlogits, logits, target,
           scale, z, v);
}
