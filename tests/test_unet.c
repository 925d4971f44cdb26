/* The U-Net between patches and the hidden state: which pixels it takes for an image's. What it
   computes is held to PyTorch in test_golden.c. */
#include "tests/tiny.h"

#include "base/random.h"

#include <criterion/criterion.h>

enum { LEN = 16, MOST = 9, S = 8 }; /* positions; patches of an image; numbers of a patch */

/* Appends a document at position AT: text, PATCHES patches that KEY draws, and text unless BARE.
   Returns where it ends. */
static int add_image(mb_batch *b, int at, int patches, uint64_t key, bool bare)
{
    int first = bare ? at : at + 1, end = first + patches, last = bare ? end : end + 1;

    for (int i = at; i < last; i++) {
        bool patch = i >= first && i < end;

        b->token[i] = patch ? 20 : 1;
        b->modality[i] = patch ? MB_IMAGE : MB_TEXT;
        b->target[i] = -1;
        b->position[i] = i - at;
        b->lo[i] = at;
        b->hi[i] = patch ? end - 1 : i;
        b->noise[i] = patch ? 300 : -1;
        for (int j = 0; patch && j < S; j++)
            b->noisy[i * S + j] = (float)mb_normal(key, (uint64_t)((i - first) * S + j));
    }
    return last;
}

static void add_text(mb_batch *b, int at)
{
    for (; at < LEN; at++) {
        b->token[at] = 2;
        b->target[at] = -1;
        b->modality[at] = MB_TEXT;
        b->position[at] = 0;
        b->lo[at] = b->hi[at] = at;
        b->noise[at] = -1;
    }
}

static mb_model *open_model(mb_ctx *c)
{
    mb_model_config config = tiny_config(mb_arch_find("mot"));
    mb_model *m;

    tiny_images(&config, TINY_UNET);
    config.batch = 1;
    config.len = LEN;
    m = tiny_model(c, mb_arch_find("mot"), &config, 3);
    tiny_spread(m);
    return m;
}

static void predict(mb_model *m, const mb_batch *b, float *predicted)
{
    cr_assert_eq(mb_model_predict(m, b, predicted), MB_OK, "%s", mb_message());
}

/* Squares and others, beside text and side by side. */
Test(unet, an_image_is_the_same_wherever_it_stands_and_whatever_stands_there_too)
{
    static const int sizes[] = { 1, 2, 4, 5, 9 };
    mb_ctx *c = tiny_ctx("ref");
    mb_model *m = open_model(c);

    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        int n = sizes[i / 2];
        bool bare = i % 2;
        float alone[MOST * S], before[LEN * S], behind[LEN * S];
        mb_batch b;

        mb_batch_make(1, LEN, S, &b);
        add_text(&b, add_image(&b, 0, n, 1, bare));
        predict(m, &b, alone);
        add_text(&b, add_image(&b, add_image(&b, 0, n, 1, bare), 2, 2, bare));
        predict(m, &b, before);
        add_text(&b, add_image(&b, add_image(&b, 0, 2, 2, bare), n, 1, bare));
        predict(m, &b, behind);
        cr_expect_arr_eq(before, alone, (size_t)(n * S) * sizeof *alone, "%d patches", n);
        cr_expect_arr_eq(behind + 2 * S, alone, (size_t)(n * S) * sizeof *alone, "%d patches", n);
        mb_batch_free(&b);
    }
    mb_model_close(m);
    mb_ctx_close(c);
}
