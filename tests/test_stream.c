/* Streams over the procedural set: what packing promises. */
#include "tests/data_tools.h"
#include "workloads/set.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TestSuite(stream, .init = data_folder_open, .fini = data_folder_close);

static const mb_mixture natural = { -1, -1, 0.5, MB_TEXT, 0, 0, 0, MB_EPSILON };

static mb_stream *open_stream(const mb_data *d, enum mb_split split, const mb_mixture *m,
                              uint64_t seed, int64_t batch, int64_t len)
{
    mb_stream *s;

    cr_assert_eq(mb_stream_open(d, split, m, seed, batch, len, &s), MB_OK, "%s", mb_message());
    return s;
}

static mb_batch next(mb_stream *s)
{
    mb_batch b;

    cr_assert_eq(mb_stream_next(s, &b), MB_OK, "%s", mb_message());
    return b;
}

static bool is_padding(const mb_batch *b, int64_t i)
{
    return b->target[i] < 0 && b->lo[i] == b->hi[i] && b->modality[i] == MB_TEXT;
}

/* All that holds at every position of every batch. */
static void check_batch(const mb_data *d, const mb_batch *b, int boundary)
{
    const mb_ids *ids = &d->ids;

    for (int64_t i = 0; i < b->batch * b->len; i++) {
        int32_t p = (int32_t)(i % b->len);
        int64_t start = i - p + b->lo[i];

        cr_assert(b->lo[i] >= 0 && b->lo[i] <= p && b->hi[i] == p);
        cr_assert_eq(b->position[i], p - b->lo[i]);
        cr_assert_eq(b->modality[i], mb_data_modality(d, b->token[i], boundary));
        cr_assert_eq(b->lo[start], b->lo[i], "spans of one document agree");
        if (p + 1 < b->len && b->lo[i + 1] == b->lo[i])
            cr_assert_eq(b->target[i], b->token[i + 1]);
        else if (b->token[i] == ids->eos)
            cr_assert_eq(b->target[i], -1);
        else
            cr_assert(p + 1 == b->len && b->target[i] >= 0, "only texts at the end are cut");
        cr_assert_eq(b->target_modality[i],
                     b->target[i] < 0 ? MB_TEXT : mb_data_modality(d, b->target[i], boundary));
        if (b->token[i] == ids->boi) {
            cr_assert_leq(p + ids->tokens_per_image + 2, b->len, "images are never cut");
            for (int k = 1; k <= ids->tokens_per_image; k++)
                cr_assert_eq(mb_id_kind(ids, b->token[i + k]), MB_ID_IMAGE);
            cr_assert_eq(b->token[i + ids->tokens_per_image + 1], ids->eoi);
            cr_assert_eq(b->token[start], ids->bos, "a pair is whole");
        }
    }
}

static const int64_t lengths[] = { 64, 75, 96, 128, 257, 1024 };

Test(stream, packing_holds_its_promises_at_every_length)
{
    mb_data *d = data_open_procedural();

    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        for (int weights = 0; weights < 3; weights++) {
            mb_mixture m = {
                weights == 2 ? 0 : 1, weights == 1 ? 0 : 1, 0.5, (int)l % 2, 0, 0, 0, MB_EPSILON
            };
            mb_stream *s = open_stream(d, MB_TRAIN, &m, 1, 3, lengths[l]);

            for (int step = 0; step < 20; step++) {
                mb_batch b = next(s);

                check_batch(d, &b, m.boundary);
            }
            mb_stream_close(s);
        }
    }
    mb_data_close(d);
}

/* Every prediction that the split holds, counted by target id: one pass makes each exactly once. */
static int64_t *count_targets(const mb_data *d, const mb_set_split *v, int64_t *pairs)
{
    int64_t *count = calloc((size_t)d->ids.vocab, sizeof *count), first, n;

    for (int64_t i = 0; i < v->documents; i++) {
        cr_assert_eq(mb_set_find(v, i, &first, &n), MB_OK);
        for (int64_t k = first + 1; k < first + n; k++)
            count[mb_set_token(d, v, k)]++;
    }
    *pairs = v->section[MB_PAIRS];
    return count;
}

Test(stream, validation_is_every_prediction_once)
{
    mb_data *d = data_open_procedural();

    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        mb_mixture captions_first = { -1, -1, 0, MB_TEXT, 0, 0, 0, MB_EPSILON };
        mb_stream *s = open_stream(d, MB_VAL, &captions_first, 5, 4, lengths[l]);
        int64_t pairs, *left = count_targets(d, &d->split[MB_VAL], &pairs);
        mb_batch b;
        mb_err err;

        while (!(err = mb_stream_next(s, &b))) {
            check_batch(d, &b, MB_TEXT);
            for (int64_t i = 0; i < b.batch * b.len; i++) {
                if (b.target[i] >= 0)
                    left[b.target[i]]--;
            }
        }
        cr_expect_eq(err, MB_EMISSING);
        for (int id = 0; id < d->ids.vocab; id++)
            cr_expect_eq(left[id], 0, "length %lld, id %d: %lld", (long long)lengths[l], id,
                         (long long)left[id]);
        free(left);
        mb_stream_close(s);
    }
    mb_data_close(d);
}

