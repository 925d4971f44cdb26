/* The event set of the GPU against the real CUPTI, which answers for an H100's chip without one:
   every metric exists, and sets are as few as hardware allows. */
#include "harness/event_set.h"
#include "profiles/cupti.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static mb_cupti open_cupti(void)
{
    mb_cupti c;

#ifdef __SANITIZE_ADDRESS__
    cr_skip_test("CUPTI opens a library of its own in a way that the address sanitizer refuses");
#endif
    if (mb_cupti_open(&c))
        cr_skip_test("%s", mb_message());
    return c;
}

Test(metrics, of_the_gpu_set_exist_on_gh100_and_fit_into_few_steps)
{
    mb_cupti c = open_cupti();
    const char *names[64];
    mb_event_set *set;
    mb_metric_sets sets;
    size_t n = 0, i;

    cr_assert_eq(mb_event_set_open("gpu", &set), MB_OK, "%s", mb_message());
    for (i = 0; i < set->n; i++)
        if (!strcmp(set->events[i].source, "cupti"))
            names[n++] = set->events[i].name;
    cr_assert_gt(n, 0);
    cr_assert_eq(mb_metric_sets_make(&c, "GH100", NULL, names, n, &sets), MB_OK, "%s",
                 mb_message());
    for (i = 0; i < n; i++)
        cr_expect(sets.counts[i], "GH100 has no %s", names[i]);
    cr_expect_leq(sets.n, 4, "%zu sets", sets.n);
    mb_metric_sets_free(&sets);
    mb_event_set_close(set);
    mb_cupti_close(&c);
}

/* What is compared with the ledger is counted in one and the same step. */
Test(metrics, tensor_operations_and_memory_are_counted_at_once)
{
    static const char *const names[] = { "sm__ops_path_tensor_src_bf16_dst_fp32.sum",
                                         "dram__bytes_read.sum", "dram__bytes_write.sum" };
    mb_cupti c = open_cupti();
    mb_metric_sets sets;

    cr_assert_eq(mb_metric_sets_make(&c, "GH100", NULL, names, 3, &sets), MB_OK, "%s",
                 mb_message());
    cr_expect_eq(sets.n, 1);
    cr_expect_eq(sets.set[0].n, 3);
    mb_metric_sets_free(&sets);
    mb_cupti_close(&c);
}

Test(metrics, a_name_or_a_chip_that_is_none_is_noticed)
{
    static const char *const names[] = { "dram__bytes_read.sum", "no__such_thing.sum" };
    mb_cupti c = open_cupti();
    mb_metric_sets sets;

    cr_assert_eq(mb_metric_sets_make(&c, "GH100", NULL, names, 2, &sets), MB_OK);
    cr_expect(sets.counts[0]);
    cr_expect_not(sets.counts[1]);
    mb_metric_sets_free(&sets);
    cr_assert_eq(mb_metric_sets_make(&c, "GX0", NULL, names, 2, &sets), MB_EINVAL);
    cr_expect(strstr(mb_message(), "the metrics of chip 'GX0': CUPTI's error"));
    mb_metric_sets_free(&sets);
    mb_cupti_close(&c);
}
