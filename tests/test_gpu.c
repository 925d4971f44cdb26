/* Counters of a GPU, tested without one: against stand-ins for the driver, NVML and CUPTI
   (tests/fake), and what the real CUPTI says of an H100's chip. */
#include "base/file.h"
#include "harness/bench.h"
#include "harness/op_counts.h"
#include "profiles/ceilings.h"
#include "profiles/counter.h"
#include "profiles/gpu.h"
#include "profiles/nvml.h"
#include "tests/gpu_fixture.h"
#include "tests/tiny.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mb_counted *count(mb_counter *c, const char *name)
{
    size_t n, i;
    const mb_counted *counts = mb_counter_read(c, &n);

    for (i = 0; i < n; i++)
        if (!strcmp(counts[i].event.name, name))
            return &counts[i];
    cr_assert_fail("%s is not counted", name);
    return NULL;
}

static void expect(mb_counter *c, const char *name, enum mb_count_status status, double value)
{
    const mb_counted *got = count(c, name);

    cr_expect_eq(got->status, status, "%s: %s", name, mb_count_status_name[got->status]);
    if (status == MB_COUNT_OK)
        cr_expect_float_eq(got->value, value, 1e-9, "%s: %g", name, got->value);
    else
        cr_expect(isnan(got->value), "%s has a value", name);
}

static mb_counter *open(const mb_event *events, size_t n)
{
    mb_counter *c;
    size_t i;

    for (i = 0; i < n; i++)
        cr_assert_eq(mb_event_check(&events[i]), MB_OK, "%s", mb_message());
    mb_counter_open(events, n, 1, &c);
    return c;
}

static void regions(mb_counter *c, int n)
{
    for (; n > 0; n--) {
        mb_counter_start(c);
        mb_counter_stop(c);
    }
}

/* ---- CUPTI ---------------------------------------------------------------------------------- */

static const mb_event metrics[] = { { "cupti", "a.first", "1" },  { "cupti", "b.first", "1" },
                                    { "cupti", "a.second", "1" }, { "cupti", "n.one", "1" },
                                    { "cupti", "x.many", "1" },   { "clock", "wall", "ns" } };
enum { METRICS = sizeof metrics / sizeof *metrics };

Test(gpu, metrics_take_turns_and_are_told_for_all_regions)
{
    mb_counter *c;

    test_load_gpu();
    c = open(metrics, METRICS);
    regions(c, 1);
    expect(c, "a.first", MB_COUNT_OK, 10);
    expect(c, "b.first", MB_COUNT_MULTIPLEXED, NAN); /* its turn has not come */
    regions(c, 4);
    expect(c, "a.first", MB_COUNT_OK, 5 * 10); /* in 3 of 5 regions */
    expect(c, "a.second", MB_COUNT_OK, 5 * 10);
    expect(c, "b.first", MB_COUNT_OK, 5 * 100);
    expect(c, "n.one", MB_COUNT_NOT_SUPPORTED, NAN);
    expect(c, "x.many", MB_COUNT_NOT_SUPPORTED, NAN);
    mb_counter_close(c);
}

Test(gpu, a_region_without_launches_counts_nothing)
{
    mb_counter *c;

    test_load_gpu();
    c = open(metrics, METRICS);
    regions(c, 2);
    setenv("FAKE_IDLE", "1", 1);
    regions(c, 2);
    unsetenv("FAKE_IDLE");
    expect(c, "a.first", MB_COUNT_OK, 20); /* of two of four regions, one of them idle */
    mb_counter_close(c);
}

static void refused(const char *code, enum mb_count_status status)
{
    mb_counter *c;
    char *why;

    setenv("FAKE_REFUSES", code, 1);
    c = open(metrics, METRICS);
    regions(c, 2);
    expect(c, "a.first", status, NAN);
    expect(c, "b.first", status, NAN);
    why = mb_format("enabling counters: CUPTI's error %s, fake", code);
    cr_expect_str_eq(count(c, "b.first")->why, why);
    free(why);
    mb_counter_close(c);
}

