/* What stands in for cuBLASLt and cuBLAS, as libraries of their names: products by their documented
   definition, on the emulated device; what a call may not be is refused. Column-major, as they are.
   It proves shapes, strides, alignments and orders of operands, and nothing about algorithms. */
#include <cublasLt.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct cublasLtMatmulDescOpaque {
    int32_t turn_a, turn_b;
};

struct cublasLtMatrixLayoutOpaque {
    cudaDataType type;
    int64_t rows, cols, row, stride;
    int32_t batch;
};

struct cublasLtMatmulPreferenceOpaque {
    uint64_t workspace;
    uint32_t schemes, align[4];
};

typedef struct cublasLtMatrixLayoutOpaque layout;

typedef struct product { /* of one matrix, or a batch of them */
    bool turn_a, turn_b;
    int64_t m, n, k;
    layout a, b, c;
} product;

typedef struct choice { /* what an algorithm was chosen for */
    int64_t m, n, k;
    uint64_t workspace;
    uint32_t align[4];
    int32_t turns;
} choice;

_Static_assert(sizeof(choice) <= sizeof(cublasLtMatmulAlgo_t), "an algorithm holds it");

/* ---- numbers -------------------------------------------------------------------------------- */

static size_t size_of(cudaDataType type)
{
    return type == CUDA_R_32F ? 4 : 2;
}

static float get(const void *x, cudaDataType type, int64_t i)
{
    uint32_t bits;
    float y;

    if (type == CUDA_R_32F)
        return ((const float *)x)[i];
    bits = (uint32_t)((const uint16_t *)x)[i] << 16;
    memcpy(&y, &bits, sizeof y);
    return y;
}

static void put(void *x, cudaDataType type, int64_t i, float y)
{
    uint32_t bits;

    if (type == CUDA_R_32F) {
        ((float *)x)[i] = y;
        return;
    }
    memcpy(&bits, &y, sizeof bits);
    ((uint16_t *)x)[i] = y == y ? (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16) : 0x7fff;
}

/* ---- products ------------------------------------------------------------------------------- */

/* The sum over k of A's numbers from AT_A on and B's from AT_B on, in steps of their own. */
static double dot(const product *p, const void *a, int64_t at_a, int64_t step_a, const void *b,
                  int64_t at_b, int64_t step_b)
{
    double sum = 0;

    for (int64_t k = 0; k < p->k; k++)
        sum += (double)get(a, p->a.type, at_a + k * step_a) * get(b, p->a.type, at_b + k * step_b);
    return sum;
}

/* C = op(A) op(B) + beta C, for all of a batch. */
static void multiply(const product *p, float beta, const void *a, const void *b, void *c)
{
    int64_t step_a = p->turn_a ? 1 : p->a.row, next_a = p->turn_a ? p->a.row : 1;
    int64_t step_b = p->turn_b ? p->b.row : 1, next_b = p->turn_b ? 1 : p->b.row;

    for (int64_t g = 0; g < p->a.batch; g++)
        for (int64_t col = 0; col < p->n; col++)
            for (int64_t row = 0; row < p->m; row++) {
                int64_t at = g * p->c.stride + col * p->c.row + row;
                double sum = dot(p, a, g * p->a.stride + row * next_a, step_a, b,
                                 g * p->b.stride + col * next_b, step_b);

                if (beta != 0)
                    sum += (double)beta * get(c, p->c.type, at);
                put(c, p->c.type, at, (float)sum);
            }
}

/* Whether the product of A and B is C, of types that go together. */
static bool describe(bool turn_a, bool turn_b, const layout *a, const layout *b, const layout *c,
                     product *out)
{
    *out = (product){ .turn_a = turn_a,
                      .turn_b = turn_b,
                      .m = c->rows,
                      .n = c->cols,
                      .k = turn_a ? a->rows : a->cols,
                      .a = *a,
                      .b = *b,
                      .c = *c };
    return (turn_a ? a->cols : a->rows) == out->m && (turn_b ? b->cols : b->rows) == out->k &&
           (turn_b ? b->rows : b->cols) == out->n && a->row >= a->rows && b->row >= b->rows &&
           c->row >= c->rows && out->m > 0 && out->n > 0 && out->k > 0 && a->type == b->type &&
           (a->type == CUDA_R_16BF || c->type == CUDA_R_32F) && a->batch == b->batch &&
           a->batch == c->batch && (c->batch == 1 || c->stride >= c->row * c->cols);
}

