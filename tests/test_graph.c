/* Steps launched as graphs: which passes share one, and that a step in a graph is the step call by
   call. The keys need no device; the rest runs where one is there, emulated or real. */
#include "tests/kernels_support.h"
#include "tests/tiny.h"

#include "base/file.h"
#include "models/block.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- keys ----------------------------------------------------------------------------------- */

static uint64_t key_of(mb_model *m, const mb_batch *b, bool last)
{
    mb_pass p;
    uint64_t key;

    mb_pass_begin(&p, m, b);
    key = mb_pass_key(&p, m, last);
    mb_ctx_reset(m->c);
    return key;
}

typedef struct keys { /* of a model on batches that differ in one thing */
    uint64_t same, again, other_tokens, other_mix, shorter, documents, not_last;
} keys;

static keys keys_of(const char *arch, int pad)
{
    const mb_arch *a = mb_arch_find(arch);
    mb_ctx *c = tiny_ctx("null");
    mb_model_config config = tiny_config(a);
    mb_batch b, other;
    mb_model *m;
    keys k;

    config.pad = pad;
    m = tiny_model(c, a, &config, 1);
    b = tiny_batch(&config, 1, 0.4);
    other = tiny_batch(&config, 1, 0.4);
    k.same = key_of(m, &b, true);
    k.again = key_of(m, &b, true);
    k.not_last = key_of(m, &b, false);
    ((int32_t *)other.token)[0] ^= 1;
    k.other_tokens = key_of(m, &other, true);
    ((uint8_t *)other.modality)[3] ^= 1;
    k.other_mix = key_of(m, &other, true);
    ((uint8_t *)other.modality)[3] ^= 1;
    for (int64_t i = 0; i < b.batch * b.len; i++)
        ((int32_t *)other.lo)[i] = 0;
    k.documents = key_of(m, &other, true);
    other.batch--;
    k.shorter = key_of(m, &other, true);
    tiny_free(&b);
    tiny_free(&other);
    mb_model_close(m);
    mb_ctx_close(c);
    return k;
}

Test(graph, key_is_that_of_shapes_and_not_of_what_is_in_them)
{
    keys k = keys_of("dense", 1);

    cr_expect_eq(k.same, k.again);
    cr_expect_eq(k.same, k.other_tokens);
    cr_expect_eq(k.same, k.other_mix, "dense has no groups");
    cr_expect_neq(k.same, k.documents);
    cr_expect_neq(k.documents, k.shorter);
    cr_expect_neq(k.same, k.not_last);
}

Test(graph, key_of_groups_by_modality_is_that_of_their_rows)
{
    keys exact = keys_of("mot", 1), padded = keys_of("mot", 64);

    cr_expect_eq(exact.same, exact.other_tokens);
    cr_expect_neq(exact.same, exact.other_mix);
    cr_expect_eq(padded.same, padded.other_mix, "one row more or less is padding");
}

/* ---- padding --------------------------------------------------------------------------------- */

typedef struct trained {
    double loss[3], grad_norm[3], val;
    mb_cost cost;
    uint64_t graphs;
    float *params;
    size_t bytes;
} trained;

typedef struct plan {
    const char *arch;
    int pad, micro_batches;
    bool graph, same_batch;
    double jitter;
    enum mb_recomputed recompute;
} plan;

enum { STEPS = 6 };

static float *params_of(mb_ctx *c, mb_model *m, size_t *bytes)
{
    float *all = mb_alloc(*bytes = (size_t)m->total * sizeof *all);

    mb_ctx_fetch(c, all, m->data, *bytes);
    cr_assert_eq(mb_ctx_sync(c), MB_OK, "%s", mb_message());
    return all;
}

static void step(mb_model *m, const plan *p, const mb_model_config *config, int64_t i, trained *t)
{
    mb_optimizer_config how = tiny_optimizer(1e-3f / (float)(i + 1));
    mb_batch b[2];
    mb_losses losses = { 0 };

    how.clip = 1;
    for (int k = 0; k < p->micro_batches; k++)
        b[k] = tiny_batch(config, p->same_batch ? 1 : (uint64_t)(2 * i + k + 1), 0.4);
    cr_assert_eq(mb_model_step(m, b, p->micro_batches, &how, i, &losses), MB_OK, "%s",
                 mb_message());
    t->loss[i % 3] = losses.sum[MB_TEXT] + losses.sum[MB_IMAGE];
    t->grad_norm[i % 3] = losses.grad_norm;
    if (i == 3) { /* in between, on the same memory */
        losses = (mb_losses){ 0 };
        cr_assert_eq(mb_model_evaluate(m, &b[0], &losses), MB_OK, "%s", mb_message());
        t->val = losses.sum[MB_TEXT] + losses.sum[MB_IMAGE];
    }
    for (int k = 0; k < p->micro_batches; k++)
        tiny_free(&b[k]);
}

