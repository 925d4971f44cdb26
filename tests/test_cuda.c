/* The cuda backend where a device is there, emulated or real: its routers against the host's, whole
   models in bf16, and that the same step gives the same bits. Its kernels are in test_op.c's
   tables, its models against PyTorch in test_golden.c. */
#include "tests/kernels_support.h"
#include "tests/tiny.h"

#include "base/file.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 1 << 14 };

static mb_ctx *open_cuda(mb_precision precision)
{
    mb_ctx *c = test_open_if_there("cuda", precision);

    if (!c)
        cr_skip_test("%s", mb_message());
    return c;
}

/* ---- routers
 * ------------------------------------------------------------------------------------- */

typedef struct routing { /* what a router did, in host memory */
    const mb_route *r;
    mb_routed out;
    int32_t token[MOST_ROWS];
    float gate[MOST_ROWS], *dlogit;
    float least[32]; /* of experts that choose */
} routing;

/* The gradient of the gate of TOKEN with EXPERT. */
static float gate_gradient(int32_t token, int expert)
{
    return (float)mb_normal(mb_key(1, "dgate", 0, 0), (uint64_t)token * 64 + (uint64_t)expert);
}

/* Sends gradients by token and expert through the gates: rows may lie elsewhere on each side. */
static void run_backward(mb_ctx *c, const mb_tensor *logits, routing *x)
{
    size_t bytes = (size_t)x->r->rows * sizeof(float);
    test_memory d = test_unset(c, TEST_FLOAT, mb_count(logits));
    float *dgate = mb_zalloc((size_t)x->r->rows, sizeof *dgate);

    for (int e = 0; e < x->r->groups; e++)
        for (int64_t i = x->r->offset[e]; i < x->r->offset[e + 1]; i++)
            dgate[i] = x->token[i] >= 0 ? gate_gradient(x->token[i], e) : NAN;
    x->r->gate->grad = mb_ctx_alloc(c, bytes);
    mb_ctx_write(c, x->r->gate->grad, dgate, bytes);
    c->be->choose_bwd(c, d.data, x->r, false);
    test_fetch(&d);
    cr_assert(test_guards_survive(&d));
    x->dlogit = d.value;
    d.value = NULL;
    mb_ctx_free(c, x->r->gate->grad);
    test_memory_free(&d);
    free(dgate);
}

static void route(mb_ctx *c, const float *logits, int64_t t, int64_t experts, const mb_router *how,
                  routing *x)
{
    test_memory m = test_unset(c, TEST_FLOAT, t * experts);
    mb_tensor *l = mb_wrap(c, "logits", t, experts, m.data);

    test_set(&m, logits);
    l->dtype = MB_FP32;
    l->wants = true;
    mb_ctx_record(c, true);
    x->r = c->be->choose(c, l, how, &x->out);
    cr_assert(x->r->rows <= MOST_ROWS);
    if (x->r->device)
        mb_ctx_fetch(c, x->token, x->r->token, (size_t)x->r->rows * sizeof *x->token);
    else
        memcpy(x->token, x->r->token, (size_t)x->r->rows * sizeof *x->token);
    mb_ctx_fetch(c, x->gate, mb_f32(x->r->gate), (size_t)x->r->rows * sizeof *x->gate);
    cr_assert_eq(mb_ctx_sync(c), MB_OK, "%s", mb_message());
    run_backward(c, l, x);
    test_memory_free(&m);
}

/* The rows of every expert in the same order, where the device's may have empty ones between. */
static void expect_same_rows(const routing *mine, const routing *ref, const char *what)
{
    for (int e = 0; e < ref->r->groups; e++) {
        int64_t i = ref->r->offset[e], end = ref->r->offset[e + 1];

        cr_expect_eq(mine->r->asked[e], ref->r->asked[e], "%s: asked of expert %d", what, e);
        cr_expect_eq(mine->r->kept[e], end - i, "%s: kept by expert %d", what, e);
        for (int64_t at = mine->r->offset[e]; at < mine->r->offset[e + 1]; at++) {
            if (mine->token[at] < 0) {
                cr_assert_eq(mine->gate[at], 0, "%s: the gate of an empty row", what);
                continue;
            }
            cr_assert(i < end && mine->token[at] == ref->token[i], "%s: row %d of expert %d", what,
                      (int)at, e);
            cr_assert_float_eq(mine->gate[at], ref->gate[i], 1e-6, "%s: gate", what);
            i++;
        }
        cr_assert_eq(i, end, "%s: rows of expert %d", what, e);
    }
}

