/* Measures of quality against what is known of them. */
#include "harness/cider.h"
#include "harness/floors.h"
#include "harness/frechet.h"
#include "harness/judge.h"
#include "tests/data_tools.h"

#include "base/eigen.h"
#include "base/file.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TestSuite(quality, .init = data_folder_open, .fini = data_folder_close);

/* ---- Frechet distance ----------------------------------------------------------------------- */

enum { D = 6, N = 4000 };

/* N rows of deviation SCALE around MEAN in every dimension. */
static float *draw(const char *name, double mean, double scale)
{
    float *x = mb_alloc(N * D * sizeof *x);

    for (uint64_t i = 0; i < N * D; i++)
        x[i] = (float)(mean + scale * mb_normal(mb_key(1, name, 0, 0), i));
    return x;
}

static double distance(double mean, double scale)
{
    float *a = draw("a", 0, 1), *b = draw("b", mean, scale);
    double d = mb_frechet(a, N, b, N, D);

    free(a);
    free(b);
    return d;
}

/* Of Gaussians: D (mean^2 + (1 - scale)^2). */
Test(quality, frechet_distance_is_that_of_gaussians)
{
    cr_expect_float_eq(distance(0, 1), 0, 0.02);
    cr_expect_float_eq(distance(0.5, 1), D * 0.25, 0.1);
    cr_expect_float_eq(distance(0, 2), D, 0.3);
    cr_expect_float_eq(distance(1, 0.5), D * 1.25, 0.3);
}

Test(quality, a_sample_is_no_distance_from_itself)
{
    float *a = draw("a", 3, 2);

    cr_expect_float_eq(mb_frechet(a, N, a, N, D), 0, 1e-6);
    free(a);
}

Test(quality, eigenvalues_of_a_known_matrix)
{
    double m[] = { 2, 1, 0, 1, 2, 0, 0, 0, 5 }, v[9];

    mb_eigen(m, v, 3);
    cr_expect_float_eq(m[0] * m[4] * m[8], 15, 1e-9);
    cr_expect_float_eq(m[0] + m[4] + m[8], 9, 1e-9);
    cr_expect_float_eq(fmin(m[0], m[4]), 1, 1e-9);
    cr_expect_float_eq(fabs(v[8]), 1, 1e-9);
}

/* ---- CIDEr-D -------------------------------------------------------------------------------- */

static double cider(const char *first, const char *second)
{
    const char *const dog[] = { "a small brown dog runs fast" };
    const char *const cat[] = { "the white cat sleeps on a mat" };
    mb_described_image image[] = { { first, dog, 1 }, { second, cat, 1 } };

    return mb_cider(image, 2);
}

Test(quality, the_reference_itself_scores_ten)
{
    cr_expect_float_eq(cider("a small brown dog runs fast", "The white cat sleeps on a mat."), 10,
                       1e-9);
}

Test(quality, a_caption_of_another_image_scores_nothing)
{
    cr_expect_float_eq(cider("the white cat sleeps on a mat", "a small brown dog runs fast"), 0,
                       1e-9);
    cr_expect_float_eq(cider("", ""), 0, 1e-9);
}

/* "dog" alone of 5 words that are rare (a is in both): cosine 1 / sqrt(5), 5 words too few, one of
   four lengths, one of two images. */
Test(quality, a_part_of_the_words_scores_a_known_part)
{
    cr_expect_float_eq(cider("dog", ""), 10 / sqrt(5) * exp(-25 / 72.0) / 4 / 2, 1e-9);
}

/* ---- judge and floors ----------------------------------------------------------------------- */

