/* `motbench table NAME`: tables that are one query each. */
#include "harness/verbs.h"

#include <string.h>

const mb_named mb_tables[] = {
    { "summary", "every finished run that counts: size, FLOPs, speed and losses by architecture" },
    { 0 },
};

static const mb_table_column summary_columns[] = {
    { .name = "workload", .once = true },
    { .name = "arch", .once = true },
    { .name = "backend" },
    { .name = "precision" },
    { .name = "runs", .show = MB_SHOW_PLAIN },
    { .name = "params_total", .title = "params", .show = MB_SHOW_SI },
    { .name = "params_active", .title = "active", .show = MB_SHOW_SI },
    { .name = "flops_model_per_token", .title = "FLOPs/token", .show = MB_SHOW_SI },
    { .name = "flops_useful_per_token", .title = "useful", .show = MB_SHOW_SI },
    { .name = "flops_executed_per_token", .title = "executed", .show = MB_SHOW_SI },
    { .name = "tokens_per_s", .title = "tokens/s", .show = MB_SHOW_SI },
    { .name = "train_s", .title = "wall", .show = MB_SHOW_SECONDS },
    { .name = "memory_bytes", .title = "memory", .show = MB_SHOW_SI },
    { .name = "loss", .show = MB_SHOW_FIXED },
    { .name = "loss_text", .title = "text", .show = MB_SHOW_FIXED },
    { .name = "loss_image", .title = "image", .show = MB_SHOW_FIXED },
    { .name = "loss_speech", .title = "speech", .show = MB_SHOW_FIXED },
};

static const char summary_sql[] =
    "WITH last AS ("
    "  SELECT run_id, max(iif(modality = 'all', value, NULL)) AS loss, "
    "    max(iif(modality = 'text', value, NULL)) AS text, "
    "    max(iif(modality = 'image', value, NULL)) AS image, "
    "    max(iif(modality = 'speech', value, NULL)) AS speech "
    "  FROM v_final WHERE split = 'val' AND metric = 'loss' GROUP BY run_id) "
    "SELECT workload, arch, backend, precision, count(*), max(params_total), max(params_active), "
    "  avg(flops_model / tokens), avg(flops_useful / tokens), avg(flops_executed / tokens), "
    "  avg(tokens_per_s), avg(train_s), max(memory_bytes), avg(loss), avg(text), avg(image), "
    "  avg(speech) "
    "FROM v_latest LEFT JOIN last USING (run_id) WHERE ?1 = '' OR workload = ?1 "
    "GROUP BY workload, backend, precision, arch "
    "ORDER BY workload, backend, precision, min(run_id)";

static mb_err print_summary(mb_store *s, const mb_table_options *o, FILE *out)
{
    const char *const parameters[] = { o->workload ? o->workload : "", NULL };
    mb_rows *rows;
    mb_table *t;
    mb_err err;

    MB_TRY(mb_store_query(s, summary_sql, parameters, &rows));
    if (rows->n) {
        t = mb_table_new(summary_columns, sizeof summary_columns / sizeof *summary_columns);
        mb_table_rows(t, rows);
        mb_table_note(t, "FLOPs, tokens/s, wall time and validation losses are means over runs; "
                         "tokens/s goes with the median undisturbed step, memory is the most "
                         "bytes that a run held.");
        err = mb_table_print(t, o->format, out);
        mb_table_free(t);
    } else {
        err = mb_fail(MB_EMISSING, "%s: no finished run%s%s", o->db,
                      o->workload ? " of workload " : "", o->workload ? o->workload : "");
    }
    mb_rows_free(rows);
    return err;
}

mb_err mb_verb_table(const mb_table_options *o, FILE *out)
{
    mb_store *s;
    mb_err err;

    if (strcmp(o->name, mb_tables[0].name))
        return mb_fail(MB_EUSAGE, "no table is called \"%s\": expected \"%s\"", o->name,
                       mb_tables[0].name);
    MB_TRY(mb_store_open(o->db, false, &s));
    err = print_summary(s, o, out);
    mb_store_close(s);
    return err;
}
