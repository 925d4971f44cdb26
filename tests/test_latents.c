/* Latents of the user's own: halves, statistics by channel, patches, captions beside them, and what
   is refused. */
#include "base/file.h"
#include "base/half.h"
#include "base/npy.h"
#include "tests/data_tools.h"
#include "workloads/latents.h"
#include "workloads/parts.h"
#include "workloads/set.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TestSuite(latents, .init = data_folder_open, .fini = data_folder_close);

Test(half, every_half_is_a_float_and_back)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float x = mb_half_to_float((uint16_t)h);

        if ((h & 0x7c00) != 0x7c00)
            cr_assert_eq(mb_half_from_float(x), h, "%04x", h);
        else
            cr_assert(h & 0x3ff ? isnan(x) : isinf(x), "%04x", h);
    }
}

Test(half, floats_go_to_the_nearest_and_ties_to_even)
{
    cr_expect_eq(mb_half_from_float(1 + 0x1p-11f), 0x3c00);
    cr_expect_eq(mb_half_from_float(1 + 0x1.8p-10f), 0x3c02);
    cr_expect_eq(mb_half_from_float(1 + 0x1.002p-11f), 0x3c01);
    cr_expect_eq(mb_half_from_float(-0x1p-25f), 0x8000);
    cr_expect_eq(mb_half_from_float(0x1.8p-24f), 2);
    cr_expect_eq(mb_half_from_float(-1e30f), 0xfbff);
    cr_expect_eq(mb_half_to_float(0x0001), 0x1p-24f);
}

/* ---- import ---------------------------------------------------------------------------------- */

enum { N = 6, C = 2, SIDE = 4, PLACES = SIDE * SIDE, ALL = N * C * PLACES };

static const mb_import usual = { .format = "latents", .hold_out = 2, .patch = 2 };

/* (N, C, 4, 4): channel 0 about 1000 with a spread of some thousandths, channel 1 about 0. */
static void fill(float *x)
{
    for (int i = 0; i < ALL; i++)
        x[i] = i / PLACES % C ? (float)(i % 7) - 3 : 1000 + (float)(i % 5) * 0x1p-9f;
}

static const char *write_latents(const char *name, const float *x)
{
    const int64_t shape[] = { N, C, SIDE, SIDE };

    cr_assert_eq(mb_npy_write_f32(data_path(name), x, 4, shape), MB_OK, "%s", mb_message());
    return data_path(name);
}

static mb_err import_as(const char *name, mb_import how, const char *path, const char *val)
{
    const char *const files[] = { path, NULL }, *const val_files[] = { val, NULL };

    how.file[MB_TRAIN] = files;
    how.file[MB_VAL] = val ? val_files : NULL;
    return mb_data_import(name, &how, NULL, NULL);
}

/* A set whose validation split is X, and whose training split a little different. */
static mb_data *set_with_val(float *x)
{
    fill(x);
    write_latents("y.npy", x);
    for (int i = 0; i < ALL; i++)
        x[i] += 0x1p-9f * (float)(i / (C * PLACES) + 1);
    cr_assert_eq(import_as("x", usual, data_path("y.npy"), write_latents("x.npy", x)), MB_OK, "%s",
                 mb_message());
    return data_open_imported("x");
}

/* What the set has of x[i] of a single split (N, C, 4, 4), in patches of 2 x 2 x C. */
static float stored(const mb_data *d, int i)
{
    int image = i / (C * PLACES), c = i / PLACES % C, row = i / SIDE % SIDE, column = i % SIDE;
    int patch = row / 2 * 2 + column / 2, place = row % 2 * 2 + column % 2;

    return mb_patch_number(&d->ids, d->split[MB_TRAIN].patch.data,
                           ((image * 4 + patch) * 4 + place) * C + c);
}

Test(latents, numbers_have_mean_0_and_variance_1_in_each_channel_over_train)
{
    float x[ALL], val[ALL];
    double mean[C] = { 0 }, square[C] = { 0 };
    mb_data *d;

    fill(x);
    for (int i = 0; i < ALL; i++) {
        mean[i / PLACES % C] += (double)x[i] / (N * PLACES);
        val[i] = 5 * x[i] - 9;
    }
    for (int i = 0; i < ALL; i++)
        square[i / PLACES % C] += pow((double)x[i] - mean[i / PLACES % C], 2) / (N * PLACES);
    write_latents("val.npy", val);
    cr_assert_eq(import_as("x", usual, write_latents("x.npy", x), data_path("val.npy")), MB_OK,
                 "%s", mb_message());
    d = data_open_imported("x");
    cr_expect(mb_data_patch(d) == 4 * C && d->ids.half && d->ids.tokens_per_image == 4);
    cr_expect_eq(d->split[MB_TRAIN].patch.size, ALL * 2);
    for (int i = 0; i < ALL; i++) {
        int c = i / PLACES % C;
        double want = ((double)x[i] - mean[c]) / sqrt(square[c]);

        cr_expect_float_eq(stored(d, i), want, 1e-3, "number %d", i);
    }
    mb_data_close(d);
}

