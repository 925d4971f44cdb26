/* Counters: what is known to happen is counted, what cannot be counted is said and is never 0. */
#include "profiles/counter.h"

#include "models/kernels/op.h"
#include "profiles/ceilings.h"
#include "tests/tiny.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGES = 500 };

static void touch_pages(void)
{
    size_t size = (size_t)PAGES * (size_t)sysconf(_SC_PAGESIZE);
    volatile char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    cr_assert_neq((void *)p, MAP_FAILED);
    madvise((void *)p, size, MADV_NOHUGEPAGE); /* a fault for each page */
    for (size_t i = 0; i < size; i += size / PAGES)
        p[i] = 1;
    munmap((void *)p, size);
}

static int64_t own_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void work(void) /* 20 ms of this thread's time, however long that takes */
{
    int64_t until = own_ns() + 20000000;

    while (own_ns() < until)
        ;
}

static void touch_pages_in_two(void)
{
#pragma omp parallel num_threads(2)
    touch_pages();
}

static mb_counted count(mb_event event, int threads, void (*body)(void), int times)
{
    mb_counter *c;
    mb_counted got;
    size_t n;

    cr_assert_eq(mb_event_check(&event), MB_OK, "%s", mb_message());
    mb_counter_open(&event, 1, threads, &c);
    for (int i = 0; i < times; i++) {
        mb_counter_start(c);
        body();
        mb_counter_stop(c);
        touch_pages(); /* outside: must not be seen */
    }
    got = *mb_counter_read(c, &n);
    cr_assert_eq(n, 1);
    mb_counter_close(c);
    cr_assert_eq(isnan(got.value), got.status != MB_COUNT_OK, "a value exactly when ok");
    return got;
}

static void nothing(void)
{
}

/* ---- sources of the kernel ------------------------------------------------------------------ */

Test(counter, the_clock_counts_processor_time_of_the_region_alone)
{
    mb_counted got = count((mb_event){ "clock", "cpu", "ns" }, 1, work, 2);

    cr_assert_geq(got.value, 2 * 20e6);
    cr_assert_lt(got.value, 2 * 60e6);
}

Test(counter, rusage_counts_a_fault_for_every_page)
{
    mb_counted got = count((mb_event){ "rusage", "minor_faults", "faults" }, 1, touch_pages, 2);

    cr_assert_geq(got.value, 2 * PAGES);
    cr_assert_lt(got.value, 3 * PAGES, "those outside of the region are not counted");
}

Test(counter, the_most_memory_is_no_difference)
{
    cr_assert_gt(count((mb_event){ "rusage", "max_rss", "B" }, 1, nothing, 1).value, 1e6);
}

Test(counter, unknown_sources_and_events_are_refused)
{
    cr_assert_eq(mb_event_check(&(mb_event){ "perf", "x", "1" }), MB_EINVAL);
    cr_assert(strstr(mb_message(), "source 'perf' is not known"), "%s", mb_message());
    cr_assert_eq(mb_event_check(&(mb_event){ "rusage", "x", "1" }), MB_EINVAL);
    cr_assert(strstr(mb_message(), "source rusage has no event 'x'"), "%s", mb_message());
}

/* ---- PAPI ----------------------------------------------------------------------------------- */

static mb_counted papi(const char *name, int threads, void (*body)(void), int times)
{
    return count((mb_event){ "papi", name, "1" }, threads, body, times);
}

Test(counter, papi_counts_faults_and_time_where_it_is_there)
{
    mb_counted faults = papi("perf::PAGE-FAULTS", 1, touch_pages, 2),
               task = papi("perf::TASK-CLOCK", 1, work, 2);

    if (!mb_papi_works() || faults.status != MB_COUNT_OK)
        cr_skip_test("no PAPI with software events here");
    cr_assert_geq(faults.value, 2 * PAGES);
    cr_assert_lt(faults.value, 3 * PAGES);
    cr_assert_geq(task.value, 2 * 15e6); /* the kernel's clock is not the thread's */
}

