/* The store: what goes in comes out, once, and nothing half-written stays. */
#include "results/store.h"

#include "results/schema.h"
#include "tests/store_fixture.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- facts, runs, events ------------------------------------------------------------------- */

Test(store, equal_facts_are_kept_once)
{
    mb_store *s = fixture_store();
    mb_pair a[] = { { "cpu", "x" }, { "cores", "2" } }, b[] = { { "cores", "2" }, { "cpu", "x" } },
            c[] = { { "cores", "3" }, { "cpu", "x" } };
    int64_t ia, ib, ic, build;

    cr_assert_eq(mb_store_facts(s, "machine", a, 2, &ia), MB_OK);
    cr_assert_eq(mb_store_facts(s, "machine", b, 2, &ib), MB_OK);
    cr_assert_eq(mb_store_facts(s, "machine", c, 2, &ic), MB_OK);
    cr_assert_eq(mb_store_facts(s, "build", a, 2, &build), MB_OK);
    cr_assert_eq(ia, ib, "order of facts decides nothing");
    cr_assert_neq(ia, ic);
    cr_assert_neq(ia, build, "kinds are apart");
    cr_assert_str_eq(fixture_ask(s, "SELECT count(*) FROM v_fact"), "6");
    mb_store_close(s);
}

/* "ab" = "c" and "a" = "bc" have the same letters. */
Test(store, facts_are_told_apart_at_their_borders)
{
    mb_store *s = fixture_store();
    int64_t a, b;

    cr_assert_eq(mb_store_facts(s, "build", (mb_pair[]){ { "ab", "c" } }, 1, &a), MB_OK);
    cr_assert_eq(mb_store_facts(s, "build", (mb_pair[]){ { "a", "bc" } }, 1, &b), MB_OK);
    cr_assert_neq(a, b);
    mb_store_close(s);
}

Test(store, facts_given_twice_or_of_unknown_kind_are_refused)
{
    mb_store *s = fixture_store();
    mb_pair twice[] = { { "k", "1" }, { "k", "2" } };
    int64_t id;

    cr_assert_eq(mb_store_facts(s, "build", twice, 2, &id), MB_EINVAL);
    cr_assert(strstr(mb_message(), "\"k\" is given twice"));
    cr_assert_eq(mb_store_facts(s, "weather", twice, 1, &id), MB_EINVAL);
    cr_assert_str_eq(fixture_ask(s, "SELECT count(*) FROM fact_set"), "0");
    mb_store_close(s);
}

Test(store, the_last_event_is_the_status)
{
    mb_store *s = fixture_store();
    int64_t run = fixture_add(s, &(fixture_run){ .status = "interrupted" });
    mb_found_run found;

    cr_assert_str_eq(fixture_ask(s, "SELECT status FROM v_run"), "interrupted");
    cr_assert_eq(mb_store_run_event(s, run, "running", NULL, "a.ckpt"), MB_OK);
    cr_assert_str_eq(fixture_ask(s, "SELECT status FROM v_run"), "running");
    cr_assert_eq(mb_store_run_event(s, run, "failed", "no disk", NULL), MB_OK);
    cr_assert_str_eq(fixture_ask(s, "SELECT status || detail || checkpoint FROM v_run"),
                     "failedno diska.ckpt");
    cr_assert_eq(mb_store_find_job(s, "w/dense/1", &found), MB_OK);
    cr_assert_eq(found.run, run);
    cr_assert_eq(found.steps_done, 100);
    cr_assert_eq(found.pid, getpid());
    cr_assert_str_eq(found.status, "failed");
    cr_assert_eq(mb_store_find_job(s, "no such job", &found), MB_OK);
    cr_assert_eq(found.run, 0);
    cr_assert_eq(mb_store_run_event(s, run, "sleeping", NULL, NULL), MB_EINVAL);
    cr_assert_eq(mb_store_run_event(s, 99, "ok", NULL, NULL), MB_EINVAL, "no such run");
    mb_store_close(s);
}

