/* Reference: the loss and its gradients, row by row.

   total = scale * sum (lse - logit[target] + z lse^2), so with p = softmax(logits)
     d logit[j] = scale * (p[j] (1 + 2 z lse) - [j == target]) */
#include "models/kernels/ref/ref.h"

#include "base/file.h"

/* logits (V) of one row; returns their log-sum-exp. */
static double logits_of(mb_ctx *c, double *logits, const float *x, const float *w, int64_t d,
                        int64_t v)
{
    double top = -INFINITY, sum = 0;

    for (int64_t j = 0; j < v; j++) {
        logits[j] = ref_dot(c, x, w + j * d, d);
        top = fmax(top, logits[j]);
    }
    for (int64_t j = 0; j < v; j++)
        sum += exp(logits[j] - top);
    return top + log(sum);
}

/* Turns logits into their gradient. */
static void logits_bwd(double *logits, double lse, int32_t target, double scale, double z,
                       int64_t v)
{
    for (int64_t j = 0; j < v; j++)
        logits[j] = scale * (exp(logits[j] - lse) * (1 + 2 * z * lse) - (j == target));
}

void mb_ref_classify(mb_ctx *c, float *loss, float *dx, float *dw, const float *x,
                     const mb_tensor *w, const int32_t *target, float scale, float z, int64_t t)
{
    int64_t d = w->cols, v = w->rows;
    const float *weight = mb_f32(w);
    double *logits = mb_alloc((size_t)v * sizeof *logits);
    double *dxs = mb_alloc((size_t)d * sizeof *dxs);
    double *dws = dw ? mb_zalloc((size_t)(v * d), sizeof *dws) : NULL;

    for (int64_t i = 0; i < t; i++) {
        int64_t classes = target[i] >= 0 ? v : 0; /* a row without a target costs nothing */
        double lse = logits_of(c, logits, x + i * d, weight, d, classes);

        loss[i] = classes ? (float)(lse - logits[target[i]]) : 0;
        logits_bwd(logits, lse, target[i], scale, z, classes);
        memset(dxs, 0, (size_t)d * sizeof *dxs);
        for (int64_t j = 0; dx && j < classes; j++)
            ref_axpy(c, dxs, logits[j], weight + j * d, d);
        for (int64_t j = 0; dw && j < classes; j++)
            ref_axpy(c, dws + j * d, logits[j], x + i * d, d);
        if (dx)
            ref_put(dx + i * d, dxs, d, false);
    }
    if (dw)
        ref_put(dw, dws, v * d, true);
    free(logits);
    free(dxs);
    free(dws);
}