static void compare_routers(const char *what, int64_t t, int64_t experts, mb_router how)
{
    static routing mine, ref;
    mb_ctx *c = open_cuda(MB_FP32), *host = test_open("ref");
    float *logits = test_normal(what, t * experts);

    for (int64_t i = 0; i < t * experts; i += 3) /* ties */
        logits[i] = roundf(logits[i]);
    how.key = mb_key(1, what, 0, 0);
    how.least = how.choice == MB_EXPERT_CHOOSES ? mine.least : NULL;
    route(c, logits, t, experts, &how, &mine);
    how.least = how.least ? ref.least : NULL;
    route(host, logits, t, experts, &how, &ref);
    expect_same_rows(&mine, &ref, what);
    cr_expect_eq(mine.out.asked, ref.out.asked, "%s", what);
    cr_expect_eq(mine.out.kept, ref.out.kept, "%s", what);
    cr_expect_float_eq(mine.out.balance, ref.out.balance, 1e-6, "%s", what);
    cr_expect_float_eq(mine.out.z, ref.out.z, 1e-6, "%s", what);
    for (int e = 0; how.least && e < experts; e++)
        cr_expect_float_eq(mine.least[e], ref.least[e], 1e-6, "%s: least", what);
    cr_expect(test_distance(mine.dlogit, ref.dlogit, t * experts) < 1e-10, "%s: gradient", what);
    free(mine.dlogit);
    free(ref.dlogit);
    free(logits);
    mb_ctx_close(c);
    mb_ctx_close(host);
}

Test(cuda, routers_choose_as_on_the_host)
{
    mb_router experts = { .choice = MB_EXPERT_CHOOSES, .score = MB_SIGMOID, .capacity = 1 };
    mb_router top1 = { .top_k = 1, .capacity = 1.25, .balance = 0.7, .z = 0.3 };
    mb_router top2 = { .top_k = 2, .capacity = 1, .renormalise = true, .random_second = true };

    compare_routers("switch", 150, 4, top1);
    compare_routers("one row", 1, 3, top1);
    compare_routers("a capacity below one row", 7, 20, top1);
    compare_routers("gshard", 1500, 5, top2);
    compare_routers("experts", 150, 4, experts);
    compare_routers("many rows", 1100, 3, experts);
    compare_routers("experts with more rows than a block has at once", 5000, 3, experts);
    compare_routers("gshard with more rows than a block has at once", 5000, 3, top2);
    top1.group_rows = experts.group_rows = top2.group_rows = 40;
    compare_routers("switch by sequence", 150, 4, top1);
    compare_routers("experts by sequence", 150, 4, experts);
    compare_routers("gshard by sequence", 160, 4, top2);
    top1.capacity = top2.capacity = 0;
    top1.group_rows = top2.group_rows = 0; /* nothing to share */
    compare_routers("switch without a limit", 150, 4, top1);
    compare_routers("gshard without a limit", 150, 4, top2);
    experts.cut = (const float[]){ 0.3f, 0.5f, 0.7f, 2 };
    compare_routers("experts with cuts", 150, 4, experts);
    experts.cut = NULL;
    experts.score = MB_SOFTMAX;
    experts.z = 0.2;
    compare_routers("experts by softmax", 150, 4, experts);
}

/* A batch may have no patches: no row of some is not every row of all. */
Test(cuda, a_route_without_rows_moves_nothing)
{
    enum { T = 5, D = 8 };
    mb_ctx *c = open_cuda(MB_FP32);
    test_memory x = test_unset(c, TEST_FLOAT, T * D), y = test_unset(c, TEST_FLOAT, T * D);
    test_memory none = test_unset(c, TEST_FLOAT, T * D), dx = test_unset(c, TEST_FLOAT, T * D);
    const mb_route *r = mb_route_rows(c, T, mb_ctx_host(c, sizeof(int32_t)), 0);
    float *value = test_normal("x", T * D);

    test_set(&x, value);
    c->be->combine(c, y.data, NULL, x.data, none.data, NULL, NULL, 0, r, D);
    c->be->gather_bwd(c, dx.data, none.data, r, D, false);
    test_fetch(&y);
    test_fetch(&dx);
    cr_expect(test_distance(y.value, value, T * D) == 0);
    for (int i = 0; i < T * D; i++)
        cr_expect_eq(dx.value[i], 0);
    test_memory_free(&x);
    test_memory_free(&y);
    test_memory_free(&none);
    test_memory_free(&dx);
    free(value);
    mb_ctx_close(c);
}

/* ---- whole models
 * -------------------------------------------------------------------------------- */

typedef struct trained {
    double loss, grad_norm;
    mb_cost cost;
    float *params;
    int64_t n;
} trained;

static float *fetch_params(mb_ctx *c, mb_model *m, int64_t *count)
{
    size_t n;
    mb_param *p = mb_model_params(m, &n);
    float *all = mb_alloc(mb_model_params_total(m) * sizeof *all);

    *count = 0;
    for (size_t i = 0; i < n; i++) {
        mb_ctx_fetch(c, all + *count, p[i].t.data, mb_bytes(&p[i].t));
        *count += mb_count(&p[i].t);
    }
    cr_assert_eq(mb_ctx_sync(c), MB_OK, "%s", mb_message());
    return all;
}