/* ---- samples ------------------------------------------------------------------------------- */

static const mb_step_row three[] = {
    { .step = 1,
      .wall_ns = 90,
      .cpu_ns = 1,
      .tokens = 8,
      .flops_model = 10,
      .flops_useful = 9,
      .flops_executed = 11,
      .flagged = 2 },
    { .step = 2,
      .wall_ns = 30,
      .cpu_ns = 1,
      .tokens = 8,
      .flops_model = 10,
      .flops_useful = 9,
      .flops_executed = 11 },
    { .step = 3,
      .wall_ns = 50,
      .cpu_ns = 1,
      .tokens = 8,
      .flops_model = 10,
      .flops_useful = 9,
      .flops_executed = 11 },
};

static int64_t empty_run(mb_store *s)
{
    int64_t f[4];
    mb_run_row row = {
        "u", "w", "dense", "cpu", "fp32", "d", "j", 1, 0, 0, 0, 0, 1, 1, 3, 1, NULL
    };
    const char *kind[] = { "machine", "build", "dataset", "settings" };
    int64_t run;

    for (int i = 0; i < 4; i++)
        cr_assert_eq(mb_store_facts(s, kind[i], NULL, 0, &f[i]), MB_OK);
    row.machine = f[0], row.build = f[1], row.dataset = f[2], row.settings = f[3];
    cr_assert_eq(mb_store_run_begin(s, &row, &run), MB_OK, "%s", mb_message());
    return run;
}

Test(store, samples_come_out_as_they_went_in)
{
    mb_store *s = fixture_store();
    int64_t run = empty_run(s);
    mb_value_row v[] = { { 2, "val", "text", "loss", 0.1, 7 },
                         { 3, "val", "text", "loss", NAN, 7 } };

    cr_assert_eq(mb_store_samples(s, run, three, 3, v, 2), MB_OK, "%s", mb_message());
    cr_assert_str_eq(fixture_ask(s, "SELECT value FROM v_curve WHERE step = 2"), "0.1");
    cr_assert_str_eq(fixture_ask(s, "SELECT typeof(value) FROM v_curve WHERE step = 3"), "null");
    cr_assert_str_eq(
        fixture_ask(s, "SELECT steps || ' ' || tokens || ' ' || flops_model || ' ' || "
                       "flops_useful || ' ' || flops_executed || ' ' || train_s FROM v_run"),
        "3 24 30.0 27.0 33.0 1.7e-07");
    mb_store_close(s);
}

/* The warm-up step has 90 ns; the median of 30 and 50 is 40, during the run and after it. */
Test(store, time_is_steps_times_the_median_undisturbed_step)
{
    mb_store *s = fixture_store();
    int64_t run = empty_run(s);
    mb_value_row v[] = { { 0, "val", "all", "loss", 9, 7 }, { 2, "val", "all", "loss", 1, 7 } };
    const char *sql = "SELECT round(train_s * 1e9) || ' ' || round(train_wall_s * 1e9) || ' ' "
                      "|| tokens || ' ' || flops_model FROM v_curve WHERE step = 2";

    cr_assert_eq(mb_store_samples(s, run, three, 3, v, 2), MB_OK);
    cr_assert_str_eq(fixture_ask(s, sql), "80.0 120.0 16 20.0");
    cr_assert_eq(mb_store_run_event(s, run, "ok", NULL, NULL), MB_OK);
    cr_assert_str_eq(fixture_ask(s, sql), "80.0 120.0 16 20.0");
    cr_assert_str_eq(fixture_ask(s, "SELECT train_s || ' ' || train_wall_s || ' ' || tokens "
                                    "FROM v_curve WHERE step = 0"),
                     "0.0 0.0 0");
    cr_assert_str_eq(fixture_ask(s, "SELECT round(tokens_per_s) FROM v_run"), "200000000");
    mb_store_close(s);
}

