/* The tables of a profile. */
#include "harness/profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char operations_sql[] =
#include "profiles/operations.sql.inc"
    ;

/* Columns of operations.sql: people see a step, programs the sums over all traced steps. */
static const mb_table_column operation_columns[] = {
    { .name = "op" },
    { .name = "part" },
    { .name = "layer", .show = MB_SHOW_PLAIN },
    { .name = "pass" },
    { .name = "group", .show = MB_SHOW_PLAIN },
    { .name = "traced_steps", .audience = MB_FOR_PROGRAMS },
    { .name = "calls", .audience = MB_FOR_PROGRAMS },
    { .name = "wall_ns", .audience = MB_FOR_PROGRAMS },
    { .name = "flops_model", .audience = MB_FOR_PROGRAMS },
    { .name = "flops_useful", .audience = MB_FOR_PROGRAMS },
    { .name = "flops_executed", .audience = MB_FOR_PROGRAMS },
    { .name = "flops_vector", .audience = MB_FOR_PROGRAMS },
    { .name = "bytes", .audience = MB_FOR_PROGRAMS },
    { .name = "calls/step", .title = "calls", .show = MB_SHOW_SI, .audience = MB_FOR_PEOPLE },
    { .name = "ms/step", .title = "ms", .show = MB_SHOW_FIXED, .audience = MB_FOR_PEOPLE },
    { .name = "percent", .title = "%", .show = MB_SHOW_FIXED },
    { .name = "model/step", .title = "model", .show = MB_SHOW_SI, .audience = MB_FOR_PEOPLE },
    { .name = "useful/step", .title = "useful", .show = MB_SHOW_SI, .audience = MB_FOR_PEOPLE },
    { .name = "executed/step", .title = "executed", .show = MB_SHOW_SI, .audience = MB_FOR_PEOPLE },
    { .name = "gflops_per_s", .title = "GFLOP/s", .show = MB_SHOW_FIXED },
    { .name = "bytes/step", .title = "bytes", .show = MB_SHOW_SI, .audience = MB_FOR_PEOPLE },
    { .name = "gb_per_s", .title = "GB/s", .show = MB_SHOW_FIXED },
    { .name = "intensity", .title = "FLOP/B", .show = MB_SHOW_FIXED },
};
enum { LAYER = 2, COLUMNS = sizeof operation_columns / sizeof *operation_columns };

static const char steps_sql[] =
    "SELECT p.steps, p.disturbed, p.step_s * 1e3, p.traced_steps, p.traced_s * 1e3, p.threads, "
    "  r.memory_bytes / 1e6, r.memory_predicted_bytes / 1e6 "
    "FROM v_profile AS p JOIN v_run AS r USING (run_id) WHERE run_id = ?1";

/* Which numbers are of timed steps and which of traced ones. */
static mb_err add_notes(mb_store *s, const char *id, mb_table *t)
{
    mb_rows *rows;
    mb_err err = mb_store_query(s, steps_sql, (const char *const[]){ id, NULL }, &rows);
    const mb_cell *c = err ? NULL : rows->cell;

    if (!err && rows->n == 0)
        err = mb_fail(MB_EMISSING, "%s: run %s is no finished profile", mb_store_path(s), id);
    if (!err) {
        mb_table_note(t,
                      "Of one step, a mean over %s traced steps of %.3f ms each, whose times these "
                      "are; they add up to it. FLOP/s count executed products and vector "
                      "arithmetic.",
                      c[3].string, c[4].real);
        mb_table_note(t,
                      "Counts and metrics are of %s other steps, timed and not traced: median "
                      "%.3f ms, %s disturbed, threads: %.0f.",
                      c[0].string, c[2].real, c[1].string, c[5].real);
        mb_table_note(t, "Memory: %.1f MB at most, %.1f MB by the formulas of models/README.md.",
                      c[6].real, c[7].real);
    }
    mb_rows_free(rows);
    return err;
}

