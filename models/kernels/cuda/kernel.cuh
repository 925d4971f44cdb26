/* What the kernels share: numbers of either type, 16-byte accesses, sums over a warp and a block in
   a fixed order, and the launch. */
#ifndef MB_KERNELS_CUDA_KERNEL_CUH
#define MB_KERNELS_CUDA_KERNEL_CUH

#include "models/kernels/cuda/kernels.h"

#include <cuda_bf16.h>

typedef __nv_bfloat16 bf16;

enum { WARP = 32, THREADS = 128 };

/* ---- numbers -------------------------------------------------------------------------------- */

__device__ inline float to_float(float x)
{
    return x;
}

__device__ inline float to_float(bf16 x)
{
    return __bfloat162float(x);
}

__device__ inline void set(float &to, float x)
{
    to = x;
}

__device__ inline void set(bf16 &to, float x)
{
    to = __float2bfloat16(x);
}

/* N numbers that one thread reads or writes at once, 16 bytes at a time. */
template <typename T, int N> struct alignas(N * sizeof(T)) pack {
    T v[N];
};

template <typename T, int N> __device__ inline void load(float (&to)[N], const T *from)
{
    constexpr int M = N * sizeof(T) > 16 ? 16 / sizeof(T) : N;

#pragma unroll
    for (int i = 0; i < N; i += M) {
        pack<T, M> p = *reinterpret_cast<const pack<T, M> *>(from + i);

#pragma unroll
        for (int j = 0; j < M; j++)
            to[i + j] = to_float(p.v[j]);
    }
}

template <typename T, int N> __device__ inline void store(T *to, const float (&from)[N])
{
    constexpr int M = N * sizeof(T) > 16 ? 16 / sizeof(T) : N;

#pragma unroll
    for (int i = 0; i < N; i += M) {
        pack<T, M> p;

#pragma unroll
        for (int j = 0; j < M; j++)
            set(p.v[j], from[i + j]);
        *reinterpret_cast<pack<T, M> *>(to + i) = p;
    }
}

/* A gradient: set, or added to what is there. */
template <typename T, int N> __device__ inline void give(T *to, float (&from)[N], bool add)
{
    if (add) {
        float old[N];

        load(old, to);
#pragma unroll
        for (int j = 0; j < N; j++)
            from[j] += old[j];
    }
    store(to, from);
}

/* ---- sums ----------------------------------------------------------------------------------- */

/* Over groups of WIDTH lanes, a power of two; every lane has the result. */
template <int WIDTH = WARP, typename T> __device__ inline T lane_sum(T x)
{
#pragma unroll
    for (int step = WIDTH / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

template <int WIDTH = WARP> __device__ inline float lane_max(float x)
{
#pragma unroll
    for (int step = WIDTH / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

/* Over a block of whole warps; every thread has the result. */
template <typename T> __device__ inline T block_sum(T x)
{
    __shared__ T part[WARP];
    int warps = blockDim.x / WARP;
    T sum = 0;

    x = lane_sum(x);
    __syncthreads(); /* part may still be read from the last call */
    if (threadIdx.x % WARP == 0)
        part[threadIdx.x / WARP] = x;
    __syncthreads();
    for (int i = 0; i < warps; i++)
        sum += part[i];
    return sum;
}

__device__ inline float block_max(float x)
{
    __shared__ float part[WARP];
    int warps = blockDim.x / WARP;

    x = lane_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0)
        part[threadIdx.x / WARP] = x;
    __syncthreads();
    for (int i = 0; i < warps; i++)
        x = fmaxf(x, part[i]);
    return x;
}

/* ---- randomness: base/random.c, on the device ------------------------------------------------ */

__device__ inline uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in [0, 1): draw I of KEY. */
__device__ inline double uniform(uint64_t key, uint64_t i)
{
    return (double)(mix(key ^ mix(i)) >> 11) * 0x1p-53;
}

/* ---- launching ------------------------------------------------------------------------------ */

template <typename T> struct as_is { /* keeps an argument out of the deduction of a type */
    typedef T type;
};

/* See kernels.h: what holds a number between two of its members would differ from call to call. */
static_assert(sizeof(cu_route) == 2 * sizeof(int64_t) + 4 * sizeof(void *));
static_assert(sizeof(cu_span) == 2 * sizeof(int64_t) + 3 * sizeof(void *));
static_assert(sizeof(cu_rope) ==
              7 * sizeof(void *) + 3 * sizeof(int64_t) + sizeof(int) + sizeof(float));
static_assert(sizeof(cu_choice) ==
              5 * sizeof(int64_t) + 6 * sizeof(int) + 2 * sizeof(double) + 21 * sizeof(void *));

template <typename... P>
void launch(cu *on, void (*kernel)(P...), int64_t blocks, int threads,
            typename as_is<P>::type... args)
{
    cudaLaunchConfig_t how = {};
    cudaError_t err;

    cu_note(on, &kernel, sizeof kernel);
    cu_note(on, &blocks, sizeof blocks);
    (cu_note(on, &args, sizeof args), ...);
    if (blocks == 0 || on->replaying)
        return;
    how.gridDim = dim3((unsigned)blocks);
    how.blockDim = dim3((unsigned)threads);
    how.stream = on->stream;
    err = cudaLaunchKernelEx(&how, kernel, args...);
    if (on->err == cudaSuccess)
        on->err = err;
}

inline int64_t blocks_for(int64_t n, int64_t each)
{
    return (n + each - 1) / each;
}

/* Whether rows of D numbers from P on can be read 16 bytes at a time. */
inline bool wide(int64_t d, const void *p)
{
    return d % 8 == 0 && (uintptr_t)p % 16 == 0;
}

template <typename... P> bool wide(int64_t d, const void *p, P... more)
{
    return wide(d, p) && wide(d, more...);
}

/* Launches KERNEL<T, N>, for the type of the activations and N numbers at once if WIDE. */
#define LAUNCH(on, kernel, is_wide, blocks, threads, ...)                                          \
    do {                                                                                           \
        if ((on)->bf16 && (is_wide))                                                               \
            launch(on, kernel<bf16, 8>, blocks, threads, __VA_ARGS__);                             \
        else if ((on)->bf16)                                                                       \
            launch(on, kernel<bf16, 1>, blocks, threads, __VA_ARGS__);                             \
        else if (is_wide)                                                                          \
            launch(on, kernel<float, 4>, blocks, threads, __VA_ARGS__);                            \
        else                                                                                       \
            launch(on, kernel<float, 1>, blocks, threads, __VA_ARGS__);                            \
    } while (0)

#endif