/* Some steps of a small model whose rows are wide enough for every path of the kernels. */
static trained train(mb_ctx *c, const mb_arch *arch)
{
    mb_model_config config = tiny_config(arch);
    mb_optimizer_config how = tiny_optimizer(1e-3f);
    mb_losses losses;
    mb_batch batch;
    mb_model *m;
    trained t;

    config.width = 32;
    config.ffn_width = 24;
    how.clip = 1;
    batch = tiny_batch(&config, 1, 0.4);
    m = tiny_model(c, arch, &config, 1);
    mb_ledger_clear(mb_ctx_ledger(c));
    for (int step = 0; step < 4; step++)
        cr_assert_eq(mb_model_step(m, &batch, 1, &how, step, &losses), MB_OK, "%s", mb_message());
    t = (trained){ .loss = (losses.sum[MB_TEXT] + losses.sum[MB_IMAGE]) /
                           (double)(losses.n[MB_TEXT] + losses.n[MB_IMAGE]),
                   .grad_norm = losses.grad_norm,
                   .cost = mb_ledger_total(mb_ctx_ledger(c)) };
    t.params = fetch_params(c, m, &t.n);
    mb_model_close(m);
    tiny_free(&batch);
    mb_ctx_close(c);
    return t;
}

/* Four steps with bf16 products end within 2 % of those in fp32, and do the same work. */
Test(cuda, models_train_in_bf16_as_in_fp32)
{
    for (const mb_arch *a = mb_archs; a->name; a++) {
        mb_ctx *c = open_cuda(MB_BF16);
        trained narrow = train(c, a), wide = train(test_open("ref"), a);

        cr_expect(fabs(narrow.loss - wide.loss) < 0.02 * wide.loss, "%s: loss %g, not %g", a->name,
                  narrow.loss, wide.loss);
        cr_expect(fabs(narrow.grad_norm - wide.grad_norm) < 0.1 * wide.grad_norm,
                  "%s: norm %g, not %g", a->name, narrow.grad_norm, wide.grad_norm);
        cr_expect_eq(narrow.cost.model, wide.cost.model, "%s", a->name);
        cr_expect(narrow.cost.executed >= narrow.cost.useful, "%s", a->name);
        free(narrow.params);
        free(wide.params);
    }
}

Test(cuda, the_same_steps_give_the_same_bits)
{
    for (int precision = MB_FP32; precision <= MB_BF16; precision++)
        for (const mb_arch *a = mb_archs; a->name; a++) {
            mb_ctx *c = open_cuda((mb_precision)precision);
            trained once = train(c, a), again = train(open_cuda((mb_precision)precision), a);

            cr_expect_eq(once.loss, again.loss, "%s", a->name);
            cr_expect(!memcmp(once.params, again.params, (size_t)once.n * sizeof(float)), "%s",
                      a->name);
            free(once.params);
            free(again.params);
        }
}

/* Whoever asks for bf16 expects cuDNN: without it attention is slow, and that is told. */
Test(cuda, attention_that_is_slower_than_expected_is_told)
{
    static const struct {
        mb_precision precision;
        enum mb_attention by;
        int heads; /* of a width that 8 does not divide */
        const char *note;
    } cases[] = { { MB_BF16, MB_ATTENTION_AUTO, 2, "not cuDNN's" },
                  { MB_BF16, MB_ATTENTION_OWN, 2, "" },
                  { MB_FP32, MB_ATTENTION_AUTO, 2, "" } };
    enum { T = 4, D = 24 };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mb_ctx *c = open_cuda(cases[i].precision);
        mb_span *s = test_span(c, 1, T, 0);
        test_memory x = test_unset(c, TEST_REAL, T * 3 * D), y = test_unset(c, TEST_REAL, T * D);
        test_memory lse = test_unset(c, TEST_FLOAT, T * 2);

        mb_ctx_ways(c, cases[i].by, MB_GROUPING_STREAMS);
        c->be->attend(c, y.data, lse.data, x.data, s, D, cases[i].heads);
        cr_assert_eq(mb_ctx_sync(c), MB_OK, "%s", mb_message());
        if (*cases[i].note)
            cr_expect(strstr(mb_ctx_note(c), cases[i].note), "%s", mb_ctx_note(c));
        else
            cr_expect_str_empty(mb_ctx_note(c));
        test_memory_free(&x);
        test_memory_free(&y);
        test_memory_free(&lse);
        mb_ctx_close(c);
    }
}

/* What does not fit says how much was asked for and how much there is. */
Test(cuda, memory_that_is_not_there_is_an_error)
{
    mb_ctx *c = open_cuda(MB_FP32);

    cr_expect_null(mb_ctx_alloc(c, (size_t)1 << 50));
    cr_expect(strstr(mb_message(), "GiB free"), "%s", mb_message());
    mb_ctx_close(c);
}
