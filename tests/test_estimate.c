#include "harness/estimate.h"

#include <criterion/criterion.h>
#include <math.h>

#include "tests/data_tools.h"

TestSuite(estimate, .init = data_folder_open, .fini = data_folder_close);

static mb_settings *load(const char *path, const char *archs)
{
    mb_settings *s = mb_settings_new();

    cr_assert_eq(mb_settings_load(s, path), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_settings_select(s, "-a", archs), MB_OK);
    cr_assert_eq(mb_settings_check(s), MB_OK, "%s", mb_message());
    return s;
}

/* Without norms, as published labels are derived; the labels are 37M, 94M, 443M, and 163M with a
   U-Net of 0.27B. */
Test(estimate, published_sizes_have_the_published_parameters)
{
    static const struct {
        const char *path;
        double dense, mot;
    } sizes[] = {
        { "workloads/chameleon-37m.ini", 36962304, 40370176 },
        { "workloads/chameleon-94m.ini", 94371840, 121634816 },
        { "workloads/chameleon-443m.ini", 442499072, 750780416 },
        { "workloads/speech-443m.ini", 442499072 + 2 * 512 * 1024, 1059061760 + 2 * 512 * 1024 },
        { "workloads/transfusion-163m.ini", 162398208 + 269.7e6, 275644416 + 269.7e6 },
    };

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        mb_settings *dense = load(sizes[i].path, "dense"), *mot = load(sizes[i].path, "mot");
        mb_estimate e;

        cr_assert_eq(mb_estimate_make(dense, &e), MB_OK, "%s", mb_message());
        cr_expect_float_eq(e.parameters / sizes[i].dense, 1, 5e-4, "%s: %.0f", sizes[i].path,
                           e.parameters);
        cr_assert_eq(mb_estimate_make(mot, &e), MB_OK, "%s", mb_message());
        cr_expect_float_eq(e.parameters / sizes[i].mot, 1, 5e-4, "%s: %.0f", sizes[i].path,
                           e.parameters);
        mb_settings_free(dense);
        mb_settings_free(mot);
    }
}

/* 48,758,784 forward FLOPs a token at 37M; a backward has twice as many, and attention half of its
   own again, since it makes the scores a second time. */
Test(estimate, flops_are_those_of_a_step_times_steps)
{
    mb_settings *s = load("workloads/chameleon-37m.ini", "dense");
    double tokens = (double)(s->steps * mb_settings_tokens(s));
    mb_estimate e;

    cr_assert_eq(mb_estimate_make(s, &e), MB_OK, "%s", mb_message());
    cr_expect_float_eq(e.flops / tokens / (3 * 48758784.0), 1, 0.12, "%.4g a token",
                       e.flops / tokens);
    mb_settings_free(s);
}

Test(estimate, nothing_is_made_up_about_data_that_are_not_prepared)
{
    mb_settings *s = load("workloads/smoke.ini", "dense,mot");
    mb_estimate before, after;

    cr_assert_eq(mb_estimate_make(s, &before), MB_OK, "%s", mb_message());
    mb_data_close(data_open_procedural());
    cr_assert_eq(mb_estimate_make(s, &after), MB_OK, "%s", mb_message());
    cr_expect(isnan(before.parameters) && isnan(before.flops));
    cr_expect(isnan(mb_estimate_seconds(s, &before, 1e9)));
    cr_expect_gt(after.parameters, 1e4);
    cr_expect_gt(mb_estimate_seconds(s, &after, 1e9), 0);
    mb_settings_free(s);
}
