/* Samples of whole models, untrained ones at that: their form is right, and what is drawn depends
   on seed, direction and document alone. */
#include "harness/generate.h"
#include "tests/data_tools.h"
#include "tests/tiny.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(generate, .init = data_folder_open, .fini = data_folder_close);

static void open_model(mb_loaded *l, const char *arch)
{
    mb_model_config config = tiny_config(mb_arch_find(arch));
    mb_batch batch;
    mb_stream *stream;
    mb_mixture mixture = {
        .pair_weight = -1, .text_weight = -1, .image_first = 0.5, .speech_share = 0.5
    };

    config.vocab = l->described.sizes.vocab + 3; /* a model may have more ids than the data */
    config.modalities = l->described.sizes.modalities;
    config.patch = l->described.sizes.patch;
    config.batch = 0;
    l->ctx = tiny_ctx("cpu");
    l->model = tiny_model(l->ctx, mb_arch_find(arch), &config, 3);
    cr_assert_eq(mb_stream_open(l->data, MB_TRAIN, &mixture, 0, 4, 128, &stream), MB_OK);
    cr_assert_eq(mb_stream_next(stream, &batch), MB_OK);
    cr_assert_eq(mb_model_learn_cuts(l->model, &batch), MB_OK);
    mb_stream_close(stream);
}

static mb_loaded open_loaded(const char *source)
{
    mb_loaded l = { .arch = mb_format("a"), .workload = mb_format("w") };
    mb_data_request r = { .source = source };

    cr_assert_eq(mb_data_prepare(&r, NULL, NULL), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_data_open(&r, &l.data), MB_OK, "%s", mb_message());
    l.described.settings = mb_settings_new();
    l.described.settings->len = 128;
    l.described.sizes.vocab = mb_data_vocab(l.data);
    l.described.sizes.modalities = mb_data_modalities(l.data);
    l.described.sizes.patch = mb_data_patch(l.data);
    l.described.modality = mb_zalloc((size_t)l.described.sizes.vocab, 1);
    for (int32_t id = 0; id < l.described.sizes.vocab; id++)
        l.described.modality[id] = (uint8_t)mb_data_modality(l.data, id, MB_TEXT);
    return l;
}

static void change_model(mb_loaded *l, const char *arch)
{
    mb_model_close(l->model);
    mb_ctx_close(l->ctx);
    open_model(l, arch);
}

static mb_generated generate(const mb_loaded *l, mb_direction way, uint64_t seed, int64_t at_once)
{
    mb_generate_plan plan = { .direction = way,
                              .split = MB_VAL,
                              .n = 5,
                              .at_once = at_once,
                              .seed = seed,
                              .sampling = { 1, 0.9 },
                              .diffuse = { .steps = 4, .eta = 1, .guidance = 2 } };
    mb_generated g;

    cr_assert_eq(mb_generate(l, &plan, &g), MB_OK, "%s", mb_message());
    cr_assert_eq(g.n, 5);
    return g;
}

enum { IMAGE = 49 * 16 }; /* bytes of one in patches */

static bool same(const mb_generated *a, const mb_generated *b)
{
    for (int64_t i = 0; i < a->n; i++)
        if (a->sample[i].document != b->sample[i].document || a->sample[i].n != b->sample[i].n ||
            memcmp(a->sample[i].answer, b->sample[i].answer,
                   (size_t)a->sample[i].n * sizeof *a->sample[i].answer) ||
            (a->sample[i].patch && memcmp(a->sample[i].patch, b->sample[i].patch, IMAGE)))
            return false;
    return true;
}

static const char *const archs[] = { "dense", "switch", "moe-ec", "mot" };
enum { ARCHS = sizeof archs / sizeof *archs };