Test(gpu, a_device_that_lends_no_counters_says_why)
{
    test_load_gpu();
    refused("35", MB_COUNT_NOT_PERMITTED); /* CUPTI_ERROR_INSUFFICIENT_PRIVILEGES */
    refused("43", MB_COUNT_NOT_SUPPORTED); /* CUPTI_ERROR_MIG_DEVICE_NOT_SUPPORTED */
    refused("999", MB_COUNT_ERROR);
}

Test(gpu, what_a_device_does_not_say_of_its_counters_is_tried)
{
    mb_counter *c;

    test_load_gpu();
    setenv("FAKE_NO_AVAILABILITY", "1", 1);
    c = open(metrics, METRICS);
    regions(c, 1);
    expect(c, "a.first", MB_COUNT_OK, 10);
    cr_expect_str_eq(count(c, "a.first")->why, "");
    mb_counter_close(c);
}

Test(gpu, a_thread_that_uses_no_device_has_nothing_counted)
{
    mb_event energy = { "nvml", "energy", "J" };
    mb_counter *c;

    test_load_gpu();
    setenv("FAKE_NO_CONTEXT", "1", 1);
    c = open(metrics, METRICS);
    regions(c, 1);
    expect(c, "a.first", MB_COUNT_NOT_SUPPORTED, NAN);
    cr_expect_str_eq(count(c, "a.first")->why, "no GPU is in use");
    mb_counter_close(c);
    c = open(&energy, 1);
    regions(c, 1);
    expect(c, "energy", MB_COUNT_NOT_SUPPORTED, NAN);
    mb_counter_close(c);
}

Test(gpu, only_counters_of_the_gpu_disturb)
{
    for (size_t i = 0; i < METRICS; i++)
        cr_expect_eq(mb_event_disturbs(&metrics[i]), !strcmp(metrics[i].source, "cupti"));
}

/* The stand-in counts 100 in every region of this metric: a step has as many as operations. */
Test(gpu, operations_are_counted_one_by_one)
{
    mb_ctx *c = tiny_ctx("null");
    const mb_arch *dense = mb_arch_find("dense");
    mb_model_config config = tiny_config(dense);
    mb_optimizer_config how = tiny_optimizer(1e-3f);
    mb_batch batch = tiny_batch(&config, 1, 0.5);
    mb_model *m = tiny_model(c, dense, &config, 1);
    mb_losses losses;
    const mb_op_count *g;
    mb_op_counts *o;
    double hardware = 0, executed = 0, products = 0;
    size_t n, i;

    test_load_gpu();
    mb_op_counts_open(c, MB_BF16, &o);
    cr_assert(o);
    cr_assert_eq(mb_model_step(m, &batch, 1, &how, 0, &losses), MB_OK);
    cr_assert(g = mb_op_counts_read(o, &n));
    for (i = 0; i < n; i++) {
        if (!strcmp(g[i].name, "gemm attention fwd"))
            cr_expect_eq(g[i].hardware, 100.0 * 2 * config.layers, "%g", g[i].hardware);
        if (!strcmp(g[i].name, "classify head fwd"))
            cr_expect_eq(g[i].hardware, 100, "both passes are one region: %g", g[i].hardware);
        if (!strcmp(g[i].name, "classify head bwd"))
            cr_expect(g[i].hardware == 0 && g[i].executed == 0);
        products += g[i].executed > 0;
        hardware += g[i].hardware;
        executed += g[i].executed;
    }
    cr_expect_eq(executed, (double)mb_ledger_total(mb_ctx_ledger(c)).executed);
    cr_expect(products == 7, "gemm of two parts, attend, forward and backward; the head: %g",
              products);
    cr_expect(hardware > 0);
    mb_op_counts_close(o);
    mb_model_close(m);
    mb_ctx_close(c);
    tiny_free(&batch);
}

