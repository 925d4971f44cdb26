/* Layers made again in the backward: the same bits, more FLOPs executed, less memory. */
#include "tests/tiny.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const char *const computing[] = { "ref", "cpu" };

/* ---- the same bits --------------------------------------------------------------------------- */

typedef struct trained {
    mb_losses losses[3];
    float *params, *grads;
    int64_t n;
} trained;

/* Three steps of two micro-batches with all that is drawn at random, then gradients alone. */
static trained train(const char *backend, const mb_arch *arch, mb_model_config config)
{
    mb_ctx *c = tiny_ctx(backend);
    mb_optimizer_config how = tiny_optimizer(1e-2f);
    mb_batch batches[2] = { tiny_batch(&config, 1, 0.4), tiny_batch(&config, 2, 0.8) };
    mb_model *m = tiny_model(c, arch, &config, 7);
    trained t = { .n = 0 };
    mb_losses losses;

    how.clip = 0.5f;
    for (int step = 0; step < 3; step++)
        cr_assert_eq(mb_model_step(m, batches, 2, &how, step, &t.losses[step]), MB_OK);
    t.params = tiny_copy(m, 0, &t.n);
    cr_assert_eq(mb_model_gradients(m, &batches[0], 3, &losses), MB_OK);
    t.grads = tiny_copy(m, 1, &t.n);
    mb_model_close(m);
    tiny_free(&batches[0]);
    tiny_free(&batches[1]);
    mb_ctx_close(c);
    return t;
}

static void expect_no_difference(const char *backend, const mb_arch *arch, mb_model_config config)
{
    trained kept, again;
    size_t size;

    kept = train(backend, arch, config);
    config.recompute = MB_RECOMPUTE_LAYER;
    again = train(backend, arch, config);
    size = (size_t)kept.n * sizeof *kept.params;
    cr_expect_eq(memcmp(kept.losses, again.losses, sizeof kept.losses), 0, "losses of %s on %s",
                 arch->name, backend);
    cr_expect_eq(memcmp(kept.params, again.params, size), 0, "%s on %s", arch->name, backend);
    cr_expect_eq(memcmp(kept.grads, again.grads, size), 0, "%s on %s", arch->name, backend);
    free(kept.params);
    free(kept.grads);
    free(again.params);
    free(again.grads);
}

Test(recompute, changes_no_bit_of_losses_gradients_and_weights)
{
    for (size_t b = 0; b < sizeof computing / sizeof *computing; b++)
        for (const mb_arch *a = mb_archs; a->name; a++) {
            mb_model_config config = tiny_config(a);

            config.layers = 3;
            config.jitter = 0.05;
            config.capacity *= 0.75; /* so that something is dropped */
            config.router_z = a->score == MB_SOFTMAX ? 1e-3 : 0;
            IN_EACH_PRECISION
            expect_no_difference(computing[b], a, config);
            config.gate = MB_INSIDE;
            expect_no_difference(computing[b], a, config);
            config.gate = MB_OUTSIDE;
            config.norm = MB_PRE;
            expect_no_difference(computing[b], a, config);
            tiny_images(&config, TINY_UNET);
            expect_no_difference(computing[b], a, config);
        }
}

Test(recompute, changes_no_logit)
{
    mb_ctx *c = tiny_ctx("cpu");
    mb_model_config config = tiny_config(mb_arch_find("switch"));
    mb_batch batch = tiny_batch(&config, 1, 0.4);
    mb_model *kept = tiny_model(c, mb_arch_find("switch"), &config, 7), *again;
    float *x = tiny_logits(kept, &batch), *y;

    config.recompute = MB_RECOMPUTE_LAYER;
    again = tiny_model(c, mb_arch_find("switch"), &config, 7);
    y = tiny_logits(again, &batch);
    cr_expect_eq(memcmp(x, y, 24 * 32 * sizeof *x), 0);
    free(x);
    free(y);
    mb_model_close(kept);
    mb_model_close(again);
    tiny_free(&batch);
    mb_ctx_close(c);
}

