/* A trained model of patches against what the best linear guess could reach: below it a model has
   learnt more than what numbers of one patch say of each other. */
#include "models/model.h"
#include "tests/data_tools.h"
#include "workloads/set.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

TestSuite(floor, .init = data_folder_open, .fini = data_folder_close);

enum { S = 16, STEPS = 100 };

/* Covariance of a patch's numbers, in -1 .. 1, over all patches of a split. */
static void measure(const mb_set_split *v, double c[S][S])
{
    int64_t n = (int64_t)v->patch.size / S;
    double mean[S] = { 0 };

    memset(c, 0, sizeof(double[S][S]));
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < S; j++)
            mean[j] += (v->patch.data[i * S + j] / 127.5 - 1) / (double)n;
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < S; j++)
            for (int k = 0; k < S; k++)
                c[j][k] += (v->patch.data[i * S + j] / 127.5 - 1 - mean[j]) *
                           (v->patch.data[i * S + k] / 127.5 - 1 - mean[k]) / (double)n;
}

/* The trace of a symmetric positive matrix' inverse, by Gauss and Jordan; destroys it. */
static double trace_of_inverse(double m[S][S])
{
    double inverse[S][S] = { 0 }, trace = 0;

    for (int i = 0; i < S; i++)
        inverse[i][i] = 1;
    for (int i = 0; i < S; i++) {
        double pivot = m[i][i];

        for (int k = 0; k < S; k++) {
            m[i][k] /= pivot;
            inverse[i][k] /= pivot;
        }
        for (int j = 0; j < S; j++) {
            double f = m[j][i];

            for (int k = 0; j != i && k < S; k++) {
                m[j][k] -= f * m[i][k];
                inverse[j][k] -= f * inverse[i][k];
            }
        }
    }
    for (int i = 0; i < S; i++)
        trace += inverse[i][i];
    return trace;
}

/* Mean squared error of the best linear guess of the noise e from z = sqrt(a) x + sqrt(1-a) e, mean
   over steps: 1 - (1-a) tr((a C + (1-a))^-1) / S. */
static double linear_floor(double c[S][S])
{
    double sum = 0;

    for (int t = 1; t <= MB_NOISE_STEPS; t++) {
        double kept = mb_noise_kept(t), m[S][S];

        for (int i = 0; i < S; i++)
            for (int j = 0; j < S; j++)
                m[i][j] = kept * c[i][j] + (i == j ? 1 - kept : 0);
        sum += 1 - (1 - kept) * trace_of_inverse(m) / S;
    }
    return sum / MB_NOISE_STEPS;
}

/* With independent numbers of variance s^2 the guess is of each alone: s^2 a / (s^2 a + 1 - a). */
Test(floor, of_independent_numbers_is_known)
{
    double c[S][S] = { 0 }, sum = 0;

    for (int i = 0; i < S; i++)
        c[i][i] = 0.25;
    for (int t = 1; t <= MB_NOISE_STEPS; t++) {
        double kept = mb_noise_kept(t);

        sum += 0.25 * kept / (0.25 * kept + 1 - kept);
    }
    cr_expect_float_eq(linear_floor(c), sum / MB_NOISE_STEPS, 1e-9);
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
    double c[S][S], floor;
    mb_ctx *ctx;
    mb_model *m;
    mb_stream *s;
    mb_batch b;

    measure(&d->split[MB_VAL], c);
    floor = linear_floor(c);
    cr_assert_eq(mb_ctx_open("cpu", MB_FP32, 1, &ctx), MB_OK);
    m = train(ctx, d, &mixture);
    cr_assert_eq(mb_stream_open(d, MB_VAL, &mixture, 1, 8, 128, &s), MB_OK);
    while (!mb_stream_next(s, &b))
        cr_assert_eq(mb_model_evaluate(m, &b, &l), MB_OK);
    cr_expect_eq(l.n[MB_IMAGE], d->split[MB_VAL].section[MB_PAIRS] * 49);
    cr_expect(l.sum[MB_IMAGE] / (double)l.n[MB_IMAGE] < floor, "%g, linear %g",
              l.sum[MB_IMAGE] / (double)l.n[MB_IMAGE], floor);
    mb_stream_close(s);
    mb_model_close(m);
    mb_ctx_close(ctx);
    mb_data_close(d);
}
