/* cmp, from runs in a database to slopes in a table and in v_to_match. */
#include "harness/compare.h"
#include "harness/verbs.h"
#include "tests/store_fixture.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static mb_err cmp(const void *o, FILE *out)
{
    return mb_verb_cmp(o, out);
}

/* What cmp prints about the fixture's database; the code is in *err. */
static char *cmp_text(const char *workload, enum mb_table_format format, mb_err *err)
{
    mb_cmp_options o = { fixture_path("t.db"), workload, NULL, format };

    return fixture_printed(cmp, &o, err);
}

/* The row of v_to_match for arch "mot" as "slope reached n_seeds". */
static const char *stored(mb_store *s, const char *modality, const char *split, const char *by)
{
    char sql[300];

    snprintf(sql, sizeof sql,
             "SELECT coalesce(round(slope, 2), 'none') || ' ' || reached || ' ' || n_seeds "
             "FROM v_to_match WHERE arch = 'mot' AND modality = '%s' AND split = '%s' AND \"by\" = "
             "'%s'",
             modality, split, by);
    return fixture_ask(s, sql);
}

/* mot learns twice as fast per step, with steps of the same FLOPs that take 3/2 the time. */
Test(compare, known_slopes_are_found_and_stored)
{
    mb_store *s = fixture_store();
    mb_err err;
    char *text;

    fixture_add(s, &(fixture_run){ .steps = 1000 });
    fixture_add(s, &(fixture_run){ .arch = "mot", .steps = 1000, .speed = 2, .step_ns = 1500000 });
    text = cmp_text(NULL, MB_TABLE_HUMAN, &err);
    cr_assert_eq(err, MB_OK, "%s", mb_message());
    cr_assert_str_eq(stored(s, "all", "val", "flops"), "0.5 1 1");
    cr_assert_str_eq(stored(s, "image", "val", "time"), "0.75 1 1");
    cr_assert_str_eq(stored(s, "text", "train", "flops"), "0.5 1 1");
    cr_assert_str_eq(stored(s, "text", "train", "time"), "0.75 1 1");
    cr_assert_str_eq(fixture_ask(s, "SELECT count(*) FROM v_to_match WHERE ci_lo IS NULL"), "12",
                     "one seed has no interval");
    cr_assert(strstr(text, "One seed decides nothing"));
    cr_assert(strstr(text, "mot fell to the validation losses of dense with 0.50 of its FLOPs and "
                           "0.75 of its training time"),
              "%s", text);
    free(text);
    mb_store_close(s);
}

Test(compare, more_flops_per_step_cost_more)
{
    mb_store *s = fixture_store();
    mb_err err;

    fixture_add(s, &(fixture_run){ .steps = 1000 });
    fixture_add(s, &(fixture_run){ .arch = "mot", .steps = 1000, .speed = 2, .flops = 3000 });
    free(cmp_text(NULL, MB_TABLE_HUMAN, &err));
    cr_assert_str_eq(stored(s, "all", "val", "flops"), "1.5 1 1");
    cr_assert_str_eq(stored(s, "all", "val", "time"), "0.5 1 1");
    mb_store_close(s);
}

Test(compare, what_never_gets_there_is_not_reached)
{
    mb_store *s = fixture_store();
    mb_err err;
    char *text;

    fixture_add(s, &(fixture_run){ 0 });
    fixture_add(s, &(fixture_run){ .arch = "mot", .floor = 2.3 });
    text = cmp_text(NULL, MB_TABLE_HUMAN, &err);
    cr_assert_eq(err, MB_OK);
    cr_assert_str_eq(stored(s, "all", "val", "flops"), "none 0 1");
    cr_assert(strstr(text, "not reached"));
    cr_assert(strstr(text, "did not fall as low as the last one of dense in 1 of 1 seeds"), "%s",
              text);
    free(text);
    mb_store_close(s);
}

Test(compare, identical_runs_have_slope_one)
{
    mb_store *s = fixture_store();
    mb_err err;

    fixture_add(s, &(fixture_run){ 0 });
    fixture_add(s, &(fixture_run){ .arch = "mot" });
    free(cmp_text(NULL, MB_TABLE_HUMAN, &err));
    for (const char **m = (const char *[]){ "all", "text", "image", NULL }; *m; m++)
        for (const char **split = (const char *[]){ "val", "train", NULL }; *split; split++)
            cr_assert_str_eq(stored(s, *m, *split, "time"), "1.0 1 1");
    mb_store_close(s);
}