/* After --resume steps come again; what was there first stays. */
Test(store, repeated_samples_are_ignored)
{
    mb_store *s = fixture_store();
    int64_t run = empty_run(s);
    mb_step_row again[] = { three[1], three[2] };
    mb_value_row v = { 2, "val", "text", "loss", 1, 7 }, w = { 2, "val", "text", "loss", 5, 7 };

    again[0].wall_ns = 7;
    cr_assert_eq(mb_store_samples(s, run, three, 2, &v, 1), MB_OK);
    cr_assert_eq(mb_store_samples(s, run, again, 2, &w, 1), MB_OK, "%s", mb_message());
    cr_assert_str_eq(fixture_ask(s, "SELECT round(train_s * 1e9) FROM v_run"), "170");
    cr_assert_str_eq(fixture_ask(s, "SELECT value FROM v_curve"), "1");
    mb_store_close(s);
}

Test(store, bad_samples_are_refused_whole)
{
    mb_store *s = fixture_store();
    int64_t run = empty_run(s);
    mb_step_row gap[] = { three[0], three[2] }, zero = { .step = 0 },
                huge = { .step = 1, .flops_model = UINT64_MAX };
    mb_value_row bad = { 1, "val", "text", "loss", 1, -7 };

    cr_assert_eq(mb_store_samples(s, run, gap, 2, NULL, 0), MB_EINVAL);
    cr_assert(strstr(mb_message(), "step 3 does not follow step 1"), "%s", mb_message());
    cr_assert_eq(mb_store_samples(s, run, &zero, 1, NULL, 0), MB_EINVAL);
    cr_assert_eq(mb_store_samples(s, run, &huge, 1, NULL, 0), MB_EINVAL);
    cr_assert_eq(mb_store_samples(s, run, three, 1, &bad, 1), MB_EINVAL);
    cr_assert_eq(mb_store_samples(s, run + 1, three, 1, NULL, 0), MB_EINVAL, "no such run");
    cr_assert_str_eq(fixture_ask(s, "SELECT count(*) FROM step"), "0");
    mb_store_close(s);
}

/* Ten times 2^60 does not fit into 64 bits. */
Test(store, totals_of_flops_exceed_64_bits)
{
    mb_store *s = fixture_store();
    int64_t run = fixture_add(s, &(fixture_run){ .flops = INT64_C(1) << 60, .steps = 10 });
    mb_op_row op = { "gemm", "ffn", "fwd", 0, 0, 1, -1, UINT64_C(1) << 62, 0, 0, 0, 0 };

    cr_assert_str_eq(fixture_ask(s, "SELECT flops_model = 10 * 1152921504606846976.0 FROM v_run"),
                     "1");
    for (int i = 0; i < 3; i++)
        cr_assert_eq(mb_store_ops(s, run, &op, 1), MB_OK);
    cr_assert_str_eq(fixture_ask(s, "SELECT flops_model = 3 * 4611686018427387904.0 FROM v_op"),
                     "1");
    mb_store_close(s);
}

/* A run that was taken up again trained in several processes. */
Test(store, memory_is_the_most_that_any_process_held)
{
    mb_store *s = fixture_store();
    int64_t run = fixture_add(s, &(fixture_run){ 0 });

    cr_assert_eq(strcmp(fixture_ask(s, "SELECT memory_bytes IS NULL FROM v_run"), "1"), 0);
    cr_assert_eq(mb_store_memory(s, run, 70, 80), MB_OK);
    cr_assert_eq(mb_store_memory(s, run, 75, 80), MB_OK);
    cr_assert_eq(mb_store_memory(s, run, 60, 80), MB_OK);
    cr_assert_str_eq(
        fixture_ask(s, "SELECT memory_bytes || ' ' || memory_predicted_bytes FROM v_run"), "75 80");
    mb_store_close(s);
}

