/* A stand-in for cuBLAS's header of the same name: what the cuda backend asks of it, with the
   values of version 13. */
#ifndef MB_TESTS_EMULATE_CUBLAS_V2_H
#define MB_TESTS_EMULATE_CUBLAS_V2_H

#include <cuda_runtime.h>

typedef enum { CUDA_R_32F = 0, CUDA_R_16BF = 14 } cudaDataType;
typedef cudaDataType cudaDataType_t;
typedef enum {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_NOT_SUPPORTED = 15
} cublasStatus_t;
typedef enum { CUBLAS_OP_N, CUBLAS_OP_T } cublasOperation_t;
typedef enum { CUBLAS_COMPUTE_32F = 68 } cublasComputeType_t;
typedef struct cublasContext *cublasHandle_t;

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle);
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle);
const char *cublasGetStatusString(cublasStatus_t status);
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream);
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *workspace, size_t bytes);
cublasStatus_t cublasGemmGroupedBatchedEx(
    cublasHandle_t handle, const cublasOperation_t turn_a[], const cublasOperation_t turn_b[],
    const int m[], const int n[], const int k[], const void *alpha, const void *const a[],
    cudaDataType_t type_a, const int row_a[], const void *const b[], cudaDataType_t type_b,
    const int row_b[], const void *beta, void *const c[], cudaDataType_t type_c, const int row_c[],
    int groups, const int each[], cublasComputeType_t compute);

#endif
