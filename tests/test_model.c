/* Whole models, held to properties: what must be equal is equal, what must not matter does not. */
#include "tests/tiny.h"

#include "base/diffusion.h"
#include "base/file.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const by_modality[] = { "mot", "mot-ffn", "mot-ffn-qkv" };

/* ---- equivalences, on ref by not one bit ----------------------------------------------------- */

static void expect_same_bits(const float *a, const float *b, int64_t n, const char *what)
{
    cr_expect_eq(memcmp(a, b, (size_t)n * sizeof *a), 0, "%s", what);
}

/* Logits and losses of both models over B. */
static void expect_same_outputs(mb_model *a, mb_model *b, const mb_batch *batch)
{
    int64_t n = batch->batch * batch->len * mb_model_settings(a)->vocab;
    float *x = tiny_logits(a, batch), *y = tiny_logits(b, batch);
    mb_losses p, q;

    expect_same_bits(x, y, n, mb_model_arch(b)->name);
    cr_assert_eq(mb_model_gradients(a, batch, 0, &p), MB_OK);
    cr_assert_eq(mb_model_gradients(b, batch, 0, &q), MB_OK);
    for (int i = 0; i < MB_MODALITIES; i++) {
        cr_expect_eq(p.sum[i], q.sum[i], "%s", mb_model_arch(b)->name);
        cr_expect_eq(p.n[i], q.n[i]);
    }
    cr_expect_gt(p.n[MB_TEXT], 0);
    cr_expect_gt(p.n[MB_IMAGE], 0);
    free(x);
    free(y);
}

/* The gradients of the slices add up to the gradient of the one weight that they stand for. */
static void expect_slices_add_up(mb_model *sliced, mb_model *dense)
{
    size_t n;
    mb_param *s = mb_model_params(sliced, &n), *d = mb_model_params(dense, &n);

    for (size_t i = 0; i < n; i++) {
        int64_t count = mb_count(&d[i].t), slices = mb_count(&s[i].t) / count;
        double worst = 0, scale = 0;

        for (int64_t j = 0; j < count; j++) {
            double sum = 0;

            for (int64_t g = 0; g < slices; g++)
                sum += s[i].t.grad[g * count + j];
            worst = fmax(worst, fabs(sum - d[i].t.grad[j]));
            scale = fmax(scale, fabs(d[i].t.grad[j]));
        }
        cr_expect(scale > 0 && worst <= 2e-6 * scale, "%s: %g of %g", d[i].t.name, worst, scale);
    }
}

static void expect_equal_slices_are_dense(int images)
{
    mb_ctx *c = tiny_ctx("ref");
    const mb_arch *dense = mb_arch_find("dense");
    mb_model_config config = tiny_config(dense);
    mb_batch batch;

    tiny_images(&config, images);
    batch = tiny_batch(&config, 1, 0.4);
    config.slices = MB_COPIES;
    for (size_t i = 0; i < 2 * sizeof by_modality / sizeof *by_modality; i++) {
        mb_model *a, *b;

        config.norm = i % 2 ? MB_PRE : MB_POST;
        a = tiny_model(c, dense, &config, 7);
        b = tiny_model(c, mb_arch_find(by_modality[i / 2]), &config, 7);
        cr_expect_gt(mb_model_params_total(b), mb_model_params_total(a));
        cr_expect_eq(mb_model_params_active(b), mb_model_params_active(a));
        expect_same_outputs(a, b, &batch);
        expect_slices_add_up(b, a);
        mb_model_close(a);
        mb_model_close(b);
    }
    tiny_free(&batch);
    mb_ctx_close(c);
}

/* In bf16 too: rows are rounded one by one, whichever slice they meet. */
Test(model, mot_with_equal_slices_is_dense)
{
    IN_EACH_PRECISION
    for (int images = 0; images < TINY_IMAGES; images++)
        expect_equal_slices_are_dense(images);
}