/* ---- cuBLASLt ------------------------------------------------------------------------------- */

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = malloc(1);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_INVALID_VALUE ? "not what may be asked" : "not supported";
}

static cublasStatus_t allowed(bool is)
{
    return is ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    *desc = calloc(1, sizeof **desc);
    return allowed(compute == CUBLAS_COMPUTE_32F && scale == CUDA_R_32F);
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    free(desc);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t set(void *to, size_t size, const void *value, size_t bytes)
{
    if (size == bytes)
        memcpy(to, value, bytes);
    return allowed(size == bytes);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t what,
                                              const void *value, size_t bytes)
{
    return set(what == CUBLASLT_MATMUL_DESC_TRANSA ? &desc->turn_a : &desc->turn_b,
               sizeof desc->turn_a, value, bytes);
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t row)
{
    *out = malloc(sizeof **out);
    **out = (layout){ type, (int64_t)rows, (int64_t)cols, row, 0, 1 };
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    free(l);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l,
                                                cublasLtMatrixLayoutAttribute_t what,
                                                const void *value, size_t bytes)
{
    return what == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT
               ? set(&l->batch, sizeof l->batch, value, bytes)
               : set(&l->stride, sizeof l->stride, value, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    *out = malloc(sizeof **out);
    **out = (struct cublasLtMatmulPreferenceOpaque){ 0,
                                                     CUBLASLT_REDUCTION_SCHEME_MASK,
                                                     { 256, 256, 256, 256 } };
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    free(preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t what,
                                                    const void *value, size_t bytes)
{
    if (what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        return set(&p->workspace, sizeof p->workspace, value, bytes);
    if (what == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK)
        return set(&p->schemes, sizeof p->schemes, value, bytes);
    return set(&p->align[what - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], sizeof *p->align,
               value, bytes);
}

static choice choose(const product *p, const struct cublasLtMatmulPreferenceOpaque *how)
{
    choice c = { p->m, p->n, p->k, how->workspace, { 0 }, 2 * p->turn_a + p->turn_b };

    memcpy(c.align, how->align, sizeof c.align);
    return c;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int most,
                                              cublasLtMatmulHeuristicResult_t *result, int *found)
{
    product p;
    choice chosen;

    *found = 0;
    if (most < 1 || c != d || !describe(desc->turn_a, desc->turn_b, a, b, c, &p))
        return CUBLAS_STATUS_INVALID_VALUE;
    if (preference->schemes != CUBLASLT_REDUCTION_SCHEME_NONE)
        return CUBLAS_STATUS_NOT_SUPPORTED; /* bits would differ from run to run */
    chosen = choose(&p, preference);
    memcpy(&result->algo, &chosen, sizeof chosen);
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

static bool aligned(const void *x, const layout *l, uint32_t bytes)
{
    return ((uintptr_t)x | (uint64_t)(l->batch > 1 ? l->stride : 0) * size_of(l->type)) % bytes ==
           0;
}

/* Whether CHOSEN is for P and what was promised of its operands is true. */
static bool keeps(const choice *chosen, const product *p, const void *const at[3],
                  const void *workspace, size_t bytes)
{
    return chosen->m == p->m && chosen->n == p->n && chosen->k == p->k &&
           chosen->turns == 2 * p->turn_a + p->turn_b && aligned(at[0], &p->a, chosen->align[0]) &&
           aligned(at[1], &p->b, chosen->align[1]) && aligned(at[2], &p->c, chosen->align[2]) &&
           aligned(at[2], &p->c, chosen->align[3]) && (uintptr_t)workspace % 256 == 0 &&
           bytes >= chosen->workspace;
}

typedef struct call { /* for when its turn comes, as often as a graph is launched: it is kept */
    product p;
    float beta;
    const void *a, *b;
    void *c;
} call;

static void multiply_one(void *of)
{
    const call *c = of;

    multiply(&c->p, c->beta, c->a, c->b, c->c);
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t of_a, const void *b,
                              cublasLtMatrixLayout_t of_b, const void *beta, const void *c,
                              cublasLtMatrixLayout_t of_c, void *d, cublasLtMatrixLayout_t of_d,
                              const cublasLtMatmulAlgo_t *algo, void *workspace, size_t bytes,
                              cudaStream_t stream)
{
    const void *at[] = { a, b, d };
    call *made = malloc(sizeof *made);
    choice chosen;

    *made = (call){ .beta = *(const float *)beta, .a = a, .b = b, .c = d };
    memcpy(&chosen, algo, sizeof chosen);
    if (c != d || of_c != of_d || *(const float *)alpha != 1 ||
        !describe(desc->turn_a, desc->turn_b, of_a, of_b, of_c, &made->p) ||
        !keeps(&chosen, &made->p, at, workspace, bytes)) {
        free(made);
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    return allowed(cudaLaunchHostFunc(stream, multiply_one, made) == cudaSuccess);
}

/* ---- cuBLAS --------------------------------------------------------------------------------- */

struct cublasContext {
    cudaStream_t stream;
    void *workspace;
};

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle)
{
    *handle = calloc(1, sizeof **handle);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle)
{
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    return cublasLtGetStatusString(status);
}

/* Which takes back the workspace. */
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    handle->workspace = NULL;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *workspace, size_t bytes)
{
    handle->workspace = workspace;
    return allowed((uintptr_t)workspace % 256 == 0 && bytes > 0);
}

typedef struct group_call { /* what lies on the device is read when its turn comes */
    const void *const *a, *const *b;
    void *const *c;
    int n;
    struct {
        product p;
        float beta;
    } each[];
} group_call;

static bool whole(const void *x)
{
    return (uintptr_t)x % 16 == 0;
}

static void multiply_groups(void *of)
{
    group_call *g = of;

    for (int i = 0; i < g->n; i++) {
        if (!whole(g->a[i]) || !whole(g->b[i]) || !whole(g->c[i]))
            abort();
        multiply(&g->each[i].p, g->each[i].beta, g->a[i], g->b[i], g->c[i]);
    }
    free(g);
}

static layout matrix(cudaDataType type, bool turned, int64_t rows, int64_t cols, int64_t row)
{
    return (layout){ type, turned ? cols : rows, turned ? rows : cols, row, 0, 1 };
}

cublasStatus_t cublasGemmGroupedBatchedEx(
    cublasHandle_t handle, const cublasOperation_t turn_a[], const cublasOperation_t turn_b[],
    const int m[], const int n[], const int k[], const void *alpha, const void *const a[],
    cudaDataType_t type_a, const int row_a[], const void *const b[], cudaDataType_t type_b,
    const int row_b[], const void *beta, void *const c[], cudaDataType_t type_c, const int row_c[],
    int groups, const int each[], cublasComputeType_t compute)
{
    group_call *g = malloc(sizeof *g + (size_t)groups * sizeof *g->each);
    bool fine = handle->workspace && compute == CUBLAS_COMPUTE_32F && type_a == type_c;

    *g = (group_call){ a, b, c, groups };
    for (int i = 0; i < groups; i++) {
        layout of_a = matrix(type_a, turn_a[i] == CUBLAS_OP_T, m[i], k[i], row_a[i]);
        layout of_b = matrix(type_b, turn_b[i] == CUBLAS_OP_T, k[i], n[i], row_b[i]);
        layout of_c = matrix(type_c, false, m[i], n[i], row_c[i]);

        g->each[i].beta = ((const float *)beta)[i];
        fine = fine && each[i] == 1 && ((const float *)alpha)[i] == 1 &&
               describe(turn_a[i], turn_b[i], &of_a, &of_b, &of_c, &g->each[i].p);
    }
    if (fine)
        return allowed(cudaLaunchHostFunc(handle->stream, multiply_groups, g) == cudaSuccess);
    free(g);
    return CUBLAS_STATUS_INVALID_VALUE;
}
