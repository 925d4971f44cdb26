/* The device of cuda_runtime.h: fibres, memory, streams on which everything has happened at once.
 */
#include <cuda_runtime.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1024, WARP = 32, STACK = 128 << 10 };

dim3 threadIdx, blockIdx, blockDim, gridDim;

/* ---- fibres -----------------------------------------------------------------------------------
 */

enum state { READY, AT_BLOCK, AT_WARP, DONE };

static struct fibre {
    char *stack;
    void *sp;
    enum state state;
    unsigned turn; /* collectives of its warp so far */
} fibres[MOST];

static void *scheduler_sp;
static unsigned current, threads;
static uint64_t slot[2][MOST];
static const std::function<void()> *kernel;

/* Saves what a call must keep and the stack pointer into *FROM, and goes on at TO. */
extern "C" void emulate_switch(void **from, void *to);
asm(".text\n.globl emulate_switch\nemulate_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\nmovq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n");

static void give_way(enum state why)
{
    struct fibre *f = &fibres[current];

    f->state = why;
    emulate_switch(&f->sp, scheduler_sp);
}

/* A fibre never ends: it serves one block after the other. */
static void serve()
{
    for (;;) {
        (*kernel)();
        give_way(DONE);
    }
}

static void prepare(struct fibre *f)
{
    void **top;

    f->stack = (char *)malloc(STACK);
    top = (void **)((uintptr_t)(f->stack + STACK) / 16 * 16) - 2;
    *top = (void *)serve;
    f->sp = top - 6; /* the registers that emulate_switch() takes back */
}

static void resume(unsigned i)
{
    current = i;
    threadIdx = dim3(i);
    emulate_switch(&scheduler_sp, fibres[i].sp);
}

/* Lets go those of FIRST .. END-1 when all that are not done wait for WHAT. */
static bool release(unsigned first, unsigned end, enum state what)
{
    bool any = false;

    for (unsigned i = first; i < end; i++) {
        if (fibres[i].state != what && fibres[i].state != DONE)
            return false;
        any = any || fibres[i].state == what;
    }
    for (unsigned i = first; i < end; i++)
        if (fibres[i].state == what)
            fibres[i].state = READY;
    return any;
}

static bool release_any()
{
    bool any = release(0, threads, AT_BLOCK);

    for (unsigned i = 0; i < threads; i += WARP)
        any |= release(i, i + WARP < threads ? i + WARP : threads, AT_WARP);
    return any;
}

static void run_block(bool backwards)
{
    bool done;

    for (unsigned i = 0; i < threads; i++)
        fibres[i].state = READY;
    do {
        done = true;
        for (unsigned i = 0; i < threads; i++) {
            unsigned next = backwards ? threads - 1 - i : i;

            if (fibres[next].state == READY)
                resume(next);
            done = done && fibres[next].state == DONE;
        }
        if (!done && !release_any()) {
            fprintf(stderr, "emulated device: threads wait for different things\n");
            abort();
        }
    } while (!done);
}

void emulate_launch(const cudaLaunchConfig_t &how, const std::function<void()> &body)
{
    static bool backwards;

    if (how.blockDim.x > MOST || how.gridDim.x == 0) {
        fprintf(stderr, "emulated device: a block of %u threads\n", how.blockDim.x);
        abort();
    }
    backwards = !backwards;
    kernel = &body;
    threads = how.blockDim.x;
    blockDim = how.blockDim;
    gridDim = how.gridDim;
    for (unsigned i = 0; i < threads; i++)
        if (!fibres[i].stack)
            prepare(&fibres[i]);
    for (unsigned b = 0; b < gridDim.x; b++) {
        blockIdx = dim3(b);
        run_block(backwards);
    }
}

void __syncthreads()
{
    give_way(AT_BLOCK);
}

/* Two slots in turn: one is read while the next is written. */
uint64_t emulate_exchange(uint64_t mine, unsigned lane)
{
    unsigned turn = fibres[current].turn++ % 2;

    slot[turn][current] = mine;
    give_way(AT_WARP);
    return slot[turn][current / WARP * WARP + lane];
}

unsigned __ballot_sync(unsigned, bool is)
{
    unsigned turn = fibres[current].turn % 2, votes = 0;

    emulate_exchange(is, 0);
    for (unsigned i = 0; i < WARP && current / WARP * WARP + i < threads; i++)
        votes |= (unsigned)slot[turn][current / WARP * WARP + i] << i;
    return votes;
}

/* ---- memory ------------------------------------------------------------------------------------
 */

enum { ALIGN = 256 };

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = 1;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t)
{
    return "out of memory";
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    size_t total, rest;

    cudaMemGetInfo(&rest, &total);
    *p = bytes <= total ? aligned_alloc(ALIGN, (bytes + ALIGN - 1) / ALIGN * ALIGN) : NULL;
    if (!*p)
        return cudaErrorMemoryAllocation;
    memset(*p, 0xff, bytes); /* NaN in both types */
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    return cudaMalloc(p, bytes);
}

cudaError_t cudaFreeHost(void *p)
{
    return cudaFree(p);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *free_bytes = *total = (size_t)1 << 32;
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind,
                            cudaStream_t)
{
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t)
{
    memset(p, value, bytes);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    *stream = NULL;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t)
{
    return cudaSuccess;
}
