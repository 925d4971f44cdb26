/* Documents taken apart, and tokens as what they stand for. */
#include "tests/data_tools.h"
#include "workloads/parts.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(parts, .init = data_folder_open, .fini = data_folder_close);

static mb_data *open_speech(void)
{
    mb_data_request r = { .source = "procedural-speech" };
    mb_data *d;

    cr_assert_eq(mb_data_prepare(&r, NULL, NULL), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_data_open(&r, &d), MB_OK, "%s", mb_message());
    return d;
}

static mb_parts parts_at(const mb_data *d, enum mb_section section, int64_t i)
{
    mb_parts p;

    cr_assert_eq(mb_data_parts(d, MB_VAL, mb_data_section_start(d, MB_VAL, section) + i, &p), MB_OK,
                 "%s", mb_message());
    return p;
}

Test(parts, a_pair_is_a_caption_and_an_image)
{
    mb_data *d = data_open_procedural();
    mb_parts p = parts_at(d, MB_PAIRS, 3);
    mb_segment_kind image = mb_data_segment_kind(d, MB_IMAGE);
    mb_render *r;
    char *text;

    cr_assert_eq(mb_render_open(d, &r), MB_OK, "%s", mb_message());
    text = mb_render_text(r, p.part[MB_TEXT].token, p.part[MB_TEXT].n);
    cr_expect(!strncmp(text, "a ", 2) && strstr(text, " on the "), "'%s'", text);
    cr_expect_eq(p.part[MB_IMAGE].n, 49);
    cr_expect_eq(image.exactly, 49);
    cr_expect_eq(p.part[MB_IMAGE].token[-1], image.begin);
    cr_expect_eq(p.part[MB_IMAGE].token[49], image.end);
    cr_expect_eq(p.part[MB_SPEECH].n, 0);
    cr_expect_not(p.mixed);
    free(text);
    mb_render_close(r);
    mb_parts_free(&p);
    mb_data_close(d);
}

Test(parts, an_image_is_made_of_its_centroids)
{
    mb_data *d = data_open_procedural();
    mb_parts p = parts_at(d, MB_PAIRS, 0);
    uint8_t image[28 * 28];
    char *path = mb_format("%s/codebook.u8", mb_data_folder(d));
    mb_map codebook;
    mb_render *r;
    int32_t first = mb_data_segment_kind(d, MB_IMAGE).first;

    cr_assert_eq(mb_map_open(path, &codebook), MB_OK);
    cr_assert_eq(mb_render_open(d, &r), MB_OK, "%s", mb_message());
    cr_expect_eq(mb_render_shape(r).side, 28);
    cr_expect_eq(mb_render_shape(r).channels, 1);
    mb_render_image(r, &p.part[MB_IMAGE], image);
    for (int y = 0; y < 4; y++) /* patch 8: the second row of patches, the second patch */
        cr_expect_eq(memcmp(image + (4 + y) * 28 + 4,
                            codebook.data + (p.part[MB_IMAGE].token[8] - first) * 16 + y * 4, 4),
                     0);
    mb_map_close(&codebook);
    free(path);
    mb_render_close(r);
    mb_parts_free(&p);
    mb_data_close(d);
}

/* As bytes they are the picture itself, cut up. */
Test(parts, an_image_of_patches_is_put_together_again)
{
    mb_data *d = data_open("procedural-patches");
    mb_image_shape shape = { 28, 1 };
    mb_parts text;
    mb_render *r;

    cr_assert_eq(mb_render_open(d, &r), MB_OK, "%s", mb_message());
    cr_expect_eq(mb_render_shape(r).side, 28);
    cr_expect_eq(mb_render_shape(r).channels, 1);
    for (int64_t i = 0; i < mb_data_section(d, MB_VAL, MB_PAIRS); i += 50) {
        mb_parts p = parts_at(d, MB_PAIRS, i);
        uint8_t image[28 * 28], patch[28 * 28];

        mb_render_image(r, &p.part[MB_IMAGE], image);
        mb_image_cut(shape, image, patch);
        cr_expect_eq(memcmp(patch, p.part[MB_IMAGE].patch, sizeof patch), 0);
        cr_expect_eq(p.part[MB_IMAGE].n, 49);
        mb_parts_free(&p);
    }
    text = parts_at(d, MB_TEXTS, 0);
    cr_expect_null(text.part[MB_IMAGE].patch);
    mb_parts_free(&text);
    for (int byte = 0; byte < 256; byte++)
        cr_expect_eq(mb_pixel_byte(mb_pixel_number((uint8_t)byte)), byte);
    cr_expect_eq(mb_pixel_byte(-1.5f), 0);
    cr_expect_eq(mb_pixel_byte(1.5f), 255);
    mb_render_close(r);
    mb_data_close(d);
}

Test(parts, speech_is_a_part_and_interleaved_documents_are_mixed)
{
    mb_data *d = open_speech();
    int mixed = 0, whole = 0;

    for (int64_t i = 0; i < mb_data_section(d, MB_VAL, MB_SYNTHETIC); i++) {
        mb_parts p = parts_at(d, MB_SYNTHETIC, i);

        mixed += p.mixed;
        whole += !p.mixed && p.part[MB_TEXT].n && p.part[MB_SPEECH].n;
        mb_parts_free(&p);
    }
    cr_expect_gt(mixed, 0);
    cr_expect_gt(whole, 0);
    for (int64_t i = 0; i < mb_data_section(d, MB_VAL, MB_HUMAN); i++) {
        mb_parts p = parts_at(d, MB_HUMAN, i);

        cr_expect(p.part[MB_TEXT].n && p.part[MB_IMAGE].n == 49 && p.part[MB_SPEECH].n);
        mb_parts_free(&p);
    }
    mb_data_close(d);
}

Test(parts, a_codebook_of_the_wrong_size_is_refused)
{
    mb_data *d = data_open_procedural();
    char *path = mb_format("%s/codebook.u8", mb_data_folder(d));
    FILE *f = fopen(path, "ab");
    mb_render *r;

    fputc(0, f);
    fclose(f);
    cr_expect_eq(mb_render_open(d, &r), MB_ECORRUPT);
    cr_expect(strstr(mb_message(), "codebook.u8: 1025 bytes: expected"), "%s", mb_message());
    cr_expect_null(r);
    free(path);
    mb_data_close(d);
}
