/* The formulas of a model's memory, against what is held and against what the process takes. */
#include "tests/tiny.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* Sizes at which activations, weights or the head weigh most. */
static const struct {
    int width, layers, vocab;
    int64_t batch, len;
} sizes[] = { { 64, 3, 320, 2, 64 }, { 128, 1, 512, 1, 32 }, { 32, 2, 2048, 1, 64 } };
enum { SIZES = sizeof sizes / sizeof *sizes };

static mb_model_config config_of(const mb_arch *a, int size)
{
    mb_model_config c = tiny_config(a);

    c.width = sizes[size].width;
    c.layers = sizes[size].layers;
    c.vocab = sizes[size].vocab;
    c.batch = sizes[size].batch;
    c.len = sizes[size].len;
    c.heads = 4;
    c.ffn_width = 0;
    c.ffn_multiple = 32;
    return c;
}

/* One training step; what was held over what the formula says. */
static double measure(mb_ctx *c, const mb_arch *a, const mb_model_config *config)
{
    mb_optimizer_config how = tiny_optimizer(1e-3f);
    mb_model *m = tiny_model(c, a, config, 1);
    mb_batch batch = tiny_batch(config, 1, config->patch ? 1 : 0.5);
    mb_memory said = mb_model_memory(m);
    mb_losses losses;
    double ratio;

    cr_assert_eq(mb_model_step(m, &batch, 1, &how, 0, &losses), MB_OK);
    ratio = (double)mb_model_held(m) / (double)mb_memory_total(&said);
    tiny_free(&batch);
    mb_model_close(m);
    return ratio;
}

/* Within 10 % over architectures, sizes, threads, places of the norm, kept and recomputed. */
Test(memory, is_what_the_formula_says)
{
    static const char *const backends[] = { "cpu", "null" };

    for (int i = 0; i < 2 * SIZES * 4; i++)
        for (const mb_arch *a = mb_archs; a->name; a++) {
            mb_model_config config = config_of(a, i % SIZES);
            const char *backend = backends[i / SIZES % 2];
            double ratio;
            mb_ctx *c;

            config.norm = i % 2 ? MB_PRE : MB_POST;
            config.recompute = i / SIZES / 2 % 2 ? MB_RECOMPUTE_LAYER : MB_RECOMPUTE_NONE;
            config.jitter = i % 2 ? 0.01 : 0;
            cr_assert_eq(mb_ctx_open(backend, MB_FP32, 1 + i / SIZES / 4, &c), MB_OK);
            ratio = measure(c, a, &config);
            cr_expect(ratio > 0.9 && ratio < 1.1, "%s on %s, width %d, recompute %d: %.3f", a->name,
                      backend, config.width, config.recompute, ratio);
            mb_ctx_close(c);
        }
}

/* A sequence of nothing but patches, which take most. */
Test(memory, of_patches_is_what_the_formula_says)
{
    for (int i = 0; i < 2 * SIZES; i++)
        for (const mb_arch *a = mb_archs; a->name; a++) {
            mb_model_config config = config_of(a, i % SIZES);
            mb_ctx *c = tiny_ctx(i / SIZES ? "null" : "cpu");
            double ratio;

            config.norm = MB_PRE;
            config.patch = i % 2 ? 16 : 48;
            ratio = measure(c, a, &config);
            cr_expect(ratio > 0.9 && ratio < 1.1, "%s, width %d: %.3f", a->name, config.width,
                      ratio);
            mb_ctx_close(c);
        }
}

/* The same with a U-Net, which weighs more than the layers here. */
Test(memory, of_a_unet_is_what_the_formula_says)
{
    for (int i = 0; i < 8 * SIZES; i++) {
        const mb_arch *a = mb_arch_find(i % 2 ? "mot" : "switch");
        mb_model_config config = config_of(a, i / 8);
        mb_ctx *c = tiny_ctx(i / 2 % 2 ? "null" : "cpu");
        double ratio;

        config.norm = MB_PRE;
        config.patch_coder = MB_PATCH_UNET;
        config.patch = i % 2 ? 16 : 8;
        config.patch_side = i % 2 ? 4 : 2;
        config.unet_channels = 24;
        config.recompute = i / 4 % 2 ? MB_RECOMPUTE_LAYER : MB_RECOMPUTE_NONE;
        ratio = measure(c, a, &config);
        cr_expect(ratio > 0.9 && ratio < 1.1, "%s, width %d, side %d, recompute %d: %.3f", a->name,
                  config.width, config.patch_side, config.recompute, ratio);
        mb_ctx_close(c);
    }
}

/* Every layer drops another number of rows, and yet their gradients share memory: no more is taken
   than a full load needs, for which scratch is sized. */
Test(memory, of_gradients_is_shared_by_layers_that_keep_other_rows)
{
    const mb_arch *arch = mb_arch_find("switch");
    mb_model_config config = config_of(arch, 0);
    mb_ctx *cpu = tiny_ctx("cpu"), *null = tiny_ctx("null");

    config.layers = 12;
    config.capacity = 1;
    measure(cpu, arch, &config);
    measure(null, arch, &config);
    cr_expect_leq(mb_ctx_peak(cpu), mb_ctx_peak(null));
    mb_ctx_close(cpu);
    mb_ctx_close(null);
}

