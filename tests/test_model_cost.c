/* What models cost: the ledger against the count of ref's loops, against the closed formulas, and
   between architectures. */
#include "tests/kernels_support.h"
#include "tests/tiny.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* One training step over N micro-batches, entered into a fresh ledger; what ref counted. */
static uint64_t step(mb_ctx *c, mb_model *m, const mb_batch *batches, int n, mb_losses *losses)
{
    mb_optimizer_config how = tiny_optimizer(1e-3f);

    mb_ledger_clear(mb_ctx_ledger(c));
    mb_ctx_counted(c);
    cr_assert_eq(mb_model_step(m, batches, n, &how, 0, losses), MB_OK, "%s", mb_message());
    return mb_ctx_counted(c);
}

static bool routed(const mb_arch *a)
{
    return a->ffn == MB_BY_ROUTER;
}

Test(cost, the_ledger_is_what_ref_counts)
{
    for (const mb_arch *a = mb_archs; a->name; a++)
        for (int i = 0; i < 2 * TINY_IMAGES; i++) {
            mb_ctx *c = tiny_ctx("ref");
            mb_model_config config = tiny_config(a);
            mb_batch batches[2];
            mb_losses losses;
            mb_model *m;
            uint64_t counted;

            tiny_images(&config, i / 2);
            batches[0] = tiny_batch(&config, 1, 0.4);
            batches[1] = tiny_batch(&config, 2, 1.0);
            config.norm = i % 2 ? MB_PRE : MB_POST;
            config.capacity *= 0.75; /* so that something is dropped */
            m = tiny_model(c, a, &config, 1);
            counted = step(c, m, batches, 2, &losses);
            cr_expect_gt(counted, 0);
            cr_expect_eq(mb_ledger_total(mb_ctx_ledger(c)).executed, counted,
                         "%s: %lu, counted %lu", a->name,
                         mb_ledger_total(mb_ctx_ledger(c)).executed, counted);
            mb_model_close(m);
            tiny_free(&batches[0]);
            tiny_free(&batches[1]);
            mb_ctx_close(c);
        }
}

/* Model, useful and executed FLOPs of one step of A. */
static mb_cost cost_of(const mb_arch *a, int how, double images)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model_config config = tiny_config(a);
    mb_batch batch;
    mb_model *m;
    mb_losses losses;
    mb_cost cost;

    tiny_images(&config, how);
    batch = tiny_batch(&config, 1, images);
    m = tiny_model(c, a, &config, 1);
    step(c, m, &batch, 1, &losses);
    cost = mb_ledger_total(mb_ctx_ledger(c));
    mb_model_close(m);
    tiny_free(&batch);
    mb_ctx_close(c);
    return cost;
}

Test(cost, mot_costs_what_dense_costs_for_any_mix_of_modalities)
{
    static const char *const names[] = { "mot", "mot-ffn", "mot-ffn-qkv" };
    static const double images[] = { 0, 0.1, 0.5, 1 };

    for (int i = 0; i < 4 * TINY_IMAGES; i++)
        for (int k = 0; k < 3; k++) {
            double share = images[i % 4];
            mb_cost dense = cost_of(mb_arch_find("dense"), i / 4, share);
            mb_cost mot = cost_of(mb_arch_find(names[k]), i / 4, share);

            cr_expect_eq(mot.model, dense.model, "%s, %g images", names[k], share);
            cr_expect_eq(mot.useful, dense.useful, "%s, %g images", names[k], share);
            cr_expect_eq(mot.executed, dense.executed, "%s, %g images", names[k], share);
        }
}

/* Of a training step, for patches, and for those of them that are predicted. Into patches flows no
   gradient. */
static uint64_t linear_flops(const mb_model_config *m, uint64_t patches, uint64_t noisy)
{
    uint64_t s = (uint64_t)m->patch, d = (uint64_t)m->width;

    return 4 * patches * (s + 32) * d + 6 * noisy * s * d;
}

/* Of Q rows for a patch, from all its pixels to one: two blocks of 3 x 3 x C into 2 C and C, and
   the step's embedding; the skip; between Q and Q / 4, half as many rows of 2 x 2 x C in either
   way. */
