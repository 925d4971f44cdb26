/* Images as patches in batches: what streams promise of them. */
#include "tests/data_tools.h"
#include "workloads/patches.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(patches, .init = data_folder_open, .fini = data_folder_close);

enum { PATCHES = 49, S = 16, BYTES = PATCHES * S };

static mb_mixture mixture_of(double image_first, double drop, enum mb_prediction prediction)
{
    return (mb_mixture){ .pair_weight = 1,
                         .text_weight = 1,
                         .image_first = image_first,
                         .drop_caption = drop,
                         .prediction = prediction };
}

static mb_stream *open_stream(const mb_data *d, enum mb_split split, const mb_mixture *m,
                              uint64_t seed)
{
    mb_stream *s;

    cr_assert_eq(mb_stream_open(d, split, m, seed, 3, 128, &s), MB_OK, "%s", mb_message());
    return s;
}

static mb_batch next(mb_stream *s)
{
    mb_batch b;

    cr_assert_eq(mb_stream_next(s, &b), MB_OK, "%s", mb_message());
    return b;
}

/* ---- what stands where ----------------------------------------------------------------------- */

static bool is_patch(const mb_batch *b, int64_t i)
{
    return b->noise[i] >= 0;
}

/* An image that begins at position I: patches of one step, which see it all, among places. */
static void check_image(const mb_data *d, const mb_batch *b, int64_t i)
{
    int32_t p = (int32_t)(i % b->len);

    cr_assert(b->token[i - 1] == d->ids.boi && b->token[i + PATCHES] == d->ids.eoi);
    cr_assert_eq(b->target[i - 1], -1, "no loss at BOI");
    cr_assert_eq(b->target[i + PATCHES] >= 0, true, "EOI is followed");
    for (int64_t k = i; k < i + PATCHES; k++) {
        cr_assert(is_patch(b, k) && b->noise[k] == b->noise[i] && b->noise[k] > 0);
        cr_assert(b->target[k] < 0 && b->modality[k] == MB_IMAGE);
        cr_assert(b->token[k] == d->ids.image[0] && b->hi[k] == p + PATCHES - 1);
        cr_assert_eq(b->lo[k], b->lo[i - 1]);
    }
}

static void check_batch(const mb_data *d, const mb_batch *b)
{
    for (int64_t i = 0; i < b->batch * b->len; i++) {
        cr_assert(b->target_modality[i] == MB_TEXT && b->target[i] != d->ids.image[0]);
        if (is_patch(b, i) && !is_patch(b, i - 1))
            check_image(d, b, i);
        if (!is_patch(b, i)) {
            cr_assert_eq(b->hi[i], i % b->len);
            cr_assert_eq(b->token[i] == d->ids.image[0], false, "a place without a patch");
        }
        if (b->token[i] == d->ids.boi)
            cr_assert(is_patch(b, i + 1));
    }
}

Test(patches, see_their_image_and_have_no_targets)
{
    mb_data *d = data_open("procedural-patches");

    cr_assert(mb_data_patch(d) == S && mb_data_modalities(d) == 2);
    cr_assert_eq(mb_data_vocab(d), 320 + 1 + 4);
    for (int boundary = MB_TEXT; boundary <= MB_IMAGE; boundary++) {
        mb_mixture m = mixture_of(0.5, 0.3, MB_EPSILON);
        mb_stream *s;

        m.boundary = boundary;
        s = open_stream(d, MB_TRAIN, &m, 1);
        for (int i = 0; i < 30; i++) {
            mb_batch b = next(s);

            check_batch(d, &b);
        }
        mb_stream_close(s);
    }
    mb_data_close(d);
}

/* ---- what is behind the noise ------------------------------------------------------------------
 */

/* The bytes of the image at position I, when both noise and prediction are right. */
static void recover(const mb_batch *b, int64_t i, enum mb_prediction what, uint8_t *out)
{
    for (int64_t j = 0; j < BYTES; j++) {
        int64_t at = i * S + j;
        double x, e;

        mb_noise_split(what, mb_noise_kept(b->noise[i]), b->noisy[at], b->wanted[at], &x, &e);
        out[j] = (uint8_t)lround(fmin(fmax(x * 127.5 + 127.5, 0), 255));
    }
}

/* A pass over validation shows each image once, whole. Late steps leave nothing of an image in a
   float: those are only counted. */