Test(latents, what_was_taken_away_is_in_the_manifest)
{
    float x[ALL];
    double mean[C], deviation[C];
    mb_data *d;

    fill(x);
    cr_assert_eq(import_as("x", usual, write_latents("x.npy", x), NULL), MB_OK, "%s", mb_message());
    d = data_open_imported("x");
    cr_assert_eq(json_unpack(d->json, "{s{s{s[ff] s[ff]}}}", "parameters", "latents", "mean",
                             &mean[0], &mean[1], "deviation", &deviation[0], &deviation[1]),
                 0);
    cr_expect(mean[0] > 1000 && mean[0] < 1000.02 && deviation[0] < 0.01 && deviation[0] > 0.001);
    cr_expect(fabs(mean[1]) < 0.5 && deviation[1] > 1.5 && deviation[1] < 2.5);
    mb_data_close(d);
}

Test(latents, channels_may_come_last)
{
    float x[ALL], last[ALL];
    const int64_t shape[] = { N, SIDE, SIDE, C };
    mb_import how = usual;
    char one[MB_HASH_SIZE];
    mb_data *d;

    fill(x);
    for (int i = 0; i < ALL; i++)
        last[(i / (C * PLACES) * PLACES + i % PLACES) * C + i / PLACES % C] = x[i];
    cr_assert_eq(import_as("first", how, write_latents("x.npy", x), NULL), MB_OK, "%s",
                 mb_message());
    d = data_open_imported("first");
    memcpy(one, mb_data_hash(d), sizeof one);
    mb_data_close(d);
    mb_npy_write_f32(data_path("x.npy"), last, 4, shape);
    how.channels_last = true;
    cr_assert_eq(import_as("last", how, data_path("x.npy"), NULL), MB_OK, "%s", mb_message());
    d = data_open_imported("last");
    cr_expect_str_eq(mb_data_hash(d), one);
    mb_data_close(d);
}