/* With as many modalities as there may be, one of them without a token. */
Test(model, mot_of_eight_modalities_with_equal_slices_is_dense)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model_config config = tiny_config(mb_arch_find("mot"));
    mb_batch batch = tiny_batch(&config, 1, 0.4);
    mb_model *a, *b;
    mb_losses losses;

    for (int64_t i = 0; i < batch.batch * batch.len; i++) {
        batch.modality[i] = (uint8_t)(i % (MB_MODALITIES - 1));
        batch.target_modality[i] = (uint8_t)((i + 1) % (MB_MODALITIES - 1));
    }
    config.modalities = MB_MODALITIES;
    config.slices = MB_COPIES;
    a = tiny_model(c, mb_arch_find("dense"), &config, 7);
    b = tiny_model(c, mb_arch_find("mot"), &config, 7);
    expect_same_outputs(a, b, &batch);
    expect_slices_add_up(b, a);
    cr_assert_eq(mb_model_gradients(b, &batch, 0, &losses), MB_OK);
    cr_expect_eq(losses.n[MB_MODALITIES - 1], 0);
    cr_expect_gt(losses.n[MB_MODALITIES - 2], 0);
    tiny_free(&batch);
    mb_model_close(a);
    mb_model_close(b);
    mb_ctx_close(c);
}

Test(model, independent_slices_are_not_dense)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model_config config = tiny_config(mb_arch_find("mot"));
    mb_batch batch = tiny_batch(&config, 1, 0.4);
    mb_model *a = tiny_model(c, mb_arch_find("dense"), &config, 7);
    mb_model *b = tiny_model(c, mb_arch_find("mot"), &config, 7);
    float *x = tiny_logits(a, &batch), *y = tiny_logits(b, &batch);

    cr_expect_neq(memcmp(x, y, 24 * 32 * sizeof *x), 0);
    free(x);
    free(y);
    tiny_free(&batch);
    mb_model_close(a);
    mb_model_close(b);
    mb_ctx_close(c);
}

/* A lone expert's softmax gate is exactly 1 and moves nothing, so training stays equal as well. */
static void expect_one_expert_is_dense(const char *name, enum mb_norm_place norm)
{
    mb_ctx *c = tiny_ctx("ref");
    const mb_arch *arch = mb_arch_find(name);
    mb_model_config config = tiny_config(arch);
    mb_optimizer_config how = tiny_optimizer(1e-2f);
    mb_batch batch = tiny_batch(&config, 1, 0.4);
    mb_model *a, *b;
    mb_losses losses;

    config.norm = norm;
    config.experts = 1;
    config.capacity = 1;
    config.score = MB_SOFTMAX;
    a = tiny_model(c, mb_arch_find("dense"), &config, 7);
    b = tiny_model(c, arch, &config, 7);
    for (int step = 0; step < 3; step++) {
        cr_assert_eq(mb_model_step(a, &batch, 1, &how, step, &losses), MB_OK);
        cr_assert_eq(mb_model_step(b, &batch, 1, &how, step, &losses), MB_OK);
    }
    cr_expect_eq(losses.asked, 2 * 24);
    cr_expect_eq(losses.dropped, 0);
    expect_same_outputs(a, b, &batch);
    tiny_free(&batch);
    mb_model_close(a);
    mb_model_close(b);
    mb_ctx_close(c);
}

Test(model, a_lone_expert_is_dense)
{
    IN_EACH_PRECISION
    {
        expect_one_expert_is_dense("switch", MB_POST);
        expect_one_expert_is_dense("switch", MB_PRE);
        expect_one_expert_is_dense("moe-ec", MB_POST);
    }
}

/* ---- what a logit may depend on -------------------------------------------------------------- */

/* Positions of sequence 0 whose logits change when position CHANGED does, as bits. */
static uint64_t touched_by(mb_model *m, const mb_batch *batch, int64_t changed)
{
    const mb_model_config *config = mb_model_settings(m);
    mb_batch other = tiny_batch(config, 1, 0.4);
    size_t row = (size_t)config->vocab;
    float *x = tiny_logits(m, batch), *y;
    uint64_t touched = 0;

    tiny_change(&other, config, changed);
    y = tiny_logits(m, &other);
    for (int64_t p = 0; p < batch->len; p++)
        if (memcmp(x + (size_t)p * row, y + (size_t)p * row, row * sizeof *x))
            touched |= (uint64_t)1 << p;
    tiny_free(&other);
    free(x);
    free(y);
    return touched;
}

