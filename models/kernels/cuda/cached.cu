/* Attention of few new rows to what a cache keeps: a block per row and head. Reading keys and
   values is the cost, so there are no tiles. */
#include "models/kernels/cuda/kernel.cuh"

/* One thread per number: keys and values of x to their places. */
template <typename T> __global__ void keep(cu_cached a, const void *x, int64_t d)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, row = i / (2 * d), j = i % (2 * d);

    if (row < a.t)
        ((T *)a.cache)[(a.sequence[row] * a.room + a.position[row]) * 2 * d + j] =
            ((const T *)x)[row * 3 * d + d + j];
}

template <typename T>
__global__ void attend_cached(void *to, const void *x, cu_cached a, int64_t d, int heads,
                              float *scores)
{
    int64_t row = blockIdx.x / heads, h = blockIdx.x % heads, e = d / heads, keys = a.hi[row] + 1;
    const T *q = (const T *)x + row * 3 * d + h * e;
    const T *key = (const T *)a.cache + a.sequence[row] * a.room * 2 * d + h * e, *value = key + d;
    float *score = scores + blockIdx.x * a.room, top = -INFINITY, sum = 0;

    for (int64_t k = threadIdx.x; k < keys; k += blockDim.x) {
        float dot = 0;

        for (int64_t j = 0; j < e; j++)
            dot += to_float(q[j]) * to_float(key[k * 2 * d + j]);
        score[k] = dot / sqrtf((float)e);
        top = fmaxf(top, score[k]);
    }
    top = block_max(top);
    for (int64_t k = threadIdx.x; k < keys; k += blockDim.x) {
        score[k] = expf(score[k] - top);
        sum += score[k];
    }
    sum = block_sum(sum); /* and all scores are there to be read */
    for (int64_t j = threadIdx.x; j < e; j += blockDim.x) {
        float y = 0;

        for (int64_t k = 0; k < keys; k++)
            y += score[k] * to_float(value[k * 2 * d + j]);
        set(((T *)to)[row * d + h * e + j], y / sum);
    }
}

template <typename T>
static void attend_as(cu *on, void *y, const void *x, const cu_cached *a, int64_t d, int heads,
                      float *score)
{
    launch(on, keep<T>, blocks_for(a->t * 2 * d, THREADS), THREADS, *a, x, d);
    launch(on, attend_cached<T>, a->t * heads, THREADS, y, x, *a, d, heads, score);
}

void cu_attend_cached(cu *on, void *y, const void *x, const cu_cached *a, int64_t d, int heads,
                      float *score)
{
    (on->bf16 ? attend_as<bf16> : attend_as<float>)(on, y, x, a, d, heads, score);
}
