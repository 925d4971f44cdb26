/* The user's own data: what is read, and every kind of damage refused with file, offset, reason. */
#include "base/file.h"
#include "tests/data_tools.h"
#include "workloads/set.h"
#include "workloads/shard_file.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(shards, .init = data_folder_open, .fini = data_folder_close);

/* Text 0 .. 9, image 10 .. 19, BOS 20, EOS 21, BOI 22, EOI 23; images of 3 ids. */
static const char map_text[] = "{ \"name\": \"mine\", \"vocab\": 24,\n"
                               "  \"text\": [0, 10], \"image\": [10, 20],\n"
                               "  \"bos\": 20, \"eos\": 21, \"boi\": 22, \"eoi\": 23,\n"
                               "  \"tokens_per_image\": 3, \"dtype\": \"u16\",\n"
                               "  \"train\": [\"a.bin\", \"b.bin\"], \"val\": \"a.bin\" }\n";

static const uint16_t file_a[] = { 20, 1, 2, 21, 20, 3, 22, 10, 11, 12, 23, 21, 20, 4, 21 };
static const uint16_t file_b[] = { 5, 6, 21, 22, 19, 18, 17, 23, 7 };

static mb_data_request request(void)
{
    return (mb_data_request){ .source = "shards", .path = data_path("map.json") };
}

static void write_all(void)
{
    data_write_text("map.json", map_text);
    data_write("a.bin", file_a, sizeof file_a);
    data_write("b.bin", file_b, sizeof file_b);
}

static mb_err prepare(void)
{
    mb_data_request r = request();

    return mb_data_prepare(&r, NULL, NULL);
}

Test(shards, documents_are_cut_at_bos_eos_and_files_with_pairs_first)
{
    static const int32_t expected[] = { 20,      3,  22, 10, 11,      12, 23, 21,     /**/ 22, 19,
                                        18,      17, 23, 7,
                                        /**/ 20, 1,  2,  21, /**/ 20, 4,  21, /**/ 5, 6,       21 };
    static const int64_t begin[] = { 0, 8, 14, 18, 21, 24 };
    mb_data_request r = request();
    const mb_set_split *v;
    int64_t first, n;
    mb_data *d;

    write_all();
    cr_assert_eq(prepare(), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_data_open(&r, &d), MB_OK, "%s", mb_message());
    v = &d->split[MB_TRAIN];
    cr_expect(v->section[MB_PAIRS] == 2 && v->section[MB_TEXTS] == 3 && v->tokens == 24);
    cr_expect_eq(mb_data_tokens(d, MB_TRAIN, MB_IMAGE), 6);
    for (int64_t i = 0; i < v->tokens; i++)
        cr_expect_eq(mb_set_token(d, v, i), expected[i], "token %lld", (long long)i);
    for (int64_t i = 0; i < 5; i++) {
        cr_expect_eq(mb_set_find(v, i, &first, &n), MB_OK);
        cr_expect(first == begin[i] && n == begin[i + 1] - begin[i], "document %lld", (long long)i);
    }
    cr_expect(!d->split[MB_TEST].present);
    cr_expect_eq(mb_data_verify(&r, NULL), MB_OK, "%s", mb_message());
    mb_data_close(d);
}

/* The same with speech: ids 24 .. 27, BOA 28, EOA 29. */
static const char speech_map[] = "{ \"name\": \"mine\", \"vocab\": 30,\n"
                                 "  \"text\": [0, 10], \"image\": [10, 20],\n"
                                 "  \"speech\": [24, 28], \"boa\": 28, \"eoa\": 29,\n"
                                 "  \"bos\": 20, \"eos\": 21, \"boi\": 22, \"eoi\": 23,\n"
                                 "  \"tokens_per_image\": 3, \"dtype\": \"u16\",\n"
                                 "  \"train\": \"s.bin\", \"val\": \"s.bin\" }\n";

static mb_err prepare_speech(const uint16_t *id, size_t size)
{
    data_write_text("map.json", speech_map);
    data_write("s.bin", id, size);
    return prepare();
}