Test(memory, is_less_with_recompute)
{
    mb_ctx *c = tiny_ctx("cpu");
    const mb_arch *dense = mb_arch_find("dense");
    mb_model_config config = config_of(dense, 0);
    mb_model *kept = tiny_model(c, dense, &config, 1), *again;
    mb_memory a = mb_model_memory(kept), b;

    config.recompute = MB_RECOMPUTE_LAYER;
    again = tiny_model(c, dense, &config, 1);
    b = mb_model_memory(again);
    cr_expect_lt(b.activations, a.activations);
    cr_expect_eq(mb_memory_total(&a) - a.activations, mb_memory_total(&b) - b.activations);
    mb_model_close(kept);
    mb_model_close(again);
    mb_ctx_close(c);
}

/* ---- on a device ------------------------------------------------------------------------------
 */

static mb_ctx *open_cuda(mb_precision precision)
{
    mb_ctx *c;

    if (mb_ctx_open("cuda", precision, 1, &c))
        cr_skip_test("%s", mb_message());
    return c;
}

/* Within 15 % of the formula, and what is held is what the device has given: the emulated one to
   the page; a real one gives 2 MiB at a time, and its code takes memory too. */
Test(memory, of_a_device_is_what_the_formula_says_and_what_it_gave)
{
    static const char *const archs[] = { "dense", "switch", "mot" };

    for (int i = 0; i < SIZES; i++)
        for (int k = 0; k < 3; k++) {
            const mb_arch *a = mb_arch_find(archs[k]);
            mb_ctx *other = open_cuda(MB_FP32); /* there before: what it has is none of this */
            size_t before = mb_ctx_free_bytes(other), given;
            mb_ctx *c = open_cuda((i + k) % 2 ? MB_BF16 : MB_FP32);
            bool emulated = before <= (size_t)4 << 30;
            long long most = emulated ? 1 << 15 : 64 << 20, more;
            mb_model_config config = config_of(a, i);
            mb_optimizer_config how = tiny_optimizer(1e-3f);
            mb_batch batch = tiny_batch(&config, 1, 0.5);
            mb_memory said;
            mb_losses losses;
            mb_model *m;
            double ratio;

            config.grouping = k == 2 ? MB_GROUPING_LIBRARY : MB_GROUPING_STREAMS;
            m = tiny_model(c, a, &config, 1);
            said = mb_model_memory(m);
            for (int step = 0; step < 2; step++)
                cr_assert_eq(mb_model_step(m, &batch, 1, &how, step, &losses), MB_OK);
            given = before - mb_ctx_free_bytes(c);
            ratio = (double)mb_model_held(m) / (double)mb_memory_total(&said);
            cr_expect(ratio > 0.85 && ratio < 1.15, "%s, size %d: %.3f", a->name, i, ratio);
            more = (long long)given - (long long)mb_model_held(m);
            cr_expect(more < most && (!emulated || more >= 0), "%s, size %d: %zu given, %zu held",
                      a->name, i, given, (size_t)mb_model_held(m));
            tiny_free(&batch);
            mb_model_close(m);
            mb_ctx_close(c);
            mb_ctx_close(other);
        }
}

/* Too much is refused before the first step, with what would help. */
Test(memory, that_a_device_does_not_have_is_said_with_what_would_make_it_fit)
{
    static const char *const expected[] = { "a step takes ", "recompute = layer",
                                            "batch = ", "in bf16", "GiB free" };
    const mb_arch *mot = mb_arch_find("mot");
    mb_ctx *c = open_cuda(MB_FP32);
    mb_model_config config = config_of(mot, 0);
    mb_model *m;

    config.batch = 1 << 10;
    config.len = 1 << 14;
    cr_assert_eq(mb_model_open(c, mot, &config, 1, &m), MB_ENOMEM);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        cr_expect(strstr(mb_message(), expected[i]), "no '%s': %s", expected[i], mb_message());
    mb_ctx_close(c);
}

/* ---- against the process ----------------------------------------------------------------------
 */

/* The most that the process had in memory since the last forget_peak(), bytes. */
static double peak_rss(void)
{
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");

    cr_assert(f != NULL);
    while (fgets(line, sizeof line, f))
        sscanf(line, "VmHWM: %lf", &kib);
    fclose(f);
    return 1024 * kib;
}

static bool forget_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    bool written = f && fputs("5", f) != EOF;

    return f && !fclose(f) && written;
}

/* What is held is all there is, on one thread and on two: nothing large is left out of the count.
   The process takes large pages whole. */
Test(memory, that_is_held_is_what_the_process_takes)
{
#ifdef __SANITIZE_ADDRESS__
    cr_skip_test("the sanitizer takes memory of its own");
#endif
    for (int threads = 1; threads <= 2; threads++) {
        const mb_arch *dense = mb_arch_find("dense");
        mb_model_config config = config_of(dense, 0);
        mb_optimizer_config how = tiny_optimizer(1e-3f);
        mb_batch batch;
        mb_losses losses;
        mb_model *m;
        mb_ctx *c;
        double before, ratio;

        config.width = 128;
        config.batch = 8;
        config.len = 128;
        batch = tiny_batch(&config, 1, 0.5);
        if (!forget_peak())
            cr_skip_test("this system does not forget a peak");
        before = peak_rss();
        cr_assert_eq(mb_ctx_open("cpu", MB_FP32, threads, &c), MB_OK);
        m = tiny_model(c, dense, &config, 1);
        cr_assert_eq(mb_model_step(m, &batch, 1, &how, 0, &losses), MB_OK);
        ratio = (peak_rss() - before) / (double)mb_model_held(m);
        cr_expect(ratio > 0.9 && ratio < 1.1, "%d threads: %.3f", threads, ratio);
        mb_model_close(m);
        mb_ctx_close(c);
        tiny_free(&batch);
    }
}