Test(store, operations_and_overhead_add_up)
{
    mb_store *s = fixture_store();
    int64_t run = fixture_add(s, &(fixture_run){ 0 });
    mb_op_row op[] = { { "gemm", "ffn", "fwd", 0, 1, 2, 500, 10, 9, 11, 1, 100 },
                       { "gemm", "ffn", "bwd", 0, 1, 2, -1, 10, 9, 11, 1, 100 } };

    cr_assert_eq(mb_store_ops(s, run, op, 2), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_store_ops(s, run, op, 1), MB_OK);
    cr_assert_str_eq(fixture_ask(s, "SELECT calls || ' ' || wall_s || ' ' || flops_executed || ' '"
                                    " || \"group\" FROM v_op WHERE pass = 'fwd'"),
                     "4 1.0e-06 22.0 1");
    cr_assert_str_eq(fixture_ask(s, "SELECT typeof(wall_s) FROM v_op WHERE pass = 'bwd'"), "null");
    cr_assert_eq(mb_store_overhead(s, run, "evaluate", 1000000000), MB_OK);
    cr_assert_eq(mb_store_overhead(s, run, "evaluate", 500000000), MB_OK);
    cr_assert_str_eq(fixture_ask(s, "SELECT kind || n || wall_s FROM v_overhead"), "evaluate21.5");
    mb_store_close(s);
}

/* 100 windows over 200 steps: the first holds steps 1 and 2, with weights 1 and 3. */
Test(store, training_curves_are_smoothed_over_windows)
{
    mb_store *s = fixture_store();
    int64_t run = fixture_add(s, &(fixture_run){ .steps = 200, .status = "interrupted" });
    mb_value_row v[] = { { 1, "train", "speech", "loss", 8, 1 },
                         { 2, "train", "speech", "loss", 4, 3 },
                         { 3, "train", "speech", "loss", NAN, 3 } };
    mb_point *p;
    size_t n;

    cr_assert_eq(mb_store_run_event(s, run, "running", NULL, NULL), MB_OK);
    cr_assert_eq(mb_store_samples(s, run, NULL, 0, v, 3), MB_OK);
    cr_assert_eq(mb_store_run_event(s, run, "ok", NULL, NULL), MB_OK);
    cr_assert_eq(mb_store_curve(s, run, "train", "speech", "loss", &p, &n), MB_OK);
    cr_assert_eq(n, 1, "a window without a number is no point");
    cr_assert_eq(p[0].step, 1.5);
    cr_assert_eq(p[0].value, 5);
    free(p);
    cr_assert_eq(mb_store_curve(s, run, "train", "text", "loss", &p, &n), MB_OK);
    cr_assert_eq(n, 100);
    cr_assert_eq(p[99].step, 199.5);
    free(p);
    cr_assert_eq(mb_store_curve(s, run, "val", "text", "loss", &p, &n), MB_OK);
    cr_assert_eq(n, 21);
    free(p);
    mb_store_close(s);
}

Test(store, only_the_newest_match_is_shown)
{
    mb_store *s = fixture_store();
    mb_match_row a = { "w",   "mot",   "dense", "cpu", "fp32", "text", "loss",
                       "val", "flops", .5,      .4,    .6,     3,      true },
                 b = a;

    cr_assert_eq(mb_store_match(s, &a, 1), MB_OK, "%s", mb_message());
    b.slope = NAN, b.ci_lo = NAN, b.ci_hi = NAN, b.reached = false, b.modality = "image";
    cr_assert_eq(mb_store_match(s, &b, 1), MB_OK);
    a.arch = "switch";
    cr_assert_eq(mb_store_match(s, &a, 1), MB_OK);
    cr_assert_str_eq(fixture_ask(s, "SELECT group_concat(arch || modality || typeof(slope) || "
                                    "reached, ' ') FROM (SELECT * FROM v_to_match ORDER BY arch)"),
                     "motimagenull0 switchtextreal1");
    cr_assert_str_eq(fixture_ask(s, "SELECT count(*) FROM match"), "3", "older rows stay");
    mb_store_close(s);
}

/* ---- queries ------------------------------------------------------------------------------- */