mb_err mb_profile_print_operations(mb_store *s, int64_t run, bool layers,
                                   enum mb_table_format format, FILE *out)
{
    mb_table_column columns[COLUMNS];
    char id[24];
    const char *const parameters[] = { id, layers ? "1" : "0", NULL };
    mb_rows *rows;
    mb_table *t;
    mb_err err;
    size_t i;

    for (i = 0; i < COLUMNS; i++)
        columns[i] = operation_columns[i];
    if (!layers)
        columns[LAYER].audience = MB_FOR_NOBODY;
    snprintf(id, sizeof id, "%lld", (long long)run);
    MB_TRY(mb_store_query(s, operations_sql, parameters, &rows));
    t = mb_table_new(columns, COLUMNS);
    mb_table_rows(t, rows);
    err = add_notes(s, id, t);
    if (!err)
        err = mb_table_print(t, format, out);
    mb_table_free(t);
    mb_rows_free(rows);
    return err;
}

static const mb_table_column count_columns[] = { { .name = "source", .once = true },
                                                 { .name = "event" },
                                                 { .name = "status" },
                                                 { .name = "value", .show = MB_SHOW_SI },
                                                 { .name = "unit" } };

static mb_err add_metrics(mb_store *s, int64_t run, const mb_event_set *set, mb_table *t)
{
    double *value = mb_zalloc(set->n_metrics + 1, sizeof *value);
    mb_err err = mb_event_set_metrics(set, s, run, value);
    size_t i;

    for (i = 0; !err && i < set->n_metrics; i++) {
        mb_table_text(t, "metric");
        mb_table_text(t, set->metrics[i].name);
        mb_table_text(t, isnan(value[i]) ? "no value" : "ok");
        mb_table_real(t, value[i]);
        mb_table_text(t, set->metrics[i].unit);
    }
    free(value);
    return err;
}

/* Where operations were counted: what hardware did of what the ledger says. */
static mb_err add_shares(mb_store *s, const char *id, mb_table *t)
{
    static const char sql[] =
        "SELECT 'hardware/executed', event, iif(abs(h.value / e.value - 1) <= 0.02, 'ok', "
        "  'differs'), 100 * h.value / e.value, '% of executed' "
        "FROM v_counter AS h JOIN v_counter AS e USING (run_id, event) "
        "WHERE run_id = ?1 AND h.source = 'hardware' AND e.source = 'executed' ORDER BY event";
    mb_rows *rows;
    size_t i, differ = 0;

    MB_TRY(mb_store_query(s, sql, (const char *const[]){ id, NULL }, &rows));
    mb_table_rows(t, rows);
    for (i = 0; i < rows->n; i++)
        differ += !strcmp(rows->cell[i * rows->columns + 2].string, "differs");
    if (rows->n > 0)
        mb_table_note(t,
                      "Of %zu operations with products the hardware counted other FLOPs than the "
                      "ledger, by more than 2 %%, in %zu.",
                      rows->n, differ);
    mb_rows_free(rows);
    return MB_OK;
}

mb_err mb_profile_print_counts(mb_store *s, int64_t run, const mb_event_set *set,
                               enum mb_table_format format, FILE *out)
{
    char id[24];
    mb_rows *rows;
    mb_table *t;
    mb_err err;

    snprintf(id, sizeof id, "%lld", (long long)run);
    MB_TRY(mb_store_query(s,
                          "SELECT source, event, status, value, unit FROM v_counter "
                          "WHERE run_id = ?1 ORDER BY source = 'ceiling', source = 'model', source",
                          (const char *const[]){ id, NULL }, &rows));
    t = mb_table_new(count_columns, sizeof count_columns / sizeof *count_columns);
    err = add_metrics(s, run, set, t);
    if (!err)
        err = add_shares(s, id, t);
    mb_table_rows(t, rows);
    mb_table_note(t, "What a machine cannot count has a status and no value. Counts are sums over "
                     "the timed steps.");
    if (!err)
        err = mb_table_print(t, format, out);
    mb_table_free(t);
    mb_rows_free(rows);
    return err;
}
