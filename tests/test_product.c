/* Matrix products of the cpu backend beyond small shapes (tests/test_op.c has those): sums in
   several parts, several blocks of rows, groups of every size, one to three threads; and the packed
   copies of weights that they keep. */
#include "base/file.h"
#include "tests/kernels_support.h"
#include "tests/tiny.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 6, RESULTS = 3 };

/* Rows per group; N and K. More than one part of a sum is more than 352 of K, N or rows. Slices
   that meet 18 to 384 rows on average are packed on the way, others copied. */
static const struct shape {
    int64_t rows[MOST], n, k;
} shapes[] = {
    { { 1 }, 1, 1 },           { { 7, 0, 1, 13 }, 17, 31 },
    { { 0, 0, 199 }, 33, 48 }, { { 96, 97, 1, 0, 6, 5 }, 40, 353 },
    { { 400, 11 }, 367, 23 },  { { 2, 3, 1, 1, 2, 1 }, 97, 64 },
    { { 5, 0, 9 }, 40, 353 },
};

typedef struct products { /* y, dx, dw: what the three kernels made */
    test_memory result[RESULTS];
    int64_t size[RESULTS];
} products;

static mb_route *route_of(mb_ctx *c, const struct shape *s)
{
    mb_route *r = mb_ctx_host(c, sizeof *r);
    int64_t *offset = mb_ctx_host(c, (MOST + 1) * sizeof *offset);

    offset[0] = 0;
    for (int g = 0; g < MOST; g++)
        offset[g + 1] = offset[g] + s->rows[g];
    *r = (mb_route){ .groups = MOST,
                     .rows = offset[MOST],
                     .tokens = offset[MOST],
                     .offset = offset,
                     .asked = s->rows,
                     .kept = s->rows };
    return r;
}

/* Gradients of x and w add to what was there. */
static products run(const char *backend, int threads, const struct shape *s, bool sliced)
{
    mb_ctx *c;
    mb_route *r;
    int64_t weights = (sliced ? MOST : 1) * s->n * s->k;
    float *x, *dy, *w;
    mb_tensor *t;
    products p;

    cr_assert_eq(mb_ctx_open(backend, MB_FP32, threads, &c), MB_OK);
    r = route_of(c, s);
    x = test_normal("x", r->rows * s->k);
    dy = test_normal("dy", r->rows * s->n);
    w = test_normal("w", weights);
    memcpy(p.size, (int64_t[]){ r->rows * s->n, r->rows * s->k, weights }, sizeof p.size);
    for (int i = 0; i < RESULTS; i++)
        p.result[i] = test_unset(c, TEST_HOST, p.size[i]);
    test_fill_normal(p.result[1].data, "dx", p.size[1]);
    test_fill_normal(p.result[2].data, "dw", p.size[2]);
    t = mb_wrap(c, "w", s->n, s->k, w);
    t->slices = sliced ? MOST : 1;
    t->grad = p.result[2].data;
    c->be->gemm(c, p.result[0].data, x, t, r);
    c->be->gemm_dx(c, p.result[1].data, dy, t, r, true);
    c->be->gemm_dw(c, t, dy, x, r);
    for (int i = 0; i < RESULTS; i++)
        test_fetch(&p.result[i]);
    free(x);
    free(dy);
    free(w);
    mb_ctx_close(c);
    return p;
}

static void release(products *p)
{
    for (int i = 0; i < RESULTS; i++)
        test_memory_free(&p->result[i]);
}

/* 1e-12 of the mean square: float's rounding, some 400 terms long. */
static void expect_agreement(const products *got, const products *want)
{
    static const char *const name[] = { "y", "dx", "dw" };

    for (int i = 0; i < RESULTS; i++) {
        cr_expect(test_distance(got->result[i].value, want->result[i].value, want->size[i]) < 1e-12,
                  "%s", name[i]);
        cr_expect(test_guards_survive(&got->result[i]), "%s", name[i]);
    }
}

Test(product, agrees_with_ref_and_does_not_depend_on_threads)
{
    for (size_t i = 0; i < 2 * sizeof shapes / sizeof *shapes; i++) {
        const struct shape *s = &shapes[i / 2];
        products want = run("ref", 1, s, i % 2), one = run("cpu", 1, s, i % 2);

        expect_agreement(&one, &want);
        for (int threads = 2; threads <= 3; threads++) {
            products more = run("cpu", threads, s, i % 2);

            for (int k = 0; k < RESULTS; k++)
                cr_expect(!memcmp(more.result[k].value, one.result[k].value,
                                  (size_t)one.size[k] * sizeof(float)),
                          "shape %zu, %d threads, result %d", i / 2, threads, k);
            release(&more);
        }
        release(&want);
        release(&one);
    }
}

/* ---- copies of weights ----------------------------------------------------------------------- */

