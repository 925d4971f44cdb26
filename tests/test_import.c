/* The user's own data: what documents they become, where those go, and what is noticed on the way.
   Files of each format are imported from outside (e2e_import.sh). */
#include "base/file.h"
#include "tests/data_tools.h"
#include "workloads/set.h"
#include "workloads/thin.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(import, .init = data_folder_open, .fini = data_folder_close);

static const mb_import usual = {
    .format = "jsonl", .hold_out = 4, .side = 32, .codes = 16, .units = 8
};

/* Imports TEXT, and VAL unless NULL, as NAME. */
static mb_err import_as(const char *name, mb_import how, const char *text, const char *val)
{
    const char *const files[] = { data_write_text("train.jsonl", text), NULL };
    const char *const val_files[] = { data_write_text("val.jsonl", val ? val : ""), NULL };

    how.file[MB_TRAIN] = files;
    how.file[MB_VAL] = val ? val_files : NULL;
    return mb_data_import(name, &how, NULL, NULL);
}

static void expect_document(const mb_data *d, enum mb_split split, int64_t i, const int32_t *want,
                            int64_t length)
{
    const mb_set_split *s = &d->split[split];
    int64_t first, n;

    cr_assert_eq(mb_set_find(s, i, &first, &n), MB_OK, "%s", mb_message());
    cr_assert_eq(n, length, "document %lld", (long long)i);
    for (int64_t k = 0; k < n; k++)
        cr_expect_eq(mb_set_token(d, s, first + k), want[k], "document %lld, token %lld",
                     (long long)i, (long long)k);
}

/* Ids: 256 bytes of text, 16 images, 8 units of speech, then BOS, EOS, BOI, EOI, BOA, EOA. */
Test(import, documents_are_sorted_by_section_and_keep_the_order_of_their_parts)
{
    static const int32_t pair[] = { 280, 'a', 282, 256, 271, 283, 281 };
    static const int32_t segments[] = { 280, 282, 257, 258, 283, 'b', 281 };
    static const int32_t text[] = { 280, 'x', 281 };
    static const int32_t spoken[] = { 280, 'c', 284, 272, 279, 272, 285, 281 };
    mb_data *d;

    cr_assert_eq(import_as("mine", usual,
                           "{\"text\": \"x\"}\n\n"
                           "{\"audio\": [0, 7, 0], \"text\": \"c\"}\n"
                           "{\"text\": \"a\", \"image\": [0, 15]}\n"
                           "{\"segments\": [{\"image\": [1, 2]}, {\"text\": \"b\"}]}\n",
                           "{\"text\": \"y\"}\n"),
                 MB_OK, "%s", mb_message());
    d = data_open_imported("mine");
    cr_expect_eq(mb_data_vocab(d), 286);
    cr_expect_eq(mb_data_modalities(d), 3);
    cr_expect_eq(d->ids.tokens_per_image, 2);
    expect_document(d, MB_TRAIN, 0, pair, 7);
    expect_document(d, MB_TRAIN, 1, segments, 7);
    expect_document(d, MB_TRAIN, 2, text, 3);
    expect_document(d, MB_TRAIN, 3, spoken, 8);
    cr_expect(mb_data_section(d, MB_TRAIN, MB_PAIRS) == 2 &&
              mb_data_section(d, MB_TRAIN, MB_TEXTS) == 1 &&
              mb_data_section(d, MB_TRAIN, MB_HUMAN) == 1);
    cr_expect_eq(mb_data_documents(d, MB_VAL), 1);
    mb_data_close(d);
}

/* What a key holds together goes to one split; with many keys, a quarter to val. */
Test(import, items_of_one_key_stay_together)
{
    char text[400 * 64] = "";
    mb_data *d;
    int64_t val, all;

    for (int i = 0; i < 400; i++)
        sprintf(text + strlen(text), "{\"text\": \"line %d\", \"key\": \"%d\"}\n", i, i / 4);
    cr_assert_eq(import_as("keys", usual, text, NULL), MB_OK, "%s", mb_message());
    d = data_open_imported("keys");
    val = mb_data_documents(d, MB_VAL);
    all = val + mb_data_documents(d, MB_TRAIN);
    cr_expect(val % 4 == 0 && val > 60 && val < 140 && all == 400, "%lld of %lld", (long long)val,
              (long long)all);
    mb_data_close(d);
}

Test(import, what_two_splits_share_is_refused_or_dropped)
{
    static const char train[] = "{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": \"b\"}\n";
    mb_import how = usual;
    mb_data *d;

    cr_expect_eq(import_as("own", how, train, "{\"text\": \"c\"}\n{\"text\": \"b\"}\n"),
                 MB_ECORRUPT);
    cr_expect_not_null(strstr(mb_message(), "val.jsonl:2: the same document"), "%s", mb_message());
    how.drop = true;
    cr_assert_eq(import_as("own", how, train, "{\"text\": \"c\"}\n{\"text\": \"b\"}\n"), MB_OK,
                 "%s", mb_message());
    d = data_open_imported("own");
    cr_expect(mb_data_documents(d, MB_TRAIN) == 1 && mb_data_documents(d, MB_VAL) == 2);
    mb_data_close(d);
}

Test(import, an_explicit_split_goes_before_the_file)
{
    mb_data *d;

    cr_assert_eq(import_as("said", usual,
                           "{\"text\": \"a\", \"split\": \"val\"}\n{\"text\": \"b\"}\n"
                           "{\"text\": \"c\", \"split\": \"test\"}\n",
                           "{\"text\": \"d\"}\n"),
                 MB_OK, "%s", mb_message());
    d = data_open_imported("said");
    cr_expect(mb_data_documents(d, MB_TRAIN) == 1 && mb_data_documents(d, MB_VAL) == 2 &&
              mb_data_documents(d, MB_TEST) == 1);
    mb_data_close(d);
}

Test(import, names_are_checked_and_taken_once)
{
    cr_expect_eq(import_as("a b", usual, "{\"text\": \"a\"}\n", "{\"text\": \"b\"}\n"), MB_EINVAL);
    cr_expect_eq(import_as("shards", usual, "", NULL), MB_EINVAL);
    cr_expect_eq(import_as("once", usual, "{\"text\": \"a\"}\n", "{\"text\": \"b\"}\n"), MB_OK);
    cr_expect_eq(import_as("once", usual, "{\"text\": \"a\"}\n", "{\"text\": \"b\"}\n"), MB_EINVAL);
    cr_expect_eq(mb_data_known("once"), MB_OK);
    cr_expect_eq(mb_data_known("twice"), MB_EMISSING);
}

/* ---- samples of long lists ------------------------------------------------------------------- */

static int freed;

static void count_free(void *item)
{
    freed++;
    free(item);
}

/* Every n-th of the list, n a power of two, whatever the limit is; and all is given back. */
Test(import, a_thin_sample_is_even_and_bounded)
{
    mb_thin t = { .free_item = count_free, .most_items = 10, .most_bytes = 1 << 20 };
    int made = 0;

    for (int i = 0; i < 1000; i++) {
        int *item;

        if (!mb_thin_wants(&t))
            continue;
        item = mb_alloc(sizeof *item);
        *item = i;
        made++;
        mb_thin_keep(&t, item, sizeof *item);
        cr_assert(t.count <= 10);
    }
    cr_expect(t.count >= 5 && made < 80, "%zu of %d", t.count, made);
    for (size_t k = 0; k < t.count; k++)
        cr_expect_eq(*(int *)t.item[k], (int)(k * (size_t)t.step));
    mb_thin_free(&t);
    cr_expect_eq(freed, made);
}
