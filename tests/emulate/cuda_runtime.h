/* A stand-in for CUDA's header of the same name: kernels run on the host, one block after the
   other, each thread of a block as a fibre that gives way where it would wait for others.

   It shows wrong indices, missing barriers (fibres run forwards in one launch and backwards in the
   next), collectives that not all threads of a warp reach, and, with the address sanitizer,
   accesses out of bounds; new memory holds NaN, and is out of
   the host's reach. A stream that is captured runs nothing until its
   graph is launched, and capturing fails as on a device where anything waits or takes memory, or a
   stream that others have joined does not come back. Streams run one after the other. It does not
   show races inside of a warp, what blocks do to each other side by side, or how fast anything is.
   For tests alone; x86-64. */
#ifndef MB_TESTS_EMULATE_CUDA_RUNTIME_H
#define MB_TESTS_EMULATE_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cudaError {
    cudaSuccess,
    cudaErrorMemoryAllocation = 2,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated,
    cudaErrorStreamCaptureUnjoined = 904
} cudaError_t;
typedef struct CUstream_st *cudaStream_t;
typedef struct CUgraph_st *cudaGraph_t;
typedef struct CUgraphExec_st *cudaGraphExec_t;
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
typedef struct CUevent_st *cudaEvent_t;
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost };
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming };

cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaGetLastError(void);
const char *cudaGetErrorString(cudaError_t err);
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaMallocHost(void **p, size_t bytes);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, void (*f)(void *), void *of);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

#ifdef __cplusplus
}

#include <functional>
#include <tuple>

#define __global__
#define __launch_bounds__(...)
#define __device__
#define __shared__ static

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c)
    {
    }
};

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};

/* Runs BODY for every thread of every block. */
void emulate_launch(const cudaLaunchConfig_t &how, const std::function<void()> &body);
/* Does WORK now, or when the graph that is captured is launched. */
void emulate_enqueue(std::function<void()> work);

template <typename... P, typename... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *how, void (*kernel)(P...), A &&...args)
{
    emulate_enqueue([how = *how, kernel, given = std::tuple<P...>(args...)] {
        emulate_launch(how, [&] { std::apply(kernel, given); });
    });
    return cudaSuccess;
}

void __syncthreads();
/* Waits for the warp; every thread gives 8 bytes and is told those of thread LANE of its warp. */
uint64_t emulate_exchange(uint64_t mine, unsigned lane);
unsigned __ballot_sync(unsigned mask, bool is);

template <typename T> T __shfl_xor_sync(unsigned, T x, int step)
{
    uint64_t bits = 0;

    static_assert(sizeof x <= sizeof bits, "a register or two");
    __builtin_memcpy(&bits, &x, sizeof x);
    bits = emulate_exchange(bits, threadIdx.x % 32 ^ (unsigned)step);
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

template <typename T> T __shfl_sync(unsigned, T x, int lane)
{
    return __shfl_xor_sync(0, x, (int)(threadIdx.x % 32) ^ lane);
}

/* The first lanes, with none so far before them, are told their own. */
template <typename T> T __shfl_up_sync(unsigned, T x, int step)
{
    int lane = (int)(threadIdx.x % 32);

    return __shfl_sync(0, x, lane < step ? lane : lane - step);
}

template <typename T> T atomicAdd(T *to, T x)
{
    T old = *to;

    *to += x;
    return old;
}

inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

inline unsigned __float_as_uint(float x)
{
    unsigned bits;

    __builtin_memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline float __uint_as_float(unsigned bits)
{
    float x;

    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}
#endif

#endif
