/* What is made from samples when a run ends: the same as the views say of a run under way, and the
   same however often the run stopped. */
#include "tests/store_fixture.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

/* As SQL would say it, from all rows at once. */
static const char smooth_differs[] =
    "SELECT count(*) FROM (SELECT v.series, avg(v.step) AS step, sum(v.value * v.n) / sum(v.n) AS "
    "value FROM value AS v JOIN run AS r ON r.id = v.run JOIN series AS q ON q.id = v.series "
    "WHERE q.split = 'train' AND v.value IS NOT NULL AND v.n > 0 "
    "GROUP BY v.series, (max(v.step, 1) - 1) * 100 / r.steps) AS e "
    "FULL JOIN smooth AS s ON s.series = e.series AND s.step = e.step "
    "WHERE abs(s.value - e.value) > 1e-12 * e.value OR (s.value IS NULL) <> (e.value IS NULL)";

static int64_t counts[] = { 1, 2, 7, 37, 99, 100, 101, 130, 1000 };

ParameterizedTestParameters(derive, windows_are_those_of_their_definition)
{
    return cr_make_param_array(int64_t, counts, sizeof counts / sizeof *counts);
}

ParameterizedTest(int64_t *steps, derive, windows_are_those_of_their_definition)
{
    mb_store *s = fixture_store();

    fixture_add(s, &(fixture_run){ .steps = *steps });
    cr_assert_str_neq(fixture_ask(s, "SELECT count(*) FROM smooth"), "0");
    cr_assert_str_eq(fixture_ask(s, smooth_differs), "0", "%lld steps", (long long)*steps);
    mb_store_close(s);
}

/* A run of STEPS steps of 10, 30, 20, 40, ... ns, of which every third was disturbed. */
static int64_t add_uneven(mb_store *s, int64_t steps)
{
    int64_t run = fixture_add(s, &(fixture_run){ .steps = 1, .planned = 9, .status = "failed" });

    cr_assert_eq(mb_store_run_event(s, run, "running", NULL, NULL), MB_OK);
    for (int64_t i = 2; i <= steps; i++) {
        mb_step_row row = { .step = i, .wall_ns = i * 7919 % 101, .flagged = i % 3 == 0 };

        cr_assert_eq(mb_store_samples(s, run, &row, 1, NULL, 0), MB_OK, "%s", mb_message());
    }
    return run;
}

static int64_t lengths[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 };

ParameterizedTestParameters(derive, the_pace_kept_is_the_pace_shown)
{
    return cr_make_param_array(int64_t, lengths, sizeof lengths / sizeof *lengths);
}

ParameterizedTest(int64_t *steps, derive, the_pace_kept_is_the_pace_shown)
{
    mb_store *s = fixture_store();
    int64_t run = add_uneven(s, *steps);
    char during[64];

    snprintf(during, sizeof during, "%s", fixture_ask(s, "SELECT step_s FROM v_run"));
    cr_assert_str_eq(fixture_ask(s, "SELECT count(*) FROM pace"), "0");
    cr_assert_eq(mb_store_run_event(s, run, "interrupted", NULL, NULL), MB_OK);
    cr_assert_str_eq(fixture_ask(s, "SELECT count(*) FROM pace"), "1");
    cr_assert_str_eq(fixture_ask(s, "SELECT step_s FROM v_run"), during);
    mb_store_close(s);
}

/* Interrupted after its first half, and ended twice. */
Test(derive, a_resumed_run_is_as_one_that_was_not)
{
    mb_store *s = fixture_store();
    int64_t run = fixture_add(s, &(fixture_run){ .steps = 60, .planned = 120 });
    mb_step_row step[60];
    mb_value_row value[60];

    for (int64_t i = 0; i < 60; i++) {
        step[i] = (mb_step_row){ .step = 61 + i, .wall_ns = 1 + i };
        value[i] = (mb_value_row){ 61 + i, "train", "text", "loss", 1.0 / (double)(i + 1), 1 + i };
    }
    cr_assert_eq(mb_store_run_event(s, run, "interrupted", NULL, NULL), MB_OK);
    cr_assert_eq(mb_store_run_event(s, run, "running", NULL, NULL), MB_OK);
    cr_assert_eq(mb_store_samples(s, run, step, 60, value, 60), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_store_run_event(s, run, "interrupted", NULL, NULL), MB_OK);
    cr_assert_eq(mb_store_run_event(s, run, "ok", NULL, NULL), MB_OK);
    cr_assert_str_eq(fixture_ask(s, smooth_differs), "0");
    /* 59 steps of 1000000 ns, the warm-up apart, and 60 shorter ones */
    cr_assert_str_eq(fixture_ask(s, "SELECT step_s FROM pace"), "6e-08");
    mb_store_close(s);
}
