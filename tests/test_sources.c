/* What "fashion" is made of: IDX files, glosses, captions; and the whole, where its sources are. */
#include "base/file.h"
#include "base/random.h"
#include "tests/data_tools.h"
#include "workloads/captions.h"
#include "workloads/idx.h"
#include "workloads/wordnet.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

TestSuite(idx, .init = data_folder_open, .fini = data_folder_close);
TestSuite(wordnet, .init = data_folder_open, .fini = data_folder_close);
TestSuite(fashion, .init = data_folder_open, .fini = data_folder_close);

static const unsigned char idx_bytes[] = { 0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6 };

static const char *write_gz(const void *bytes, size_t size)
{
    const char *path = data_path("x.gz");
    gzFile f = gzopen(path, "wb");

    gzwrite(f, bytes, (unsigned)size);
    gzclose(f);
    return path;
}

Test(idx, a_good_file_is_read)
{
    mb_idx idx;

    cr_assert_eq(mb_idx_read(write_gz(idx_bytes, sizeof idx_bytes), &idx), MB_OK, "%s",
                 mb_message());
    cr_expect(idx.rank == 2 && idx.shape[0] == 2 && idx.shape[1] == 3);
    cr_expect_eq(memcmp(idx.data, idx_bytes + 12, 6), 0);
    free(idx.data);
}

/* Cut before or after compression, too long, or of another type. */
Test(idx, damaged_files_are_refused_with_the_offset)
{
    unsigned char bytes[64], packed[256];
    mb_idx idx;
    size_t size;
    FILE *f;

    for (size_t cut = 0; cut < sizeof idx_bytes; cut++) {
        cr_expect_eq(mb_idx_read(write_gz(idx_bytes, cut), &idx), MB_ECORRUPT, "%zu", cut);
        cr_expect_not_null(strstr(mb_message(), "x.gz: offset "), "%s", mb_message());
    }
    memcpy(bytes, idx_bytes, sizeof idx_bytes);
    cr_expect_eq(mb_idx_read(write_gz(bytes, sizeof idx_bytes + 1), &idx), MB_ECORRUPT);
    bytes[2] = 9;
    cr_expect_eq(mb_idx_read(write_gz(bytes, sizeof idx_bytes), &idx), MB_ECORRUPT);
    memset(bytes + 4, 0xff, 8);
    bytes[2] = 8;
    cr_expect_eq(mb_idx_read(write_gz(bytes, sizeof idx_bytes), &idx), MB_ECORRUPT);
    f = fopen(write_gz(idx_bytes, sizeof idx_bytes), "rb");
    size = fread(packed, 1, sizeof packed, f);
    fclose(f);
    for (size_t cut = 0; cut < size; cut++)
        cr_expect_eq(mb_idx_read(data_write("cut.gz", packed, cut), &idx), MB_ECORRUPT, "%zu", cut);
    cr_expect_eq(mb_idx_read(data_path("none.gz"), &idx), MB_EMISSING);
}

static const char synsets[] =
    "  1 This is the licence.\n"
    "00000025 03 n 02 living_thing 0 animate_thing 0 000 | a thing that lives; \"it grew\"  \n"
    "00000111 00 s 01 outback(a) 0 001 & 00001740 a 0000 | far away  \n";

Test(wordnet, lemma_and_gloss_are_taken)
{
    mb_texts train = { 0 }, val = { 0 };
    static const char expected[] = "living thing: a thing that lives; \"it grew\"outback: far away";

    cr_assert_eq(mb_wordnet_read(data_write_text("data.noun", synsets), 'n', 2, &train, &val),
                 MB_OK, "%s", mb_message());
    cr_expect_eq(train.count + val.count, 2u);
    cr_expect_eq(train.size + val.size, strlen(expected));
    cr_expect_eq(memcmp(train.bytes, expected, train.size), 0, "%.*s", (int)train.size,
                 train.bytes);
    mb_texts_free(&train);
    mb_texts_free(&val);
}