/* Whether any position outside those that may see position P of sequence S is touched by it. */
static bool leaks(mb_model *m, const mb_batch *b, int64_t s, int64_t p)
{
    uint64_t touched = touched_by(m, b, s * b->len + p), allowed = 0;

    for (int64_t q = 0; s == 0 && q < b->len; q++)
        if (b->lo[q] <= p && p <= b->hi[q])
            allowed |= (uint64_t)1 << q;
    cr_expect(s > 0 || (touched & (uint64_t)1 << p), "position %lld does not see itself",
              (long long)p);
    return touched & ~allowed;
}

/* How many of the 24 positions reach a logit that must not see them. */
static int count_leaks(const mb_arch *arch, enum mb_norm_place norm, int images)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model_config config = tiny_config(arch);
    mb_batch batch;
    mb_model *m;
    int n = 0;

    tiny_images(&config, images);
    batch = tiny_batch(&config, 1, 0.4);
    config.norm = norm;
    m = tiny_model(c, arch, &config, 3);
    tiny_spread(m);
    for (int64_t i = 0; i < batch.batch * batch.len; i++)
        n += leaks(m, &batch, i / batch.len, i % batch.len);
    mb_model_close(m);
    tiny_free(&batch);
    mb_ctx_close(c);
    return n;
}

/* Later tokens but for the patches of an image, other documents and other sequences. Expert choice
   is the exception: an expert that picks among all tokens of a batch lets each of them decide about
   the others. */
Test(model, only_expert_choice_sees_later_tokens_and_other_documents)
{
    for (const mb_arch *a = mb_archs; a->name; a++)
        for (int norm = MB_POST; norm <= MB_PRE; norm++) {
            bool expert_choice = a->ffn == MB_BY_ROUTER && a->choice == MB_EXPERT_CHOOSES;

            IN_EACH_PRECISION
            for (int images = 0; images < TINY_IMAGES; images++) {
                int n = count_leaks(a, norm, images);

                cr_expect_eq(n > 0, expert_choice, "%s: %d positions leak", a->name, n);
            }
        }
}

/* ---- determinism ------------------------------------------------------------------------------
 */

static float *train(const char *backend, const mb_arch *arch, uint64_t seed, int64_t *count)
{
    mb_ctx *c;
    mb_model_config config = tiny_config(arch);
    mb_optimizer_config how = tiny_optimizer(1e-2f);
    mb_batch batch = tiny_batch(&config, 1, 0.4);
    mb_model *m;
    mb_losses losses;
    float *params;

    config.jitter = 0.01;
    how.clip = 0.5f;
    cr_assert_eq(mb_ctx_open(backend, tiny_precision, 2, &c), MB_OK);
    m = tiny_model(c, arch, &config, seed);
    for (int step = 0; step < 2; step++)
        cr_assert_eq(mb_model_step(m, &batch, 1, &how, step, &losses), MB_OK);
    params = tiny_copy(m, 0, count);
    mb_model_close(m);
    tiny_free(&batch);
    mb_ctx_close(c);
    return params;
}

static void expect_equal_seeds_give_equal_bits(void)
{
    for (const mb_arch *a = mb_archs; a->name; a++) {
        int64_t n;
        float *x = train("cpu", a, 5, &n), *y = train("cpu", a, 5, &n);
        float *r = train("ref", a, 5, &n), *s = train("ref", a, 5, &n);
        float *other = train("ref", a, 6, &n);

        expect_same_bits(x, y, n, a->name);
        expect_same_bits(r, s, n, a->name);
        cr_expect_neq(memcmp(r, other, (size_t)n * sizeof *r), 0, "%s", a->name);
        free(x);
        free(y);
        free(r);
        free(s);
        free(other);
    }
}