static uint64_t unet_flops(const mb_model_config *m, uint64_t patches, uint64_t noisy)
{
    uint64_t s = (uint64_t)m->patch, d = (uint64_t)m->width, c = (uint64_t)m->unet_channels;
    uint64_t q = (uint64_t)(m->patch_side * m->patch_side), n = 0;

    n = 4 * 9 * s * c + 2 * 6 * c * d;
    for (uint64_t k = q; k > 0; k /= 4)
        n +=
            2 * (4 * 32 * c + 6 * 27 * k * c * c) + 6 * k * c * c + (k > 1 ? 2 * 6 * k * c * c : 0);
    return patches * n + 6 * noisy * q * c * s;
}

/* The closed formulas: n tokens, d width, f feed-forward width, V vocabulary, k experts per token;
   forward, with twice as much for the backward of a product. */
static void expect_formulas(const mb_arch *a, mb_cost have, const mb_model_config *m,
                            const mb_batch *b, const mb_losses *losses)
{
    uint64_t n = (uint64_t)(b->batch * b->len), d = (uint64_t)m->width, v = (uint64_t)m->vocab;
    uint64_t f = (uint64_t)m->ffn_width, layers = (uint64_t)m->layers, pairs = 0, targets = 0;
    uint64_t patches = 0, noisy = 0;
    uint64_t asked = routed(a) ? (uint64_t)losses->asked : layers * n;
    uint64_t kept = asked - (uint64_t)losses->dropped;
    uint64_t products, attention, model, useful;

    for (uint64_t i = 0; i < n; i++) { /* a document of L tokens has L (L + 1) / 2 pairs, and an
                                          image of P patches P (P - 1) / 2 more */
        pairs += (uint64_t)(b->position[i] + 1 + b->hi[i]) - i % (uint64_t)b->len;
        targets += b->target[i] >= 0;
        patches += m->patch > 0 && b->noise[i] >= 0;
        noisy += m->patch > 0 && b->noise[i] > 0;
    }
    products = layers * (2 * n * d * 3 * d /* q, k, v */
                         + 2 * n * d * d   /* output */
                         + (routed(a) ? 2 * n * d * (uint64_t)m->experts : 0)) +
               2 * targets * d * v; /* head, of rows with a target */
    attention = layers * 4 * d * pairs;
    products = 3 * products + (m->patch_coder == MB_PATCH_UNET ? unet_flops(m, patches, noisy)
                                                               : linear_flops(m, patches, noisy));
    model = products + 18 * asked * d * f + 3 * attention;
    useful = products + 18 * kept * d * f + 3 * attention;
    cr_expect_eq(have.model, model, "%s: model %lu, expected %lu", a->name, have.model, model);
    cr_expect_eq(have.useful, useful, "%s: useful %lu, expected %lu", a->name, have.useful, useful);
    /* ref pads nothing and recomputes the scores once: its backward of attention is 2.5 forwards */
    cr_expect_eq(have.executed, useful + attention / 2, "%s: executed %lu", a->name, have.executed);
}

/* Assignments that an architecture asks for: k per token, or what fills the experts. */
static int64_t asked_by(const mb_arch *a, const mb_model_config *m, int64_t n)
{
    if (a->choice == MB_EXPERT_CHOOSES)
        return m->layers * m->experts * (int64_t)ceil(m->capacity * (double)n / m->experts);
    return m->layers * n * a->top_k;
}

Test(cost, totals_are_the_closed_formulas)
{
    for (int i = 0; mb_archs[i / TINY_IMAGES].name; i++) {
        const mb_arch *a = &mb_archs[i / TINY_IMAGES];
        mb_ctx *c = tiny_ctx("ref");
        mb_model_config config = tiny_config(a);
        mb_batch batch;
        mb_losses losses;
        mb_model *m;

        tiny_images(&config, i % TINY_IMAGES);
        config.width = 12;
        config.heads = 3;
        config.capacity *= 0.5;
        batch = tiny_batch(&config, 1, 0.4);
        m = tiny_model(c, a, &config, 1);
        step(c, m, &batch, 1, &losses);
        if (routed(a))
            cr_expect_eq(losses.asked, asked_by(a, &config, batch.batch * batch.len), "%s",
                         a->name);
        expect_formulas(a, mb_ledger_total(mb_ctx_ledger(c)), &config, &batch, &losses);
        mb_model_close(m);
        tiny_free(&batch);
        mb_ctx_close(c);
    }
}

