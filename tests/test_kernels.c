/* What a GPU did, joined to the operations that asked for it: with launches made up here, and with
   those of the stand-in for CUPTI. */
#include "harness/kernels.h"

#include "tests/gpu_fixture.h"
#include "tests/kernels_support.h"
#include "tests/store_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static const mb_kernel_row *row(const mb_kernels *k, const char *op, const char *pass,
                                const char *name)
{
    size_t n, i;
    const mb_kernel_row *r = mb_kernels_rows(k, &n);

    for (i = 0; i < n; i++)
        if (!strcmp(r[i].op, op) && !strcmp(r[i].pass, pass) && !strcmp(r[i].name, name))
            return &r[i];
    return NULL;
}

static void expect(const mb_kernels *k, const char *op, const char *pass, const char *name,
                   int64_t calls, int64_t gpu_ns)
{
    const mb_kernel_row *r = row(k, op, pass, name);

    cr_assert(r, "%s %s %s is missing", op, pass, name);
    cr_expect_eq(r->calls, calls, "%s %s: %ld calls", op, name, (long)r->calls);
    cr_expect_eq(r->gpu_ns, gpu_ns, "%s %s: %ld ns", op, name, (long)r->gpu_ns);
}

/* Two operations: boundaries open intervals 1 (swiglu), 2 (between), 3 (embed), 4. */
static void two_operations(mb_ctx *c)
{
    static const int32_t token[4];
    mb_tensor *x = mb_wrap(c, "x", 4, 6, test_normal("x", 24));
    mb_tensor *table = mb_wrap(c, "table", 5, 3, test_normal("table", 15));

    mb_ctx_at(c, MB_FEED_FORWARD, 2);
    mb_swiglu(c, x);
    mb_ctx_at(c, MB_EMBED, -1);
    mb_embed(c, table, token, 4);
    free(x->data);
    free(table->data);
}

Test(kernels, belong_to_the_operation_in_which_they_were_launched)
{
    mb_ctx *c = test_open("ref");
    mb_kernels *k = mb_kernels_watch(c);
    const mb_launch launches[] = {
        { 1, "gate", 100, 200, 0 }, /* swiglu */
        { 1, "gate", 150, 260, 0 }, /* beside it */
        { 2, "fill", 300, 310, 64 }, { 3, "rows", 310, 400, 0 },
        { 9, "late", 450, 460, 0 }, /* of nothing that is known */
    };

    two_operations(c);
    mb_kernels_add(k, launches, 5);
    expect(k, "swiglu", "fwd", "gate", 2, 210);
    expect(k, "embed", "fwd", "rows", 1, 90);
    expect(k, "outside operations", "", "fill", 1, 10);
    expect(k, "outside operations", "", "late", 1, 10);
    expect(k, "launch gaps", "", "", 2, 40 + 50);
    cr_expect_eq(row(k, "swiglu", "fwd", "gate")->layer, 2);
    cr_expect_str_eq(row(k, "swiglu", "fwd", "gate")->part, "feed_forward");
    cr_expect_eq(row(k, "outside operations", "", "fill")->bytes, 64);
    mb_kernels_close(k);
    mb_ctx_close(c);
}

Test(kernels, of_every_step_add_up)
{
    mb_ctx *c = test_open("ref");
    mb_kernels *k = mb_kernels_watch(c);
    const mb_launch launch = { 1, "gate", 100, 200, 0 };

    for (int step = 0; step < 3; step++) {
        two_operations(c);
        mb_kernels_add(k, &launch, 1);
    }
    expect(k, "swiglu", "fwd", "gate", 3, 300);
    cr_expect_null(row(k, "launch gaps", "", ""), "a lone launch has no gap");
    mb_kernels_close(k);
    mb_ctx_close(c);
}

Test(kernels, are_taken_from_the_device_with_their_numbers)
{
    mb_ctx *c = test_open("ref");
    mb_kernels *k;

    test_load_gpu();
    cr_assert_eq(mb_kernels_open(c, &k), MB_OK, "%s", mb_message());
    two_operations(c); /* the stand-in launches a kernel in each of its four intervals */
    cr_assert_eq(mb_kernels_step(k), MB_OK, "%s", mb_message());
    expect(k, "swiglu", "fwd", "kernel", 1, 100);
    expect(k, "embed", "fwd", "kernel", 1, 100);
    expect(k, "outside operations", "", "kernel", 2, 200);
    expect(k, "launch gaps", "", "", 3, 150);
    mb_kernels_close(k);
    mb_ctx_close(c);
}

Test(kernels, without_a_device_there_are_none)
{
    mb_ctx *c = test_open("ref");
    mb_kernels *k;

    test_load_gpu();
    setenv("FAKE_NO_CONTEXT", "1", 1);
    cr_assert_eq(mb_kernels_open(c, &k), MB_EMISSING);
    cr_assert_null(k);
    unsetenv("FAKE_NO_CONTEXT");
    setenv("FAKE_NO_ACTIVITY", "1", 1);
    cr_assert_eq(mb_kernels_open(c, &k), MB_EMISSING);
    cr_assert_null(k);
    mb_ctx_close(c);
}

/* Of an operation of two groups each has its share of the executed FLOPs. */
Test(kernels, give_operations_their_time_in_v_op)
{
    mb_store *s = fixture_store();
    int64_t run = fixture_add(s, &(fixture_run){ .no_values = true });
    const mb_op_row ops[] = {
        { "gemm", "attention", "fwd", 0, 0, 1, 10, .flops_executed = 300 },
        { "gemm", "attention", "fwd", 0, 1, 1, 10, .flops_executed = 100 },
        { "rope", "attention", "fwd", 0, -1, 1, 10, .flops_executed = 0 },
        { "norm", "attention", "fwd", 0, -1, 1, 10, .flops_executed = 0 },
    };
    const mb_kernel_row kernels[] = {
        { "gemm", "attention", "fwd", "product", 0, 2, 3000000000, 0 },
        { "gemm", "attention", "fwd", "copy", 0, 1, 1000000000, 64 },
        { "rope", "attention", "fwd", "rope", 0, 1, 500000000, 0 },
        { "launch gaps", "", "", "", -1, 4, 7, 0 },
    };

    cr_assert_eq(mb_store_ops(s, run, ops, 4), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_store_kernels(s, run, kernels, 4), MB_OK, "%s", mb_message());
    cr_assert_str_eq(fixture_ask(s, "SELECT group_concat(op || \"group\" || ' ' || coalesce(gpu_s, "
                                    "'-'), ', ') FROM (SELECT * FROM v_op ORDER BY op, \"group\")"),
                     "gemm0 3.0, gemm1 1.0, norm-1 -, rope-1 0.5");
    cr_assert_str_eq(fixture_ask(s, "SELECT count(*) || ' ' || sum(calls) FROM v_kernel"), "4 8");
    mb_store_close(s);
}
