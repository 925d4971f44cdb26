/* Products of groups of other sizes as one grouped product of cuBLAS, which is opened while running
   and only when asked for (gpu.grouping = library). It takes what has the type of its operands, so
   no bf16 gradients of weights, and rows of whole 16 bytes; all else stays with cuBLASLt.
   Column-major, like that: see cublas.c. */
#include "models/kernels/cuda/cuda.h"

#include "base/file.h"
#include "base/library.h"

#include <cublas_v2.h>
#include <stdlib.h>

enum { ALIGNMENT = 16 /* bytes of a row */ };

typedef cublasStatus_t multiply_fn(cublasHandle_t, const cublasOperation_t *,
                                   const cublasOperation_t *, const int *, const int *, const int *,
                                   const void *, const void *const *, cudaDataType_t, const int *,
                                   const void *const *, cudaDataType_t, const int *, const void *,
                                   void *const *, cudaDataType_t, const int *, int, const int *,
                                   cublasComputeType_t);

typedef struct problems { /* of cuBLAS, which has A and B, M and N the other way round */
    cublasOperation_t turn_a[CUDA_GROUPS], turn_b[CUDA_GROUPS];
    int m[CUDA_GROUPS], n[CUDA_GROUPS], k[CUDA_GROUPS], one[CUDA_GROUPS];
    int row_a[CUDA_GROUPS], row_b[CUDA_GROUPS], row_c[CUDA_GROUPS];
    float alpha[CUDA_GROUPS], beta[CUDA_GROUPS];
} problems;

typedef struct cuda_grouped {
    mb_library library;
    cublasHandle_t handle;
    void *workspace;
    cublasStatus_t (*create)(cublasHandle_t *);
    cublasStatus_t (*destroy)(cublasHandle_t);
    const char *(*status)(cublasStatus_t);
    cublasStatus_t (*set_stream)(cublasHandle_t, cudaStream_t);
    cublasStatus_t (*set_workspace)(cublasHandle_t, void *, size_t);
    multiply_fn *multiply;
    problems all; /* of the call under way */
} cuda_grouped;

static mb_err check(const cuda_grouped *g, cublasStatus_t status, const char *what)
{
    return status == CUBLAS_STATUS_SUCCESS
               ? MB_OK
               : mb_fail(MB_EIO, "cuBLAS: %s: %s", what, g->status(status));
}

static mb_err open_cublas(cuda_grouped *g, cudaStream_t stream)
{
    static const char *const sonames[] = { "libcublas.so.13", "libcublas.so.12", NULL };
    const mb_symbol symbols[] = {
        { "cublasCreate_v2", &g->create },
        { "cublasDestroy_v2", &g->destroy },
        { "cublasGetStatusString", &g->status },
        { "cublasSetStream_v2", &g->set_stream },
        { "cublasSetWorkspace_v2", &g->set_workspace },
        { "cublasGemmGroupedBatchedEx", &g->multiply },
        { 0 },
    };

    MB_TRY(mb_library_open(sonames, &g->library));
    MB_TRY(mb_library_symbols(&g->library, symbols));
    if (cudaMalloc(&g->workspace, CUDA_PRODUCT_BYTES) != cudaSuccess)
        return mb_fail(MB_ENOMEM, "cuBLAS: no memory for its workspace");
    MB_TRY(check(g, g->create(&g->handle), "opening"));
    MB_TRY(check(g, g->set_stream(g->handle, stream), "stream"));
    return check(g, g->set_workspace(g->handle, g->workspace, CUDA_PRODUCT_BYTES), "workspace");
}

mb_err cuda_grouped_open(cuda_grouped **out, cudaStream_t stream)
{
    mb_err err;

    *out = mb_zalloc(1, sizeof **out);
    err = open_cublas(*out, stream);
    if (err) {
        cuda_grouped_close(*out);
        *out = NULL;
    }
    return err;
}

void cuda_grouped_close(cuda_grouped *g)
{
    if (!g)
        return;
    if (g->handle)
        g->destroy(g->handle);
    cudaFree(g->workspace);
    free(g); /* the library stays open: the device's context outlives us */
}

bool cuda_grouped_takes(const cuda_product *p)
{
    int64_t size = p->bf16 ? 2 : 4;

    return p->bf16 == p->result_bf16 && p->n * size % ALIGNMENT == 0 &&
           (p->turn_a ? p->m : p->k) * size % ALIGNMENT == 0 &&
           (p->turn_b ? p->k : p->n) * size % ALIGNMENT == 0;
}

static void describe(problems *to, int i, const cuda_product *p)
{
    to->turn_a[i] = p->turn_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    to->turn_b[i] = p->turn_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    to->m[i] = (int)p->n;
    to->n[i] = (int)p->m;
    to->k[i] = (int)p->k;
    to->row_a[i] = (int)(p->turn_b ? p->k : p->n);
    to->row_b[i] = (int)(p->turn_a ? p->m : p->k);
    to->row_c[i] = (int)p->n;
    to->one[i] = 1;
    to->alpha[i] = 1;
    to->beta[i] = p->add ? 1 : 0;
}

mb_err cuda_grouped_multiply(cuda_grouped *g, const cuda_product *p, int n, const void *const *at)
{
    cudaDataType_t type = p->bf16 ? CUDA_R_16BF : CUDA_R_32F;
    problems *all = &g->all;

    for (int i = 0; i < n; i++)
        describe(all, i, &p[i]);
    return check(g,
                 g->multiply(g->handle, all->turn_a, all->turn_b, all->m, all->n, all->k,
                             all->alpha, at + 2 * n, type, all->row_a, at + n, type, all->row_b,
                             all->beta, (void *const *)at, type, all->row_c, n, all->one,
                             CUBLAS_COMPUTE_32F),
                 "multiplying groups");
}
