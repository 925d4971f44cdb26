/* Softmax, cross-entropy and the gradient of the logits, one block per row:
     loss = lse - logit[target],  d logit[j] = scale (p[j] (1 + 2 z lse) - [j == target]) */
#include "models/kernels/cuda/kernel.cuh"

enum { ROW_THREADS = 512 };

template <typename T, int N>
__global__ void cross_entropy(float *loss, void *to, const float *logits, const int32_t *target,
                              const float *by, float z, int64_t v)
{
    int64_t row = blockIdx.x, own = target[row];
    T *dlogits = to ? (T *)to + row * v : NULL;
    float top = -INFINITY, sum = 0, scale = *by, lse, factor, x[N];

    logits += row * v;
    for (int64_t j = threadIdx.x * N; j < v; j += blockDim.x * N) {
        load(x, logits + j);
        for (int i = 0; i < N; i++)
            top = fmaxf(top, x[i]);
    }
    top = block_max(top);
    for (int64_t j = threadIdx.x * N; j < v; j += blockDim.x * N) {
        load(x, logits + j);
        for (int i = 0; i < N; i++)
            sum += expf(x[i] - top);
    }
    sum = block_sum(sum);
    lse = top + logf(sum);
    factor = own >= 0 ? scale * (1 + 2 * z * lse) : 0;
    if (threadIdx.x == 0)
        loss[row] = own >= 0 ? lse - logits[own] : 0;
    for (int64_t j = threadIdx.x * N; dlogits && j < v; j += blockDim.x * N) {
        load(x, logits + j);
        for (int i = 0; i < N; i++)
            x[i] = own >= 0 ? factor * expf(x[i] - lse) - (j + i == own ? scale : 0) : 0;
        store(dlogits + j, x);
    }
}

void cu_cross_entropy(cu *on, float *loss, void *dlogits, const float *logits,
                      const int32_t *target, const float *scale, float z, int64_t t, int64_t v)
{
    LAUNCH(on, cross_entropy, wide(v, logits, dlogits), t, ROW_THREADS, loss, dlogits, logits,
           target, scale, z, v);
}
