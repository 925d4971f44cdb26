/* The device of cuda_runtime.h: fibres, memory, streams on which everything has happened at once.
 */
#include <cuda_runtime.h>

#include <map>
#include <set>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <vector>

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

   In one range of addresses that the host cannot follow while the device does nothing: what the
   host reads or writes there by itself ends the test, as it would on a device. With the address
   sanitizer it is plain memory instead, so that accesses out of bounds are seen. */

enum { ALIGN = 256, PAGE = 4096 };
static const size_t TOTAL = (size_t)1 << 32;
static size_t taken;

#ifdef __SANITIZE_ADDRESS__
static void reach(bool)
{
}

static void *find_memory(size_t bytes)
{
    return aligned_alloc(ALIGN, bytes);
}

static void lose_memory(void *p, size_t)
{
    free(p);
}
#else
static char *memory, *end; /* from the first to beyond the last that was ever taken */
static std::multimap<size_t, char *> lost;

static void reach(bool yes)
{
    if (end > memory)
        mprotect(memory, (size_t)(end - memory), yes ? PROT_READ | PROT_WRITE : PROT_NONE);
}

/* With a page behind it that nobody takes, so that few pages are between an end and a fault. */
static void *find_memory(size_t bytes)
{
    size_t whole = (bytes + PAGE - 1) / PAGE * PAGE + PAGE;
    auto same = lost.find(whole);
    char *p = end;

    if (!memory)
        p = memory = end = (char *)mmap(NULL, 16 * TOTAL, PROT_NONE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (same == lost.end()) {
        end += whole;
        return p;
    }
    p = same->second;
    lost.erase(same);
    return p;
}

static void lose_memory(void *p, size_t bytes)
{
    lost.insert({ (bytes + PAGE - 1) / PAGE * PAGE + PAGE, (char *)p });
}
#endif

static std::map<void *, size_t> sizes;

/* ---- the stream -------------------------------------------------------------------------------
 */

struct CUgraph_st {
    std::vector<std::function<void()>> work;
};

struct CUgraphExec_st {
    std::vector<std::function<void()>> work;
};

struct CUstream_st {
    bool joined; /* the capture under way, whose first stream is `origin` */
};

struct CUevent_st {
    CUstream_st *of; /* recorded there while it was part of a capture; else NULL */
};

static CUgraph_st *captured; /* NULL: nothing is captured */
static CUstream_st *origin;
static std::set<CUstream_st *> streams;
static std::vector<CUstream_st *> apart; /* streams that joined and have not come back */
static bool invalid; /* what was captured is, since something was done that cannot be */

/* Whether a call that no graph can hold is made while one is captured. */
static bool forbidden()
{
    invalid = invalid || captured;
    return captured;
}

/* What the device does, to memory that is out of the host's reach otherwise. */
static void run(const std::function<void()> &work)
{
    reach(true);
    work();
    reach(false);
}

void emulate_enqueue(std::function<void()> work)
{
    if (captured)
        captured->work.push_back(work);
    else
        run(work);
}

/* Work that a capture would miss is a mistake, too. */
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, void (*f)(void *), void *of)
{
    if (captured && !stream->joined && forbidden())
        return cudaErrorStreamCaptureUnsupported;
    emulate_enqueue([=] { f(of); });
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    if (forbidden())
        return cudaErrorStreamCaptureUnsupported;
    captured = new CUgraph_st;
    origin = stream;
    stream->joined = true;
    invalid = false;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    *event = new CUevent_st{ NULL };
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    event->of = stream->joined ? stream : NULL;
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    if (!captured || !event->of)
        return cudaSuccess;
    if (stream == origin) {
        for (size_t i = 0; i < apart.size(); i++)
            if (apart[i] == event->of)
                apart.erase(apart.begin() + (long)i--);
    } else {
        stream->joined = true;
        apart.push_back(stream);
    }
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *graph)
{
    bool back = apart.empty();

    *graph = captured;
    captured = NULL;
    for (auto *stream : streams)
        stream->joined = false;
    apart.clear();
    if (!invalid && back)
        return cudaSuccess;
    cudaGraphDestroy(*graph);
    *graph = NULL;
    return back ? cudaErrorStreamCaptureInvalidated : cudaErrorStreamCaptureUnjoined;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new CUgraphExec_st{ graph->work };
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t)
{
    for (auto &work : exec->work)
        run(work);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    streams.insert(*stream = new CUstream_st{ false });
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return forbidden() ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = 1;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t err)
{
    return err == cudaErrorMemoryAllocation ? "out of memory" : "not while a stream is captured";
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    size_t whole = (bytes + ALIGN - 1) / ALIGN * ALIGN;

    *p = NULL;
    if (forbidden())
        return cudaErrorStreamCaptureUnsupported;
    if (bytes > TOTAL - taken || !(*p = find_memory(whole)))
        return cudaErrorMemoryAllocation;
    run([=] { memset(*p, 0xff, bytes); }); /* NaN in both types */
    sizes[*p] = whole;
    taken += whole;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    if (forbidden())
        return cudaErrorStreamCaptureUnsupported;
    if (!p)
        return cudaSuccess;
    taken -= sizes[p];
    lose_memory(p, sizes[p]);
    sizes.erase(p);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    *p = forbidden() ? NULL : aligned_alloc(ALIGN, (bytes + ALIGN - 1) / ALIGN * ALIGN);
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *p)
{
    free(p);
    return forbidden() ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *total = TOTAL;
    *free_bytes = TOTAL - taken;
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind,
                            cudaStream_t)
{
    emulate_enqueue([=] { memcpy(to, from, bytes); });
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t)
{
    emulate_enqueue([=] { memset(p, value, bytes); });
    return cudaSuccess;
}
