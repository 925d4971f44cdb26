/* Attention of a build without cuDNN's headers: there is none, and opening says so; whatever needs
   an open one is never called. */
#include "models/kernels/cuda/cudnn.h"

#include <stdlib.h>

static mb_err refuse(mb_cudnn **out)
{
    *out = NULL;
    return mb_fail(MB_EMISSING, "built without cuDNN: its headers were not found");
}

mb_err mb_cudnn_open(mb_cudnn **out)
{
    return refuse(out);
}

mb_err mb_cudnn_open_offline(const char *device, mb_cudnn **out)
{
    return refuse(out);
}

void mb_cudnn_close(mb_cudnn *c)
{
}

mb_err mb_cudnn_plan(mb_cudnn *c, const mb_attention_shape *a, size_t *workspace, int *offered)
{
    abort();
}

mb_err mb_cudnn_attend(mb_cudnn *c, const mb_attention_shape *a, void *y, float *lse, const void *x,
                       const int32_t *lo, const int32_t *hi, void *workspace, void *stream)
{
    abort();
}

mb_err mb_cudnn_attend_bwd(mb_cudnn *c, const mb_attention_shape *a, void *dx, const void *dy,
                           const void *y, const float *lse, const void *x, const int32_t *lo,
                           const int32_t *hi, void *workspace, void *stream)
{
    abort();
}
