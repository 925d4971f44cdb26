/* Products through cuBLASLt, which is opened while running. A plan is made once for each shape: its
   layouts and the algorithm that the heuristic puts first. Split sums are left out, so that the
   same operands give the same bits.

   cuBLASLt is column-major: the row-major C = op(A) op(B) is its C^T = op(B)^T op(A)^T. */
#include "models/kernels/cuda/cuda.h"

#include "base/file.h"
#include "base/library.h"

#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORKSPACE = CUDA_PRODUCT_BYTES, /* of a lane */
    ALIGNMENT = 256,                /* bytes: the most that is looked at */
    MOST_PLANS = 1024               /* groups of changing sizes ask for new ones in every batch */
};
static const size_t WORKSPACES = (CUDA_LANES + 1) * (size_t)WORKSPACE;

typedef struct plan {
    cuda_product p;
    uint32_t align_a, align_b, align_c; /* bytes */
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c; /* A and B as here, not as cuBLASLt has them */
    cublasLtMatmulAlgo_t algo;
} plan;

typedef struct cuda_lt {
    mb_library library;
    cublasLtHandle_t handle;
    cublasLtMatmulPreference_t preference;
    cudaStream_t lane[CUDA_LANES];
    cudaEvent_t forked, joined[CUDA_LANES];
    void *workspace; /* WORKSPACE bytes for the stream of the kernels, then for each lane */
    plan *plans;
    size_t n_plans, last;
    cublasStatus_t (*create)(cublasLtHandle_t *);
    cublasStatus_t (*destroy)(cublasLtHandle_t);
    const char *(*status)(cublasStatus_t);
    cublasStatus_t (*desc_create)(cublasLtMatmulDesc_t *, cublasComputeType_t, cudaDataType_t);
    cublasStatus_t (*desc_destroy)(cublasLtMatmulDesc_t);
    cublasStatus_t (*desc_set)(cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, const void *,
                               size_t);
    cublasStatus_t (*layout_create)(cublasLtMatrixLayout_t *, cudaDataType, uint64_t, uint64_t,
                                    int64_t);
    cublasStatus_t (*layout_destroy)(cublasLtMatrixLayout_t);
    cublasStatus_t (*layout_set)(cublasLtMatrixLayout_t, cublasLtMatrixLayoutAttribute_t,
                                 const void *, size_t);
    cublasStatus_t (*preference_create)(cublasLtMatmulPreference_t *);
    cublasStatus_t (*preference_destroy)(cublasLtMatmulPreference_t);
    cublasStatus_t (*preference_set)(cublasLtMatmulPreference_t,
                                     cublasLtMatmulPreferenceAttributes_t, const void *, size_t);
    cublasStatus_t (*heuristic)(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int,
                                cublasLtMatmulHeuristicResult_t *, int *);
    cublasStatus_t (*matmul)(cublasLtHandle_t, cublasLtMatmulDesc_t, const void *, const void *,
                             cublasLtMatrixLayout_t, const void *, cublasLtMatrixLayout_t,
                             const void *, const void *, cublasLtMatrixLayout_t, void *,
                             cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t *, void *, size_t,
                             cudaStream_t);
} cuda_lt;

static mb_err check(const cuda_lt *lt, cublasStatus_t status, const char *what)
{
    return status == CUBLAS_STATUS_SUCCESS
               ? MB_OK
               : mb_fail(MB_EIO, "cuBLASLt: %s: %s", what, lt->status(status));
}

