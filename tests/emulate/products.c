/* What stands in for cuBLASLt and cuBLAS: products by their definition, on the emulated device. */
#include "models/kernels/cuda/cuda.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

typedef struct call { /* a product, for when its turn comes */
    struct call *next;
    cuda_product p;
    void *to;
    const void *a, *b;
} call;

struct cuda_lt {
    int lanes;   /* that are open: between a fork and its join */
    call *calls; /* all of them: a graph may hold any */
};

mb_err cuda_lt_open(struct cuda_lt **out, size_t *bytes)
{
    *bytes = 0;
    *out = mb_zalloc(1, sizeof **out);
    return MB_OK;
}

void cuda_lt_close(struct cuda_lt *lt)
{
    while (lt && lt->calls) {
        call *next = lt->calls->next;

        free(lt->calls);
        lt->calls = next;
    }
    free(lt);
}

mb_err cuda_lt_fork(struct cuda_lt *lt, cudaStream_t stream)
{
    lt->lanes = CUDA_LANES;
    return MB_OK;
}

mb_err cuda_lt_join(struct cuda_lt *lt, cudaStream_t stream)
{
    lt->lanes = 0;
    return MB_OK;
}

static float get(const void *x, bool bf16, int64_t i)
{
    uint32_t bits;
    uint16_t half;
    float y;

    if (!bf16)
        return ((const float *)x)[i];
    memcpy(&half, (const char *)x + 2 * i, sizeof half);
    bits = (uint32_t)half << 16;
    memcpy(&y, &bits, sizeof y);
    return y;
}

static void put(void *x, bool bf16, int64_t i, float y)
{
    uint32_t bits;
    uint16_t half;

    if (!bf16) {
        ((float *)x)[i] = y;
        return;
    }
    memcpy(&bits, &y, sizeof bits);
    half = y == y ? (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16) : 0x7fff;
    memcpy((char *)x + 2 * i, &half, sizeof half);
}

static void multiply(void *of)
{
    const call *c = of;
    const cuda_product *p = &c->p;

    for (int64_t i = 0; i < p->batch * p->m * p->n; i++) {
        int64_t g = i / (p->m * p->n), row = i / p->n % p->m, col = i % p->n;
        int64_t at = g * p->stride_c + row * p->n + col;
        double sum = p->add ? get(c->to, p->result_bf16, at) : 0;

        for (int64_t k = 0; k < p->k; k++)
            sum +=
                (double)get(c->a, p->bf16,
                            g * p->stride_a + (p->turn_a ? k * p->m + row : row * p->k + k)) *
                get(c->b, p->bf16, g * p->stride_b + (p->turn_b ? col * p->k + k : k * p->n + col));
        put(c->to, p->result_bf16, at, (float)sum);
    }
}

mb_err cuda_lt_multiply(struct cuda_lt *lt, int lane, cudaStream_t stream, const cuda_product *p,
                        void *to, const void *a, const void *b)
{
    call *c;

    if (lane >= lt->lanes)
        return mb_fail(MB_EINVAL, "emulated products: lane %d is not open", lane);
    c = mb_alloc(sizeof *c);
    *c = (call){ lt->calls, *p, to, a, b };
    lt->calls = c;
    cudaLaunchHostFunc(stream, multiply, c);
    return MB_OK;
}

/* ---- groups ---------------------------------------------------------------------------------- */

typedef struct group_call { /* addresses lie on the device until its turn comes */
    const void *const *at;
    int n;
    cuda_product p[CUDA_GROUPS];
} group_call;

struct cuda_grouped {
    cudaStream_t stream;
    void *workspace; /* as cuBLAS has one */
};

mb_err cuda_grouped_open(struct cuda_grouped **out, cudaStream_t stream)
{
    *out = mb_zalloc(1, sizeof **out);
    (*out)->stream = stream;
    if (cudaMalloc(&(*out)->workspace, CUDA_GROUPED_BYTES) != cudaSuccess)
        return mb_fail(MB_ENOMEM, "emulated products: no workspace");
    return MB_OK;
}

void cuda_grouped_close(struct cuda_grouped *g)
{
    if (g)
        cudaFree(g->workspace);
    free(g);
}

/* As cuBLAS: no bf16 in and fp32 out. Rows may have any size. */
bool cuda_grouped_takes(const cuda_product *p)
{
    return p->bf16 == p->result_bf16;
}

static void multiply_all(void *of)
{
    group_call *g = of;

    for (int i = 0; i < g->n; i++)
        multiply(&(call){
            .p = g->p[i], .to = (void *)g->at[i], .a = g->at[g->n + i], .b = g->at[2 * g->n + i] });
    free(g);
}

mb_err cuda_grouped_multiply(struct cuda_grouped *g, const cuda_product *p, int n,
                             const void *const *at)
{
    group_call *c = mb_alloc(sizeof *c);

    c->at = at;
    c->n = n;
    for (int i = 0; i < n; i++) {
        if (p[i].m == 0 || p[i].n == 0 || p[i].k == 0)
            return mb_fail(MB_EINVAL, "emulated products: group %d of %d is empty", i, n);
        c->p[i] = p[i];
    }
    cudaLaunchHostFunc(g->stream, multiply_all, c);
    return MB_OK;
}