Test(shards, documents_with_speech_are_a_section_of_their_own)
{
    static const uint16_t good[] = { 20, 28, 24, 27, 29, 22, 10, 11, 12, 23, 21, 20,
                                     1,  21, 20, 22, 10, 11, 12, 23, 28, 25, 29, 21 };
    static const uint16_t outside[] = { 20, 24, 21 }, empty[] = { 20, 28, 29, 21 };
    static const uint16_t mixed[] = { 20, 28, 24, 10, 29, 21 }, alone[] = { 20, 29, 21 };
    mb_data_request r = request();
    mb_data *d;

    cr_assert_eq(prepare_speech(good, sizeof good), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_data_open(&r, &d), MB_OK, "%s", mb_message());
    cr_expect(mb_data_section(d, MB_TRAIN, MB_HUMAN) == 2 &&
              mb_data_section(d, MB_TRAIN, MB_TEXTS) == 1 &&
              mb_data_section(d, MB_TRAIN, MB_PAIRS) == 0);
    cr_expect_eq(mb_data_modalities(d), MB_SPEECH + 1);
    mb_data_close(d);
    cr_expect_eq(prepare_speech(outside, sizeof outside), MB_ECORRUPT);
    cr_expect_not_null(strstr(mb_message(), "offset 2: id 24: a speech id outside boa .. eoa"));
    cr_expect_eq(prepare_speech(empty, sizeof empty), MB_ECORRUPT);
    cr_expect_not_null(strstr(mb_message(), "id 29: expected a speech id since boa at offset 2"));
    cr_expect_eq(prepare_speech(mixed, sizeof mixed), MB_ECORRUPT);
    cr_expect_not_null(strstr(mb_message(), "id 10: expected a speech id or eoa since boa"));
    cr_expect_eq(prepare_speech(alone, sizeof alone), MB_ECORRUPT);
    cr_expect_not_null(strstr(mb_message(), "id 29: eoa without boa"));
}

Test(shards, a_changed_file_makes_another_set)
{
    mb_data_request r = request();
    mb_data *d;

    write_all();
    cr_assert_eq(prepare(), MB_OK, "%s", mb_message());
    data_write("b.bin", file_b, sizeof file_b - 2);
    cr_expect_eq(mb_data_open(&r, &d), MB_EMISSING);
    cr_expect_eq(prepare(), MB_OK, "%s", mb_message());
}

/* Either order in the file, either order in the batch. */
Test(shards, images_go_first_or_last_as_asked)
{
    static const int32_t last[] = { 20, 3, 22, 10, 11, 12, 23, 21 };
    static const int32_t first[] = { 20, 22, 10, 11, 12, 23, 3, 21 };
    mb_data_request r = request();
    mb_data *d;

    write_all();
    cr_assert_eq(prepare(), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_data_open(&r, &d), MB_OK, "%s", mb_message());
    for (int image_first = 0; image_first < 2; image_first++) {
        mb_mixture m = { 1, 0, image_first, MB_TEXT, 0, 0, 0, MB_EPSILON };
        const int32_t *want = image_first ? first : last;
        mb_stream *s;
        mb_batch b;

        cr_assert_eq(mb_stream_open(d, MB_VAL, &m, 1, 1, 8, &s), MB_OK, "%s", mb_message());
        cr_assert_eq(mb_stream_next(s, &b), MB_OK);
        cr_expect_eq(memcmp(b.token, want, sizeof last), 0);
        cr_expect_eq(b.target[6], want[7]);
        mb_stream_close(s);
    }
    mb_data_close(d);
}

static const struct damage {
    uint16_t id[12];
    int n;
    const char *says;
} damages[] = {
    { { 20, 1, 99, 21 }, 4, "a.bin: offset 4: id 99: not below vocab" },
    { { 20, 1, 10, 21 }, 4, "a.bin: offset 4: id 10: an image id outside boi .. eoi" },
    { { 20, 1, 23, 21 }, 4, "a.bin: offset 4: id 23: eoi without boi" },
    { { 20, 22, 10, 11, 23, 21 },
      6,
      "offset 8: id 23: after 2 of 3 image ids since boi at offset 2" },
    { { 20, 22, 10, 11, 12, 13, 23, 21 }, 8, "offset 10: id 13: after 3 of 3 image ids" },
    { { 20, 22, 10, 11, 12, 21 }, 6, "offset 10: id 21: after 3 of 3 image ids" },
    { { 20, 22, 10, 20, 12, 21 }, 6, "offset 6: id 20: after 1 of 3 image ids" },
    { { 20, 22, 22, 10, 11, 12 }, 6, "offset 4: id 22: after 0 of 3 image ids" },
    { { 20, 22, 10, 4, 12, 23 }, 6, "offset 6: id 4: after 1 of 3 image ids" },
    { { 20, 1, 22, 10, 11 }, 5, "offset 4: id 22: the file ends within what begins here" },
    { { 0 }, 0, "a.bin: offset 0: there are no ids" },
};

