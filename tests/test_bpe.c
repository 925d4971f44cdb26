#include "base/random.h"
#include "tests/data_tools.h"
#include "workloads/bpe.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(bpe, .init = data_folder_open, .fini = data_folder_close);

static mb_bpe *train(const char *text, int vocab)
{
    mb_bpe_trainer *t = mb_bpe_trainer_open();

    mb_bpe_trainer_add(t, text, strlen(text));
    return mb_bpe_trainer_close(t, vocab);
}

static const char corpus[] = "the cat sat on the mat; the cat, the dog and the 12 rats ran (ran!)\n"
                             "another day the others sat there: 112 of them, then 12 more";

static void expect_symbol(const mb_bpe *b, int32_t id, const char *expected)
{
    size_t size;
    const char *bytes = mb_bpe_bytes(b, id, &size);

    cr_expect(size == strlen(expected) && !memcmp(bytes, expected, size), "symbol %d is \"%.*s\"",
              id, (int)size, bytes);
}

/* Worked by hand: "ab" occurs 3 times; then " b" and " " + "ab" twice each, and b is below 256. */
Test(bpe, the_most_frequent_pair_is_joined_and_ties_go_to_the_smaller)
{
    mb_bpe *b = train("ab ab abc bc bd", 259);

    cr_assert_eq(mb_bpe_vocab(b), 259);
    expect_symbol(b, 256, "ab");
    expect_symbol(b, 257, " b");
    expect_symbol(b, 258, " ab");
    mb_bpe_free(b);
}

Test(bpe, training_stops_when_no_pair_occurs_twice)
{
    mb_bpe *b = train("xy xy", 1000);

    cr_expect_eq(mb_bpe_vocab(b), 257); /* "xy"; " x" and " xy" occur once */
    mb_bpe_free(b);
}

static void expect_round_trip(const mb_bpe *b, const unsigned char *text, size_t size)
{
    int32_t *id = malloc((size + 1) * sizeof *id);
    int64_t n = mb_bpe_encode(b, text, size, id);
    size_t at = 0, length;

    for (int64_t i = 0; i < n; i++) {
        const char *bytes = mb_bpe_bytes(b, id[i], &length);

        cr_assert_leq(at + length, size);
        cr_assert_eq(memcmp(bytes, text + at, length), 0, "byte %zu", at);
        at += length;
    }
    cr_assert_eq(at, size);
    free(id);
}

Test(bpe, any_bytes_survive)
{
    mb_bpe *b = train(corpus, 330);
    unsigned char text[700];

    cr_assert_gt(mb_bpe_vocab(b), 265);
    for (uint64_t round = 0; round < 300; round++) {
        size_t size = mb_below(round, 0, sizeof text + 1);
        uint64_t range = round % 3 == 0 ? 256 : round % 3 == 1 ? 3 : 128;

        for (size_t i = 0; i < size; i++)
            text[i] = (unsigned char)(mb_below(round, i + 1, range) + (range == 3 ? ' ' - 1 : 0));
        expect_round_trip(b, text, size);
    }
    expect_round_trip(b, (const unsigned char *)corpus, strlen(corpus));
    mb_bpe_free(b);
}

Test(bpe, chunks_cover_the_text_and_are_short)
{
    unsigned char text[400];

    for (uint64_t round = 0; round < 200; round++) {
        size_t at = 0;

        for (size_t i = 0; i < sizeof text; i++)
            text[i] = (unsigned char)"aab 1,\n\xc3"[mb_below(round, i, 8)];
        if (round == 0)
            memset(text, 'z', sizeof text);
        while (at < sizeof text) {
            size_t n = mb_bpe_chunk(text + at, sizeof text - at);

            cr_assert(n >= 1 && n <= MB_BPE_LONGEST && n <= sizeof text - at);
            at += n;
        }
    }
}

/* The fast trainer against counting all pairs afresh for every join. */
static int slow_count(const int32_t *id, const int *chunk, int n, int32_t left, int32_t right)
{
    int count = 0;

    for (int i = 0; i + 1 < n; i++)
        count += chunk[i] == chunk[i + 1] && id[i] == left && id[i + 1] == right;
    return count;
}

Test(bpe, joins_are_those_of_counting_afresh)
{
    mb_bpe *b = train(corpus, 300);
    int32_t id[sizeof corpus];
    int chunk[sizeof corpus], n = (int)strlen(corpus), number = 0;

    for (int at = 0; at < n; number++) {
        int size = (int)mb_bpe_chunk((const unsigned char *)corpus + at, (size_t)(n - at));

        for (int i = 0; i < size; i++, at++) {
            id[at] = (unsigned char)corpus[at];
            chunk[at] = number;
        }
    }
    for (int32_t joined = 256; joined < mb_bpe_vocab(b); joined++) {
        int best = 1, kept = 0;
        int32_t left = 0, right = 0;
        size_t size_left, size_right, size;

        for (int i = 0; i + 1 < n; i++) {
            int count = chunk[i] == chunk[i + 1] ? slow_count(id, chunk, n, id[i], id[i + 1]) : 0;

            if (count > best || (count == best && best > 1 &&
                                 (id[i] < left || (id[i] == left && id[i + 1] < right)))) {
                best = count;
                left = id[i];
                right = id[i + 1];
            }
        }
        const char *text = mb_bpe_bytes(b, joined, &size);
        const char *text_left = mb_bpe_bytes(b, left, &size_left);
        const char *text_right = mb_bpe_bytes(b, right, &size_right);
        cr_assert(size == size_left + size_right && !memcmp(text, text_left, size_left) &&
                      !memcmp(text + size_left, text_right, size_right),
                  "join %d", joined);
        for (int i = 0; i < n; i++) {
            bool match =
                i + 1 < n && chunk[i] == chunk[i + 1] && id[i] == left && id[i + 1] == right;

            chunk[kept] = chunk[i];
            id[kept++] = match ? joined : id[i];
            i += match;
        }
        n = kept;
    }
    mb_bpe_free(b);
}

Test(bpe, a_saved_tokenizer_encodes_alike)
{
    mb_bpe *b = train(corpus, 300), *again;
    int32_t one[sizeof corpus], two[sizeof corpus];
    int64_t n;

    cr_assert_eq(mb_bpe_save(b, data_path("m.txt")), MB_OK);
    cr_assert_eq(mb_bpe_load(data_path("m.txt"), &again), MB_OK, "%s", mb_message());
    n = mb_bpe_encode(b, corpus, strlen(corpus), one);
    cr_expect_eq(mb_bpe_encode(again, corpus, strlen(corpus), two), n);
    cr_expect_eq(memcmp(one, two, (size_t)n * sizeof *one), 0);
    mb_bpe_free(b);
    mb_bpe_free(again);
}

Test(bpe, bad_files_are_refused_with_the_line)
{
    static const char *const bad[][2] = {
        { "", ":1:" },
        { "x\n", ":1:" },
        { "-1\n", ":1:" },
        { "2\n97 98\n", ":3:" },
        { "1\n97 256\n", ":2:" },
        { "2\n97 98\n97 98\n", ":3:" },
        { "1\n97 -5\n", ":2:" },
        { "1\n97 98\n99 100\n", ":3:" },
        { "6\n97 97\n256 256\n257 257\n258 258\n259 259\n260 260\n", ":7:" }, /* 64 bytes */
    };
    mb_bpe *b;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(mb_bpe_load(data_write_text("m.txt", bad[i][0]), &b), MB_ECORRUPT, "%s",
                     bad[i][0]);
        cr_expect_not_null(strstr(mb_message(), bad[i][1]), "%s", mb_message());
        cr_expect_null(b);
    }
}