static trained train(mb_ctx *c, plan p)
{
    const mb_arch *a = mb_arch_find(p.arch);
    mb_model_config config = tiny_config(a);
    mb_model *m;
    trained t = { 0 };

    config.width = 32;
    config.ffn_width = 24;
    config.pad = p.pad;
    config.graph = p.graph;
    config.jitter = p.jitter;
    config.recompute = p.recompute;
    m = tiny_model(c, a, &config, 1);
    mb_ledger_clear(mb_ctx_ledger(c));
    for (int64_t i = 0; i < STEPS; i++)
        step(m, &p, &config, i, &t);
    t.cost = mb_ledger_total(mb_ctx_ledger(c));
    t.graphs = mb_ctx_graphs(c);
    t.params = params_of(c, m, &t.bytes);
    mb_model_close(m);
    mb_ctx_close(c);
    return t;
}

static void expect_same(trained a, trained b, const char *what)
{
    cr_expect(!memcmp(a.loss, b.loss, sizeof a.loss), "%s: losses", what);
    cr_expect(!memcmp(a.grad_norm, b.grad_norm, sizeof a.grad_norm), "%s: norms", what);
    cr_expect_eq(a.val, b.val, "%s: an evaluation between steps", what);
    cr_expect_eq(a.cost.model, b.cost.model, "%s", what);
    cr_expect_eq(a.cost.useful, b.cost.useful, "%s", what);
    cr_assert_eq(a.bytes, b.bytes);
    cr_expect(!memcmp(a.params, b.params, a.bytes), "%s: parameters", what);
    free(a.params);
    free(b.params);
}

/* On ref a row of zeros more in a sum changes no bit; executed work grows by the rows. */
Test(graph, padding_changes_no_bit_and_is_counted)
{
    static const char *const archs[] = { "mot", "mot-ffn", "mot-ffn-qkv" };

    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        plan p = { .arch = archs[i], .pad = 1, .micro_batches = 1 };
        trained exact = train(test_open("ref"), p), padded;

        p.pad = 16;
        padded = train(test_open("ref"), p);
        cr_expect_gt(padded.cost.executed, exact.cost.executed, "%s", archs[i]);
        expect_same(exact, padded, archs[i]);
    }
}

Test(graph, padding_works_on_every_backend)
{
    for (const char *const *name = mb_backends(); *name; name++) {
        plan p = { .arch = "mot", .pad = 1, .micro_batches = 2, .recompute = MB_RECOMPUTE_LAYER };
        mb_ctx *c = test_open_if_there(*name, MB_FP32), *again;
        trained exact, padded;

        if (!c || !c->be->computes) {
            mb_ctx_close(c);
            continue;
        }
        again = test_open_if_there(*name, MB_FP32);
        exact = train(c, p);
        p.pad = 24;
        padded = train(again, p);
        for (int i = 0; i < 3; i++)
            cr_expect(fabs(exact.loss[i] - padded.loss[i]) < 1e-4 * exact.loss[i], "%s: %g, not %g",
                      *name, padded.loss[i], exact.loss[i]);
        free(exact.params);
        free(padded.params);
    }
}

/* ---- graphs ---------------------------------------------------------------------------------- */

static mb_ctx *open_cuda(mb_precision precision)
{
    mb_ctx *c = test_open_if_there("cuda", precision);

    if (!c)
        cr_skip_test("%s", mb_message());
    return c;
}

/* P call by call, then as graphs, GRAPHS of them at least, or none: the same to the last bit. */
static void compare(plan p, mb_precision precision, uint64_t graphs)
{
    trained eager, whole;
    char *what = mb_format("%s, %s", p.arch, mb_precision_name[precision]);

    p.graph = false;
    eager = train(open_cuda(precision), p);
    p.graph = true;
    whole = train(open_cuda(precision), p);
    cr_expect_eq(eager.graphs, 0);
    cr_expect(graphs ? whole.graphs >= graphs : whole.graphs == 0, "%s: %d passes as graphs", what,
              (int)whole.graphs);
    expect_same(eager, whole, what);
    free(what);
}

/* The first pass of a shape goes call by call, the others do not; but once more where memory has
   moved, since an evaluation needed more than was there: learned routes have no limit in it. */
Test(graph, steps_give_the_bits_of_single_calls)
{
    for (int precision = MB_FP32; precision <= MB_BF16; precision++)
        for (const mb_arch *a = mb_archs; a->name; a++)
            compare((plan){ .arch = a->name, .pad = 64, .micro_batches = 1 },
                    (mb_precision)precision, a->ffn == MB_BY_ROUTER ? STEPS - 2 : STEPS - 1);
}