/* Three seeds, one of which does not reach: no number is made of the other two. */
Test(compare, seeds_are_paired_and_all_must_reach)
{
    mb_store *s = fixture_store();
    mb_err err;
    char *text;

    for (int64_t seed = 1; seed <= 3; seed++) {
        fixture_add(s, &(fixture_run){ .seed = seed, .steps = 1000 });
        fixture_add(
            s, &(fixture_run){
                   .arch = "mot", .seed = seed, .steps = 1000, .speed = 1.5 + 0.1 * (double)seed });
        fixture_add(
            s, &(fixture_run){
                   .arch = "switch", .seed = seed, .floor = seed == 2 ? 2.5 : 1.9, .steps = 1000 });
    }
    fixture_add(s, &(fixture_run){ .arch = "mot", .seed = 4, .speed = 9, .steps = 1000 });
    text = cmp_text(NULL, MB_TABLE_HUMAN, &err);
    cr_assert_eq(err, MB_OK);
    cr_assert_str_eq(stored(s, "all", "val", "flops"), "0.59 1 3");
    cr_assert_str_eq(fixture_ask(s, "SELECT ci_lo < 0.57 AND ci_lo > 0.55 AND ci_hi > 0.61 AND "
                                    "ci_hi < 0.63 FROM v_to_match WHERE arch = 'mot' AND split = "
                                    "'val' AND modality = 'text'"),
                     "1");
    cr_assert(strstr(text, "reached by 2 of 3"));
    cr_assert(strstr(text, "95 % bootstrap interval over paired seeds"));
    cr_assert_not(strstr(text, "One seed"));
    cr_assert_str_eq(fixture_ask(s, "SELECT count(*) || ' ' || count(slope) || ' ' || "
                                    "sum(reached) FROM v_to_match WHERE arch = 'switch'"),
                     "12 0 0");
    free(text);
    mb_store_close(s);
}

/* A run whose last loss is no number has none to show, but what it reached before it reached. */
Test(compare, a_diverged_run_has_no_last_loss)
{
    mb_store *s = fixture_store();
    mb_value_row end = { 101, "val", "all", "loss", NAN, 1 };
    mb_step_row step = { .step = 101, .wall_ns = 1000000, .tokens = 64, .flops_model = 1000 };
    int64_t run;
    mb_err err;
    char *text;

    for (int i = 0; i < 2; i++) {
        run = fixture_add(
            s,
            &(fixture_run){ .arch = i ? "mot" : "dense", .planned = 101, .status = "interrupted" });
        cr_assert_eq(mb_store_samples(s, run, &step, 1, &end, i), MB_OK, "%s", mb_message());
        cr_assert_eq(mb_store_run_event(s, run, "ok", NULL, NULL), MB_OK);
    }
    text = cmp_text(NULL, MB_TABLE_HUMAN, &err);
    cr_assert_eq(err, MB_OK, "%s", mb_message());
    cr_assert(strstr(text, "diverged"), "%s", text);
    cr_assert_str_eq(stored(s, "all", "val", "flops"), "1.0 1 1");
    free(text);
    mb_store_close(s);
}

/* A baseline that never measured a modality cannot be missed in it. */
Test(compare, a_modality_without_a_baseline_is_not_compared)
{
    mb_store *s = fixture_store();
    mb_value_row speech = { 100, "val", "speech", "loss", 1, 1 };
    mb_err err;

    fixture_add(s, &(fixture_run){ 0 });
    cr_assert_eq(
        mb_store_samples(s, fixture_add(s, &(fixture_run){ .arch = "mot" }), NULL, 0, &speech, 1),
        MB_OK);
    free(cmp_text(NULL, MB_TABLE_HUMAN, &err));
    cr_assert_eq(err, MB_OK);
    cr_assert_str_eq(stored(s, "speech", "val", "flops"), "(no row)");
    cr_assert_str_eq(stored(s, "text", "val", "flops"), "1.0 1 1");
    mb_store_close(s);
}

Test(compare, runs_without_validation_are_said)
{
    mb_store *s = fixture_store();
    mb_err err;

    fixture_add(s, &(fixture_run){ .no_values = true });
    free(cmp_text(NULL, MB_TABLE_HUMAN, &err));
    cr_assert_eq(err, MB_EMISSING);
    cr_assert(strstr(mb_message(), "no finished run has a validation loss"));
    mb_store_close(s);
}

/* ---- which runs count ---------------------------------------------------------------------- */

Test(compare, only_the_newest_finished_run_counts)
{
    mb_store *s = fixture_store();
    mb_err err;

    fixture_add(s, &(fixture_run){ 0 });
    fixture_add(s, &(fixture_run){ .arch = "mot", .speed = 9 });
    fixture_add(s, &(fixture_run){ .arch = "mot", .steps = 1000 });
    fixture_add(s, &(fixture_run){ .arch = "mot" });
    fixture_add(s, &(fixture_run){ .arch = "mot", .speed = 9, .status = "failed" });
    fixture_add(s, &(fixture_run){ .arch = "mot", .speed = 9, .status = "interrupted" });
    free(cmp_text(NULL, MB_TABLE_HUMAN, &err));
    cr_assert_eq(err, MB_OK, "%s", mb_message());
    cr_assert_str_eq(stored(s, "all", "val", "flops"), "1.0 1 1");
    mb_store_close(s);
}