static uint64_t hash_document(const mb_batch *b, int64_t i)
{
    uint64_t h = 1;

    for (int64_t k = i; k < (i / b->len + 1) * b->len && b->lo[k] == b->lo[i]; k++)
        h = h * 0x100000001b3u + (uint64_t)b->token[k];
    return h;
}

/* Documents of pairs alone: an epoch of them has each of the stored ones once. */
Test(stream, an_epoch_covers_each_document_once)
{
    mb_mixture m = { 1, 0, 0, MB_TEXT, 0, 0, 0, MB_EPSILON };
    mb_data *d = data_open_procedural();
    mb_stream *s = open_stream(d, MB_TRAIN, &m, 3, 1, 128);
    const mb_set_split *v = &d->split[MB_TRAIN];
    uint64_t sum = 0;
    int64_t seen = 0, first, n;

    for (int64_t i = 0; i < v->section[MB_PAIRS]; i++) {
        uint64_t h = 1;

        mb_set_find(v, i, &first, &n);
        for (int64_t k = first; k < first + n; k++)
            h = h * 0x100000001b3u + (uint64_t)mb_set_token(d, v, k);
        sum += h * (h | 1);
    }
    while (seen < v->section[MB_PAIRS]) {
        mb_batch b = next(s);

        for (int64_t i = 0; i < b.len; i++) {
            if (b.position[i] == 0 && !is_padding(&b, i) && seen < v->section[MB_PAIRS]) {
                uint64_t h = hash_document(&b, i);

                sum -= h * (h | 1);
                seen++;
            }
        }
    }
    cr_expect_eq(sum, 0u);
    cr_expect_float_eq(mb_stream_epochs(s), 1, 2.0 / (double)v->section[MB_PAIRS]);
    mb_stream_close(s);
    mb_data_close(d);
}

static bool equal(const mb_batch *a, const mb_batch *b)
{
    size_t n = (size_t)(a->batch * a->len);

    return !memcmp(a->token, b->token, n * 4) && !memcmp(a->target, b->target, n * 4) &&
           !memcmp(a->lo, b->lo, n * 4) && !memcmp(a->position, b->position, n * 4) &&
           !memcmp(a->modality, b->modality, n) &&
           !memcmp(a->target_modality, b->target_modality, n);
}

Test(stream, skipping_is_taking)
{
    mb_data *d = data_open_procedural();

    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        mb_stream *taken = open_stream(d, MB_TRAIN, &natural, 9, 2, lengths[l]);

        for (int64_t n = 0; n < 40; n++) {
            mb_stream *skipped = open_stream(d, MB_TRAIN, &natural, 9, 2, lengths[l]);
            mb_batch a = next(taken), b;

            cr_assert_eq(mb_stream_skip(skipped, n), MB_OK);
            b = next(skipped);
            cr_assert(equal(&a, &b), "length %lld, batch %lld", (long long)lengths[l],
                      (long long)n);
            mb_stream_close(skipped);
        }
        mb_stream_close(taken);
    }
    mb_data_close(d);
}

/* The batch size only groups sequences; the seed orders training and nothing else. */
Test(stream, order_depends_on_the_seed_alone)
{
    mb_data *d = data_open_procedural();
    mb_stream *s[4] = { open_stream(d, MB_TRAIN, &natural, 1, 4, 128),
                        open_stream(d, MB_TRAIN, &natural, 1, 1, 128),
                        open_stream(d, MB_VAL, &natural, 1, 2, 128),
                        open_stream(d, MB_VAL, &natural, 2, 2, 128) };
    mb_stream *other = open_stream(d, MB_TRAIN, &natural, 2, 4, 128);
    mb_batch four = next(s[0]), one, val = next(s[2]), val_other = next(s[3]);
    mb_batch shuffled = next(other);

    for (int row = 0; row < 4; row++) {
        one = next(s[1]);
        cr_expect_eq(memcmp(one.token, four.token + row * 128, 128 * 4), 0);
    }
    cr_expect(equal(&val, &val_other));
    cr_expect(!equal(&four, &shuffled));
    for (int i = 0; i < 4; i++)
        mb_stream_close(s[i]);
    mb_stream_close(other);
    mb_data_close(d);
}