/* ---- what it costs ----------------------------------------------------------------------------
 */

typedef struct spent {
    mb_cost pass[MB_PASSES];
    uint64_t layers; /* executed by the forward of the layers */
    uint64_t counted;
    size_t peak;
} spent;

static mb_cost add(mb_cost a, mb_cost b)
{
    return (mb_cost){ .model = a.model + b.model,
                      .useful = a.useful + b.useful,
                      .executed = a.executed + b.executed,
                      .bytes = a.bytes + b.bytes };
}

static spent spend(const char *backend, const mb_arch *arch, const mb_model_config *config)
{
    mb_ctx *c = tiny_ctx(backend);
    mb_optimizer_config how = tiny_optimizer(1e-2f);
    mb_batch batch = tiny_batch(config, 1, 0.4);
    mb_model *m = tiny_model(c, arch, config, 7);
    const mb_entry *e;
    mb_losses losses;
    spent s = { .layers = 0 };
    size_t n;

    cr_assert_eq(mb_model_step(m, &batch, 1, &how, 0, &losses), MB_OK);
    s.counted = mb_ctx_counted(c);
    s.peak = mb_ctx_peak(c);
    e = mb_ledger_entries(mb_ctx_ledger(c), &n);
    for (size_t i = 0; i < n; i++) {
        s.pass[e[i].pass] = add(s.pass[e[i].pass], e[i].cost);
        if (e[i].pass == MB_FWD && e[i].layer >= 0)
            s.layers += e[i].cost.executed;
    }
    mb_model_close(m);
    tiny_free(&batch);
    mb_ctx_close(c);
    return s;
}

Test(recompute, is_executed_by_the_backward_and_asked_for_by_nobody)
{
    for (const mb_arch *a = mb_archs; a->name; a++) {
        mb_model_config config = tiny_config(a);
        spent kept, again;

        config.capacity *= 0.75;
        kept = spend("ref", a, &config);
        config.recompute = MB_RECOMPUTE_LAYER;
        again = spend("ref", a, &config);
        for (int p = 0; p < MB_PASSES; p++) {
            cr_expect_eq(again.pass[p].model, kept.pass[p].model, "%s, %s", a->name,
                         mb_pass_name[p]);
            cr_expect_eq(again.pass[p].useful, kept.pass[p].useful, "%s, %s", a->name,
                         mb_pass_name[p]);
        }
        cr_expect_eq(again.pass[MB_FWD].executed, kept.pass[MB_FWD].executed, "%s", a->name);
        cr_expect_eq(again.pass[MB_BWD].executed, kept.pass[MB_BWD].executed + kept.layers, "%s",
                     a->name);
        cr_expect_eq(again.pass[MB_FWD].executed + again.pass[MB_BWD].executed, again.counted,
                     "%s: ref counted %lu", a->name, again.counted);
    }
}

/* What a further layer adds to the scratch: nothing but its result, and host memory elsewhere. */
Test(recompute, keeps_one_result_a_layer)
{
    const char *const backends[] = { "ref", "cpu", "null" };

    for (size_t b = 0; b < sizeof backends / sizeof *backends; b++)
        for (const mb_arch *a = mb_archs; a->name; a++) {
            mb_model_config config = tiny_config(a);
            size_t result, kept, four, eight;

            config.width = 16; /* 24 rows of it fill whole lines of 64 bytes */
            config.layers = 8;
            result = 24 * 16 * sizeof(float);
            kept = spend(backends[b], a, &config).peak;
            config.recompute = MB_RECOMPUTE_LAYER;
            eight = spend(backends[b], a, &config).peak;
            config.layers = 4;
            four = spend(backends[b], a, &config).peak;
            cr_expect(eight * 3 < kept, "%s on %s: %zu, without %zu", a->name, backends[b], eight,
                      kept);
            if (a->ffn != MB_BY_ROUTER) /* whose layers take what is routed to them */
                cr_expect_eq(eight, four + 4 * result, "%s on %s: %zu with 8 layers, %zu with 4",
                             a->name, backends[b], eight, four);
        }
}