Test(store, query_results_are_typed)
{
    mb_store *s = fixture_store();
    const char *const parameters[] = { "it's; --", NULL };
    mb_rows *r;

    cr_assert_eq(mb_store_query(s, "SELECT 7 AS a, 0.1 AS b, ?1 AS c, NULL AS d;", parameters, &r),
                 MB_OK);
    cr_assert_eq(r->n, 1);
    cr_assert_eq(r->columns, 4);
    cr_assert_str_eq(r->column[1], "b");
    cr_assert(r->cell[0].type == MB_INTEGER && r->cell[0].integer == 7 && r->cell[0].real == 7);
    cr_assert_str_eq(r->cell[0].string, "7");
    cr_assert(r->cell[1].type == MB_REAL && r->cell[1].real == 0.1);
    cr_assert_str_eq(r->cell[1].string, "0.1");
    cr_assert(r->cell[2].type == MB_STRING);
    cr_assert_str_eq(r->cell[2].string, "it's; --");
    cr_assert(r->cell[3].type == MB_NULL);
    cr_assert_str_eq(r->cell[3].string, "");
    mb_rows_free(r);
    cr_assert_eq(mb_store_query(s, "SELECT 1 WHERE 0", NULL, &r), MB_OK);
    cr_assert(r->n == 0 && r->columns == 1);
    mb_rows_free(r);
    mb_store_close(s);
}

Test(store, only_one_reading_statement_is_a_query)
{
    mb_store *s = fixture_store();
    const char *const one[] = { "x", NULL };
    mb_rows *r;

    cr_assert_eq(mb_store_query(s, "DELETE FROM run", NULL, &r), MB_EINVAL);
    cr_assert_null(r);
    cr_assert_eq(mb_store_query(s, "SELECT 1; SELECT 2", NULL, &r), MB_EINVAL);
    cr_assert_eq(mb_store_query(s, "SELEKT 1", NULL, &r), MB_EINVAL);
    cr_assert_eq(mb_store_query(s, "", NULL, &r), MB_EINVAL);
    cr_assert_eq(mb_store_query(s, "SELECT ?1", NULL, &r), MB_EINVAL);
    cr_assert_eq(mb_store_query(s, "SELECT 1", one, &r), MB_EINVAL);
    mb_store_close(s);
}

/* ---- export -------------------------------------------------------------------------------- */

Test(store, every_view_is_exported)
{
    mb_store *s = fixture_store();
    mb_map map;
    char *text;

    fixture_add(s, &(fixture_run){ .workload = "a \"b\", c" });
    cr_assert_eq(mb_store_export(s, fixture_path("x/y")), MB_OK, "%s", mb_message());
    for (const char **v = (const char *[]){ "v_run", "v_curve", "v_to_match", "v_quality", "v_op",
                                            "v_counter", "v_step", "v_judgement", NULL };
         *v; v++) {
        char *path = mb_format("%s/x/y/%s.csv", fixture_folder(), *v);

        cr_assert(mb_exists(path), "%s", path);
        free(path);
    }
    cr_assert_eq(mb_map_open(fixture_path("x/y/v_run.csv"), &map), MB_OK);
    text = mb_format("%.*s", (int)map.size, (const char *)map.data);
    cr_assert(strstr(text, "\"run_id\",\"uuid\",\"workload\",") == text);
    cr_assert(strstr(text, "\r\n1,"), "numbers are not quoted");
    cr_assert(strstr(text, ",\"a \"\"b\"\", c\",\"dense\",1,"), "%s", text);
    cr_assert(strstr(text, ",\"ok\",,,1000,900,100,"), "NULL is empty: %s", text);
    free(text);
    mb_map_close(&map);
    mb_store_close(s);
}

/* ---- profiles ------------------------------------------------------------------------------ */