Test(latents, captions_are_those_of_their_line)
{
    static const char *const kinds[] = { "a b\nc\n", "{\"text\": \"a b\"}\n{\"text\": \"c\", "
                                                     "\"split\": \"val\", \"id\": \"1\"}\n" };
    static const char *const files[] = { "x.txt", "x.jsonl" };
    const int64_t shape[] = { 2, 1, 2, 2 };
    const float x[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
    mb_import how = usual;

    mb_npy_write_f32(data_path("x.npy"), x, 4, shape);
    mb_npy_write_f32(data_path("y.npy"), x, 4, shape);
    data_write_text("y.txt", "d\ne");
    for (int k = 0; k < 2; k++) {
        mb_data *d;
        mb_parts p;

        data_write_text(files[k], kinds[k]);
        cr_assert_eq(import_as(k ? "b" : "a", how, data_path("x.npy"), data_path("y.npy")), MB_OK,
                     "%s", mb_message());
        remove(data_path(files[k]));
        d = data_open_imported(k ? "b" : "a");
        cr_expect_eq(mb_data_documents(d, MB_TRAIN), 2 - k);
        cr_assert_eq(mb_data_parts(d, MB_TRAIN, 0, &p), MB_OK);
        cr_expect(p.part[MB_TEXT].n == 3 && p.part[MB_TEXT].token[0] == 'a');
        cr_expect_eq(p.part[MB_IMAGE].n, 1);
        mb_parts_free(&p);
        mb_data_close(d);
    }
}

/* Ids of images are all the same: what tells documents apart is in the patches. */
Test(latents, images_tell_documents_apart)
{
    float x[ALL], y[ALL];

    fill(x);
    fill(y);
    y[3] = 2000;
    data_write_text("x.txt", "a\na\na\na\na\na\n");
    data_write_text("y.txt", "a\nb\nb\nb\nb\nb\n");
    write_latents("y.npy", y);
    cr_assert_eq(import_as("x", usual, write_latents("x.npy", x), data_path("y.npy")), MB_OK, "%s",
                 mb_message());
    y[3] = x[3];
    write_latents("y.npy", y);
    cr_expect_eq(import_as("y", usual, data_path("x.npy"), data_path("y.npy")), MB_ECORRUPT);
    cr_expect(strstr(mb_message(), "y.npy: latent 0 ") && strstr(mb_message(), "the same document"),
              "%s", mb_message());
}

Test(latents, what_was_cut_comes_back_together)
{
    float x[ALL], back[C * PLACES];
    mb_latents t;
    mb_data *d;

    d = set_with_val(x);
    cr_assert_eq(mb_latents_open(d, &t), MB_OK, "%s", mb_message());
    for (int n = 0; n < N; n++) {
        mb_parts p;

        cr_assert_eq(mb_data_parts(d, MB_VAL, n, &p), MB_OK, "%s", mb_message());
        mb_latents_join(&t, &d->ids, p.part[MB_IMAGE].patch, back);
        for (int i = 0; i < C * PLACES; i++) /* to what halves keep of a deviation */
            cr_expect_float_eq(back[i], x[n * C * PLACES + i], i < PLACES ? 1e-4 : 1e-2, "%d", i);
        mb_parts_free(&p);
    }
    mb_latents_free(&t);
    mb_data_close(d);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void expect_refused(const char *path, const char *part)
{
    cr_expect(import_as("bad", usual, path, NULL), "%s", part);
    cr_expect(strstr(mb_message(), part), "no \"%s\" in: %s", part, mb_message());
    cr_expect_null(strchr(mb_message(), '\n'));
}

Test(latents, numbers_that_are_none_are_refused_with_their_place)
{
    const float bad[] = { NAN, INFINITY, -INFINITY };
    float x[ALL];

    for (int k = 0; k < 3; k++) {
        fill(x);
        x[(2 * C + 1) * PLACES + 3 * SIDE + 1] = bad[k];
        expect_refused(write_latents("x.npy", x),
                       "x.npy: latent 2: channel 1, row 3, column 1: found ");
    }
}

/* A version 1.0 file of zeros with this type and shape. */
static const char *write_zeros(const char *type, const char *order, const char *shape, size_t size)
{
    unsigned char *bytes = mb_zalloc(256 + size, 1);
    const char *path;
    int n = sprintf((char *)bytes + 10, "{'descr': '%s', 'fortran_order': %s, 'shape': %s}", type,
                    order, shape);

    memcpy(bytes, "\x93NUMPY\x01\x00", 8);
    bytes[8] = (unsigned char)n;
    path = data_write("x.npy", bytes, (size_t)n + 10 + size);
    free(bytes);
    return path;
}

Test(latents, files_of_other_kinds_are_refused)
{
    static const struct {
        const char *type, *order, *shape;
        size_t size;
        const char *part;
    } bad[] = {
        { "<f8", "False", "(2, 1, 2, 2)", 64, "x.npy: elements of type f8, expected f2 or f4" },
        { "<i4", "False", "(2, 1, 2, 2)", 32, "x.npy: elements of type i4, expected f2 or f4" },
        { ">f4", "False", "(2, 1, 2, 2)", 32, "found '>f4', " },
        { "<f4", "True", "(2, 1, 2, 2)", 32, "fortran_order False (C order)" },
        { "<f4", "False", "(2, 1, 2, 2)", 31, "31 bytes of elements where the shape needs 8 x 4" },
        { "<f4", "False", "(2, 4)", 32, "x.npy: shape (2, 4), expected (N, C, H, H)" },
        { "<f4", "False", "(1, 2, 2, 3)", 48, "x.npy: shape (1, 2, 2, 3), expected (N, C, H, H)" },
        { "<f4", "False", "(0, 1, 2, 2)", 0, "x.npy: shape (0, 1, 2, 2), expected at least 1" },
        { "<f4", "False", "(1, 4097, 1, 1)", 16388, "at most 4096" },
        { "<f2", "False", "(2, 1, 3, 3)", 36,
          "x.npy: latent 0: 3 x 3 positions cannot be cut into patches of 2 x 2" },
        { "<f2", "False", "(2, 1, 2, 2)", 16, "channel 0 has deviation 0 in train" },
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_refused(write_zeros(bad[i].type, bad[i].order, bad[i].shape, bad[i].size),
                       bad[i].part);
}

Test(latents, all_files_have_one_shape)
{
    const int64_t shape[] = { 1, 2, 2, 2 };
    float x[ALL];

    fill(x);
    mb_npy_write_f32(data_path("y.npy"), x, 4, shape);
    cr_expect_eq(import_as("bad", usual, write_latents("x.npy", x), data_path("y.npy")),
                 MB_ECORRUPT);
    cr_expect(strstr(mb_message(), "y.npy: latent 0: 2 channels of 2 x 2, expected 2 of 4 x 4"),
              "%s", mb_message());
}

Test(latents, captions_are_as_many_and_of_one_kind)
{
    static const struct {
        const char *text, *json, *part;
    } bad[] = {
        { "a\nb\n", NULL, "x.txt: 2 lines, expected 6, one for each latent of " },
        { "a\na\na\na\na\na\na\n", NULL, "x.txt:7: more lines than the 6 latents of " },
        { "a\n\na\na\na\na\n", NULL, "latent 1 (" },
        { "a", "{}", "captions in both " },
        { NULL, "{\"text\": 1}\n", "latent 0 (" },
        { NULL, "{\"caption\": \"a\"}\n", "\"caption\" is not a known key" },
        { NULL, "{\"text\": \"a\", \"split\": \"dev\"}\n", "\"split\": expected train" },
        { NULL, "[7]\n", "expected an object" },
    };
    float x[ALL];

    fill(x);
    write_latents("x.npy", x);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        remove(data_path("x.txt"));
        remove(data_path("x.jsonl"));
        if (bad[i].text)
            data_write_text("x.txt", bad[i].text);
        if (bad[i].json)
            data_write_text("x.jsonl", bad[i].json);
        expect_refused(data_path("x.npy"), bad[i].part);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Whether these (S) are patch P of an image of the validation split. */
static bool is_stored(const mb_data *d, int p, const double *clean)
{
    int size = mb_data_patch(d);

    for (int image = 0; image < N; image++) {
        int same = 0;

        for (int k = 0; k < size; k++) {
            double x = (double)mb_patch_number(&d->ids, d->split[MB_VAL].patch.data,
                                               (image * 4 + p) * size + k);

            same += fabs(clean[k] - x) < 1e-4 * (1 + fabs(x));
        }
        if (same == size)
            return true;
    }
    return false;
}

Test(latents, a_stream_hands_out_the_numbers_behind_noise)
{
    const mb_mixture mixture = { .pair_weight = -1, .text_weight = -1, .prediction = MB_EPSILON };
    float x[ALL];
    mb_stream *s;
    mb_batch b;
    mb_data *d;
    int seen = 0;

    d = set_with_val(x);
    cr_assert_eq(mb_stream_open(d, MB_VAL, &mixture, 1, 2, 48, &s), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_stream_next(s, &b), MB_OK, "%s", mb_message());
    cr_assert_eq(b.patch, 4 * C);
    for (int64_t i = 0, p = 0; i < b.batch * b.len; i++) {
        double clean[4 * C], noise, kept = b.noise[i] > 0 ? mb_noise_kept(b.noise[i]) : 0;

        p = b.noise[i] > 0 ? p + 1 : 0; /* of this image, from 1 */
        if (kept < 0.1)
            continue; /* no patch, or little is left of it */
        for (int k = 0; k < b.patch; k++)
            mb_noise_split(MB_EPSILON, kept, (double)b.noisy[i * b.patch + k],
                           (double)b.wanted[i * b.patch + k], &clean[k], &noise);
        cr_expect(is_stored(d, (int)p - 1, clean), "position %lld", (long long)i);
        seen++;
    }
    cr_expect_gt(seen, 4);
    mb_stream_close(s);
    mb_data_close(d);
}

Test(latents, a_damaged_number_is_found_by_verification)
{
    mb_data_request r = { .source = "x" };
    float x[ALL];
    char *path;
    mb_data *d;

    fill(x);
    cr_assert_eq(import_as("x", usual, write_latents("x.npy", x), NULL), MB_OK, "%s", mb_message());
    d = data_open_imported("x");
    path = mb_format("%s/train.patches.f16", mb_data_folder(d));
    mb_data_close(d);
    data_flip(path, 5);
    cr_expect_eq(mb_data_verify(&r, NULL), MB_ECORRUPT);
    cr_expect(strstr(mb_message(), "train.patches.f16: SHA-256"), "%s", mb_message());
    free(path);
}
