/* What the best linear guess of noise could reach, and a trained model of patches against it: below
   it a model has learnt more than what numbers of one patch say of each other. */
#include "harness/denoiser.h"
#include "models/model.h"
#include "tests/data_tools.h"

#include "base/eigen.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <math.h>

TestSuite(floor, .init = data_folder_open, .fini = data_folder_close);

enum { STEPS = 100, LARGEST = 40 };

/* With independent numbers of variance s^2 the guess is of each alone: s^2 a / (s^2 a + 1 - a), and
   of v, that over a. */
static double loss_of_one(double variance, enum mb_prediction predicted)
{
    double sum = 0;

    for (int t = 1; t <= MB_NOISE_STEPS; t++) {
        double kept = mb_noise_kept(t), error = variance * kept / (variance * kept + 1 - kept);

        sum += predicted == MB_EPSILON ? error : error / kept;
    }
    return sum / MB_NOISE_STEPS;
}

static const enum mb_prediction predictions[] = { MB_EPSILON, MB_VELOCITY };

Test(floor, of_independent_numbers_is_known)
{
    for (int p = 0; p < 2; p++) {
        double c[9] = { 0.25, 0, 0, 0, 1, 0, 0, 0, 0.01 };
        double want = (loss_of_one(0.25, predictions[p]) + loss_of_one(1, predictions[p]) +
                       loss_of_one(0.01, predictions[p])) /
                      3;

        cr_expect_float_eq(mb_denoiser_loss(c, 3, predictions[p]), want, 1e-6);
    }
}

/* Its eigenvalues alone decide what a covariance lets be guessed. */
Test(floor, of_numbers_that_tell_of_each_other_is_that_of_eigenvalues)
{
    static const int sizes[] = { 1, 2, 3, 7, LARGEST };

    for (int k = 0; k < 10; k++) {
        int n = sizes[k / 2];
        double x[LARGEST * LARGEST], c[LARGEST * LARGEST], m[LARGEST * LARGEST],
            v[LARGEST * LARGEST], want = 0, got;

        for (int i = 0; i < n * n; i++)
            x[i] = mb_normal(mb_key(1, "x", (uint64_t)n, 0), (uint64_t)i);
        for (int i = 0; i < n * n; i++) {
            m[i] = 0;
            for (int j = 0; j < n - n / 3; j++) /* some have no variance */
                m[i] += x[i / n * n + j] * x[i % n * n + j] / n;
            c[i] = m[i];
        }
        mb_eigen(m, v, n);
        for (int i = 0; i < n; i++)
            want += loss_of_one(fmax(m[i * n + i], 0), predictions[k % 2]) / n;
        got = mb_denoiser_loss(c, n, predictions[k % 2]);
        cr_expect_float_eq(got, want, 1e-6, "%d numbers: %g, by eigenvalues %g", n, got, want);
    }
}

/* Of all images: a patch tells less than what the whole tells, and more than nothing. Images of the
   procedural set are too few for the numbers of a whole one. */
Test(floor, of_a_set_is_measured_from_its_patches)
{
    mb_data *d = data_open("procedural-patches"), *ids = data_open("procedural");
    mb_denoisers f, none;

    cr_assert_eq(mb_denoisers_measure(d, MB_EPSILON, &f), MB_OK, "%s", mb_message());
    cr_expect(f.patch > 0.05 && f.patch < loss_of_one(0.6, MB_EPSILON), "%g", f.patch);
    cr_expect(isnan(f.image));
    cr_expect_eq(f.images, mb_data_section(d, MB_TRAIN, MB_PAIRS));
    cr_assert_eq(mb_denoisers_measure(ids, MB_EPSILON, &none), MB_OK, "%s", mb_message());
    cr_expect(isnan(none.patch) && isnan(none.image) && none.images == 0);
    mb_data_close(d);
    mb_data_close(ids);
}

static mb_model *train(mb_ctx *c, const mb_data *d, const mb_mixture *mixture)
{
    mb_model_config config = { .vocab = mb_data_vocab(d),
                               .modalities = mb_data_modalities(d),
                               .width = 32,
                               .layers = 2,
                               .heads = 2,
                               .ffn_multiple = 8,
                               .norm = MB_PRE,
                               .qk_norm = true,
                               .norm_eps = 1e-5f,
                               .rope_base = 10000,
                               .patch = mb_data_patch(d),
                               .patch_weight = 5,
                               .batch = 8,
                               .len = 128 };
    mb_optimizer_config how = {
        .lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f, .clip = 1
    };
    mb_stream *s;
    mb_model *m;
    mb_batch b;
    mb_losses l;

    cr_assert_eq(mb_model_open(c, mb_arch_find("mot"), &config, 1, &m), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_stream_open(d, MB_TRAIN, mixture, 1, 8, 128, &s), MB_OK, "%s", mb_message());
    for (int step = 0; step < STEPS; step++) {
        cr_assert_eq(mb_stream_next(s, &b), MB_OK);
        cr_assert_eq(mb_model_step(m, &b, 1, &how, step, &l), MB_OK, "%s", mb_message());
    }
    mb_stream_close(s);
    return m;
}

Test(floor, a_trained_model_sees_more_than_a_linear_guess_from_a_patch)
{
    mb_mixture mixture = { .pair_weight = 1, .image_first = 0.2 };
    mb_data *d = data_open("procedural-patches");
    mb_losses l = { 0 };
    mb_denoisers floor;
    mb_ctx *ctx;
    mb_model *m;
    mb_stream *s;
    mb_batch b;

    cr_assert_eq(mb_denoisers_measure(d, mixture.prediction, &floor), MB_OK);
    cr_assert_eq(mb_ctx_open("cpu", MB_FP32, 1, &ctx), MB_OK);
    m = train(ctx, d, &mixture);
    cr_assert_eq(mb_stream_open(d, MB_VAL, &mixture, 1, 8, 128, &s), MB_OK);
    while (!mb_stream_next(s, &b))
        cr_assert_eq(mb_model_evaluate(m, &b, &l), MB_OK);
    cr_expect_eq(l.n[MB_IMAGE], mb_data_section(d, MB_VAL, MB_PAIRS) * 49);
    cr_expect(l.sum[MB_IMAGE] / (double)l.n[MB_IMAGE] < floor.patch, "%g, linear %g",
              l.sum[MB_IMAGE] / (double)l.n[MB_IMAGE], floor.patch);
    mb_stream_close(s);
    mb_model_close(m);
    mb_ctx_close(ctx);
    mb_data_close(d);
}