static mb_err check_cuda(cudaError_t err, const char *what)
{
    return err == cudaSuccess ? MB_OK
                              : mb_fail(MB_EIO, "cuda: %s: %s", what, cudaGetErrorString(err));
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static mb_err find_functions(cuda_lt *lt)
{
    const mb_symbol symbols[] = {
        { "cublasLtCreate", &lt->create },
        { "cublasLtDestroy", &lt->destroy },
        { "cublasLtGetStatusString", &lt->status },
        { "cublasLtMatmulDescCreate", &lt->desc_create },
        { "cublasLtMatmulDescDestroy", &lt->desc_destroy },
        { "cublasLtMatmulDescSetAttribute", &lt->desc_set },
        { "cublasLtMatrixLayoutCreate", &lt->layout_create },
        { "cublasLtMatrixLayoutDestroy", &lt->layout_destroy },
        { "cublasLtMatrixLayoutSetAttribute", &lt->layout_set },
        { "cublasLtMatmulPreferenceCreate", &lt->preference_create },
        { "cublasLtMatmulPreferenceDestroy", &lt->preference_destroy },
        { "cublasLtMatmulPreferenceSetAttribute", &lt->preference_set },
        { "cublasLtMatmulAlgoGetHeuristic", &lt->heuristic },
        { "cublasLtMatmul", &lt->matmul },
        { 0 },
    };

    return mb_library_symbols(&lt->library, symbols);
}

static mb_err make_preference(cuda_lt *lt)
{
    const size_t workspace = WORKSPACE;
    const uint32_t whole_sums = CUBLASLT_REDUCTION_SCHEME_NONE;

    MB_TRY(check(lt, lt->preference_create(&lt->preference), "preference"));
    MB_TRY(check(lt,
                 lt->preference_set(lt->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                    &workspace, sizeof workspace),
                 "workspace"));
    return check(lt,
                 lt->preference_set(lt->preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                    &whole_sums, sizeof whole_sums),
                 "reduction scheme");
}

static mb_err make_lanes(cuda_lt *lt)
{
    const char *what = "streams of products";

    MB_TRY(check_cuda(cudaMalloc(&lt->workspace, WORKSPACES), what));
    MB_TRY(check_cuda(cudaEventCreateWithFlags(&lt->forked, cudaEventDisableTiming), what));
    for (int i = 0; i < CUDA_LANES; i++) {
        MB_TRY(check_cuda(cudaStreamCreateWithFlags(&lt->lane[i], cudaStreamNonBlocking), what));
        MB_TRY(check_cuda(cudaEventCreateWithFlags(&lt->joined[i], cudaEventDisableTiming), what));
    }
    return MB_OK;
}

static mb_err open_lt(cuda_lt *lt)
{
    static const char *const sonames[] = { "libcublasLt.so.13", "libcublasLt.so.12", NULL };

    MB_TRY(mb_library_open(sonames, &lt->library));
    MB_TRY(find_functions(lt));
    MB_TRY(check(lt, lt->create(&lt->handle), "opening"));
    MB_TRY(make_preference(lt));
    return make_lanes(lt);
}

mb_err cuda_lt_open(cuda_lt **out, size_t *bytes)
{
    mb_err err;

    *bytes = WORKSPACES;
    *out = mb_zalloc(1, sizeof **out);
    (*out)->plans = mb_zalloc(MOST_PLANS, sizeof *(*out)->plans);
    err = open_lt(*out);
    if (err) {
        cuda_lt_close(*out);
        *out = NULL;
    }
    return err;
}

static void free_plan(const cuda_lt *lt, plan *p)
{
    if (p->desc)
        lt->desc_destroy(p->desc);
    if (p->a)
        lt->layout_destroy(p->a);
    if (p->b)
        lt->layout_destroy(p->b);
    if (p->c)
        lt->layout_destroy(p->c);
}

static void drop_plans(cuda_lt *lt)
{
    for (size_t i = 0; i < lt->n_plans; i++)
        free_plan(lt, &lt->plans[i]);
    lt->n_plans = 0;
}

void cuda_lt_close(cuda_lt *lt)
{
    if (!lt)
        return;
    drop_plans(lt);
    free(lt->plans);
    for (int i = 0; i < CUDA_LANES; i++) {
        if (lt->lane[i])
            cudaStreamDestroy(lt->lane[i]);
        if (lt->joined[i])
            cudaEventDestroy(lt->joined[i]);
    }
    if (lt->forked)
        cudaEventDestroy(lt->forked);
    cudaFree(lt->workspace);
    if (lt->preference)
        lt->preference_destroy(lt->preference);
    if (lt->handle)
        lt->destroy(lt->handle);
    free(lt); /* the library stays open: the device's context outlives us */
}

/* ---- plans ------------------------------------------------------------------------------------
 */

/* A row-major (rows, cols) matrix, BATCH times: column-major (cols, rows). */
static mb_err make_layout(const cuda_lt *lt, cublasLtMatrixLayout_t *out, bool bf16, int64_t rows,
                          int64_t cols, int64_t batch, int64_t stride)
{
    const int32_t count = (int32_t)batch;
    cudaDataType type = bf16 ? CUDA_R_16BF : CUDA_R_32F;

    MB_TRY(check(lt, lt->layout_create(out, type, (uint64_t)cols, (uint64_t)rows, cols), "layout"));
    MB_TRY(check(lt, lt->layout_set(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count),
                 "batch"));
    return check(
        lt,
        lt->layout_set(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride),
        "stride");
}

static mb_err describe(const cuda_lt *lt, plan *made)
{
    const cuda_product *p = &made->p;
    const cublasOperation_t a = p->turn_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t b = p->turn_b ? CUBLAS_OP_T : CUBLAS_OP_N;

    MB_TRY(check(lt, lt->desc_create(&made->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "product"));
    MB_TRY(check(lt, lt->desc_set(made->desc, CUBLASLT_MATMUL_DESC_TRANSA, &b, sizeof b), "op"));
    MB_TRY(check(lt, lt->desc_set(made->desc, CUBLASLT_MATMUL_DESC_TRANSB, &a, sizeof a), "op"));
    MB_TRY(make_layout(lt, &made->a, p->bf16, p->turn_a ? p->k : p->m, p->turn_a ? p->m : p->k,
                       p->batch, p->stride_a));
    MB_TRY(make_layout(lt, &made->b, p->bf16, p->turn_b ? p->n : p->k, p->turn_b ? p->k : p->n,
                       p->batch, p->stride_b));
    return make_layout(lt, &made->c, p->result_bf16, p->m, p->n, p->batch, p->stride_c);
}

static mb_err choose_algorithm(const cuda_lt *lt, plan *made)
{
    const struct {
        cublasLtMatmulPreferenceAttributes_t which;
        uint32_t bytes;
    } aligned[] = { { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, made->align_b },
                    { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, made->align_a },
                    { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, made->align_c },
                    { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, made->align_c } };
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;

    for (size_t i = 0; i < sizeof aligned / sizeof *aligned; i++)
        MB_TRY(check(lt,
                     lt->preference_set(lt->preference, aligned[i].which, &aligned[i].bytes,
                                        sizeof aligned[i].bytes),
                     "alignment"));
    MB_TRY(check(lt,
                 lt->heuristic(lt->handle, made->desc, made->b, made->a, made->c, made->c,
                               lt->preference, 1, &found, &n),
                 "choosing an algorithm"));
    if (n == 0)
        return mb_fail(MB_EIO, "cuBLASLt: no algorithm for (%lld, %lld) x (%lld, %lld)",
                       (long long)made->p.m, (long long)made->p.k, (long long)made->p.k,
                       (long long)made->p.n);
    made->algo = found.algo;
    return MB_OK;
}

static bool same(const plan *a, const plan *b)
{
    const cuda_product *p = &a->p, *q = &b->p;

    return p->m == q->m && p->n == q->n && p->k == q->k && p->turn_a == q->turn_a &&
           p->turn_b == q->turn_b && p->bf16 == q->bf16 && p->result_bf16 == q->result_bf16 &&
           p->batch == q->batch && p->stride_a == q->stride_a && p->stride_b == q->stride_b &&
           p->stride_c == q->stride_c && a->align_a == b->align_a && a->align_b == b->align_b &&
           a->align_c == b->align_c;
}

/* Steps ask for the same products in the same order: the search begins after the last one found. */
static mb_err find_plan(cuda_lt *lt, const plan *want, const plan **out)
{
    plan made = *want;
    mb_err err;

    for (size_t i = 0; i < lt->n_plans; i++) {
        size_t at = (lt->last + 1 + i) % lt->n_plans;

        if (same(&lt->plans[at], want)) {
            lt->last = at;
            *out = &lt->plans[at];
            return MB_OK;
        }
    }
    err = describe(lt, &made);
    if (!err)
        err = choose_algorithm(lt, &made);
    if (err) {
        free_plan(lt, &made);
        return err;
    }
    if (lt->n_plans == MOST_PLANS)
        drop_plans(lt);
    lt->last = lt->n_plans;
    lt->plans[lt->n_plans++] = made;
    *out = &lt->plans[lt->last];
    return MB_OK;
}

/* ---- products ---------------------------------------------------------------------------------
 */

static uint32_t alignment(const void *p, int64_t stride, size_t size)
{
    uint64_t bits = (uint64_t)(uintptr_t)p | (uint64_t)stride * size | ALIGNMENT;

    return (uint32_t)(bits & (~bits + 1));
}

static size_t size_of(bool bf16)
{
    return bf16 ? 2 : 4;
}

/* No sum is to be made: C is zero, or stays as it is. */
static mb_err multiply_nothing(const cuda_product *p, char *to, cudaStream_t stream)
{
    size_t size = size_of(p->result_bf16), bytes = (size_t)(p->m * p->n) * size;

    for (int64_t i = 0; !p->add && bytes > 0 && i < p->batch; i++)
        MB_TRY(check_cuda(cudaMemsetAsync(to + (size_t)(i * p->stride_c) * size, 0, bytes, stream),
                          "an empty product"));
    return MB_OK;
}

mb_err cuda_lt_multiply(cuda_lt *lt, int lane, cudaStream_t stream, const cuda_product *p, void *to,
                        const void *a, const void *b)
{
    const float one = 1, beta = p->add ? 1 : 0;
    plan want = { .p = *p,
                  .align_a = alignment(a, p->stride_a, size_of(p->bf16)),
                  .align_b = alignment(b, p->stride_b, size_of(p->bf16)),
                  .align_c = alignment(to, p->stride_c, size_of(p->result_bf16)) };
    void *workspace = (char *)lt->workspace + (size_t)(lane + 1) * WORKSPACE;
    const plan *found;

    if (lane >= 0)
        stream = lt->lane[lane];
    if (p->m == 0 || p->n == 0 || p->k == 0)
        return multiply_nothing(p, to, stream);
    MB_TRY(find_plan(lt, &want, &found));
    return check(lt,
                 lt->matmul(lt->handle, found->desc, &one, b, found->b, a, found->a, &beta, to,
                            found->c, to, found->c, &found->algo, workspace, WORKSPACE, stream),
                 "multiplying");
}

mb_err cuda_lt_fork(cuda_lt *lt, cudaStream_t stream)
{
    MB_TRY(check_cuda(cudaEventRecord(lt->forked, stream), "forking"));
    for (int i = 0; i < CUDA_LANES; i++)
        MB_TRY(check_cuda(cudaStreamWaitEvent(lt->lane[i], lt->forked, 0), "forking"));
    return MB_OK;
}

mb_err cuda_lt_join(cuda_lt *lt, cudaStream_t stream)
{
    for (int i = 0; i < CUDA_LANES; i++) {
        MB_TRY(check_cuda(cudaEventRecord(lt->joined[i], lt->lane[i]), "joining"));
        MB_TRY(check_cuda(cudaStreamWaitEvent(stream, lt->joined[i], 0), "joining"));
    }
    return MB_OK;
}