/* One in fifty, chosen by the synset alone. */
Test(wordnet, one_in_fifty_is_validation)
{
    mb_texts train = { 0 }, val = { 0 };
    char *text = mb_alloc(1 << 20), *at = text;

    for (int i = 0; i < 5000; i++)
        at += sprintf(at, "%08zu 03 n 01 w 0 000 | g  \n", (size_t)(at - text));
    cr_assert_eq(mb_wordnet_read(data_write_text("data.noun", text), 'n', 5000, &train, &val),
                 MB_OK, "%s", mb_message());
    cr_expect(val.count > 70 && val.count < 130, "%zu", val.count);
    cr_expect_eq(train.count, 5000 - val.count);
    mb_texts_free(&train);
    mb_texts_free(&val);
    free(text);
}

Test(wordnet, every_truncation_is_noticed)
{
    for (size_t cut = 0; cut < strlen(synsets); cut++) {
        mb_texts train = { 0 }, val = { 0 };

        cr_expect_eq(mb_wordnet_read(data_write("data.noun", synsets, cut), 'n', 2, &train, &val),
                     MB_ECORRUPT, "%zu", cut);
        mb_texts_free(&train);
        mb_texts_free(&val);
    }
}

Test(wordnet, a_moved_line_is_refused_with_its_offset)
{
    mb_texts train = { 0 }, val = { 0 };
    char *text = mb_format("x%s", synsets);

    memmove(text, synsets, 24);
    text[24] = '\n';
    cr_expect_eq(mb_wordnet_read(data_write_text("data.noun", text), 'n', 0, &train, &val),
                 MB_ECORRUPT);
    cr_expect_not_null(strstr(mb_message(), "data.noun: offset "), "%s", mb_message());
    mb_texts_free(&train);
    mb_texts_free(&val);
    free(text);
}

/* An image of one rectangle, with every PERIOD-th row (or column) brighter. */
static void draw(uint8_t *pixel, int level, int row_period, int column_period)
{
    memset(pixel, 0, MB_IMAGE_PIXELS);
    for (int y = 4; y < 24; y++) {
        for (int x = 6; x < 22; x++)
            pixel[y * 28 + x] = (uint8_t)(level + (row_period && y / 2 % row_period ? 80 : 0) +
                                          (column_period && x / 2 % column_period ? 80 : 0));
    }
}

Test(captions, measurements_are_those_of_the_pixels)
{
    uint8_t pixel[MB_IMAGE_PIXELS];
    mb_look plain, rows, columns;

    draw(pixel, 100, 0, 0);
    plain = mb_look_measure(pixel);
    cr_expect(plain.area == 20 * 16 && plain.tone == 100);
    cr_expect(plain.gradient == 0 && plain.row == 0 && plain.column == 0);
    draw(pixel, 100, 2, 0);
    rows = mb_look_measure(pixel);
    draw(pixel, 100, 0, 2);
    columns = mb_look_measure(pixel);
    cr_expect(rows.row > 100 && rows.column == 0 && rows.tone == 140);
    cr_expect(columns.column > 100 && columns.row == 0);
    memset(pixel, 0, sizeof pixel);
    cr_expect_eq(mb_look_measure(pixel).area, 0, "an empty image has no foreground");
}

static const mb_cuts cuts = { .area = { { 100, 300 }, { 100, 400 } },
                              .gradient = { { 50, 200 }, { 50, 200 } },
                              .row = 90,
                              .column = 90 };

Test(captions, words_follow_the_cuts)
{
    static const struct {
        mb_look look;
        int label;
        mb_traits traits;
    } row[] = {
        { { 99, 109, 100, 0, 0 }, 0, { 0, MB_DARK, MB_SLIM, MB_UNSAID } },
        { { 100, 110, 49, 0, 0 }, 0, { 0, MB_GREY, MB_REGULAR, MB_PLAIN } },
        { { 300, 184, 200, 0, 0 }, 0, { 0, MB_GREY, MB_FULL, MB_PATTERNED } },
        { { 300, 185, 200, 90, 95 }, 0, { 0, MB_LIGHT, MB_FULL, MB_STRIPES_ACROSS } },
        { { 300, 185, 200, 89, 90 }, 0, { 0, MB_LIGHT, MB_FULL, MB_STRIPES_DOWN } },
        { { 300, 185, 100, 95, 95 }, 1, { 1, MB_LIGHT, MB_REGULAR, MB_UNSAID } }, /* trousers */
    };

    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        mb_traits t = mb_traits_of(&row[i].look, row[i].label, &cuts);

        cr_expect_eq(memcmp(&t, &row[i].traits, sizeof t), 0, "row %zu", i);
    }
}