/* Of the test split's images, all unseen in training; chance is 0.2. */
Test(quality, the_judge_knows_shapes_and_is_the_same_again)
{
    mb_data *d = data_open_procedural();
    int64_t n = mb_data_section(d, MB_TEST, MB_PAIRS), right = 0;
    uint8_t *image = mb_alloc((size_t)n * 784);
    float *feature = mb_alloc((size_t)n * MB_FEATURES * 4),
          *again = mb_alloc((size_t)n * MB_FEATURES * 4);
    int *class = mb_alloc((size_t)n * sizeof *class), value[MB_SLOTS];
    mb_render *r;
    mb_judge *j;

    cr_assert_eq(mb_render_open(d, &r), MB_OK);
    cr_assert_eq(mb_judge_open(d, r, &j), MB_OK, "%s", mb_message());
    for (int64_t i = 0; i < n; i++) {
        mb_parts p;

        cr_assert_eq(mb_data_parts(d, MB_TEST, i, &p), MB_OK);
        mb_render_image(r, &p.part[MB_IMAGE], image + i * 784);
        mb_parts_free(&p);
    }
    cr_assert_eq(mb_judge_look(j, image, n, class, feature), MB_OK);
    for (int64_t i = 0; i < n; i++) {
        mb_parts p;
        char *text;

        cr_assert_eq(mb_data_parts(d, MB_TEST, i, &p), MB_OK);
        text = mb_render_text(r, p.part[MB_TEXT].token, p.part[MB_TEXT].n);
        mb_slots_read(d, text, value);
        right += class[i] == value[0];
        free(text);
        mb_parts_free(&p);
    }
    cr_expect_gt((double)right / (double)n, 0.7, "%g", (double)right / (double)n);
    mb_judge_close(j);
    cr_assert_eq(mb_judge_open(d, r, &j), MB_OK, "%s", mb_message()); /* as it was kept */
    cr_assert_eq(mb_judge_look(j, image, n, class, again), MB_OK);
    cr_expect_eq(memcmp(feature, again, (size_t)n * MB_FEATURES * 4), 0);
    mb_judge_close(j);
    mb_render_close(r);
    mb_data_close(d);
    free(image);
    free(feature);
    free(again);
    free(class);
}

Test(quality, positions_know_more_than_one_distribution)
{
    mb_data *d = data_open_procedural();
    mb_mixture mixture = { .boundary = MB_TEXT };
    mb_floors f;

    cr_assert_eq(mb_floors_measure(d, &mixture, &f), MB_OK, "%s", mb_message());
    cr_expect_eq(f.n[MB_IMAGE], 49 * mb_data_section(d, MB_VAL, MB_PAIRS));
    cr_expect_lt(f.position[MB_IMAGE], f.unigram[MB_IMAGE]);
    cr_expect_lt(f.unigram[MB_IMAGE], log(64));
    cr_expect_lt(f.unigram[MB_TEXT], log(mb_data_vocab(d)));
    cr_expect(isnan(f.position[MB_TEXT]));
    cr_expect(isnan(f.unigram[MB_SPEECH]));
    mb_data_close(d);
}

/* ---- slots ---------------------------------------------------------------------------------- */

/* What a caption says is what its own image shows, but for what tokens blur. */
Test(quality, images_show_what_captions_say)
{
    mb_data *d = data_open_procedural();
    int64_t n = mb_data_section(d, MB_VAL, MB_PAIRS), right[MB_SLOTS] = { 0 };
    mb_render *r;

    cr_assert_eq(mb_render_open(d, &r), MB_OK);
    for (int64_t i = 0; i < n; i++) {
        int said[MB_SLOTS], seen[MB_SLOTS];
        uint8_t image[784];
        mb_parts p;
        char *text;

        cr_assert_eq(mb_data_parts(d, MB_VAL, i, &p), MB_OK);
        text = mb_render_text(r, p.part[MB_TEXT].token, p.part[MB_TEXT].n);
        mb_render_image(r, &p.part[MB_IMAGE], image);
        mb_slots_read(d, text, said);
        mb_slots_see(d, mb_render_shape(r), image, said[0], seen);
        for (int s = 0; s < MB_SLOTS; s++) {
            cr_expect_geq(said[s], 0, "'%s'", text);
            right[s] += said[s] == seen[s];
        }
        free(text);
        mb_parts_free(&p);
    }
    for (int s = 1; s < MB_SLOTS; s++)
        cr_expect_gt((double)right[s] / (double)n, 0.95, "slot %d: %g", s,
                     (double)right[s] / (double)n);
    cr_expect_eq(right[0], 0, "the class is not seen");
    mb_render_close(r);
    mb_data_close(d);
}

Test(quality, slots_are_read_as_whole_words_once)
{
    mb_data *d = data_open_procedural();
    int value[MB_SLOTS];

    mb_slots_read(d, "a small dark ring on the left", value);
    cr_expect(value[0] == 4 && value[1] == 0 && value[2] == 0 && value[3] == 0);
    mb_slots_read(d, "a smallish string on the-left", value);
    cr_expect(value[0] == -1 && value[1] == -1 && value[2] == -1 && value[3] == -1);
    mb_data_close(d);
}