static void expect_all_images(const mb_data *d, enum mb_prediction what)
{
    const mb_set_split *v = &d->split[MB_VAL];
    mb_mixture m = mixture_of(0.2, 1, what); /* dropping is for training alone */
    mb_stream *s = open_stream(d, MB_VAL, &m, 9);
    int64_t left = v->section[MB_PAIRS], known = 0;
    mb_batch b;
    uint8_t bytes[BYTES];

    while (!mb_stream_next(s, &b))
        for (int64_t i = 0; i < b.batch * b.len; i++) {
            if (!is_patch(&b, i) || is_patch(&b, i - 1))
                continue;
            left--;
            recover(&b, i, what, bytes);
            for (int64_t k = 0; k < v->section[MB_PAIRS]; k++)
                if (!memcmp(bytes, v->patch.data + k * BYTES, BYTES)) {
                    known++;
                    break;
                }
        }
    cr_expect_eq(left, 0);
    cr_expect_gt(known, v->section[MB_PAIRS] * 9 / 10, "%ld of %ld", known, v->section[MB_PAIRS]);
    mb_stream_close(s);
}

Test(patches, are_those_of_the_set_behind_noise)
{
    mb_data *d = data_open("procedural-patches");

    expect_all_images(d, MB_EPSILON);
    expect_all_images(d, MB_VELOCITY);
    mb_data_close(d);
}

/* Pairs have the same pictures as ids stand for: prepared from one drawing. */
Test(patches, a_caption_keeps_its_picture)
{
    mb_data *d = data_open("procedural-patches"), *ids = data_open_procedural();
    int64_t first, n;

    for (int64_t i = 0; i < 20; i++) {
        const uint8_t *patch = d->split[MB_TRAIN].patch.data + i * BYTES;
        int64_t dark = 0, most = 0;
        int32_t common = -1;

        cr_assert_eq(mb_set_find(&ids->split[MB_TRAIN], i, &first, &n), MB_OK);
        /* the ground is black: as many black patches as there are of the commonest id, or fewer */
        for (int64_t k = first; k < first + n; k++) {
            int32_t id = mb_set_token(ids, &ids->split[MB_TRAIN], k);
            int64_t same = 0;

            for (int64_t j = first; j < first + n; j++)
                same += mb_set_token(ids, &ids->split[MB_TRAIN], j) == id;
            if (mb_id_kind(&ids->ids, id) == MB_ID_IMAGE && same > most) {
                most = same;
                common = id;
            }
        }
        for (int k = 0; k < PATCHES; k++) {
            static const uint8_t black[S];

            dark += !memcmp(patch + k * S, black, S);
        }
        cr_expect(common >= 0 && dark <= most && dark >= most - 4, "pair %ld: %ld, %ld", i, dark,
                  most);
    }
    mb_data_close(d);
    mb_data_close(ids);
}

/* ---- what the noise depends on ----------------------------------------------------------------
 */

static bool equal(const mb_batch *a, const mb_batch *b)
{
    for (int64_t i = 0; i < a->batch * a->len; i++) {
        size_t size = S * sizeof *a->noisy;

        if (a->token[i] != b->token[i] || a->noise[i] != b->noise[i])
            return false;
        if (is_patch(a, i) && (memcmp(a->noisy + i * S, b->noisy + i * S, size) ||
                               memcmp(a->wanted + i * S, b->wanted + i * S, size)))
            return false;
    }
    return true;
}

Test(patches, noise_is_of_the_seed_in_training_and_fixed_in_validation)
{
    mb_data *d = data_open("procedural-patches");
    mb_mixture m = mixture_of(0.2, 0.5, MB_EPSILON);

    for (int split = MB_TRAIN; split <= MB_VAL; split++) {
        mb_stream *a = open_stream(d, split, &m, 1), *b = open_stream(d, split, &m, 1);
        mb_stream *c = open_stream(d, split, &m, 2);
        mb_batch x = next(a), y = next(b), z;

        cr_expect(equal(&x, &y));
        z = next(c);
        cr_expect_eq(equal(&x, &z), split == MB_VAL);
        cr_assert_eq(mb_stream_skip(a, 3), MB_OK);
        for (int i = 0; i < 4; i++)
            y = next(b);
        x = next(a);
        cr_expect(equal(&x, &y), "skipping is taking");
        mb_stream_close(a);
        mb_stream_close(b);
        mb_stream_close(c);
    }
    mb_data_close(d);
}