/* Texts that fill gaps are owed, so weights hold at lengths that leave many gaps. */
Test(stream, the_mixture_is_what_was_asked_for)
{
    mb_data *d = data_open_procedural();

    for (size_t l = 1; l < sizeof lengths / sizeof *lengths; l++) {
        mb_mixture m = { 1, 4, 0.25, MB_TEXT, 0, 0, 0, MB_EPSILON };
        mb_stream *s = open_stream(d, MB_TRAIN, &m, 1, 4, lengths[l]);
        double pairs = 0, texts = 0, first = 0;

        while (pairs + texts < 4000) {
            mb_batch b = next(s);

            for (int64_t i = 0; i < b.batch * b.len; i++) {
                pairs += b.token[i] == d->ids.boi;
                first += b.token[i] == d->ids.boi && b.position[i] == 1;
                texts += b.token[i] == d->ids.eos && !is_padding(&b, i);
            }
        }
        texts -= pairs; /* each pair has an EOS too */
        cr_expect_float_eq(pairs / (pairs + texts), 0.2, 0.035, "length %lld: %g",
                           (long long)lengths[l], pairs / (pairs + texts));
        cr_expect_float_eq(first / pairs, 0.25, 0.06);
        mb_stream_close(s);
    }
    mb_data_close(d);
}

Test(stream, settings_that_cannot_work_are_refused)
{
    static const struct {
        mb_mixture m;
        int64_t batch, len;
        mb_err err;
        const char *says;
    } bad[] = {
        { { 1, 1, 0.5, MB_TEXT, 0, 0, 0, MB_EPSILON }, 0, 128, MB_EINVAL, "batch 0" },
        { { 1, 1, 0.5, MB_TEXT, 0, 0, 0, MB_EPSILON }, 1, 3, MB_EINVAL, "length 3" },
        { { 1, 1, 0.5, MB_TEXT, 0, 0, 0, MB_EPSILON }, 1, 40, MB_EINVAL, "must be at least" },
        { { 1, -1, 0.5, MB_TEXT, 0, 0, 0, MB_EPSILON }, 1, 128, MB_EINVAL, "weights" },
        { { NAN, 1, 0.5, MB_TEXT, 0, 0, 0, MB_EPSILON }, 1, 128, MB_EINVAL, "weights" },
        { { 0, 0, 0.5, MB_TEXT, 0, 0, 0, MB_EPSILON }, 1, 128, MB_EMISSING, "no documents" },
        { { 1, 1, 1.5, MB_TEXT, 0, 0, 0, MB_EPSILON }, 1, 128, MB_EINVAL, "image_first" },
        { { 1, 1, 0.5, MB_TEXT, 0, 0, 2, MB_EPSILON }, 1, 128, MB_EINVAL, "drop_caption" },
        { { 1, 1, NAN, MB_TEXT, 0, 0, 0, MB_EPSILON }, 1, 128, MB_EINVAL, "image_first" },
        { { 1, 1, 0.5, MB_MODALITIES, 0, 0, 0, MB_EPSILON }, 1, 128, MB_EINVAL, "boundary" },
    };
    mb_data *d = data_open_procedural();
    mb_stream *s;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(mb_stream_open(d, MB_TRAIN, &bad[i].m, 1, bad[i].batch, bad[i].len, &s),
                     bad[i].err);
        cr_expect_not_null(strstr(mb_message(), bad[i].says), "%s", mb_message());
        cr_expect_null(s);
    }
    mb_data_close(d);
}

Test(stream, a_batch_from_tokens_finds_documents_by_bos)
{
    const int32_t token[] = { 5, 9, 1, 2, 9, 3, /**/ 9, 1, 1, 1, 1, 9 };
    const uint8_t modality[] = { 0, 0, 1, 1, 0, 1, /**/ 0, 0, 0, 0, 0, 0 };
    const int32_t target[] = { -1, 1, 2, -1, 3, -1, /**/ 1, 1, 1, 1, -1, -1 };
    const int32_t position[] = { 0, 0, 1, 2, 0, 1, /**/ 0, 1, 2, 3, 4, 0 };
    mb_batch b;

    cr_assert_eq(mb_batch_from_tokens(token, modality, 2, 6, 10, 9, &b), MB_OK);
    cr_expect_eq(memcmp(b.target, target, sizeof target), 0);
    cr_expect_eq(memcmp(b.position, position, sizeof position), 0);
    cr_expect_eq(b.target_modality[1], 1);
    cr_expect_eq(b.lo[5], 4);
    cr_expect_eq(b.hi[5], 5);
    mb_batch_free(&b);
    cr_expect_eq(mb_batch_from_tokens(token, NULL, 2, 6, 9, 8, &b), MB_EINVAL);
    cr_expect_not_null(strstr(mb_message(), "sequence 0, position 1: id 9"), "%s", mb_message());
    cr_expect_eq(mb_batch_from_tokens(token, NULL, 0, 6, 10, 9, &b), MB_EINVAL);
}