Test(shards, damaged_runs_are_refused_with_the_offset)
{
    write_all();
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        data_write("a.bin", damages[i].id, (size_t)damages[i].n * 2);
        cr_expect_eq(prepare(), MB_ECORRUPT, "%zu", i);
        cr_expect_not_null(strstr(mb_message(), damages[i].says), "\"%s\" lacks \"%s\"",
                           mb_message(), damages[i].says);
    }
}

/* llm.c's header; COUNT ids of WIDTH bytes, of which the file has the first N. */
static const char *write_llmc(int32_t magic, int32_t version, int32_t count, int width, int n)
{
    static unsigned char bytes[2048];
    int32_t head[3] = { magic, version, count };

    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, head, sizeof head);
    for (int i = 0; i < n; i++)
        bytes[1024 + i * width] = (unsigned char)file_a[i];
    return data_write("h.bin", bytes, 1024 + (size_t)(n * width));
}

Test(shards, files_of_llm_c_are_read)
{
    static const int32_t kind[][3] = { { 20240520, 1, 2 }, { 20240801, 7, 4 }, { 20240801, 1, 4 } };

    for (int i = 0; i < 3; i++) {
        mb_shard_file f;

        cr_assert_eq(
            mb_shard_file_open(write_llmc(kind[i][0], kind[i][1], 15, kind[i][2], 15), 0, &f),
            MB_OK, "%s", mb_message());
        cr_expect(f.count == 15 && f.width == kind[i][2]);
        for (int k = 0; k < 15; k++)
            cr_expect_eq(mb_shard_file_id(&f, k), file_a[k]);
        cr_expect_eq(mb_shard_file_offset(&f, 2), 1024 + 2 * kind[i][2]);
        mb_shard_file_close(&f);
    }
}

Test(shards, bad_headers_are_refused_with_the_offset)
{
    static const struct {
        int32_t magic, version, count, width, n;
        const char *says;
    } bad[] = {
        { 20240521, 1, 15, 2, 15, "h.bin: offset 0: no header of llm.c" },
        { 20240520, 2, 15, 2, 15, "h.bin: offset 4: version 2, expected 1" },
        { 20240520, 7, 15, 2, 15, "h.bin: offset 4: version 7, expected 1" },
        { 20240801, 3, 15, 4, 15, "h.bin: offset 4: version 3, expected 1 or 7" },
        { 20240520, 1, 16, 2, 15, "h.bin: offset 8: the header counts 16 ids" },
        { 20240520, 1, 14, 2, 15, "h.bin: offset 8: the header counts 14 ids" },
        { 20240520, 1, -1, 2, 15, "h.bin: offset 8: the header counts -1 ids" },
        { 20240520, 1, 0, 2, 0, "h.bin: offset 1024: there are no ids" },
    };
    mb_shard_file f;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *path =
            write_llmc(bad[i].magic, bad[i].version, bad[i].count, bad[i].width, bad[i].n);

        cr_expect_eq(mb_shard_file_open(path, 0, &f), MB_ECORRUPT);
        cr_expect_not_null(strstr(mb_message(), bad[i].says), "\"%s\" lacks \"%s\"", mb_message(),
                           bad[i].says);
    }
    cr_expect_eq(mb_shard_file_open(data_path("none.bin"), 2, &f), MB_EMISSING);
    cr_expect_eq(mb_shard_file_open(data_write("odd.bin", "abc", 3), 2, &f), MB_ECORRUPT);
    cr_expect_not_null(strstr(mb_message(), "odd.bin: offset 2: "), "%s", mb_message());
}

Test(shards, truncated_files_never_open_or_crash)
{
    unsigned char bytes[1024 + 30];
    mb_shard_file f;
    FILE *in = fopen(write_llmc(20240520, 1, 15, 2, 15), "rb");

    cr_assert_eq(fread(bytes, 1, sizeof bytes, in), sizeof bytes);
    fclose(in);
    for (size_t cut = 0; cut < sizeof bytes; cut++)
        cr_expect_eq(mb_shard_file_open(data_write("cut.bin", bytes, cut), 0, &f), MB_ECORRUPT,
                     "%zu", cut);
}

