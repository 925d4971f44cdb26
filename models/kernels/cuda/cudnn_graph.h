/* cuDNN's backend graph API, opened while running, as far as attention needs it: tensors and
   operations become a graph, a graph a plan, a plan is run. For cudnn.c alone; it knows no meaning.

   Calls on a graph after one has failed do nothing: mb_graph_plan() returns the first error, with
   the call that failed and what cuDNN said. */
#ifndef MB_KERNELS_CUDA_CUDNN_GRAPH_H
#define MB_KERNELS_CUDA_CUDNN_GRAPH_H

#include "base/library.h"

#include <cudnn_graph.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct mb_cudnn_api {
    mb_library library;
    cudnnStatus_t (*create)(cudnnHandle_t *);
    cudnnStatus_t (*destroy)(cudnnHandle_t);
    cudnnStatus_t (*set_stream)(cudnnHandle_t, cudaStream_t);
    size_t (*version)(void);
    void (*last_error)(char *, size_t);
    cudnnStatus_t (*make)(cudnnBackendDescriptorType_t, cudnnBackendDescriptor_t *);
    cudnnStatus_t (*drop)(cudnnBackendDescriptor_t);
    cudnnStatus_t (*set)(cudnnBackendDescriptor_t, cudnnBackendAttributeName_t,
                         cudnnBackendAttributeType_t, int64_t, const void *);
    cudnnStatus_t (*get)(cudnnBackendDescriptor_t, cudnnBackendAttributeName_t,
                         cudnnBackendAttributeType_t, int64_t, int64_t *, void *);
    cudnnStatus_t (*finalize)(cudnnBackendDescriptor_t);
    cudnnStatus_t (*execute)(cudnnHandle_t, cudnnBackendDescriptor_t, cudnnBackendDescriptor_t);
} mb_cudnn_api;

mb_err mb_cudnn_api_open(mb_cudnn_api *out);
void mb_cudnn_api_close(mb_cudnn_api *api); /* accepts a zeroed one */
/* Leaves the message for STATUS, with what cuDNN says of it; returns MB_EIO. */
mb_err mb_cudnn_failed(const mb_cudnn_api *api, const char *what, cudnnStatus_t status);

/* ---- graphs --------------------------------------------------------------------------------- */

typedef struct mb_extent { /* (batch, heads, rows, columns), strides in elements */
    int64_t dim[4], stride[4];
} mb_extent;

mb_extent mb_extent_packed(int64_t batch, int64_t heads, int64_t rows, int64_t columns);
mb_extent mb_extent_transposed(mb_extent e); /* the same elements, rows as columns */

enum { MB_GRAPH_OPERATIONS = 32, MB_GRAPH_OWNED = 128 };

typedef struct mb_graph {
    const mb_cudnn_api *api;
    cudnnBackendDescriptor_t owned[MB_GRAPH_OWNED], operations[MB_GRAPH_OPERATIONS];
    int n_owned, n_operations;
    int64_t next_uid; /* of tensors that the caller has no name for */
    mb_err err;
} mb_graph;

typedef cudnnBackendDescriptor_t mb_gtensor; /* the graph's */

void mb_graph_open(mb_graph *g, const mb_cudnn_api *api);
void mb_graph_close(mb_graph *g);

/* In device memory; UID (1 to 99) says to mb_plan_run() which it is. */
mb_gtensor mb_graph_memory(mb_graph *g, int64_t uid, cudnnDataType_t type, mb_extent e);
/* One float in host memory. */
mb_gtensor mb_graph_scalar(mb_graph *g, int64_t uid);
/* Between operations: never in memory. */
mb_gtensor mb_graph_between(mb_graph *g, cudnnDataType_t type, mb_extent e);

void mb_graph_matmul(mb_graph *g, mb_gtensor a, mb_gtensor b, mb_gtensor c);
/* y = x MODE b; B is NULL for functions of x alone. */
void mb_graph_pointwise(mb_graph *g, cudnnPointwiseMode_t mode, mb_gtensor x, mb_gtensor b,
                        mb_gtensor y);
/* y = the index of each element of x along AXIS. */
void mb_graph_index(mb_graph *g, int64_t axis, mb_gtensor x, mb_gtensor y);
/* y = mask ? x : other. */
void mb_graph_select(mb_graph *g, mb_gtensor x, mb_gtensor other, mb_gtensor mask, mb_gtensor y);
void mb_graph_reduce(mb_graph *g, cudnnReduceTensorOp_t how, mb_gtensor x, mb_gtensor y);
void mb_graph_reshape(mb_graph *g, mb_gtensor x, mb_gtensor y);

/* ---- plans ---------------------------------------------------------------------------------- */

typedef struct mb_plan {
    const mb_cudnn_api *api;
    cudnnBackendDescriptor_t plan;
    size_t workspace; /* bytes */
    int offered;      /* engine configurations that cuDNN has for it */
} mb_plan;

/* For the device of HANDLE, or, where HANDLE is NULL, for the one that DEVICE (a device property
   descriptor) tells of: then the plan is for looking at. The first configuration that the device
   accepts; with DETERMINISTIC none that says it is not. */
mb_err mb_graph_plan(mb_graph *g, cudnnHandle_t handle, cudnnBackendDescriptor_t device,
                     bool deterministic, mb_plan *out);
void mb_plan_close(mb_plan *p); /* accepts a zeroed one */

/* Enqueues on the handle's stream. POINTERS (n) are where the tensors of UIDS are, on the device
   (scalars on the host). */
mb_err mb_plan_run(const mb_plan *p, cudnnHandle_t handle, const int64_t *uids,
                   void *const *pointers, int64_t n, void *workspace);

#endif