Test(model, equal_seeds_give_equal_bits)
{
    IN_EACH_PRECISION
    expect_equal_seeds_give_equal_bits();
}

Test(model, equal_names_start_equal_in_every_architecture)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model_config config = tiny_config(mb_arch_find("switch"));
    mb_model *dense = tiny_model(c, mb_arch_find("dense"), &config, 9);
    size_t n, k;
    mb_param *d = mb_model_params(dense, &n);

    for (const mb_arch *a = mb_archs + 1; a->name; a++) {
        mb_model *m = tiny_model(c, a, &config, 9);
        mb_param *p = mb_model_params(m, &k);

        for (size_t i = 0, j = 0; i < n; i++, j++) { /* the other has routers in between */
            j += strcmp(p[j].t.name, d[i].t.name) != 0;
            cr_assert_str_eq(p[j].t.name, d[i].t.name);
            expect_same_bits(mb_f32(&p[j].t), mb_f32(&d[i].t), mb_count(&d[i].t), d[i].t.name);
        }
        mb_model_close(m);
    }
    mb_model_close(dense);
    mb_ctx_close(c);
}

/* ---- learning ---------------------------------------------------------------------------------
 */

/* Mean loss after training on one batch, IMAGES of whose tokens are image tokens. No two documents
   of this seed start alike, so every target can be known. */
static double overfit(const mb_arch *arch, double images)
{
    mb_ctx *c = tiny_ctx("cpu");
    mb_model_config config = tiny_config(arch);
    mb_optimizer_config how = tiny_optimizer(1e-2f);
    mb_losses losses = { 0 };
    mb_batch batch;
    mb_model *m;

    config.width = 16;
    config.ffn_width = 24;
    config.batch = 1;
    batch = tiny_batch(&config, 2, images);
    m = tiny_model(c, arch, &config, 1);
    for (int step = 0; step < 200; step++)
        cr_assert_eq(mb_model_step(m, &batch, 1, &how, step, &losses), MB_OK);
    memset(&losses, 0, sizeof losses);
    cr_assert_eq(mb_model_evaluate(m, &batch, &losses), MB_OK);
    mb_model_close(m);
    tiny_free(&batch);
    mb_ctx_close(c);
    return (losses.sum[MB_TEXT] + losses.sum[MB_IMAGE]) /
           (double)(losses.n[MB_TEXT] + losses.n[MB_IMAGE]);
}

Test(model, every_architecture_overfits_one_batch_of_any_modality)
{
    for (const mb_arch *a = mb_archs; a->name; a++)
        for (int halves = 0; halves <= 2; halves++) {
            IN_EACH_PRECISION
            {
                double loss = overfit(a, 0.5 * halves);

                cr_expect(loss < 0.05, "%s, %d %% images: loss %g", a->name, 50 * halves, loss);
            }
        }
}

/* With a head of zeros every token is as likely as any other: log V nats. */
Test(model, an_untrained_model_knows_nothing)
{
    mb_ctx *c = tiny_ctx("cpu");
    mb_model_config config = tiny_config(mb_arch_find("dense"));
    mb_batch batch = tiny_batch(&config, 2, 0.5);
    mb_model *m = tiny_model(c, mb_arch_find("dense"), &config, 1);
    mb_losses losses = { 0 };
    size_t n;
    mb_param *head = mb_model_params(m, &n);

    memset(head[n - 1].t.data, 0, (size_t)mb_count(&head[n - 1].t) * sizeof(float));
    cr_assert_eq(mb_model_evaluate(m, &batch, &losses), MB_OK);
    cr_expect_float_eq(losses.sum[MB_TEXT], (double)losses.n[MB_TEXT] * log(32), 1e-4);
    cr_expect_float_eq(losses.sum[MB_IMAGE], (double)losses.n[MB_IMAGE] * log(32), 1e-4);
    mb_model_close(m);
    tiny_free(&batch);
    mb_ctx_close(c);
}

