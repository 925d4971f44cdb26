/* The optimiser step around the kernels: clipping. */
#include "tests/tiny.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

/* How far the parameters moved in one step that clips at CLIP: their change, to be freed. With an
   eps far above every gradient, AdamW moves each parameter by its gradient times lr / eps. */
static float *moved(float clip, double *norm, int64_t *n)
{
    const mb_arch *arch = mb_arch_find("dense");
    mb_ctx *c = tiny_ctx("ref");
    mb_model_config config = tiny_config(arch);
    mb_batch batch = tiny_batch(&config, 1, 0.4);
    mb_model *m = tiny_model(c, arch, &config, 1);
    mb_optimizer_config how = tiny_optimizer(1e5f);
    float *before = tiny_copy(m, 0, n), *after;
    mb_losses losses;

    how.eps = 1e5f;
    how.clip = clip;
    cr_assert_eq(mb_model_step(m, &batch, 1, &how, 0, &losses), MB_OK, "%s", mb_message());
    *norm = losses.grad_norm;
    after = tiny_copy(m, 0, n);
    for (int64_t i = 0; i < *n; i++)
        after[i] -= before[i];
    free(before);
    mb_model_close(m);
    tiny_free(&batch);
    mb_ctx_close(c);
    return after;
}

static double length(const float *x, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

static double length_clipped(float clip, double *norm)
{
    int64_t n;
    float *change = moved(clip, norm, &n);
    double l = length(change, n);

    free(change);
    return l;
}

/* Only float32's rounding of parameters around 1 remains. */
Test(train, a_gradient_longer_than_clip_is_cut_to_it_and_no_other)
{
    double norm, again, whole = length_clipped(0, &norm);

    cr_assert_float_eq(whole, norm, 1e-3 * norm, "%g moved, gradient %g", whole, norm);
    cr_expect_float_eq(length_clipped((float)norm / 2, &again), norm / 2, 1e-3 * norm);
    cr_expect_eq(again, norm, "the norm is that before clipping");
    cr_expect_float_eq(length_clipped((float)norm / 8, &again), norm / 8, 1e-3 * norm);
    cr_expect_eq(length_clipped((float)norm * 2, &again), whole, "a short one is not stretched");
}