Test(gpu, operations_are_not_counted_where_nothing_counts)
{
    mb_ctx *c = tiny_ctx("null");
    mb_op_counts *o;

    setenv("FAKE_REFUSES", "35", 1);
    test_load_gpu();
    mb_op_counts_open(c, MB_FP32, &o);
    cr_expect_null(o);
    mb_ctx_close(c);
}

/* ---- NVML ----------------------------------------------------------------------------------- */

static const mb_event managed[] = { { "nvml", "energy", "J" },
                                    { "nvml", "sm_clock", "Hz" },
                                    { "nvml", "memory_clock", "Hz" },
                                    { "nvml", "power_capped", "steps" },
                                    { "nvml", "throttled", "steps" } };

Test(gpu, energy_adds_up_clocks_are_the_slowest_and_reasons_are_told_apart)
{
    mb_counter *c;

    test_load_gpu();
    setenv("FAKE_REASONS", "0x4", 1); /* the cap on power */
    c = open(managed, 5);
    regions(c, 1);
    setenv("FAKE_REASONS", "0x60", 1); /* heat */
    regions(c, 2);
    expect(c, "energy", MB_COUNT_OK, 3 * 2.5);
    expect(c, "sm_clock", MB_COUNT_OK, 1950e6); /* 1980 at opening, then 10 less at each end */
    expect(c, "memory_clock", MB_COUNT_OK, 3201e6);
    expect(c, "power_capped", MB_COUNT_OK, 1);
    expect(c, "throttled", MB_COUNT_OK, 2);
    mb_counter_close(c);
}

Test(gpu, a_device_is_throttled_by_heat_and_not_by_its_cap_on_power)
{
    static const struct {
        const char *reasons;
        bool throttled;
    } cases[] = { { "0", false },   { "0x1", false }, { "0x4", false }, { "0x8", true },
                  { "0x20", true }, { "0x40", true }, { "0x80", true }, { "0x44", true } };
    mb_nvml *n;

    test_load_gpu();
    cr_assert_eq(mb_nvml_open(&n), MB_OK, "%s", mb_message());
    cr_assert_not(mb_nvml_throttled(n), "what NVML does not know is no fault");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        setenv("FAKE_REASONS", cases[i].reasons, 1);
        cr_expect_eq(mb_nvml_throttled(n), cases[i].throttled, "%s", cases[i].reasons);
    }
    mb_nvml_close(n);
}

Test(gpu, runs_name_it_and_find_its_datasheet)
{
    char device[256];

    test_load_gpu();
    mb_facts_device("cuda", device, sizeof device);
    cr_expect(strstr(device, "NVIDIA H200, a fake, driver 1.2, ") == device, "%s", device);
    cr_expect_eq(mb_ceiling_datasheet(device, MB_BF16), 989.5e12);
    cr_expect_eq(mb_ceiling_datasheet(device, MB_FP32), 67e12);
    mb_facts_device("cpu", device, sizeof device);
    cr_expect_not(strstr(device, "H200"), "%s", device);
    cr_expect(isnan(mb_ceiling_datasheet(device, MB_BF16)));
}

/* ---- what there is -------------------------------------------------------------------------- */

static void note(void *user, const char *what, bool works, const char *detail)
{
    FILE *f = user;

    fprintf(f, "%s: %s %s\n", what, works ? "ok" : "no", detail);
}

Test(gpu, what_there_is_is_told_with_its_version)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    test_load_gpu();
    mb_gpu_check(note, f);
    fclose(f);
    cr_expect(strstr(text, "NVML: ok NVIDIA H200, a fake, driver 1.2"), "%s", text);
    cr_expect(strstr(text, "GPU driver: ok CUDA 13.0, devices: 1"), "%s", text);
    cr_expect(strstr(text, "CUPTI: ok 13.0, "), "%s", text);
    cr_expect(strstr(text, "NCCL: "), "%s", text);
    cr_expect(strstr(text, "nothing needs it yet: a run uses one GPU"), "%s", text);
    free(text);
}