/* Rows that expert G of LAYER took: its up and down products cost 6 D F each forward. */
static int64_t load(mb_ctx *c, const mb_model_config *m, int layer, int g)
{
    size_t n;
    const mb_entry *e = mb_ledger_entries(mb_ctx_ledger(c), &n);

    for (size_t i = 0; i < n; i++)
        if (!strcmp(e[i].op, "gemm") && e[i].part == MB_FEED_FORWARD && e[i].layer == layer &&
            e[i].pass == MB_FWD && e[i].group == g)
            return (int64_t)e[i].cost.useful / (6 * m->width * m->ffn_width);
    return 0;
}

static void expect_capacity_holds(const mb_arch *a, double capacity)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model_config config = tiny_config(a);
    mb_batch batch = tiny_batch(&config, 1, 0.4);
    int64_t most, kept = 0;
    mb_losses losses;
    mb_model *m;

    config.capacity = capacity;
    most = (int64_t)ceil(capacity * a->top_k * 24.0 / config.experts);
    m = tiny_model(c, a, &config, 1);
    step(c, m, &batch, 1, &losses);
    for (int l = 0; l < config.layers; l++)
        for (int g = 0; g < config.experts; g++) {
            int64_t rows = load(c, &config, l, g);

            cr_expect(rows <= most, "%s: expert %d took %ld of %ld", a->name, g, rows, most);
            kept += rows;
        }
    cr_expect_eq(losses.asked - losses.dropped, kept, "%s: %ld of %ld dropped, %ld kept", a->name,
                 losses.dropped, losses.asked, kept);
    cr_expect_eq(losses.dropped > 0, a->choice == MB_TOKEN_CHOOSES && capacity < 1, "%s, %g: %ld",
                 a->name, capacity, losses.dropped);
    mb_model_close(m);
    tiny_free(&batch);
    mb_ctx_close(c);
}

Test(cost, what_experts_take_and_drop_adds_up)
{
    for (const mb_arch *a = mb_archs; a->name; a++)
        if (routed(a)) {
            mb_arch sure = *a;

            sure.random_second = false;
            expect_capacity_holds(&sure, 0.5);
            expect_capacity_holds(&sure, 4);
        }
}

Test(cost, evaluation_enters_nothing)
{
    mb_ctx *c = tiny_ctx("ref");
    mb_model_config config = tiny_config(mb_arch_find("switch"));
    mb_batch batch = tiny_batch(&config, 1, 0.4);
    mb_model *m = tiny_model(c, mb_arch_find("switch"), &config, 1);
    mb_losses losses = { 0 };
    mb_cost before, after;

    step(c, m, &batch, 1, &losses);
    before = mb_ledger_total(mb_ctx_ledger(c));
    cr_assert_eq(mb_model_evaluate(m, &batch, &losses), MB_OK);
    after = mb_ledger_total(mb_ctx_ledger(c));
    cr_expect_eq(memcmp(&before, &after, sizeof before), 0);
    mb_model_close(m);
    tiny_free(&batch);
    mb_ctx_close(c);
}

/* The sizes of a step do not depend on who computes it. */
Test(cost, every_backend_enters_the_same_model_flops)
{
    for (const mb_arch *a = mb_archs; a->name; a++) {
        uint64_t model[8];

        for (int i = 0; mb_backends()[i]; i++) {
            mb_ctx *c = test_open_if_there(mb_backends()[i], MB_FP32);

            model[i] = model[0];
            if (!c)
                continue;
            mb_model_config config = tiny_config(a);
            mb_batch batch = tiny_batch(&config, 1, 0.4);
            mb_model *m = tiny_model(c, a, &config, 1);
            mb_losses losses;

            step(c, m, &batch, 1, &losses);
            model[i] = mb_ledger_total(mb_ctx_ledger(c)).model;
            cr_expect_eq(model[i], model[0], "%s on %s", a->name, mb_backends()[i]);
            mb_model_close(m);
            tiny_free(&batch);
            mb_ctx_close(c);
        }
    }
}
