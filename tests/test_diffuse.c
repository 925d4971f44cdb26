/* Sampling: the steps against distributions whose way is known, and whole models. */
#include "models/diffuse.h"
#include "tests/tiny.h"

#include "base/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* ---- steps ---------------------------------------------------------------------------------- */

/* From pure noise Z in N steps, with the best prediction for data of one number, normal around 0
   with deviation S. */
static double sample_normal(const mb_diffuse *how, double s, double z, uint64_t key)
{
    for (int k = how->steps; k > 0; k--) {
        int from = k * MB_NOISE_STEPS / how->steps, to = (k - 1) * MB_NOISE_STEPS / how->steps;
        double kept = mb_noise_kept(from), variance = kept * s * s + 1 - kept;
        double e = sqrt(1 - kept) * z / variance, x = sqrt(kept) * s * s * z / variance;
        double v = sqrt(kept) * e - sqrt(1 - kept) * x;

        z = mb_diffuse_step(how, from, to, z, how->prediction == MB_EPSILON ? e : v,
                            mb_normal(key, (uint64_t)k));
    }
    return z;
}

/* Without new noise the way from noise to data is one curve, which keeps the order of numbers: it
   takes z to s z. 250 steps come within 2 % of it. */
Test(diffuse, ddim_takes_noise_to_the_data_it_stands_for)
{
    for (int what = MB_EPSILON; what <= MB_VELOCITY; what++) {
        mb_diffuse how = { .steps = 250, .limit = 1, .prediction = (enum mb_prediction)what };

        for (double z = -1.5; z <= 1.5; z += 0.75)
            cr_expect_float_eq(sample_normal(&how, 0.25, z, 0), 0.25 * z, 0.005, "%g: %g", z,
                               sample_normal(&how, 0.25, z, 0));
    }
}

/* With new noise single numbers go anywhere, and all together have the data's spread. */
Test(diffuse, ddpm_draws_from_the_data)
{
    enum { N = 2000 };
    mb_diffuse how = { .steps = 100, .eta = 1, .limit = 1 };
    double square = 0, with_start = 0;

    for (int i = 0; i < N; i++) {
        double z = mb_normal(1, (uint64_t)i);
        double x = sample_normal(&how, 0.25, z, mb_key(1, "ddpm", (uint64_t)i, 0));

        square += x * x / N;
        with_start += x * z / N;
    }
    cr_expect_float_eq(sqrt(square), 0.25, 0.015, "%g", sqrt(square));
    cr_expect(fabs(with_start) < 0.05, "%g", with_start); /* it has forgotten where it began */
}

/* What is guessed is kept to where images lie. */
Test(diffuse, nothing_leaves_the_range_of_images)
{
    mb_diffuse how = { .steps = 10, .limit = 1 };

    cr_expect_eq(mb_diffuse_step(&how, 100, 0, 5, 0, 0), 1);
    cr_expect_eq(mb_diffuse_step(&how, 1000, 0, -5, 0, 0), -1);
    how.limit = 4;
    cr_expect_eq(mb_diffuse_step(&how, 1000, 0, -5, 0, 0), -4);
}

/* ---- models --------------------------------------------------------------------------------- */

enum { PATCHES = 4, S = 3, NUMBERS = PATCHES * S };

static const int32_t token[] = { 1, 5, 7, 2, 3, 9, 2 };
static const uint8_t modality[7]; /* text */
static const mb_prompt prompts[] = { { token, modality, 4, 3 }, { token + 4, modality, 3, 3 } };
static const mb_prompt bare = { token + 3, modality, 1, 3 };

typedef struct painter {
    mb_ctx *c;
    mb_model *m;
} painter;

static painter open_painter(const char *arch)
{
    mb_model_config config = tiny_config(mb_arch_find(arch));
    painter p = { .c = tiny_ctx("ref") };

    config.patch = S;
    config.norm = MB_PRE;
    p.m = tiny_model(p.c, mb_arch_find(arch), &config, 1);
    tiny_spread(p.m);
    return p;
}

