/* Attention through cuDNN, as far as that shows without a GPU: for a described H200 cuDNN offers
   engines for every graph that we build, and compiles a plan. Its results are for tests with a
   device. */
#include "models/kernels/cuda/cudnn.h"

#include "base/file.h"
#include "tests/gpu_fixture.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

/* LeakSanitizer itself fails in a process in which cuDNN has compiled: it asks this before it
 * looks. */
static int compiled;

int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return compiled;
}

/* An H200 of compute capability VERSION / 100; tests/device_h200.json was written by hand from
   public attributes of that device. */
static mb_cudnn *open_described(const char *version)
{
    mb_cudnn *c;
    mb_map file;
    char *device, *at;

    test_load_gpu(); /* cuDNN wants a driver to be there */
    cr_assert_eq(mb_map_open("tests/device_h200.json", &file), MB_OK, "%s", mb_message());
    device = mb_format("%.*s", (int)file.size, (const char *)file.data);
    at = strstr(device, "900");
    cr_assert_not_null(at);
    memcpy(at, version, 3);
    if (mb_cudnn_open_offline(device, &c))
        cr_skip_test("%s", mb_message());
    mb_map_close(&file);
    free(device);
    return c;
}

static const char *const kinds[] = { "causal", "documents", "any" };

/* Training shapes of the workloads and of the paper, and odd ones. To save time each has every
   other kind of spans in any order of sums, beginning as it says. */
static mb_attention_shape shapes[] = {
    { .batch = 4, .len = 4096, .heads = 16, .width = 64 },
    { .batch = 2, .len = 4096, .heads = 16, .width = 128, .fast = true },
    { .batch = 16, .len = 128, .heads = 4, .width = 16 },
    { .batch = 1, .len = 100, .heads = 3, .width = 96, .fast = true },
};

ParameterizedTestParameters(cudnn, every_graph_becomes_a_plan)
{
    return cr_make_param_array(mb_attention_shape, shapes, sizeof shapes / sizeof *shapes);
}

ParameterizedTest(mb_attention_shape *a, cudnn, every_graph_becomes_a_plan)
{
    mb_cudnn *c = open_described("900");

    compiled = 1;
    for (int kind = MB_SPANS_CAUSAL; kind <= MB_SPANS_ANY; kind++) {
        mb_attention_shape asked = *a;
        size_t workspace, again;
        int offered = 0;

        asked.spans = (enum mb_spans)kind;
        asked.fast = a->fast ^ (kind & 1);
        cr_expect_eq(mb_cudnn_plan(c, &asked, &workspace, &offered), MB_OK, "%s spans, %s: %s",
                     kinds[kind], asked.fast ? "fast" : "deterministic", mb_message());
        cr_expect_gt(offered, 0);
        cr_expect_eq(mb_cudnn_plan(c, &asked, &again, NULL), MB_OK, "%s", mb_message());
        cr_expect_eq(workspace, again, "a plan is made once");
        cr_expect(workspace <= mb_cudnn_workspace(&asked) + 1024 &&
                      mb_cudnn_workspace(&asked) < workspace * 5 / 4 + 1024,
                  "%s spans, %s: %zu bytes, not %zu", kinds[kind],
                  asked.fast ? "fast" : "deterministic", workspace, mb_cudnn_workspace(&asked));
    }
    mb_cudnn_close(c);
}

Test(cudnn, a_device_that_no_engine_serves_is_told)
{
    mb_cudnn *c = open_described("600");
    size_t workspace;

    cr_assert_neq(mb_cudnn_plan(c, &shapes[0], &workspace, NULL), MB_OK);
    cr_assert_not_null(strstr(mb_message(), "cuDNN "), "%s", mb_message());
    cr_assert_neq(mb_cudnn_plan(c, &shapes[0], &workspace, NULL), MB_OK);
    cr_assert_not_null(strstr(mb_message(), "refused"), "asked again: %s", mb_message());
    mb_cudnn_close(c);
}

Test(cudnn, a_device_that_is_none_is_refused)
{
    mb_cudnn *c;

    test_load_gpu();
    cr_assert_neq(mb_cudnn_open_offline("{}", &c), MB_OK);
    cr_assert_null(c);
    mb_cudnn_close(c);
}

Test(spans, are_of_the_least_kind_that_tells_them)
{
    int32_t zero[6] = { 0 }, second[6] = { 0, 0, 2, 0, 0, 2 };
    int32_t causal[6] = { 0, 1, 2, 0, 1, 2 }, image[6] = { 0, 2, 2, 0, 1, 2 };

    cr_assert_eq(mb_spans_kind(zero, causal, 2, 3), MB_SPANS_CAUSAL);
    cr_assert_eq(mb_spans_kind(second, causal, 2, 3), MB_SPANS_DOCUMENTS);
    cr_assert_eq(mb_spans_kind(second, image, 2, 3), MB_SPANS_ANY);
    cr_assert_eq(mb_spans_kind(zero, image, 2, 3), MB_SPANS_ANY);
}
