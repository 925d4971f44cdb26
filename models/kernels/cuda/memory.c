/* Memory of a device: parameters and scratch, indices that follow from host memory, copies of
   weights in bf16, and what comes back. Nothing here waits for the device but cuda_write() and
   cuda_sync(), and what has to grow; a pass of known shapes grows nothing. */
#include "models/kernels/cuda/cuda.h"

#include "base/file.h"
#include "models/kernels/arena.h"

#include <stdlib.h>
#include <string.h>

enum {
    LARGE = 16 << 20,  /* bytes of a copy that is not worth staging */
    STAGED = 64 << 20, /* bytes at which it is time to wait and begin anew */
};

/* ---- beginning and end ------------------------------------------------------------------------
 */

static void *stage_alloc(mb_ctx *base, size_t bytes)
{
    void *p = NULL;

    if (cudaMallocHost(&p, bytes) == cudaSuccess)
        return p;
    mb_fail(MB_ENOMEM, "no page-locked memory for %zu bytes", bytes);
    return NULL;
}

static void stage_free(mb_ctx *base, void *p)
{
    cuda_graphs_drop(cuda_of(base));
    cudaFreeHost(p);
}

void cuda_memory_open(cuda_ctx *c)
{
    c->version = 1;
    c->indices = (mb_arena){ .alloc = cuda_alloc, .free = cuda_free, .of = &c->base };
    c->stage = (mb_arena){ .alloc = stage_alloc, .free = stage_free, .of = &c->base };
}

/* ---- errors ---------------------------------------------------------------------------------- */

void cuda_keep(cuda_ctx *c, mb_err err)
{
    cudaError_t start = c->cu.err; /* of a kernel: before what is told now, and perhaps its cause */

    c->cu.err = cudaSuccess;
    if (c->base.err != MB_OK || (err == MB_OK && start == cudaSuccess))
        return;
    if (start != cudaSuccess)
        err = mb_fail(MB_EIO, "cuda: starting a kernel: %s", cudaGetErrorString(start));
    c->base.err = err;
    snprintf(c->why, sizeof c->why, "%s", mb_message());
}

void cuda_check(cuda_ctx *c, cudaError_t err, const char *what)
{
    if (err != cudaSuccess)
        cuda_keep(c, mb_fail(MB_EIO, "cuda: %s: %s", what, cudaGetErrorString(err)));
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

size_t cuda_free_bytes(mb_ctx *base)
{
    size_t free_bytes = 0, total = 0;

    cuda_check(cuda_of(base), cudaMemGetInfo(&free_bytes, &total), "asking for free memory");
    return free_bytes;
}

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

static void count_own(cuda_ctx *c)
{
    size_t own = c->kept + mb_arena_size(&c->indices);

    c->base.own = own > c->base.own ? own : c->base.own;
}

void *cuda_take(cuda_ctx *c, size_t bytes)
{
    void *p = cuda_alloc(&c->base, bytes);

    if (p)
        c->kept += bytes;
    count_own(c);
    return p;
}

void cuda_give_back(cuda_ctx *c, void *p, size_t bytes)
{
    if (!p)
        return;
    cuda_graphs_drop(c);
    cudaFree(p);
    c->kept -= bytes;
}

static size_t copy_bytes(const cuda_weights *w)
{
    return (size_t)w->n * mb_size(MB_BF16);
}

static void drop_weights(cuda_ctx *c)
{
    cuda_weights *w = c->weights.items;

    for (size_t i = 0; i < c->weights.n; i++)
        cuda_give_back(c, w[i].to, copy_bytes(&w[i]));
    c->weights.n = 0;
}

void cuda_free(mb_ctx *base, void *p)
{
    drop_weights(cuda_of(base)); /* of what may now lie elsewhere */
    cuda_graphs_forget(cuda_of(base));
    cudaFree(p);
}

/* BYTES from P on have changed: copies of weights among them are of no use. */
static void changed(cuda_ctx *c, const void *p, size_t bytes)
{
    const char *begin = p, *end = begin + bytes;
    cuda_weights *w = c->weights.items;

    for (size_t i = 0; i < c->weights.n; i++)
        if ((const char *)w[i].from < end && (const char *)(w[i].from + w[i].n) > begin)
            w[i].version = 0;
}

void cuda_clear(mb_ctx *base, void *p, size_t bytes)
{
    cuda_ctx *c = cuda_of(base);

    cu_note(&c->cu, &p, sizeof p);
    cu_note(&c->cu, &bytes, sizeof bytes);
    if (!c->cu.replaying)
        cuda_check(c, cudaMemsetAsync(p, 0, bytes, c->cu.stream), "clearing memory");
    changed(c, p, bytes);
}

void cuda_write(mb_ctx *base, void *to, const void *from, size_t bytes)
{
    cuda_ctx *c = cuda_of(base);

    cuda_check(c, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, c->cu.stream),
               "copying to the device");
    cuda_check(c, cudaStreamSynchronize(c->cu.stream), "copying to the device");
    changed(c, to, bytes);
}

