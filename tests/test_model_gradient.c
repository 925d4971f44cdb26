/* Gradients of whole models against differences of their loss, parameter by parameter. */
#include "tests/tiny.h"

#include "base/file.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The loss that mb_model_gradients() differentiates, in training mode, auxiliary losses included.
 */
static double loss_of(mb_model *m, const mb_batch *b, mb_losses *losses)
{
    const mb_model_config *config = mb_model_settings(m);

    cr_assert_eq(mb_model_gradients(m, b, 3, losses), MB_OK, "%s", mb_message());
    return mb_losses_mean(losses) + config->layers * (config->balance * losses->balance +
                                                      config->router_z * losses->router_z);
}

/* A direction that is half the gradient and half noise, of length 1: noise alone would see little,
   the gradient alone would miss what is missing in it. Returns the slope along it. */
static double make_direction(const mb_param *p, float *u)
{
    int64_t n = mb_count(&p->t);
    uint64_t key = mb_key(1, p->t.name, 1, 0);
    double gg = 0, uu = 0, slope = 0;

    for (int64_t i = 0; i < n; i++)
        gg += (double)p->t.grad[i] * p->t.grad[i];
    for (int64_t i = 0; i < n; i++) {
        u[i] = (float)(p->t.grad[i] / sqrt(gg) + mb_normal(key, (uint64_t)i) / sqrt((double)n));
        uu += (double)u[i] * u[i];
    }
    for (int64_t i = 0; i < n; i++) {
        u[i] = (float)(u[i] / sqrt(uu));
        slope += (double)u[i] * p->t.grad[i];
    }
    return slope;
}

/* The loss with parameter P moved by H along U from X. */
static double loss_at(mb_model *m, const mb_batch *b, mb_param *p, const float *x, const float *u,
                      double h)
{
    mb_losses losses;
    double loss;

    for (int64_t i = 0; i < mb_count(&p->t); i++)
        mb_f32(&p->t)[i] = (float)(x[i] + h * u[i]);
    loss = loss_of(m, b, &losses);
    memcpy(mb_f32(&p->t), x, (size_t)mb_count(&p->t) * sizeof *x);
    return loss;
}

/* The slope along U by central differences over H and 2 H, once both agree: where they do not, a
   route changes on the way, and H is halved. Losses are float32 sums, with noise of 1e-7 / H. */
static double measure_slope(mb_model *m, const mb_batch *b, mb_param *p, const float *x,
                            const float *u, double *tolerance)
{
    for (double h = 4e-3; h > 2e-4; h /= 2) {
        double near = (loss_at(m, b, p, x, u, h) - loss_at(m, b, p, x, u, -h)) / (2 * h);
        double far = (loss_at(m, b, p, x, u, 2 * h) - loss_at(m, b, p, x, u, -2 * h)) / (4 * h);

        *tolerance = 5e-3 * fabs(near) + 1e-7 / h;
        if (fabs(near - far) <= *tolerance)
            return (4 * near - far) / 3;
    }
    cr_assert(false, "%s: no step is small enough", p->t.name);
    return NAN;
}

static void check_parameter(mb_model *m, const mb_batch *b, mb_param *p, const char *arch)
{
    size_t n = (size_t)mb_count(&p->t);
    float *x = mb_alloc(n * sizeof *x), *u = mb_alloc(n * sizeof *u);
    mb_losses losses;
    double slope, measured, tolerance;

    memcpy(x, mb_f32(&p->t), n * sizeof *x);
    loss_of(m, b, &losses);
    slope = make_direction(p, u);
    measured = measure_slope(m, b, p, x, u, &tolerance);
    cr_expect(fabs(measured - slope) <= 3 * tolerance, "%s: %s: slope %g, measured %g", arch,
              p->t.name, slope, measured);
    free(x);
    free(u);
}

static void check_model(const mb_arch *arch, const mb_model_config *config)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_batch batch = tiny_batch(config, 1, 0.4);
    mb_model *m = tiny_model(c, arch, config, 12);
    size_t n;
    mb_param *p = mb_model_params(m, &n);

    tiny_spread(m);
    for (size_t i = 0; i < n; i++)
        check_parameter(m, &batch, &p[i], arch->name);
    mb_model_close(m);
    tiny_free(&batch);
    mb_ctx_close(c);
}

Test(gradient, of_every_parameter_of_every_architecture_is_the_slope_of_the_loss)
{
    for (const mb_arch *a = mb_archs; a->name; a++)
        for (int norm = MB_POST; norm <= MB_PRE; norm++) {
            mb_model_config config = tiny_config(a);

            config.norm = norm;
            check_model(a, &config);
        }
}

Test(gradient, of_every_parameter_is_the_slope_of_the_loss_with_patches)
{
    for (const mb_arch *a = mb_archs; a->name; a++)
        for (int images = TINY_PATCHES; images < TINY_IMAGES; images++) {
            mb_model_config config = tiny_config(a);

            config.norm = MB_PRE;
            tiny_images(&config, images);
            check_model(a, &config);
        }
}

/* Of patches of one pixel and of sixteen. */
Test(gradient, of_every_parameter_is_the_slope_of_the_loss_with_unets_of_all_sizes)
{
    for (int side = 1; side <= 4; side += 3) {
        mb_model_config config = tiny_config(mb_arch_find("mot"));

        config.norm = MB_PRE;
        tiny_images(&config, TINY_UNET);
        config.patch_side = side;
        config.patch = side * side;
        check_model(mb_arch_find("mot"), &config);
    }
}

/* Everything that a router can be asked for at once, random draws included. */
Test(gradient, flows_through_jitter_auxiliary_losses_and_drops)
{
    for (const mb_arch *a = mb_archs; a->name; a++) {
        mb_model_config config = tiny_config(a);

        if (a->ffn != MB_BY_ROUTER)
            continue;
        config.capacity *= 0.6;
        config.jitter = 0.1;
        config.group = MB_GROUP_SEQUENCE;
        config.score = MB_SOFTMAX;
        config.balance = a->choice == MB_TOKEN_CHOOSES ? 0.5 : 0;
        config.router_z = 0.1;
        check_model(a, &config);
    }
}

Test(gradient, flows_through_a_gate_inside_the_norm)
{
    mb_model_config config = tiny_config(mb_arch_find("gshard"));

    config.gate = MB_INSIDE;
    check_model(mb_arch_find("gshard"), &config);
}

Test(gradient, of_an_absent_modality_is_zero)
{
    mb_ctx *c = tiny_ctx("ref");
    const mb_arch *arch = mb_arch_find("mot");
    mb_model_config config = tiny_config(arch);
    mb_batch batch = tiny_batch(&config, 1, 0);
    mb_model *m = tiny_model(c, arch, &config, 1);
    mb_losses losses;
    size_t n;
    mb_param *p = mb_model_params(m, &n);

    cr_assert_eq(mb_model_gradients(m, &batch, 0, &losses), MB_OK);
    cr_expect_eq(losses.n[MB_IMAGE], 0);
    for (size_t i = 0; i < n; i++) {
        int64_t half = mb_count(&p[i].t) / 2;
        double text = 0, image = 0;

        if (p[i].by != MB_BY_MODALITY)
            continue;
        for (int64_t j = 0; j < half; j++) {
            text += fabs(p[i].t.grad[j]);
            image += fabs(p[i].t.grad[half + j]);
        }
        cr_expect(text > 0 && image == 0, "%s: %g, %g", p[i].t.name, text, image);
    }
    mb_model_close(m);
    tiny_free(&batch);
    mb_ctx_close(c);
}
