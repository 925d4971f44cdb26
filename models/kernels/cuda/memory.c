/* Memory of a device: parameters and scratch, indices that follow from host memory, copies of
   weights in bf16, and what comes back. Nothing here waits for the device but cuda_write() and
   cuda_sync(), and what has to grow. */
#include "models/kernels/cuda/cuda.h"

#include "base/file.h"
#include "models/kernels/arena.h"

#include <stdlib.h>
#include <string.h>

enum {
    STAGE = 1 << 20,  /* bytes of page-locked memory to begin with */
    LARGE = 16 << 20, /* bytes of a copy that is not worth staging */
};

/* ---- errors ---------------------------------------------------------------------------------- */

void cuda_keep(cuda_ctx *c, mb_err err)
{
    if (c->base.err == MB_OK)
        c->base.err = err;
}

void cuda_check(cuda_ctx *c, cudaError_t err, const char *what)
{
    if (err != cudaSuccess && c->base.err == MB_OK)
        c->base.err = mb_fail(MB_EIO, "cuda: %s: %s", what, cudaGetErrorString(err));
}

/* ---- lists ----------------------------------------------------------------------------------- */

void *cuda_list_add(cuda_list *l, size_t size)
{
    if (l->n == l->room) {
        l->room = l->room ? 2 * l->room : 16;
        l->items = realloc(l->items, l->room * size);
        if (!l->items)
            abort();
    }
    return memset((char *)l->items + l->n++ * size, 0, size);
}

/* ---- plain memory ---------------------------------------------------------------------------- */

void *cuda_alloc(mb_ctx *base, size_t bytes)
{
    size_t free_bytes = 0, total = 0;
    void *p = NULL;

    if (cudaMalloc(&p, bytes) == cudaSuccess)
        return p;
    cudaGetLastError(); /* that it did not fit is told here, and is no error of later calls */
    cudaMemGetInfo(&free_bytes, &total);
    mb_fail(MB_ENOMEM, "no memory for %.2f GiB: the device has %.2f of its %.2f GiB free",
            (double)bytes / (1 << 30), (double)free_bytes / (1 << 30), (double)total / (1 << 30));
    return NULL;
}

static void drop_weights(cuda_ctx *c)
{
    cuda_weights *w = c->weights.items;

    for (size_t i = 0; i < c->weights.n; i++)
        cudaFree(w[i].to);
    c->weights.n = 0;
}

void cuda_free(mb_ctx *base, void *p)
{
    drop_weights(cuda_of(base)); /* of what may now lie elsewhere */
    cudaFree(p);
}

void cuda_clear(mb_ctx *base, void *p, size_t bytes)
{
    cuda_ctx *c = cuda_of(base);

    cuda_check(c, cudaMemsetAsync(p, 0, bytes, c->cu.stream), "clearing memory");
    c->version++;
}

void cuda_write(mb_ctx *base, void *to, const void *from, size_t bytes)
{
    cuda_ctx *c = cuda_of(base);

    cuda_check(c, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, c->cu.stream),
               "copying to the device");
    cuda_check(c, cudaStreamSynchronize(c->cu.stream), "copying to the device");
    c->version++;
}

/* ---- what comes back --------------------------------------------------------------------------
 */

/* Waits, and hands out what was fetched. */
static void flush(cuda_ctx *c)
{
    const cuda_fetch *f = c->fetches.items;

    cuda_check(c, c->cu.err, "starting a kernel");
    c->cu.err = cudaSuccess;
    cuda_check(c, cudaStreamSynchronize(c->cu.stream), "waiting for the device");
    for (size_t i = 0; i < c->fetches.n; i++)
        memcpy(f[i].to, f[i].staged, f[i].bytes);
    c->fetches.n = 0;
    c->stage_used = 0;
}

/* BYTES of page-locked memory until the next flush. */
static void *stage(cuda_ctx *c, size_t bytes)
{
    void *p;

    if (c->stage_used + bytes > c->stage_size) {
        flush(c);
        if (bytes > c->stage_size) {
            size_t size = 2 * bytes > STAGE ? 2 * bytes : STAGE;

            cudaFreeHost(c->stage);
            c->stage = NULL;
            c->stage_size = 0;
            if (cudaMallocHost((void **)&c->stage, size) != cudaSuccess) {
                fprintf(stderr, "motbench: no page-locked memory (%zu bytes)\n", size);
                abort();
            }
            c->stage_size = size;
        }
    }
    p = c->stage + c->stage_used;
    c->stage_used += cuda_aligned(bytes);
    if (c->stage_used > c->stage_size)
        c->stage_used = c->stage_size;
    return p;
}