Test(counter, papi_sums_over_threads)
{
    mb_counted one = papi("perf::PAGE-FAULTS", 1, touch_pages_in_two, 1),
               two = papi("perf::PAGE-FAULTS", 2, touch_pages_in_two, 1);

    if (!mb_papi_works() || two.status != MB_COUNT_OK)
        cr_skip_test("no PAPI with software events here");
    cr_assert_geq(one.value, PAGES);
    cr_assert_lt(one.value, 2 * PAGES, "one thread's set does not see the other");
    cr_assert_geq(two.value, 2 * PAGES);
}

/* A machine counts, or says why not: an event that stands still is not 0. */
Test(counter, hardware_events_have_a_value_above_0_or_none)
{
    static const char *const names[] = { "PAPI_TOT_INS", "PAPI_TOT_CYC", "perf::CONTEXT-SWITCHES",
                                         "perf::CPU-MIGRATIONS" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        mb_counted got = papi(names[i], 1, work, 1);

        cr_assert(got.status != MB_COUNT_OK || got.value > 0 || i >= 2, "%s", names[i]);
    }
    cr_assert_neq(papi("PAPI_NO_SUCH_EVENT", 1, nothing, 1).status, MB_COUNT_OK);
}

/* ---- our ledger as software-defined events --------------------------------------------------- */

static double sde(const mb_counted *counts, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(counts[i].event.name, name)) {
            cr_assert_eq(counts[i].status, MB_COUNT_OK, "%s", name);
            return counts[i].value;
        }
    cr_assert_fail("no %s", name);
    return NAN;
}

Test(counter, software_defined_events_are_the_ledger)
{
    static const mb_event events[] = {
        { "sde", "flops_model", "FLOP" },    { "sde", "flops_useful", "FLOP" },
        { "sde", "flops_executed", "FLOP" }, { "sde", "bytes", "B" },
        { "sde", "tokens_routed", "1" },     { "sde", "tokens_dropped", "1" }
    };
    mb_ctx *c = tiny_ctx("cpu");
    mb_tally tally = { .ledger = mb_ctx_ledger(c) };
    float x[6] = { 1, 2, 3, 4, 5, 6 };
    mb_counter *counter;
    const mb_counted *counts;
    mb_cost before, after;
    size_t n;

    if (!mb_papi_works())
        cr_skip_test("no PAPI here");
    mb_gemm(c, mb_wrap(c, "x", 2, 3, x), mb_wrap(c, "w", 2, 3, x), mb_route_all(c, 2));
    before = mb_ledger_total(tally.ledger);
    mb_sde_publish(&tally);
    mb_counter_open(events, 6, 1, &counter);
    mb_counter_start(counter);
    mb_gemm(c, mb_wrap(c, "x", 2, 3, x), mb_wrap(c, "w", 2, 3, x), mb_route_all(c, 2));
    tally.routed += 7;
    tally.dropped += 3;
    mb_counter_stop(counter);
    after = mb_ledger_total(tally.ledger);
    counts = mb_counter_read(counter, &n);
    cr_assert_eq(sde(counts, n, "flops_model"), 2 * 2 * 2 * 3);
    cr_assert_eq(sde(counts, n, "flops_model"), (double)(after.model - before.model));
    cr_assert_eq(sde(counts, n, "flops_useful"), (double)(after.useful - before.useful));
    cr_assert_eq(sde(counts, n, "flops_executed"), (double)(after.executed - before.executed));
    cr_assert_eq(sde(counts, n, "bytes"), (double)(after.bytes - before.bytes));
    cr_assert_eq(sde(counts, n, "tokens_routed"), 7);
    cr_assert_eq(sde(counts, n, "tokens_dropped"), 3);
    mb_counter_close(counter);
    mb_sde_publish(NULL);
    mb_ctx_close(c);
}

/* ---- ceilings ------------------------------------------------------------------------------- */

Test(ceilings, compute_right_and_are_above_0)
{
    double fma, triad, product;

    cr_assert_eq(mb_ceiling_fma(2, &fma), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_ceiling_triad(2, 5000008, &triad), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_ceiling_product("cpu", MB_FP32, 1, 64, &product), MB_OK, "%s", mb_message());
    cr_assert_gt(fma, 0);
    cr_assert_gt(triad, 0);
    cr_assert_gt(product, 0);
    cr_assert_eq(mb_ceiling_product("abacus", MB_FP32, 1, 64, &product), MB_EINVAL);
}
