/* Attention through cuDNN: bf16 in and out, fp32 scores and sums, in one fused kernel forward and
   one backward. The composite graph of operations that cuDNN 9.19 takes on Hopper; not the single
   attention operation, whose causal form is of 9.21.

   Spans: all that op.h knows. Kernels are made for three kinds, since they can leave out what lies
   above the diagonal only where they know that nothing there is seen.

   Rows are in order of positions, sequence by sequence. Pointers are to device memory, aligned to
   16 bytes. Nothing synchronises: calls enqueue on the stream, and may be captured in a CUDA graph.
 */
#ifndef MB_KERNELS_CUDA_CUDNN_H
#define MB_KERNELS_CUDA_CUDNN_H

#include "base/err.h"
#include "models/kernels/op.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mb_cudnn mb_cudnn;

/* The current device's. MB_EMISSING: no cuDNN here. */
mb_err mb_cudnn_open(mb_cudnn **out);
/* For the device that DEVICE (cuDNN's JSON of device properties) tells of, without having one:
   plans are made, never run. */
mb_err mb_cudnn_open_offline(const char *device, mb_cudnn **out);
void mb_cudnn_close(mb_cudnn *c); /* accepts NULL */

typedef struct mb_attention_shape { /* a shape: plans are made once for each */
    int64_t batch, len;             /* T = batch * len rows */
    int heads, width; /* width of one head, a multiple of 8, 128 at most: D = heads * width */
    enum mb_spans spans;
    bool fast; /* the backward may add up dq in any order: other bits every time, but without the
                  2 * batch * heads * len^2 bytes of workspace that order costs before cuDNN 9.25 */
} mb_attention_shape;

/* Makes the plans of a shape, unless that was tried. *workspace: the bytes that a call needs,
   either pass; *offered (may be NULL): of how many configurations each pass could choose, at least.
 */
mb_err mb_cudnn_plan(mb_cudnn *c, const mb_attention_shape *a, size_t *workspace, int *offered);

/* Bytes of the workspace of such plans, about: before cuDNN 9.25, the order in which gradients of
   queries are added up costs two for each pair of positions of a sequence, whose length is rounded
   up to 128. */
static inline size_t mb_cudnn_workspace(const mb_attention_shape *a)
{
    size_t len = (size_t)(a->len + 127) / 128 * 128, rows = (size_t)(a->batch * a->heads) * len;

    return rows * 2 * sizeof(float) +
           (a->fast ? rows * (size_t)a->width * sizeof(float) : 2 * rows * len);
}

/* x = [q k v] (T, 3D) bf16; lo and hi (T) on the device, for the kinds that have them; sets y (T,
   D) bf16 and lse (batch, heads, len) fp32, the log-sum-exp of the scores q.k / sqrt(width), for
   the backward. */
mb_err mb_cudnn_attend(mb_cudnn *c, const mb_attention_shape *a, void *y, float *lse, const void *x,
                       const int32_t *lo, const int32_t *hi, void *workspace, void *stream);

/* Sets dx (T, 3D) from dy (T, D). */
mb_err mb_cudnn_attend_bwd(mb_cudnn *c, const mb_attention_shape *a, void *dx, const void *dy,
                           const void *y, const float *lse, const void *x, const int32_t *lo,
                           const int32_t *hi, void *workspace, void *stream);

#endif
