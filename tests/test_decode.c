/* Decoding: what a cache keeps changes nothing about what a model predicts. */
#include "tests/tiny.h"

#include "base/file.h"
#include "base/random.h"
#include "workloads/data.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = 3, L = 10, BOS = 0 };

static mb_err feed(mb_decoder *d, const int32_t *token, const uint8_t *modality,
                   const int32_t *sequence, int64_t n, float *logits)
{
    mb_feed rows = { .token = token, .modality = modality, .sequence = sequence, .n = n };

    return mb_decoder_feed(d, &rows, logits);
}

/* B documents of L tokens of both modalities. */
typedef struct documents {
    int32_t token[B * L];
    uint8_t modality[B * L];
} documents;

static documents draw_documents(const mb_model_config *config)
{
    documents d;

    for (int i = 0; i < B * L; i++) {
        uint64_t key = mb_key(3, "document", (uint64_t)i, 0);

        d.token[i] = i % L ? 1 + (int32_t)mb_below(key, 0, (uint64_t)config->vocab - 1) : BOS;
        d.modality[i] = d.token[i] >= config->vocab / 2 ? MB_IMAGE : MB_TEXT;
    }
    return d;
}

/* Their logits without a cache (B, L, V). */
static float *whole_logits(mb_model *m, const documents *d)
{
    mb_batch batch;
    float *logits;

    cr_assert_eq(
        mb_batch_from_tokens(d->token, d->modality, B, L, mb_model_settings(m)->vocab, BOS, &batch),
        MB_OK, "%s", mb_message());
    logits = tiny_logits(m, &batch);
    mb_batch_free(&batch);
    return logits;
}

/* Sequence b begins with a prompt of 2 + 2 b tokens, all prompts at once; then one token at a time,
   the sequences in turns. Logits (B, L, V): rows that no feed ended on stay 0. */
static float *fed_logits(mb_model *m, mb_decoder *decoder, const documents *d)
{
    int64_t v = mb_model_settings(m)->vocab, n = 0;
    float *all = mb_zalloc((size_t)(B * L * v), sizeof *all), *now = mb_alloc((size_t)(B * v) * 4);
    int32_t token[B * L], sequence[B * L];
    uint8_t modality[B * L];
    int at[B];

    for (int b = 0; b < B; b++)
        at[b] = 0;
    do {
        n = 0;
        for (int b = B - 1; b >= 0; b--)
            for (int end = at[b] == 0 ? 2 + 2 * b : at[b] + 1; at[b] < end && at[b] < L; at[b]++) {
                token[n] = d->token[b * L + at[b]];
                modality[n] = d->modality[b * L + at[b]];
                sequence[n++] = b;
            }
        cr_assert_eq(feed(decoder, token, modality, sequence, n, now), MB_OK, "%s", mb_message());
        for (int64_t i = 0; i < n; i++)
            memcpy(all + (sequence[i] * L + at[sequence[i]] - 1) * v, now + sequence[i] * v,
                   (size_t)v * sizeof *all);
    } while (n > 0);
    free(now);
    return all;
}

/* The largest difference where something was fed. */
static double difference(const float *fed, const float *whole, int64_t v)
{
    double worst = 0;
    int compared = 0;

    for (int i = 0; i < B * L; i++) {
        int first = 1 + 2 * (i / L);

        for (int64_t j = 0; i % L >= first && j < v; j++, compared++)
            worst = fmax(worst, fabs(fed[i * v + j] - whole[i * v + j]));
    }
    cr_assert_gt(compared, 0);
    return worst;
}

static mb_decoder *open_decoder(mb_model *m)
{
    mb_decoder *d;

    cr_assert_eq(mb_decoder_open(m, B, L, &d), MB_OK, "%s", mb_message());
    return d;
}