static void close_painter(painter *p)
{
    mb_model_close(p->m);
    mb_ctx_close(p->c);
}

static void paint_prompts(const painter *p, mb_diffuse how, const mb_prompt *prompt, int n,
                          float *out)
{
    mb_canvas canvas = { .token = 20, .patches = PATCHES };

    cr_assert_eq(mb_diffuse_images(p->m, &how, prompt, n, &bare, canvas, out), MB_OK, "%s",
                 mb_message());
}

static void paint(const painter *p, mb_diffuse how, int first, int n, float *out)
{
    paint_prompts(p, how, prompts + first, n, out);
}

static bool same(const float *a, const float *b)
{
    return !memcmp(a, b, NUMBERS * sizeof *a);
}

Test(diffuse, the_key_and_the_prompt_decide)
{
    static const char *const archs[] = { "dense", "mot", "switch" };

    for (int i = 0; i < 3; i++) {
        painter p = open_painter(archs[i]);
        mb_diffuse how = { .steps = 5, .guidance = 1, .limit = 1 };
        mb_prompt another = prompts[0];
        float a[2 * NUMBERS], b[2 * NUMBERS], other[NUMBERS];

        paint(&p, how, 0, 2, a);
        paint(&p, how, 0, 2, b);
        cr_expect(same(a, b) && same(a + NUMBERS, b + NUMBERS));
        paint(&p, how, 0, 1, b);
        cr_expect(same(a, b), "an image does not depend on those beside it");
        paint(&p, how, 1, 1, other);
        cr_expect(!same(a, other), "another prompt");
        another.key = 4;
        paint_prompts(&p, how, &another, 1, other);
        cr_expect(!same(a, other), "another key");
        how.eta = 1;
        paint(&p, how, 0, 1, other);
        cr_expect(!same(a, other), "another sampler");
        for (int j = 0; j < 2 * NUMBERS; j++)
            cr_expect(a[j] >= -1 && a[j] <= 1, "%g", a[j]);
        close_painter(&p);
    }
}

/* 0 is the bare prompt's image whatever the prompt, 1 the prompt's alone, and between lies another.
 */
Test(diffuse, guidance_goes_from_bare_to_prompted)
{
    painter p = open_painter("dense");
    mb_diffuse how = { .steps = 5, .limit = 1 };
    float none[NUMBERS], one[NUMBERS], half[NUMBERS], of_bare[NUMBERS];

    paint(&p, how, 0, 1, none);
    how.guidance = 1;
    paint(&p, how, 0, 1, one);
    how.guidance = 0.5;
    paint(&p, how, 0, 1, half);
    how.guidance = 1;
    paint_prompts(&p, how, &bare, 1, of_bare);
    cr_expect(same(none, of_bare));
    cr_expect(!same(none, one) && !same(half, one) && !same(half, none));
    close_painter(&p);
}

Test(diffuse, what_cannot_be_sampled_is_refused)
{
    painter p = open_painter("dense");
    mb_canvas canvas = { .token = 20, .patches = PATCHES };
    static const mb_diffuse bad[] = { { .steps = 0, .limit = 1 },
                                      { .steps = MB_NOISE_STEPS + 1, .limit = 1 },
                                      { .steps = 1, .limit = 1, .eta = 2 },
                                      { .steps = 1, .limit = 1, .guidance = NAN },
                                      { .steps = 1 } };
    mb_diffuse good = { .steps = 1, .guidance = 1, .limit = 1 };
    float out[NUMBERS];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_eq(mb_diffuse_images(p.m, &bad[i], prompts, 1, &bare, canvas, out), MB_EINVAL);
    canvas.patches = 0;
    cr_expect_eq(mb_diffuse_images(p.m, &good, prompts, 1, &bare, canvas, out), MB_EINVAL);
    canvas.patches = PATCHES;
    canvas.token = 32;
    cr_expect_eq(mb_diffuse_images(p.m, &good, prompts, 1, &bare, canvas, out), MB_EINVAL);
    cr_expect(strstr(mb_message(), "token 32"), "%s", mb_message());
    close_painter(&p);
}
