/* A tensor: up to three dimensions, row-major, the last one contiguous.

   (slices, rows, cols): weights are (G, N, K), activations (T, D) with one slice, norm weights (G,
   D) with one row per slice. `rank` says how many of the trailing dimensions are written out when
   the shape is shown or saved. The data is in the memory of a backend and belongs to whoever made
   the tensor: parameters to the model, everything an operation returns to the ctx, until
   mb_ctx_reset(). Parameters and their gradients are fp32 in every precision. */
#ifndef MB_KERNELS_TENSOR_H
#define MB_KERNELS_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How numbers are computed with, and how a tensor stores them. */
typedef enum mb_precision { MB_FP32, MB_BF16 } mb_precision;

/* A number of an activation or of its gradient: a float, or a bf16 where the tensor's dtype says
   so. The latter lie in memory that only their backend reads. */
typedef float mb_real;

typedef struct mb_tensor {
    const char *name;
    int64_t slices, rows, cols;
    int rank;
    mb_precision dtype;
    mb_real *data;
    mb_real *grad; /* same shape and dtype; NULL: not wanted, or not there yet */
    bool wants;    /* a gradient flows into this tensor */
    bool
        grad_live; /* grad holds a value: the next contribution adds to it, the first one sets it */
    bool parameter; /* grad is never reset within a step: contributions always add */
} mb_tensor;

static inline int64_t mb_count(const mb_tensor *t)
{
    return t->slices * t->rows * t->cols;
}

static inline size_t mb_size(mb_precision dtype)
{
    return dtype == MB_BF16 ? 2 : 4;
}

static inline size_t mb_bytes(const mb_tensor *t)
{
    return (size_t)mb_count(t) * mb_size(t->dtype);
}

static inline float *mb_f32(const mb_tensor *t)
{
    return t->data;
}

#endif