static void expect_same_logits(mb_ctx *c, const mb_arch *arch, enum mb_norm_place norm, double most)
{
    mb_model_config config = tiny_config(arch);
    mb_batch batch = tiny_batch(&config, 1, 0.5);
    mb_model *m;
    documents d = draw_documents(&config);
    float *whole, *fed;
    mb_decoder *decoder;
    double worst;

    config.norm = norm;
    m = tiny_model(c, arch, &config, 5);
    tiny_spread(m);
    mb_ctx_weights_changed(c);
    cr_assert_eq(mb_model_learn_cuts(m, &batch), MB_OK, "%s", mb_message());
    decoder = open_decoder(m);
    whole = whole_logits(m, &d);
    fed = fed_logits(m, decoder, &d);
    worst = difference(fed, whole, config.vocab);
    cr_expect_leq(worst, most, "%s on %s: %g", arch->name, mb_ctx_backend(c), worst);
    mb_decoder_clear(decoder);
    free(fed);
    fed = fed_logits(m, decoder, &d);
    cr_expect_leq(difference(fed, whole, config.vocab), most, "%s, begun anew", arch->name);
    free(fed);
    free(whole);
    mb_decoder_close(decoder);
    mb_model_close(m);
    tiny_free(&batch);
}

static void expect_everywhere(const char *backend, double most)
{
    mb_ctx *c = tiny_ctx(backend);

    for (const mb_arch *a = mb_archs; a->name; a++) {
        expect_same_logits(c, a, MB_POST, most);
        expect_same_logits(c, a, MB_PRE, most);
    }
    mb_ctx_close(c);
}

Test(decode, a_cache_changes_no_bit_on_ref)
{
    IN_EACH_PRECISION expect_everywhere("ref", 0);
}

/* Sums of tiles there, of rows here: 5e-6 seen. */
Test(decode, a_cache_changes_rounding_alone_on_cpu)
{
    expect_everywhere("cpu", 2e-5);
}

/* ---- patches -------------------------------------------------------------------------------- */

enum { MOST = 8, IMAGE = 2, PATCHES = 4 }; /* positions 2 .. 5 of every document are an image */

typedef struct shown { /* documents with clean patches */
    documents d;
    int32_t noise[B * L];
    int patch; /* numbers of one */
    float noisy[B * L * MOST];
} shown;

static shown draw_shown(const mb_model_config *config)
{
    shown s = { .d = draw_documents(config), .patch = config->patch };

    for (int i = 0; i < B * L; i++) {
        bool inside = i % L >= IMAGE && i % L < IMAGE + PATCHES;

        s.d.modality[i] = inside ? MB_IMAGE : MB_TEXT;
        s.d.token[i] = inside ? config->vocab - 1 : s.d.token[i];
        s.noise[i] = inside ? 0 : -1;
        for (int j = i * s.patch; j < (i + 1) * s.patch; j++)
            s.noisy[j] = (float)mb_normal(mb_key(3, "patch", 0, 0), (uint64_t)j);
    }
    return s;
}

static float *whole_logits_of_shown(mb_model *m, const shown *s)
{
    mb_batch batch;
    float *logits;

    cr_assert_eq(mb_batch_from_tokens(s->d.token, s->d.modality, B, L, mb_model_settings(m)->vocab,
                                      BOS, &batch),
                 MB_OK);
    mb_batch_hold_patches(&batch, s->patch);
    for (int i = 0; i < B * L; i++)
        if (s->noise[i] == 0) {
            batch.noise[i] = 0;
            batch.target[i] = -1;
            batch.hi[i] = IMAGE + PATCHES - 1;
        }
    memcpy(batch.noisy, s->noisy, (size_t)(B * L * s->patch) * sizeof *s->noisy);
    logits = tiny_logits(m, &batch);
    mb_batch_free(&batch);
    return logits;
}

/* Of document b the first AT + b positions at once. */
static void feed_shown(mb_decoder *decoder, const shown *s, int at, float *logits)
{
    shown rows;
    int32_t sequence[B * L];
    int64_t n = 0;

    for (int i = 0; i < B * L; i++) {
        if (i % L >= at + i / L)
            continue;
        rows.d.token[n] = s->d.token[i];
        rows.d.modality[n] = s->d.modality[i];
        rows.noise[n] = s->noise[i];
        memcpy(rows.noisy + n * s->patch, s->noisy + i * s->patch,
               (size_t)s->patch * sizeof *s->noisy);
        sequence[n++] = i / L;
    }
    cr_assert_eq(mb_decoder_feed(decoder,
                                 &(mb_feed){ .token = rows.d.token,
                                             .modality = rows.d.modality,
                                             .sequence = sequence,
                                             .n = n,
                                             .noise = rows.noise,
                                             .noisy = rows.noisy },
                                 logits),
                 MB_OK, "%s", mb_message());
}

