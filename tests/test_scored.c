/* Documents scored: the losses that a model has on the same as batches made by hand. */
#include "harness/scored.h"
#include "tests/data_tools.h"
#include "tests/tiny.h"

#include "base/file.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(scored, .init = data_folder_open, .fini = data_folder_close);

enum { N = 6 };

static mb_loaded open_loaded(const char *source, const char *arch, enum mb_prediction prediction)
{
    mb_model_config config = tiny_config(mb_arch_find(arch));
    mb_loaded l = { .arch = mb_format("a") };

    l.data = data_open(source);
    l.described.settings = mb_settings_new();
    l.described.settings->len = 96;
    l.described.settings->mixture.prediction = prediction;
    l.described.sizes = mb_settings_sizes(l.data);
    l.described.modality = mb_zalloc((size_t)l.described.sizes.vocab, 1);
    for (int32_t id = 0; id < l.described.sizes.vocab; id++)
        l.described.modality[id] = (uint8_t)mb_data_modality(l.data, id, MB_TEXT);
    config.vocab = l.described.sizes.vocab;
    config.modalities = l.described.sizes.modalities;
    config.patch = l.described.sizes.patch;
    config.batch = 0;
    l.ctx = tiny_ctx("ref");
    l.model = tiny_model(l.ctx, mb_arch_find(arch), &config, 3);
    return l;
}

/* N pairs of the val split: the answer of each after the prompt of the one FURTHER on, or after
   none. */
typedef struct pairs {
    mb_parts parts[N];
    mb_scored *list; /* (N) */
} pairs;

static pairs score_pairs(const mb_loaded *l, int prompt, int answer, int further, bool alone)
{
    pairs p = { .list = mb_zalloc(N, sizeof(mb_scored)) };

    for (int i = 0; i < N; i++)
        cr_assert_eq(mb_data_parts(l->data, MB_VAL, i, &p.parts[i]), MB_OK);
    for (int i = 0; i < N; i++)
        mb_scored_make(l, prompt, alone ? NULL : &p.parts[(i + further) % N].part[prompt], answer,
                       &p.parts[i].part[answer], mb_key(7, "t", (uint64_t)i, 0), &p.list[i]);
    cr_assert_eq(mb_scored_all(l, p.list, N), MB_OK, "%s", mb_message());
    return p;
}

static void close_pairs(pairs *p)
{
    mb_scored_free(p->list, N);
    for (int i = 0; i < N; i++)
        mb_parts_free(&p->parts[i]);
}

/* The losses of document S alone, its image at STEP of the noise that KEY draws. */
static mb_losses evaluate(const mb_loaded *l, const mb_scored *s, int32_t step, uint64_t key)
{
    uint8_t *modality = mb_zalloc((size_t)s->n, 1);
    mb_noising how = { step, key, l->described.settings->mixture.prediction };
    mb_losses losses = { 0 };
    mb_batch b;

    for (int64_t i = 0; i < s->n; i++)
        modality[i] = l->described.modality[s->token[i]];
    cr_assert_eq(mb_batch_from_tokens(s->token, modality, 1, s->n, l->described.sizes.vocab,
                                      mb_data_bos(l->data), &b),
                 MB_OK);
    for (int64_t i = 0; i < s->from - 1; i++) /* of the answer alone */
        b.target[i] = -1;
    if (s->patch) {
        mb_batch_hold_patches(&b, l->described.sizes.patch);
        mb_batch_place_image(&b, s->first, s->patches, l->data, s->patch, &how);
    }
    cr_assert_eq(mb_model_evaluate(l->model, &b, &losses), MB_OK, "%s", mb_message());
    mb_batch_free(&b);
    free(modality);
    return losses;
}

/* Steps of noise in each part of their range once; and so of any noise, with an untrained model,
   about as much as of these. */