Test(generate, an_answer_is_of_its_modality_and_images_have_their_size)
{
    mb_loaded l = open_loaded("procedural-speech");

    for (int i = 0; i < ARCHS * MB_DIRECTIONS; i++) {
        mb_direction way = mb_directions[i % MB_DIRECTIONS];
        mb_segment_kind kind = mb_data_segment_kind(l.data, way.answer);
        mb_generated g;

        if (i % MB_DIRECTIONS == 0)
            change_model(&l, archs[i / MB_DIRECTIONS]);
        g = generate(&l, way, 1, 3);
        for (int64_t s = 0; s < g.n; s++) {
            cr_expect_gt(g.sample[s].n, 0);
            cr_expect(way.answer != MB_IMAGE || (g.sample[s].n == 49 && !g.sample[s].cut));
            for (int64_t t = 0; t < g.sample[s].n; t++)
                cr_expect(g.sample[s].answer[t] >= kind.first && g.sample[s].answer[t] < kind.past);
        }
        mb_generated_free(&g);
    }
    mb_loaded_close(&l);
}

static void expect_seed_to_decide(const char *source)
{
    mb_loaded l = open_loaded(source);

    for (int i = 0; i < ARCHS; i++)
        for (int w = 0; w < 2; w++) {
            mb_generated one, all, other;

            if (w == 0)
                change_model(&l, archs[i]);
            one = generate(&l, mb_directions[w], 1, 1);
            all = generate(&l, mb_directions[w], 1, 5);
            other = generate(&l, mb_directions[w], 2, 5);
            cr_expect(same(&one, &all), "%s, %s", source, archs[i]);
            cr_expect_not(same(&one, &other), "%s, %s", source, archs[i]);
            cr_expect_eq(one.cache_bytes > 0, !one.sample[0].patch);
            cr_expect_gt(one.held_bytes, one.cache_bytes);
            mb_generated_free(&one);
            mb_generated_free(&all);
            mb_generated_free(&other);
        }
    mb_loaded_close(&l);
}

Test(generate, neither_neighbours_nor_repetition_change_a_sample_but_the_seed_does)
{
    expect_seed_to_decide("procedural");
    expect_seed_to_decide("procedural-patches");
}

Test(generate, images_are_patches_where_the_data_have_some)
{
    mb_loaded l = open_loaded("procedural-patches");
    mb_generated g;
    int differ = 0;

    change_model(&l, "mot");
    g = generate(&l, mb_directions[0], 1, 3);
    for (int64_t s = 0; s < g.n; s++) {
        mb_segment answer = mb_sampled_segment(&g.sample[s]);

        cr_expect(answer.n == 49 && answer.patch && !g.sample[s].cut);
        differ += s > 0 && memcmp(answer.patch, g.sample[0].patch, IMAGE) != 0;
    }
    cr_expect_eq(differ, g.n - 1);
    cr_expect_eq(g.prefill_tokens, 0);
    cr_expect_eq(g.decode_tokens, 49 * g.n);
    mb_generated_free(&g);
    mb_loaded_close(&l);
}

/* The caption of an image is drawn after looking at it. */
Test(generate, another_image_gets_another_caption)
{
    mb_loaded l = open_loaded("procedural-patches");
    mb_generate_plan plan = {
        .direction = mb_directions[1], .split = MB_VAL, .n = 12, .at_once = 12
    };
    mb_generated g;
    int differ = 0;

    change_model(&l, "dense");
    cr_assert_eq(mb_generate(&l, &plan, &g), MB_OK, "%s", mb_message());
    for (int64_t s = 1; s < g.n; s++) /* temperature 0: the image alone makes the difference */
        differ += g.sample[s].n != g.sample[0].n ||
                  memcmp(g.sample[s].answer, g.sample[0].answer,
                         (size_t)g.sample[s].n * sizeof *g.sample[s].answer) != 0;
    cr_expect_gt(differ, 0);
    mb_generated_free(&g);
    mb_loaded_close(&l);
}

Test(generate, what_the_data_lack_gives_no_samples)
{
    mb_loaded l = open_loaded("procedural");
    mb_generate_plan plan = { .direction = { MB_TEXT, MB_SPEECH },
                              .split = MB_VAL,
                              .n = 2,
                              .at_once = 2,
                              .sampling = { 1, 1 } };
    mb_generated g;

    change_model(&l, "dense");
    cr_assert_eq(mb_generate(&l, &plan, &g), MB_OK, "%s", mb_message());
    cr_expect_eq(g.n, 0);
    mb_generated_free(&g);
    mb_loaded_close(&l);
}