void cuda_fetch_to(mb_ctx *base, void *to, const void *from, size_t bytes)
{
    cuda_ctx *c = cuda_of(base);
    cuda_fetch *f;
    void *staged;

    if (bytes >= LARGE) {
        cuda_check(c, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, c->cu.stream),
                   "copying from the device");
        return;
    }
    staged = stage(c, bytes);
    cuda_check(c, cudaMemcpyAsync(staged, from, bytes, cudaMemcpyDeviceToHost, c->cu.stream),
               "copying from the device");
    f = cuda_list_add(&c->fetches, sizeof *f);
    *f = (cuda_fetch){ .to = to, .staged = staged, .bytes = bytes };
}

void cuda_sync(mb_ctx *base)
{
    flush(cuda_of(base));
}

/* ---- what follows from host memory -------------------------------------------------------------
 */

const void *cuda_indices(cuda_ctx *c, const void *host, size_t bytes)
{
    cuda_copy *copy = c->copies.items;
    void *staged;

    if (!host || bytes == 0)
        return NULL;
    for (size_t i = 0; i < c->copies.n; i++)
        if (copy[i].host == host && copy[i].bytes == bytes)
            return copy[i].device;
    staged = memcpy(stage(c, bytes), host, bytes);
    copy = cuda_list_add(&c->copies, sizeof *copy);
    *copy =
        (cuda_copy){ .host = host, .bytes = bytes, .device = mb_arena_take(&c->indices, bytes) };
    cuda_check(c,
               cudaMemcpyAsync(copy->device, staged, bytes, cudaMemcpyHostToDevice, c->cu.stream),
               "copying indices to the device");
    return copy->device;
}

/* The stage may hold what the device has yet to read, unless the pass ended with a sync. */
void cuda_reset(mb_ctx *base)
{
    cuda_ctx *c = cuda_of(base);

    if (c->stage_used > 0)
        flush(c);
    c->copies.n = 0;
    mb_arena_reset(&c->indices);
}

/* The most that was kept beside the scratch: what mb_ctx_held() adds. */
static void count_own(cuda_ctx *c)
{
    const cuda_weights *w = c->weights.items;
    size_t own = c->space_size + c->indices.peak;

    for (size_t i = 0; i < c->weights.n; i++)
        own += (size_t)w[i].n * mb_size(MB_BF16);
    c->base.own = own > c->base.own ? own : c->base.own;
}

void *cuda_space(cuda_ctx *c, size_t bytes)
{
    if (bytes > c->space_size) {
        cudaFree(c->space);
        c->space = NULL;
        c->space_size = 0;
        if (cudaMalloc(&c->space, bytes) != cudaSuccess) {
            fprintf(stderr, "motbench: the device has no memory for a workspace of %zu bytes\n",
                    bytes);
            abort();
        }
        c->space_size = bytes;
        count_own(c);
    }
    return c->space;
}

/* ---- weights in bf16 ---------------------------------------------------------------------------
 */

/* Weights are used in the same order in every pass, so that the next one is mostly the one after.
 */
static cuda_weights *find_weights(cuda_ctx *c, const float *from, int64_t n)
{
    cuda_weights *w = c->weights.items;

    for (size_t i = 0; i < c->weights.n; i++)
        if (w[i].from == from && w[i].n == n)
            return &w[i];
    w = cuda_list_add(&c->weights, sizeof *w);
    *w = (cuda_weights){ .from = from, .n = n };
    w->to = cuda_alloc(&c->base, (size_t)n * mb_size(MB_BF16));
    if (!w->to) {
        fprintf(stderr, "motbench: weights in bf16: %s\n", mb_message());
        abort();
    }
    count_own(c);
    return w;
}

const void *cuda_operand(cuda_ctx *c, const float *w, int64_t n)
{
    cuda_weights *copy;

    if (!c->cu.bf16)
        return w;
    copy = find_weights(c, w, n);
    if (copy->version != c->version) {
        cu_to_bf16(&c->cu, copy->to, w, n);
        copy->version = c->version;
    }
    return copy->to;
}

void cuda_forget(cuda_ctx *c)
{
    drop_weights(c);
    mb_arena_free(&c->indices);
    cudaFreeHost(c->stage);
    cudaFree(c->space);
    cudaFree(c->angles.table);
    free(c->copies.items);
    free(c->weights.items);
    free(c->fetches.items);
}