/* After an image, and after an id behind it, which looks back at it. */
static void expect_same_after_images(mb_ctx *c, const mb_arch *arch, int how, double most)
{
    mb_model_config config = tiny_config(arch);
    int64_t v = config.vocab;
    float *whole, now[B * 32];
    mb_decoder *decoder;
    mb_batch batch;
    mb_model *m;
    shown s;

    tiny_images(&config, how);
    config.norm = MB_PRE;
    batch = tiny_batch(&config, 1, 0.5);
    m = tiny_model(c, arch, &config, 5);
    tiny_spread(m);
    mb_ctx_weights_changed(c);
    cr_assert_eq(mb_model_learn_cuts(m, &batch), MB_OK, "%s", mb_message());
    s = draw_shown(&config);
    whole = whole_logits_of_shown(m, &s);
    decoder = open_decoder(m);
    feed_shown(decoder, &s, IMAGE + PATCHES, now);
    for (int b = 0; b < B; b++) {
        int at = IMAGE + PATCHES + b;
        double worst = 0;

        for (int64_t j = 0; j < v; j++)
            worst = fmax(worst, fabs(now[b * v + j] - whole[(b * L + at - 1) * v + j]));
        cr_assert_eq(feed(decoder, s.d.token + b * L + at, s.d.modality + b * L + at,
                          &(int32_t){ b }, 1, now),
                     MB_OK);
        for (int64_t j = 0; j < v; j++)
            worst = fmax(worst, fabs(now[b * v + j] - whole[(b * L + at) * v + j]));
        cr_expect_leq(worst, most, "%s on %s, document %d: %g", arch->name, mb_ctx_backend(c), b,
                      worst);
    }
    free(whole);
    mb_decoder_close(decoder);
    mb_model_close(m);
    tiny_free(&batch);
}

static void expect_images_everywhere(const char *backend, double most)
{
    mb_ctx *c = tiny_ctx(backend);

    for (const mb_arch *a = mb_archs; a->name; a++) {
        expect_same_after_images(c, a, TINY_PATCHES, most);
        expect_same_after_images(c, a, TINY_UNET, most);
    }
    mb_ctx_close(c);
}

Test(decode, clean_patches_see_all_of_their_image)
{
    expect_images_everywhere("ref", 0);
    expect_images_everywhere("cpu", 2e-5);
}

Test(decode, patches_that_are_none_are_refused)
{
    static const int32_t noise[] = { 1, 0, 0 };
    static const uint8_t modality[] = { MB_IMAGE, MB_TEXT, MB_IMAGE };
    mb_ctx *c = tiny_ctx("ref");
    float numbers[MOST] = { 0 }, logits[B * 32];

    for (int i = 0; i < 3; i++) { /* behind noise; of text; of a model that has none */
        mb_model_config config = tiny_config(mb_arch_find("dense"));
        int32_t zero = 0;
        mb_feed rows = { &zero, &modality[i], &zero, 1, &noise[i], numbers };
        mb_decoder *d;
        mb_model *m;

        tiny_images(&config, i < 2 ? TINY_PATCHES : TINY_IDS);
        m = tiny_model(c, mb_arch_find("dense"), &config, 1);
        d = open_decoder(m);
        cr_expect_eq(mb_decoder_feed(d, &rows, logits), MB_EINVAL);
        cr_expect(strstr(mb_message(), "clean patches"), "%s", mb_message());
        mb_decoder_close(d);
        mb_model_close(m);
    }
    mb_ctx_close(c);
}

/* A prompt of a sequence in a batch is the same numbers as alone: a row's logits are its own. */
Test(decode, other_sequences_do_not_matter)
{
    for (const mb_arch *a = mb_archs; a->name; a++) {
        mb_ctx *c = tiny_ctx("cpu");
        mb_model_config config = tiny_config(a);
        mb_batch batch = tiny_batch(&config, 1, 0.5);
        mb_model *m = tiny_model(c, a, &config, 5);
        documents d = draw_documents(&config);
        int32_t sequence[B * L];
        float *together = mb_alloc((size_t)(B * config.vocab) * sizeof *together);
        float *alone = mb_alloc((size_t)(B * config.vocab) * sizeof *alone);
        mb_decoder *decoder;

        tiny_spread(m);
        mb_ctx_weights_changed(c);
        cr_assert_eq(mb_model_learn_cuts(m, &batch), MB_OK);
        decoder = open_decoder(m);
        for (int i = 0; i < B * L; i++)
            sequence[i] = i / L;
        cr_assert_eq(feed(decoder, d.token, d.modality, sequence, B * L, together), MB_OK);
        mb_decoder_clear(decoder);
        cr_assert_eq(feed(decoder, d.token + L, d.modality + L, sequence + L, L, alone), MB_OK);
        cr_expect_eq(memcmp(together + config.vocab, alone + config.vocab,
                            (size_t)config.vocab * sizeof *alone),
                     0, "%s", a->name);
        free(together);
        free(alone);
        mb_decoder_close(decoder);
        mb_model_close(m);
        mb_ctx_close(c);
        tiny_free(&batch);
    }
}

