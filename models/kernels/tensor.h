/* A tensor: up to three dimensions, row-major, the last one contiguous.

   (slices, rows, cols): weights are (G, N, K), activations (T, D) with one slice, norm weights (G,
   D) with one row per slice. `rank` says how many of the trailing dimensions are written out when
   the shape is shown or saved. The data belongs to whoever made the tensor: parameters to the
   model, everything an operation returns to the ctx, until mb_ctx_reset(). */
#ifndef MB_KERNELS_TENSOR_H
#define MB_KERNELS_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mb_dtype { MB_F32, MB_BF16 } mb_dtype;

typedef struct mb_tensor {
    const char *name;
    int64_t slices, rows, cols;
    int rank;
    mb_dtype dtype;
    void *data;
    float *grad; /* same shape, always fp32; NULL: not wanted, or not there yet */
    bool wants;  /* a gradient flows into this tensor */
    bool
        grad_live; /* grad holds a value: the next contribution adds to it, the first one sets it */
    bool parameter; /* grad is never reset within a step: contributions always add */
} mb_tensor;

static inline int64_t mb_count(const mb_tensor *t)
{
    return t->slices * t->rows * t->cols;
}

static inline float *mb_f32(const mb_tensor *t)
{
    return t->data;
}

#endif