/* Runs that differ in THEM are not compared, and TEXT says why. */
static void incomparable(fixture_run them, const char *text)
{
    mb_store *s = fixture_store();
    mb_err err;
    char *out;

    them.arch = "mot";
    fixture_add(s, &(fixture_run){ 0 });
    fixture_add(s, &them);
    out = cmp_text(NULL, MB_TABLE_HUMAN, &err);
    cr_assert_eq(err, MB_EINCOMPARABLE);
    cr_assert(strstr(mb_message(), text), "%s", mb_message());
    cr_assert(strstr(out, text), "%s", out);
    cr_assert(strstr(out, "2.1"), "losses are shown all the same");
    cr_assert_str_eq(fixture_ask(s, "SELECT count(*) FROM match"), "0");
    free(out);
    mb_store_close(s);
}

Test(compare, other_data_are_not_comparable)
{
    incomparable((fixture_run){ .hash = "other" }, "the data differ");
}

Test(compare, other_settings_are_not_comparable)
{
    incomparable((fixture_run){ .width = "128" }, "model.width is 128 against 64");
}

Test(compare, other_lengths_are_not_comparable)
{
    incomparable((fixture_run){ .steps = 110 }, "110 steps against 100");
}

Test(compare, another_backend_is_another_comparison)
{
    incomparable((fixture_run){ .backend = "ref" }, "no finished run of the baseline, dense");
}

Test(compare, another_precision_is_another_comparison)
{
    incomparable((fixture_run){ .precision = "bf16" }, "no finished run of the baseline, dense");
}

Test(compare, times_of_different_machines_are_not_compared)
{
    mb_store *s = fixture_store();
    mb_err err;
    char *text;

    fixture_add(s, &(fixture_run){ 0 });
    fixture_add(s, &(fixture_run){ .arch = "mot", .machine = "other" });
    text = cmp_text(NULL, MB_TABLE_HUMAN, &err);
    cr_assert_eq(err, MB_OK);
    cr_assert(strstr(text, "times are not compared"));
    cr_assert_str_eq(stored(s, "all", "val", "flops"), "1.0 1 1");
    cr_assert_str_eq(stored(s, "all", "val", "time"), "(no row)");
    free(text);
    mb_store_close(s);
}

Test(compare, nothing_to_compare_is_said)
{
    mb_store *s = fixture_store();
    mb_err err;

    free(cmp_text(NULL, MB_TABLE_HUMAN, &err));
    cr_assert_eq(err, MB_EMISSING);
    cr_assert(strstr(mb_message(), "no finished run"));
    fixture_add(s, &(fixture_run){ 0 });
    free(cmp_text("other", MB_TABLE_HUMAN, &err));
    cr_assert_eq(err, MB_EMISSING);
    cr_assert(strstr(mb_message(), "no finished run of workload other"));
    free(cmp_text(NULL, MB_TABLE_HUMAN, &err));
    cr_assert_eq(err, MB_EINCOMPARABLE);
    cr_assert(strstr(mb_message(), "the only architecture that finished"));
    mb_store_close(s);
}

Test(compare, workloads_are_kept_apart)
{
    mb_store *s = fixture_store();
    mb_err err;
    char *text;

    for (int w = 0; w < 2; w++) {
        fixture_add(s, &(fixture_run){ .workload = w ? "b" : "a" });
        fixture_add(s, &(fixture_run){ .workload = w ? "b" : "a",
                                       .arch = "mot",
                                       .step_ns = w ? 2000000 : 1000000 });
    }
    text = cmp_text(NULL, MB_TABLE_HUMAN, &err);
    cr_assert_eq(err, MB_OK);
    cr_assert(strstr(text, "workload  on        arch"));
    cr_assert_str_eq(fixture_ask(s, "SELECT group_concat(workload || slope) FROM (SELECT * FROM "
                                    "v_to_match WHERE \"by\" = 'time' AND split = 'val' AND "
                                    "modality = 'all' ORDER BY workload)"),
                     "a1.0,b2.0");
    free(text);
    mb_store_close(s);
}

Test(compare, programs_get_every_number)
{
    mb_store *s = fixture_store();
    json_t *root, *row;
    mb_err err;
    char *text;

    fixture_add(s, &(fixture_run){ 0 });
    fixture_add(s, &(fixture_run){ .arch = "mot", .floor = 3 });
    text = cmp_text(NULL, MB_TABLE_JSON, &err);
    root = json_loads(text, 0, NULL);
    cr_assert_not_null(root, "%s", text);
    row = json_array_get(json_object_get(root, "rows"), 3);
    cr_assert_str_eq(json_string_value(json_object_get(row, "arch")), "mot");
    cr_assert(json_is_null(json_object_get(row, "flops_slope")));
    cr_assert_eq(json_integer_value(json_object_get(row, "reached")), 0);
    cr_assert_eq(json_integer_value(json_object_get(row, "n_seeds")), 1);
    cr_assert_float_eq(json_number_value(json_object_get(row, "train_s")), 0.1, 1e-12);
    json_decref(root);
    free(text);
    mb_store_close(s);
}