Test(shards, arrays_of_numpy_are_read)
{
    static const char head[] = "{'descr': '<i4', 'fortran_order': False, 'shape': (3, 2), }";
    unsigned char bytes[256] = "\x93NUMPY\x01\x00";
    const int32_t id[6] = { 20, 1, 2, 3, 4, -7 };
    const float data[2] = { 1, 2 };
    const int64_t shape[] = { 2 };
    mb_shard_file f;

    bytes[8] = sizeof head - 1;
    memcpy(bytes + 10, head, sizeof head - 1);
    memcpy(bytes + 10 + sizeof head - 1, id, sizeof id);
    cr_assert_eq(mb_shard_file_open(data_write("x.npy", bytes, 9 + sizeof head + sizeof id), 0, &f),
                 MB_OK, "%s", mb_message());
    cr_expect(f.count == 6 && mb_shard_file_id(&f, 0) == 20 && mb_shard_file_id(&f, 5) == -7);
    cr_expect_eq(mb_shard_file_offset(&f, 1), (int64_t)(9 + sizeof head + 4));
    mb_shard_file_close(&f);
    mb_npy_write_f32(data_path("f.npy"), data, 1, shape);
    cr_expect_eq(mb_shard_file_open(data_path("f.npy"), 0, &f), MB_EINVAL);
    cr_expect_not_null(strstr(mb_message(), "floats"), "%s", mb_message());
}

/* In map_text, replace one text by another. */
static const struct {
    const char *from, *to, *says;
} bad_maps[] = {
    { "24,", "24 ", "map.json:2:" },
    { "\"dtype\"", "\"dtyp\"", "map.json:4: \"dtyp\" is not a known key" },
    { "\"u16\"", "\"i16\"", "map.json:4: \"dtype\": expected \"u16\" or \"u32\"" },
    { "[0, 10]", "[0, 11]", "overlap" },
    { "[0, 10]", "[0]", "map.json:2: \"text\": expected a range" },
    { "[10, 20]", "[10, 30]", "image [10, 30]" },
    { "\"vocab\": 24", "\"vocab\": 0", "vocab 0" },
    { "\"vocab\": 24", "\"vocab\": \"x\"", "map.json:1: \"vocab\": expected a whole number" },
    { "\"bos\": 20", "\"bos\": 21", "bos and eos are both 21" },
    { "\"boi\": 22, ", "", "image ids need boi and eoi" },
    { "\"eoi\": 23", "\"eoi\": 24", "eoi 24" },
    { "\"mine\"", "\"../mine\"", "map.json:1: \"name\"" },
    { "\"val\": \"a.bin\"", "\"val\": 3", "map.json:5: \"val\"" },
    { ", \"val\": \"a.bin\"", "", "\"val\": expected" },
    { "[\"a.bin\", \"b.bin\"]", "[]", "at least one file" },
    { "\"bos\": 20", "\"bos\": 20, \"bos\": 20", "duplicate" },
};

Test(shards, bad_maps_are_refused_with_the_line)
{
    write_all();
    for (size_t i = 0; i < sizeof bad_maps / sizeof *bad_maps; i++) {
        const char *at = strstr(map_text, bad_maps[i].from);
        char *text = mb_format("%.*s%s%s", (int)(at - map_text), map_text, bad_maps[i].to,
                               at + strlen(bad_maps[i].from));

        data_write_text("map.json", text);
        free(text);
        cr_expect_eq(prepare(), MB_EINVAL, "%s", bad_maps[i].to);
        cr_expect_not_null(strstr(mb_message(), bad_maps[i].says), "\"%s\" lacks \"%s\"",
                           mb_message(), bad_maps[i].says);
    }
    data_write_text("map.json", map_text);
    remove(data_path("b.bin"));
    cr_expect_eq(prepare(), MB_EMISSING);
    cr_expect_not_null(strstr(mb_message(), "b.bin"), "%s", mb_message());
}

/* A text-only file of nanoGPT: one modality, documents behind their EOS. */
Test(shards, text_alone_is_enough)
{
    static const uint16_t id[] = { 1, 2, 50256, 3, 50256, 50256, 4 };
    mb_data_request r = { .source = "shards", .path = data_path("") };
    mb_data *d;

    data_write_text(
        "modality.json",
        "{ \"name\": \"gpt2\", \"vocab\": 50257, \"text\": [0, 50257],"
        " \"eos\": 50256, \"dtype\": \"u16\", \"train\": \"t.bin\", \"val\": \"t.bin\" }");
    data_write("t.bin", id, sizeof id);
    cr_assert_eq(mb_data_prepare(&r, NULL, NULL), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_data_open(&r, &d), MB_OK, "%s", mb_message());
    cr_expect_eq(mb_data_modalities(d), 1);
    cr_expect_eq(mb_data_documents(d, MB_TRAIN), 4);
    cr_expect_eq(mb_data_bos(d), -1);
    mb_data_close(d);
}