/* With the cuts of a batch each expert takes about as many rows as it took by its own choice, and
   a row's experts no longer depend on the rows after it. */
Test(decode, cuts_make_expert_choice_causal)
{
    const mb_arch *arch = mb_arch_find("moe-ec");
    mb_ctx *c = tiny_ctx("ref");
    mb_model_config config = tiny_config(arch);
    mb_batch batch = tiny_batch(&config, 1, 0.5);
    int64_t n = batch.batch * batch.len, last = n - 1;
    mb_model *m = tiny_model(c, arch, &config, 5);
    float *before, *after;
    int changed = 0;

    tiny_spread(m);
    for (int with = 0; with <= 1; with++) {
        if (with)
            cr_assert_eq(mb_model_learn_cuts(m, &batch), MB_OK);
        before = tiny_logits(m, &batch);
        tiny_change(&batch, &config, last);
        after = tiny_logits(m, &batch);
        tiny_change(&batch, &config, last);
        changed = memcmp(before, after, (size_t)(last * config.vocab) * sizeof *before) != 0;
        cr_expect_eq(changed, !with, "earlier rows %s", changed ? "changed" : "did not change");
        free(before);
        free(after);
    }
    mb_model_close(m);
    mb_ctx_close(c);
    tiny_free(&batch);
}

static mb_decoder *open_dense(mb_ctx *c, mb_model **m)
{
    mb_model_config config = tiny_config(mb_arch_find("dense"));

    *m = tiny_model(c, mb_arch_find("dense"), &config, 1);
    return open_decoder(*m);
}

static void expect_refusal(mb_decoder *d, int32_t token, uint8_t modality, int32_t sequence,
                           const char *words)
{
    float logits[B * 32];

    cr_expect_eq(feed(d, &token, &modality, &sequence, 1, logits), MB_EINVAL);
    cr_expect(strstr(mb_message(), words), "%s", mb_message());
}

Test(decode, bad_tokens_are_refused)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model *m;
    mb_decoder *d = open_dense(c, &m);

    expect_refusal(d, 32, MB_TEXT, 0, "token 32");
    expect_refusal(d, -1, MB_TEXT, 0, "token -1");
    expect_refusal(d, 1, 2, 0, "modality 2");
    expect_refusal(d, 1, MB_TEXT, B, "sequence 3");
    mb_decoder_close(d);
    mb_model_close(m);
    mb_ctx_close(c);
}

Test(decode, a_full_sequence_is_refused_and_left_as_it_was)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model *m;
    mb_decoder *d = open_dense(c, &m);
    int32_t token[L] = { 0 }, sequence[L] = { 0 };
    uint8_t modality[L] = { 0 };
    float logits[B * 32];

    cr_assert_eq(feed(d, token, modality, sequence, L, logits), MB_OK);
    expect_refusal(d, 1, MB_TEXT, 0, "sequence 0: expected at most 10 tokens");
    cr_expect_eq(mb_decoder_bytes(d), (size_t)(2 * B * L * 2 * 8) * sizeof(float));
    mb_decoder_close(d);
    mb_model_close(m);
    mb_ctx_close(c);
}

Test(decode, experts_that_choose_need_cuts)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model_config config = tiny_config(mb_arch_find("moe-ec"));
    mb_model *m = tiny_model(c, mb_arch_find("moe-ec"), &config, 1);
    mb_decoder *d;

    cr_expect_eq(mb_decoder_open(m, B, L, &d), MB_EINVAL);
    cr_expect(strstr(mb_message(), "expected cuts"), "%s", mb_message());
    cr_expect_null(d);
    mb_model_close(m);
    mb_ctx_close(c);
}
