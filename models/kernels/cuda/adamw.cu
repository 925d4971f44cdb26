/* The optimiser: AdamW over a flat range, and the sum of squares that clipping needs. */
#include "models/kernels/cuda/kernel.cuh"

enum { PART = 65536 }; /* elements of a partial sum: fixed, so that the order of a sum is too */

int64_t cu_squares_partials(int64_t n)
{
    return blocks_for(n, PART);
}

__global__ void part_squares(double *partial, const float *x, int64_t n)
{
    int64_t begin = (int64_t)blockIdx.x * PART, end = begin + PART < n ? begin + PART : n;
    double sum = 0;

    for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x)
        sum += (double)x[i] * x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

__global__ void add_squares(double *total, const double *partial, int64_t parts)
{
    double sum = 0;

    for (int64_t i = threadIdx.x; i < parts; i += blockDim.x)
        sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        *total = sum;
}

void cu_sum_squares(cu *on, double *sum, double *partial, const float *x, int64_t n)
{
    launch(on, part_squares, cu_squares_partials(n), 4 * THREADS, partial, x, n);
    launch(on, add_squares, 1, 4 * THREADS, sum, partial, cu_squares_partials(n));
}

/* As mb_grad_scale() of backend.h. */
__device__ static inline float grad_scale(const cu_adamw &how)
{
    double norm = how.clip > 0 ? sqrt(*how.squares) : 0;

    return norm > how.clip ? (float)(how.clip / norm) : 1.0f;
}

template <int N>
__global__ void adamw(float *p, float *g, float *m, float *v, int64_t n, const cu_adamw *step)
{
    const cu_adamw how = *step;
    int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
    float pi[N], gi[N], mi[N], vi[N], scale = grad_scale(how);

    if (at >= n)
        return;
    load(pi, p + at);
    load(gi, g + at);
    load(mi, m + at);
    load(vi, v + at);
    for (int i = 0; i < N; i++) {
        float d = gi[i] * scale;

        mi[i] = how.beta1 * mi[i] + (1 - how.beta1) * d;
        vi[i] = how.beta2 * vi[i] + (1 - how.beta2) * d * d;
        pi[i] -= how.rate * mi[i] / (sqrtf(vi[i] * how.unbias) + how.eps) + how.keep * pi[i];
        gi[i] = 0;
    }
    store(p + at, pi);
    store(g + at, gi);
    store(m + at, mi);
    store(v + at, vi);
}

void cu_adamw_step(cu *on, float *p, float *g, float *m, float *v, int64_t n, const cu_adamw *how)
{
    if (wide(n, p, g, m, v))
        launch(on, adamw<4>, blocks_for(n, 4 * THREADS), THREADS, p, g, m, v, n, how);
    else
        launch(on, adamw<1>, blocks_for(n, THREADS), THREADS, p, g, m, v, n, how);
}