/* Positions of patches have theirs, others that of their id. */
Test(model, losses_of_positions_add_up_to_those_of_the_batch)
{
    static const char *const archs[] = { "dense", "switch", "mot" };

    for (int a = 0; a < 3; a++) {
        mb_ctx *c = tiny_ctx("ref");
        mb_model_config config = tiny_config(mb_arch_find(archs[a]));
        mb_losses losses = { 0 };
        double text = 0, image = 0;
        float loss[24];
        mb_batch b;
        mb_model *m;

        config.patch = 3;
        b = tiny_batch(&config, 2, 0.5);
        m = tiny_model(c, mb_arch_find(archs[a]), &config, 1);
        cr_assert_eq(mb_model_evaluate(m, &b, &losses), MB_OK);
        cr_assert_eq(mb_model_losses(m, &b, loss), MB_OK);
        for (int i = 0; i < 24; i++) {
            cr_expect((loss[i] != 0) == (b.target[i] >= 0 || b.noise[i] > 0), "position %d", i);
            *(b.noise[i] > 0 ? &image : &text) += loss[i];
        }
        cr_expect_float_eq(text, losses.sum[MB_TEXT], 1e-9);
        cr_expect_float_eq(image, losses.sum[MB_IMAGE], 1e-9);
        mb_model_close(m);
        tiny_free(&b);
        mb_ctx_close(c);
    }
}

/* ---- bad input --------------------------------------------------------------------------------
 */

static void expect_refused(const char *name, mb_model_config config, const char *what)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model *m = (mb_model *)c; /* anything but NULL */

    cr_expect_eq(mb_model_open(c, mb_arch_find(name), &config, 1, &m), MB_EINVAL, "%s", what);
    cr_expect_null(m);
    cr_expect(strstr(mb_message(), what), "%s: %s", what, mb_message());
    mb_ctx_close(c);
}

Test(model, a_setting_out_of_range_is_refused)
{
    mb_model_config good = tiny_config(mb_arch_find("switch")), bad = good;

#define REFUSED(field, bad_value)                                                                  \
    bad = good, bad.field = (bad_value), expect_refused("switch", bad, #field)
    REFUSED(vocab, 1);
    REFUSED(modalities, MB_MODALITIES + 1);
    REFUSED(width, -8);
    REFUSED(layers, 0);
    REFUSED(heads, 3);
    REFUSED(heads, 8); /* RoPE turns pairs */
    REFUSED(ffn_width, -1);
    REFUSED(norm_eps, NAN);
    REFUSED(experts, 0);
    REFUSED(capacity, 0);
    REFUSED(capacity, NAN);
    REFUSED(capacity, INFINITY);
    REFUSED(eval_capacity, NAN);
    REFUSED(eval_capacity, -1);
    REFUSED(jitter, 2);
#undef REFUSED
    bad = good;
    bad.patch = 3;
    bad.patch_weight = 0;
    expect_refused("dense", bad, "patch_weight");
    bad = good;
    tiny_images(&bad, TINY_UNET);
    bad.patch_side = 3;
    expect_refused("dense", bad, "power of two");
    bad.patch_side = 32;
    expect_refused("dense", bad, "power of two");
    bad.patch_side = 4;
    expect_refused("dense", bad, "a multiple of 4 x 4");
    bad.patch_side = 2;
    bad.unet_channels = 0;
    expect_refused("dense", bad, "unet_channels 0");
    bad.unet_channels = 3;
    bad.len = INT32_MAX / 4;
    expect_refused("dense", bad, "in all");
    bad = good;
    bad.ffn_width = 0; /* and no multiple to round it to */
    expect_refused("dense", bad, "ffn_multiple");
    bad = good;
    bad.experts = 1;
    expect_refused("gshard", bad, "experts");
    bad = good;
    bad.score = MB_SIGMOID;
    expect_refused("switch", bad, "softmax");
}

Test(model, a_batch_that_is_not_the_models_is_refused)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model_config config = tiny_config(mb_arch_find("mot"));
    mb_batch b = tiny_batch(&config, 1, 0.4);
    mb_model *m = tiny_model(c, mb_arch_find("mot"), &config, 1);
    mb_losses losses;

    b.token[5] = 32;
    cr_expect_eq(mb_model_gradients(m, &b, 0, &losses), MB_EINVAL);
    b.token[5] = -1;
    cr_expect_eq(mb_model_gradients(m, &b, 0, &losses), MB_EINVAL);
    b.token[5] = 0;
    b.target[7] = 32;
    cr_expect_eq(mb_model_gradients(m, &b, 0, &losses), MB_EINVAL);
    cr_expect(strstr(mb_message(), "position 7"), "%s", mb_message());
    b.target[7] = 0;
    b.modality[23] = MB_SPEECH;
    cr_expect_eq(mb_model_gradients(m, &b, 0, &losses), MB_EINVAL);
    b.modality[23] = MB_TEXT;
    b.target_modality[23] = MB_MODALITIES;
    cr_expect_eq(mb_model_gradients(m, &b, 0, &losses), MB_EINVAL);
    mb_model_close(m);
    tiny_free(&b);
    mb_ctx_close(c);
}