Test(product, copies_of_a_parameter_are_renewed_when_it_is_said_to_have_changed)
{
    mb_ctx *c = test_open("cpu");
    const mb_route *r = mb_route_all(c, 1);
    float w[2] = { 2, 3 }, x[2] = { 1, 10 }, y, dx[2], dy = 1;
    mb_tensor *t = mb_wrap(c, "w", 1, 2, w);

    t->parameter = true;
    for (int i = 0; i < 2; i++) {
        c->be->gemm(c, &y, x, t, r);
        c->be->gemm_dx(c, dx, &dy, t, r, false);
        cr_expect_eq(y, w[0] + 10 * w[1]);
        cr_expect_eq(dx[0], w[0]);
        cr_expect_eq(dx[1], w[1]);
        w[0] = 5;
        w[1] = 7;
        mb_ctx_weights_changed(c);
    }
    mb_ctx_close(c);
}

static double loss_of(mb_model *m, const mb_batch *b)
{
    mb_losses l = { 0 };

    cr_assert_eq(mb_model_evaluate(m, b, &l), MB_OK);
    return l.sum[0] + l.sum[1];
}

/* Bytes that products of ROWS rows for each of the slices of W keep. */
static size_t kept(const mb_tensor *w, int64_t rows)
{
    struct shape s = { .n = w->rows, .k = w->cols };
    float *x = mb_zalloc((size_t)(MOST * rows * s.k), sizeof *x);
    float *y = mb_zalloc((size_t)(MOST * rows * s.n), sizeof *y);
    mb_ctx *c = test_open("cpu");
    const mb_route *r;
    size_t bytes;

    for (int g = 0; g < MOST; g++)
        s.rows[g] = rows;
    r = route_of(c, &s);
    c->be->gemm(c, y, x, w, r);
    c->be->gemm_dx(c, x, y, w, r, false);
    bytes = c->own;
    mb_ctx_close(c);
    free(x);
    free(y);
    return bytes;
}

Test(product, keeps_no_copies_of_slices_that_meet_some_rows_each)
{
    enum { N = 320, K = 352 };
    size_t size = (size_t)MOST * N * K * sizeof(float);
    mb_tensor w = { .slices = MOST, .rows = N, .cols = K, .rank = 3, .parameter = true };

    w.data = mb_zalloc(size, 1);
    cr_expect_lt(kept(&w, 18), size);
    cr_expect_lt(kept(&w, 64), size);
    cr_expect_geq(kept(&w, 17), 2 * size);
    cr_expect_geq(kept(&w, 385), 2 * size);
    free(w.data);
}

/* Opens a model on a ctx of its own, where nothing can be packed yet, with the weights in PATH. */
static double loss_of_file(const char *path, const mb_model_config *config, const mb_batch *b)
{
    mb_ctx *c = tiny_ctx("cpu");
    mb_model *m = tiny_model(c, mb_arch_find("dense"), config, 9);
    double loss;

    cr_assert_eq(mb_checkpoint_load(path, m), MB_OK);
    loss = loss_of(m, b);
    mb_model_close(m);
    mb_ctx_close(c);
    return loss;
}

/* A step, a file and a new model each change weights: what is evaluated next must have seen them.
 */
Test(product, every_change_of_a_models_weights_is_told)
{
    char first[] = "/tmp/motbench-product-XXXXXX", second[] = "/tmp/motbench-product-XXXXXX";
    const mb_arch *dense = mb_arch_find("dense");
    mb_model_config config = tiny_config(dense);
    mb_optimizer_config how = tiny_optimizer(0.1f);
    mb_batch batch = tiny_batch(&config, 1, 0.5);
    mb_ctx *c = tiny_ctx("cpu");
    mb_model *m = tiny_model(c, dense, &config, 1);
    mb_losses losses;
    double before = loss_of(m, &batch);

    close(mkstemp(first));
    close(mkstemp(second));
    cr_assert_eq(mb_checkpoint_save(first, m, NULL), MB_OK);
    cr_assert_eq(mb_model_step(m, &batch, 1, &how, 0, &losses), MB_OK);
    cr_assert_eq(mb_checkpoint_save(second, m, NULL), MB_OK);
    cr_expect_eq(loss_of(m, &batch), loss_of_file(second, &config, &batch));
    cr_assert_eq(mb_checkpoint_load(first, m), MB_OK);
    cr_expect_eq(loss_of(m, &batch), before);
    mb_model_close(m);
    m = tiny_model(c, dense, &config, 2); /* likely where the other one was */
    cr_assert_eq(mb_checkpoint_save(second, m, NULL), MB_OK);
    cr_expect_eq(loss_of(m, &batch), loss_of_file(second, &config, &batch));
    mb_model_close(m);
    mb_ctx_close(c);
    tiny_free(&batch);
    unlink(first);
    unlink(second);
}