Test(graph, micro_batches_have_one_for_the_last)
{
    compare((plan){ .arch = "switch",
                    .pad = 1,
                    .micro_batches = 2,
                    .jitter = 0.1,
                    .recompute = MB_RECOMPUTE_LAYER },
            MB_BF16, STEPS);
}

/* Groups of other sizes in every batch: each is seen once, and nothing is captured. */
Test(graph, of_shapes_that_do_not_return_is_not_made)
{
    compare((plan){ .arch = "mot", .pad = 1, .micro_batches = 1 }, MB_FP32, 0);
}

Test(graph, of_the_same_batch_again_is_made_without_padding)
{
    compare((plan){ .arch = "mot", .pad = 1, .micro_batches = 1, .same_batch = true }, MB_FP32,
            STEPS - 1);
}

/* A key that promises what the calls do not keep is an error, and nothing of it is launched. */
Test(graph, with_other_calls_than_its_key_promised_is_refused)
{
    mb_ctx *c = open_cuda(MB_FP32);
    float *x = mb_ctx_alloc(c, 64 * sizeof *x), y[64] = { 0 };

    for (int turn = 0; turn < 4; turn++) {
        mb_ctx_graph(c, 1);
        mb_ctx_clear(c, x, (turn < 3 ? 64 : 32) * sizeof *x);
        mb_ctx_fetch(c, y, x, sizeof y);
        cr_expect_eq(mb_ctx_sync(c), turn < 3 ? MB_OK : MB_EIO, "turn %d", turn);
        mb_ctx_reset(c);
    }
    cr_expect(strstr(mb_message(), "gpu.graph"), "%s", mb_message());
    cr_expect_eq(mb_ctx_graphs(c), 2);
    mb_ctx_free(c, x);
    mb_ctx_close(c);
}

/* The first pass finds out how much is needed; it is not forgotten for that. */
Test(graph, is_made_by_the_second_pass_also_where_the_first_took_more_and_more)
{
    mb_ctx *c = open_cuda(MB_FP32);
    int64_t n = 1 << 18; /* of which the workspace is one number for each 2^16 */
    float *x = mb_ctx_alloc(c, (size_t)n * sizeof *x);
    double *sum = mb_ctx_alloc(c, sizeof *sum);

    for (int turn = 0; turn < 2; turn++) {
        mb_ctx_graph(c, 1);
        mb_sum_squares(c, sum, x, 1);
        mb_sum_squares(c, sum, x, n);
        cr_expect_eq(mb_ctx_sync(c), MB_OK, "%s", mb_message());
        mb_ctx_reset(c);
    }
    cr_expect_eq(mb_ctx_graphs(c), 1);
    mb_ctx_free(c, sum);
    mb_ctx_free(c, x);
    mb_ctx_close(c);
}

/* What cannot be captured is told by what it was, not by all that failed in its wake. */
Test(graph, that_cannot_be_captured_says_what_failed_first)
{
    mb_ctx *c = open_cuda(MB_FP32);
    float x = 0, *there = mb_ctx_alloc(c, sizeof *there);

    for (int turn = 0; turn < 2; turn++) {
        mb_ctx_graph(c, 1);
        mb_ctx_write(c, there, &x, sizeof x); /* waits */
        cr_expect_eq(mb_ctx_sync(c), turn ? MB_EIO : MB_OK);
        mb_ctx_reset(c);
    }
    cr_expect(strstr(mb_message(), "copying to the device"), "%s", mb_message());
    mb_ctx_free(c, there);
    mb_ctx_close(c);
}

/* More shapes than are kept: those of longest ago are made again when they return. */
Test(graph, of_longest_ago_makes_room)
{
    mb_ctx *c = open_cuda(MB_FP32);
    float *x = mb_ctx_alloc(c, 64 * sizeof *x);

    for (int turn = 0; turn < 3 * 40; turn++) {
        mb_ctx_graph(c, (uint64_t)turn / 3);
        mb_ctx_clear(c, x, 64 * sizeof *x);
        cr_expect_eq(mb_ctx_sync(c), MB_OK, "%s", mb_message());
        mb_ctx_reset(c);
    }
    cr_expect_eq(mb_ctx_graphs(c), 2 * 40);
    mb_ctx_graph(c, 0);
    cr_expect_eq(mb_ctx_sync(c), MB_OK, "%s", mb_message());
    cr_expect_eq(mb_ctx_graphs(c), 2 * 40, "forgotten, and seen for the first time again");
    mb_ctx_free(c, x);
    mb_ctx_close(c);
}