Test(model, a_batch_of_other_patches_is_refused)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model_config config = tiny_config(mb_arch_find("mot"));
    mb_losses losses;
    mb_batch b;
    mb_model *m;
    float y[1];

    config.patch = 3;
    b = tiny_batch(&config, 1, 0);
    m = tiny_model(c, mb_arch_find("mot"), &config, 1);
    b.noise[5] = 1; /* of text */
    cr_expect_eq(mb_model_gradients(m, &b, 0, &losses), MB_EINVAL);
    cr_expect(strstr(mb_message(), "position 5"), "%s", mb_message());
    b.noise[5] = MB_NOISE_STEPS + 1;
    b.modality[5] = MB_IMAGE;
    cr_expect_eq(mb_model_gradients(m, &b, 0, &losses), MB_EINVAL);
    b.noise[5] = 1;
    cr_expect_eq(mb_model_gradients(m, &b, 0, &losses), MB_OK, "%s", mb_message());
    cr_expect_eq(losses.n[MB_IMAGE], 1);
    b.target[6] = 1;
    b.target_modality[6] = MB_IMAGE;
    cr_expect_eq(mb_model_gradients(m, &b, 0, &losses), MB_EINVAL);
    b.target_modality[6] = MB_TEXT;
    b.patch = 4;
    cr_expect_eq(mb_model_gradients(m, &b, 0, &losses), MB_EINVAL);
    cr_expect(strstr(mb_message(), "patches of 4"), "%s", mb_message());
    b.patch = 0; /* a model of patches takes text alone */
    cr_expect_eq(mb_model_gradients(m, &b, 0, &losses), MB_OK, "%s", mb_message());
    cr_expect_eq(losses.n[MB_IMAGE], 0);
    cr_expect_eq(mb_model_predict(m, &b, y), MB_EINVAL);
    mb_model_close(m);
    tiny_free(&b);
    mb_ctx_close(c);
}

/* Without a limit on experts nothing is dropped, not by chance either: the random second expert is
   for training alone. */
Test(model, gshard_keeps_both_experts_in_evaluation)
{
    const mb_arch *arch = mb_arch_find("gshard");
    mb_model_config config = tiny_config(arch);
    mb_ctx *c = tiny_ctx("ref");
    mb_losses evaluated = { 0 }, trained = { 0 };
    mb_batch b;
    mb_model *m;

    config.eval_capacity = 0;
    config.capacity = 100; /* in training, chance alone drops */
    b = tiny_batch(&config, 5, 0.5);
    m = tiny_model(c, arch, &config, 5);
    cr_assert_eq(mb_model_evaluate(m, &b, &evaluated), MB_OK);
    cr_assert_eq(mb_model_gradients(m, &b, 0, &trained), MB_OK);
    cr_assert_eq(evaluated.asked, trained.asked);
    cr_assert_eq(evaluated.dropped, 0);
    cr_assert_gt(trained.dropped, 0);
    mb_model_close(m);
    mb_ctx_close(c);
    tiny_free(&b);
}