/* Every step is about as likely, and an epoch later an image has another. */
Test(patches, steps_are_uniform_and_new_in_every_epoch)
{
    mb_data *d = data_open("procedural-patches");
    mb_mixture m = mixture_of(0.2, 0, MB_EPSILON);
    mb_stream *s;
    int64_t images = 0, early = 0;
    double sum = 0;

    m.text_weight = 0;
    s = open_stream(d, MB_TRAIN, &m, 1);
    while (mb_stream_epochs(s) < 2) {
        mb_batch b = next(s);

        for (int64_t i = 1; i < b.batch * b.len; i++)
            if (is_patch(&b, i) && !is_patch(&b, i - 1)) {
                images++;
                sum += b.noise[i];
                early += b.noise[i] <= 100;
            }
    }
    cr_expect_float_eq(sum / (double)images, 500, 25);
    cr_expect_float_eq((double)early / (double)images, 0.1, 0.03);
    mb_stream_close(s);
    mb_data_close(d);
}

/* ---- captions left out ------------------------------------------------------------------------
 */

Test(patches, a_share_of_training_images_has_no_caption)
{
    mb_data *d = data_open("procedural-patches");

    for (int share = 0; share <= 2; share++) {
        mb_mixture m = mixture_of(0.5, share / 2.0, MB_EPSILON);
        mb_stream *s;
        double first = 0, second = 0, bare = 0;

        m.text_weight = 0;
        s = open_stream(d, MB_TRAIN, &m, 1);
        for (int k = 0; k < 300; k++) {
            mb_batch b = next(s);

            for (int64_t i = 1; i < b.batch * b.len; i++) {
                if (b.token[i] != d->ids.boi)
                    continue;
                if (b.position[i] > 1)
                    second++;
                else if (b.token[i + PATCHES + 2] == d->ids.eos)
                    bare++;
                else
                    first++;
            }
        }
        cr_expect_float_eq(bare / (bare + second), share / 2.0, 0.06, "%g", bare / (bare + second));
        cr_expect_float_eq(first / (first + bare + second), 0.5, 0.06);
        mb_stream_close(s);
    }
    mb_data_close(d);
}

/* ---- damage ------------------------------------------------------------------------------------
 */

Test(patches, that_are_damaged_are_refused)
{
    static const mb_data_request request = { .source = "procedural-patches" };
    mb_data *d = data_open("procedural-patches");
    char *path = mb_format("%s/train.patches.u8", mb_data_folder(d));

    mb_data_close(d);
    cr_assert_eq(mb_data_verify(&request, NULL), MB_OK, "%s", mb_message());
    data_flip(path, 1000);
    cr_expect_eq(mb_data_verify(&request, NULL), MB_ECORRUPT);
    cr_expect_not_null(strstr(mb_message(), "train.patches.u8"), "%s", mb_message());
    cr_assert_eq(truncate(path, 1024 * BYTES - 1), 0);
    cr_expect_eq(mb_data_open(&request, &d), MB_ECORRUPT);
    cr_expect_not_null(strstr(mb_message(), "train.patches.u8"), "%s", mb_message());
    free(path);
}

/* A document that is not as its set says. */
Test(patches, a_document_without_its_image_is_refused)
{
    mb_ids ids = mb_ids_make(10, 1, 0, 2);
    static const uint8_t patch[2];
    mb_batch b;

    ids.patch = 1;
    mb_batch_make(1, 5, 1, &b);
    b.token[0] = 10; /* one place, then two, then three */
    memset(b.noise, -1, 5 * sizeof *b.noise);
    cr_expect_eq(mb_patches_place(&ids, patch, 1, MB_EPSILON, &b, 0, 5), MB_ECORRUPT);
    b.token[1] = 10;
    cr_expect_eq(mb_patches_place(&ids, patch, 1, MB_EPSILON, &b, 0, 5), MB_OK);
    cr_expect(b.noise[1] > 0 && b.noise[2] == -1 && b.hi[0] == 1);
    b.token[2] = 10;
    cr_expect_eq(mb_patches_place(&ids, patch, 1, MB_EPSILON, &b, 0, 5), MB_ECORRUPT);
    mb_batch_free(&b);
}