Test(captions, wording_depends_on_the_key_alone)
{
    mb_traits t = { 9, MB_DARK, MB_SLIM, MB_PLAIN };
    char one[MB_CAPTION_SIZE], two[MB_CAPTION_SIZE];
    int same = 0;

    for (uint64_t k = 0; k < 100; k++) {
        cr_assert_eq(mb_caption(&t, mb_key(1, "caption val", 3, k), one), strlen(one));
        mb_caption(&t, mb_key(1, "caption val", 3, k), two);
        cr_expect_str_eq(one, two);
        cr_expect_not_null(strstr(one, "boot"), "%s", one);
        mb_caption(&t, mb_key(1, "caption val", 4, k), two);
        same += !strcmp(one, two);
    }
    cr_expect_lt(same, 10);
}

/* Where a package's files are: installed, or unpacked in the default cache. */
static char *source_folder(const char *package, const char *inside)
{
    const char *home = getenv("HOME");
    char *path = mb_format("/%s", inside);

    if (!mb_exists(path) && home) {
        free(path);
        path = mb_format("%s/.cache/motbench/sources/%s/%s", home, package, inside);
    }
    return path;
}

Test(fashion, files_of_another_content_are_refused)
{
    mb_data_request r = { .source = "fashion",
                          .text_vocab = 300,
                          .fashion_dir = data_path("f"),
                          .wordnet_dir = data_path("w") };

    cr_expect_eq(mb_data_prepare(&r, NULL, NULL), MB_EMISSING);
    cr_assert_eq(mb_make_folders(data_path("f")), MB_OK);
    write_gz(idx_bytes, sizeof idx_bytes);
    cr_assert_eq(rename(data_path("x.gz"), data_path("f/train-images-idx3-ubyte.gz")), 0);
    cr_expect_eq(mb_data_prepare(&r, NULL, NULL), MB_ECORRUPT);
    cr_expect_not_null(strstr(mb_message(),
                              "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416"
                              "ee8300c7 expected"),
                       "%s", mb_message());
}

Test(fashion, a_missing_tool_is_named)
{
    mb_data_request r = { .source = "fashion" };

    if (mb_exists("/usr/share/datasets/fashion-mnist"))
        cr_skip_test("dataset-fashion-mnist is installed, so nothing is downloaded");
    setenv("PATH", "/nowhere", 1);
    cr_expect_eq(mb_data_prepare(&r, NULL, NULL), MB_EMISSING);
    cr_expect_not_null(strstr(mb_message(), "apt-get download dataset-fashion-mnist"), "%s",
                       mb_message());
}

/* The pinned hash is that of text, codes and captions together, on all machines. Runs where the
   packages' files are, and not under sanitizers, where it takes minutes. */
Test(fashion, is_the_same_everywhere)
{
    mb_data_request r = { .source = "fashion", .text_vocab = 2048 };
    char *images = source_folder("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist");
    char *glosses = source_folder("wordnet-base", "usr/share/wordnet");
    bool here = mb_exists(images) && mb_exists(glosses);
    mb_data *d;

#ifdef __SANITIZE_ADDRESS__
    here = false;
#endif
    if (!here) {
        free(images);
        free(glosses);
        cr_skip_test("the files of dataset-fashion-mnist and wordnet-base are not here, or it "
                     "would take minutes under sanitizers");
    }
    r.fashion_dir = images;
    r.wordnet_dir = glosses;
    cr_assert_eq(mb_data_prepare(&r, NULL, NULL), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_data_open(&r, &d), MB_OK, "%s", mb_message());
    cr_expect_str_eq(mb_data_hash(d),
                     "64be6fed6d4f54e6974828178868798f5d55d912fdb993b13ec15c940502001b");
    cr_expect_eq(mb_data_documents(d, MB_TRAIN), 55000 + 115345);
    cr_expect_eq(mb_data_tokens(d, MB_VAL, MB_IMAGE), 5000 * 49);
    mb_data_close(d);
    free(images);
    free(glosses);
}