/* ---- what comes back --------------------------------------------------------------------------
 */

/* Waits, and hands out what was fetched. */
static void flush(cuda_ctx *c)
{
    const cuda_fetch *f = c->fetches.items;

    cuda_graph_end(c);
    cuda_keep(c, MB_OK); /* or what a kernel that did not start left */
    cuda_check(c, cudaStreamSynchronize(c->cu.stream), "waiting for the device");
    for (size_t i = 0; i < c->fetches.n; i++)
        memcpy(f[i].to, f[i].staged, f[i].bytes);
    c->fetches.n = 0;
    mb_arena_reset(&c->stage);
}

/* BYTES of page-locked memory until the next flush. */
static void *stage(cuda_ctx *c, size_t bytes)
{
    if (c->stage.used > STAGED && !c->graph)
        flush(c);
    return mb_arena_take(&c->stage, bytes);
}

static void copy(cuda_ctx *c, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    cu_note(&c->cu, &to, sizeof to);
    cu_note(&c->cu, &from, sizeof from);
    cu_note(&c->cu, &bytes, sizeof bytes);
    if (!c->cu.replaying)
        cuda_check(c, cudaMemcpyAsync(to, from, bytes, kind, c->cu.stream),
                   kind == cudaMemcpyHostToDevice ? "copying to the device"
                                                  : "copying from the device");
}

void cuda_fetch_to(mb_ctx *base, void *to, const void *from, size_t bytes)
{
    cuda_ctx *c = cuda_of(base);
    cuda_fetch *f;
    void *staged;

    if (bytes >= LARGE && !c->graph) {
        copy(c, to, from, bytes, cudaMemcpyDeviceToHost);
        return;
    }
    staged = stage(c, bytes);
    copy(c, staged, from, bytes, cudaMemcpyDeviceToHost);
    f = cuda_list_add(&c->fetches, sizeof *f);
    *f = (cuda_fetch){ .to = to, .staged = staged, .bytes = bytes };
}

void cuda_sync(mb_ctx *base)
{
    cuda_ctx *c = cuda_of(base);

    flush(c);
    c->keyed = false;
    if (base->err != MB_OK)
        mb_fail(base->err, "%s", c->why);
}

/* ---- what follows from host memory -------------------------------------------------------------
 */

const void *cuda_indices(cuda_ctx *c, const void *host, size_t bytes)
{
    cuda_copy *made = c->copies.items;

    if (!host)
        return NULL;
    for (size_t i = 0; i < c->copies.n; i++)
        if (made[i].host == host && made[i].bytes == bytes)
            return made[i].device;
    made = cuda_list_add(&c->copies, sizeof *made);
    *made =
        (cuda_copy){ .host = host, .bytes = bytes, .device = mb_arena_take(&c->indices, bytes) };
    if (bytes > 0)
        copy(c, made->device, memcpy(stage(c, bytes), host, bytes), bytes, cudaMemcpyHostToDevice);
    return made->device;
}

const void *cuda_numbers(cuda_ctx *c, const void *numbers, size_t bytes)
{
    return cuda_indices(c, memcpy(mb_ctx_host(&c->base, bytes), numbers, bytes), bytes);
}

/* The stage may hold what the device has yet to read, unless the pass ended with a sync. */
void cuda_reset(mb_ctx *base)
{
    cuda_ctx *c = cuda_of(base);

    if (c->stage.used > 0)
        flush(c);
    c->copies.n = 0;
    count_own(c);
    mb_arena_reset(&c->indices);
}

void *cuda_space(cuda_ctx *c, size_t bytes)
{
    if (bytes > c->space_size) {
        cuda_give_back(c, c->space, c->space_size);
        c->space = cuda_take(c, bytes);
        c->space_size = bytes;
        if (!c->space) {
            fprintf(stderr, "motbench: workspace of an operation: %s\n", mb_message());
            abort();
        }
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
    w->to = cuda_take(c, copy_bytes(w));
    if (!w->to) {
        fprintf(stderr, "motbench: weights in bf16: %s\n", mb_message());
        abort();
    }
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
    cuda_graphs_drop(c);
    drop_weights(c);
    mb_arena_free(&c->indices);
    mb_arena_free(&c->stage);
    cudaFree(c->space);
    cudaFree(c->angles.table);
    free(c->copies.items);
    free(c->weights.items);
    free(c->fetches.items);
}