/* A run of PURPOSE that is ok; its steps: 1 warm-up, 3 of 10, 30 and 20 ns. Returns its id. */
static int64_t add_purpose(mb_store *s, const char *purpose)
{
    mb_run_row row = { .uuid = purpose,
                       .workload = "w",
                       .arch = "dense",
                       .backend = "cpu",
                       .precision = "fp32",
                       .device = "d",
                       .job = "job",
                       .seed = 1,
                       .params_total = 1,
                       .params_active = 1,
                       .steps = 4,
                       .pid = 1,
                       .purpose = purpose };
    const mb_step_row steps[] = { { 1, 90, 90, 8, 5, 5, 5, 2 },
                                  { 2, 10, 10, 8, 5, 5, 5, 0 },
                                  { 3, 30, 30, 8, 5, 5, 5, 0 },
                                  { 4, 20, 20, 8, 5, 5, 5, 0 } };
    const mb_pair fact = { "k", "v" };
    int64_t run;

    cr_assert_eq(mb_store_facts(s, "machine", &fact, 1, &row.machine), MB_OK);
    cr_assert_eq(mb_store_facts(s, "build", &fact, 1, &row.build), MB_OK);
    cr_assert_eq(mb_store_facts(s, "dataset", &fact, 1, &row.dataset), MB_OK);
    cr_assert_eq(mb_store_facts(s, "settings", &fact, 1, &row.settings), MB_OK);
    cr_assert_eq(mb_store_run_begin(s, &row, &run), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_store_samples(s, run, steps, 4, NULL, 0), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_store_run_event(s, run, "ok", NULL, NULL), MB_OK);
    return run;
}

Test(store, a_profile_is_never_taken_for_training)
{
    mb_store *s = fixture_store();
    int64_t trained = add_purpose(s, "train");
    mb_found_run found;

    add_purpose(s, "profile");
    cr_assert_eq(mb_store_find_job(s, "job", &found), MB_OK);
    cr_assert_eq(found.run, trained);
    cr_assert_str_eq(fixture_ask(s, "SELECT group_concat(uuid) FROM v_latest"), "train");
    cr_assert_str_eq(fixture_ask(s, "SELECT count(*) FROM v_run"), "2");
    mb_store_close(s);
}

Test(store, a_profile_adds_up_to_its_traced_steps)
{
    const mb_op_row ops[] = { { "gemm", "head", "fwd", -1, -1, 2, 40, 9, 9, 9, 0, 3 },
                              { "norm", "head", "fwd", -1, -1, 2, 25, 0, 0, 0, 6, 3 } };
    mb_store *s = fixture_store();
    int64_t run = add_purpose(s, "profile");

    cr_assert_eq(mb_store_ops(s, run, ops, 2), MB_OK);
    cr_assert_eq(mb_store_overhead(s, run, "traced", 41), MB_OK);
    cr_assert_eq(mb_store_overhead(s, run, "traced", 42), MB_OK);
    cr_assert_eq(
        mb_store_counters(s, run, &(mb_counter_row){ "ceiling", "fma", "FLOP/s", "ok", 7 }, 1),
        MB_OK);
    cr_assert_str_eq(fixture_ask(s, "SELECT sum(wall_ns) FROM v_profile_op"), "83");
    cr_assert_str_eq(
        fixture_ask(s, "SELECT wall_ns FROM v_profile_op WHERE op = 'outside operations'"), "18");
    cr_assert_str_eq(fixture_ask(s, "SELECT printf('%d %d %g %g %g', steps, traced_steps, "
                                    "step_s * 1e9, traced_s * 1e9, fma) FROM v_profile"),
                     "3 2 20 41.5 7");
    mb_store_close(s);
}

Test(store, a_count_has_a_value_exactly_when_it_is_ok)
{
    mb_store *s = fixture_store();
    int64_t run = add_purpose(s, "profile");
    mb_counter_row row = { "papi", "PAPI_TOT_INS", "instructions", "not_supported", NAN };

    cr_assert_eq(mb_store_counters(s, run, &row, 1), MB_OK, "%s", mb_message());
    cr_assert_str_eq(fixture_ask(s, "SELECT value IS NULL FROM v_counter"), "1");
    row.event = "PAPI_TOT_CYC";
    row.value = 0;
    cr_assert_eq(mb_store_counters(s, run, &row, 1), MB_EINVAL, "0 of what cannot be counted");
    mb_store_close(s);
}