Test(scored, images_of_patches_lose_what_the_model_does_behind_noise)
{
    for (int what = MB_EPSILON; what <= MB_VELOCITY; what++) {
        mb_loaded l = open_loaded("procedural-patches", "mot", (enum mb_prediction)what);
        pairs p = score_pairs(&l, MB_TEXT, MB_IMAGE, 0, false);

        for (int i = 0; i < N; i++) {
            const mb_scored *s = &p.list[i];
            double want = 0;

            cr_expect(s->patch && s->first == s->from && s->n == s->from + 49);
            for (int k = 0; k < MB_SCORED_STEPS; k++) {
                int32_t least = 1 + k * (MB_NOISE_STEPS / MB_SCORED_STEPS), step = least;

                step += (int32_t)mb_below(mb_key(s->key, "step", 0, 0), (uint64_t)k,
                                          MB_NOISE_STEPS / MB_SCORED_STEPS);
                want +=
                    evaluate(&l, s, step, mb_key(s->key, "noise", (uint64_t)k, 0)).sum[MB_IMAGE];
            }
            cr_expect_float_eq(s->loss, want / MB_SCORED_STEPS, 1e-5 * want);
        }
        close_pairs(&p);
        mb_loaded_close(&l);
    }
}

Test(scored, captions_of_clean_patches_lose_what_the_model_does)
{
    mb_loaded l = open_loaded("procedural-patches", "dense", MB_EPSILON);
    pairs p = score_pairs(&l, MB_IMAGE, MB_TEXT, 0, false);

    for (int i = 0; i < N; i++) {
        const mb_scored *s = &p.list[i];
        mb_losses losses = evaluate(&l, s, 0, 0);

        cr_expect_eq(losses.n[MB_TEXT], s->n - s->from);
        cr_expect_eq(losses.n[MB_IMAGE], 0);
        cr_expect_float_eq(s->loss, losses.sum[MB_TEXT], 1e-5 * s->loss);
    }
    close_pairs(&p);
    mb_loaded_close(&l);
}

Test(scored, images_of_ids_lose_what_the_model_does)
{
    mb_loaded l = open_loaded("procedural", "dense", MB_EPSILON);
    pairs p = score_pairs(&l, MB_TEXT, MB_IMAGE, 0, false);

    for (int i = 0; i < N; i++) {
        mb_losses losses = evaluate(&l, &p.list[i], 0, 0);

        cr_expect_eq(losses.n[MB_IMAGE], 49);
        cr_expect_float_eq(p.list[i].loss, losses.sum[MB_IMAGE], 1e-5 * p.list[i].loss);
    }
    close_pairs(&p);
    mb_loaded_close(&l);
}

/* A model that looks at nothing loses the same whatever the prompt: the noise is the same. */
Test(scored, the_noise_does_not_depend_on_the_prompt)
{
    mb_loaded l = open_loaded("procedural-patches", "dense", MB_EPSILON);
    size_t n;
    mb_param *params = mb_model_params(l.model, &n);
    pairs own, other, alone;

    for (size_t i = 0; i < n; i++)
        if (!strcmp(params[i].t.name, "patch.out"))
            memset(params[i].t.data, 0, (size_t)mb_count(&params[i].t) * sizeof(float));
    mb_ctx_weights_changed(l.ctx);
    own = score_pairs(&l, MB_TEXT, MB_IMAGE, 0, false);
    other = score_pairs(&l, MB_TEXT, MB_IMAGE, 1, false);
    alone = score_pairs(&l, MB_TEXT, MB_IMAGE, 0, true);
    for (int i = 0; i < N; i++) {
        cr_expect_eq(own.list[i].loss, other.list[i].loss);
        cr_expect_eq(own.list[i].loss, alone.list[i].loss);
        cr_expect_float_eq(own.list[i].loss / 49, 1, 0.1, "noise has variance 1, not %g",
                           own.list[i].loss / 49);
        cr_expect_neq(own.list[i].loss, own.list[(i + 1) % N].loss);
    }
    close_pairs(&own);
    close_pairs(&other);
    close_pairs(&alone);
    mb_loaded_close(&l);
}

Test(scored, what_does_not_fit_is_left_out)
{
    mb_loaded l = open_loaded("procedural-patches", "dense", MB_EPSILON);
    int left_out = 0;
    pairs p;

    l.described.settings->len = 60;
    p = score_pairs(&l, MB_TEXT, MB_IMAGE, 0, false);
    for (int i = 0; i < N; i++) {
        bool fits = p.parts[i].part[MB_TEXT].n + 2 + 49 <= 60;

        cr_expect_eq(p.list[i].n > 0, fits);
        cr_expect_eq(p.list[i].loss > 0, fits);
        left_out += !fits;
    }
    cr_expect(left_out > 0 && left_out < N, "%d of %d", left_out, N);
    close_pairs(&p);
    mb_loaded_close(&l);
}
