#include "tests/tiny.h"

#include "base/diffusion.h"
#include "base/file.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

mb_model_config tiny_config(const mb_arch *arch)
{
    return (mb_model_config){ .vocab = 32,
                              .modalities = 2,
                              .width = 8,
                              .layers = 2,
                              .heads = 2,
                              .ffn_width = 7,
                              .qk_norm = true,
                              .norm_eps = 1e-5f,
                              .rope_base = 10000,
                              .experts = 4,
                              .capacity = arch->capacity,
                              .balance = arch->balance,
                              .score = arch->score,
                              .batch = 2,
                              .len = 12,
                              .patch_weight = 5 };
}

void tiny_images(mb_model_config *config, int how)
{
    static const int numbers[TINY_IMAGES] = { 0, 3, 8 };

    config->patch = numbers[how];
    config->patch_coder = how == TINY_UNET ? MB_PATCH_UNET : MB_PATCH_LINEAR;
    config->patch_side = 2;
    config->unet_channels = 3;
}

mb_optimizer_config tiny_optimizer(float lr)
{
    return (mb_optimizer_config){ .lr = lr, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-8f };
}

mb_precision tiny_precision;

bool tiny_take_precision(int i)
{
    bool there = mb_precision_name[i] != NULL;

    tiny_precision = there ? (mb_precision)i : MB_FP32;
    return there;
}

mb_ctx *tiny_ctx(const char *backend)
{
    mb_ctx *c;

    cr_assert_eq(mb_ctx_open(backend, tiny_precision, 1, &c), MB_OK, "%s", mb_message());
    return c;
}

mb_model *tiny_model(mb_ctx *c, const mb_arch *arch, const mb_model_config *config, uint64_t seed)
{
    mb_model *m;

    cr_assert_eq(mb_model_open(c, arch, config, seed, &m), MB_OK, "%s: %s", arch->name,
                 mb_message());
    return m;
}

void tiny_spread(mb_model *m)
{
    size_t n;
    mb_param *p = mb_model_params(m, &n);

    for (size_t i = 0; i < n; i++) {
        uint64_t key = mb_key(1, p[i].t.name, 0, 0);
        float *x = mb_f32(&p[i].t);

        for (int64_t j = 0; j < mb_count(&p[i].t); j++)
            if (p[i].kind == MB_EMBEDDING)
                x[j] *= 25;
            else if (strstr(p[i].t.name, ".router"))
                x[j] *= 8;
            else if (p[i].kind == MB_NORM_WEIGHT)
                x[j] += 0.2f * (float)mb_normal(key, (uint64_t)j);
    }
}

static void fill_sequence(mb_batch *b, int64_t start, uint64_t key)
{
    const int64_t ends[] = { b->len / 3 - 1, 3 * b->len / 4, b->len };
    int64_t first = 0;

    for (int d = 0; d < 3; first = ends[d++])
        for (int64_t p = first; p < ends[d]; p++) {
            int64_t i = start + p;
            bool last = p == ends[d] - 1 || mb_uniform(key, (uint64_t)p) < 0.1;

            b->position[i] = (int32_t)(p - first);
            b->lo[i] = (int32_t)first;
            b->hi[i] = (int32_t)p;
            b->target[i] = last ? -1 : b->token[i + 1];
            b->target_modality[i] = b->modality[last ? i : i + 1];
        }
}

/* Turns image tokens into patches, all in a row one image, at any step; some are clean. */
static void fill_patches(mb_batch *b, uint64_t seed)
{
    uint64_t steps = mb_key(seed, "steps", 0, 0), noise = mb_key(seed, "noise", 0, 0);

    for (int64_t i = b->batch * b->len - 1; i >= 0; i--) {
        bool image = b->modality[i] == MB_IMAGE;
        bool ends = b->hi[i] + 1 == b->len || b->position[i + 1] == 0;

        b->noise[i] = image ? (int32_t)mb_below(steps, (uint64_t)i, MB_NOISE_STEPS + 1) : -1;
        if (image && mb_below(steps, (uint64_t)(2 * i), 5) == 0)
            b->noise[i] = 0;
        if (image && !ends && b->modality[i + 1] == MB_IMAGE)
            b->hi[i] = b->hi[i + 1];
        if (image || b->target_modality[i] == MB_IMAGE) {
            b->target[i] = -1;
            b->target_modality[i] = MB_TEXT;
        }
        for (int64_t j = i * b->patch; image && j < (i + 1) * b->patch; j++) {
            b->noisy[j] = (float)mb_normal(noise, (uint64_t)(2 * j));
            b->wanted[j] = (float)mb_normal(noise, (uint64_t)(2 * j + 1));
        }
    }
}

mb_batch tiny_batch(const mb_model_config *config, uint64_t seed, double images)
{
    int64_t n = config->batch * config->len, s = config->patch;
    int32_t *ints = mb_zalloc((size_t)((6 + 2 * s) * n), sizeof *ints);
    uint8_t *bytes = mb_zalloc((size_t)(2 * n), 1);
    mb_batch b = { .batch = config->batch,
                   .len = config->len,
                   .token = ints,
                   .target = ints + n,
                   .position = ints + 2 * n,
                   .lo = ints + 3 * n,
                   .hi = ints + 4 * n,
                   .modality = bytes,
                   .target_modality = bytes + n,
                   .patch = config->patch,
                   .noise = ints + 5 * n,
                   .noisy = (float *)(ints + 6 * n),
                   .wanted = (float *)(ints + (6 + s) * n) };
    uint64_t half = (uint64_t)config->vocab / 2;

    for (int64_t i = 0; i < n; i++) {
        bool image = mb_uniform(mb_key(seed, "images", 0, 0), (uint64_t)i) < images;

        b.modality[i] = image ? MB_IMAGE : MB_TEXT;
        b.token[i] = (int32_t)(mb_below(mb_key(seed, "tokens", 0, 0), (uint64_t)i, half) +
                               (image ? half : 0));
    }
    for (int64_t q = 0; q < b.batch; q++)
        fill_sequence(&b, q * b.len, mb_key(seed, "no target", (uint64_t)q, 0));
    if (b.patch > 0)
        fill_patches(&b, seed);
    return b;
}

void tiny_free(mb_batch *b)
{
    free(b->token);
    free(b->modality);
}

void tiny_change(mb_batch *b, const mb_model_config *config, int64_t i)
{
    if (b->patch > 0 && b->noise[i] >= 0) {
        b->noisy[i * b->patch] += 1;
        return;
    }
    b->token[i] = (b->token[i] + config->vocab / 2) % config->vocab;
    b->modality[i] = b->modality[i] == MB_TEXT ? MB_IMAGE : MB_TEXT;
}

float *tiny_logits(mb_model *m, const mb_batch *b)
{
    int64_t n = b->batch * b->len * mb_model_settings(m)->vocab;
    float *logits = mb_alloc((size_t)n * sizeof *logits);

    cr_assert_eq(mb_model_logits(m, b, logits), MB_OK, "%s", mb_message());
    return logits;
}

float *tiny_copy(mb_model *m, int what, int64_t *count)
{
    float *all = mb_alloc(mb_model_params_total(m) * sizeof *all);
    size_t n;
    mb_param *p = mb_model_params(m, &n);

    *count = 0;
    for (size_t i = 0; i < n; i++) {
        memcpy(all + *count, what ? p[i].t.grad : mb_f32(&p[i].t),
               (size_t)mb_count(&p[i].t) * sizeof *all);
        *count += mb_count(&p[i].t);
    }
    return all;
}
