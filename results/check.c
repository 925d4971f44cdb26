/* Is the database sound? SQLite's own checks, then what only we can know. */
#include "results/sql.h"

#include "base/file.h"

#include <string.h>

/* Each query returns one row of text per violation. */
static const char *const invariants[] = {
    "SELECT 'run ' || r.id || ' has no event' FROM run AS r "
    "WHERE NOT EXISTS (SELECT 1 FROM event WHERE run = r.id)",

    "SELECT 'run ' || run_id || ' is ok after ' || steps || ' of ' || steps_planned || ' steps' "
    "FROM v_run WHERE status = 'ok' AND steps <> steps_planned",

    "SELECT 'run ' || run || ' has ' || count(*) || ' steps, the last of which is ' || max(step) "
    "FROM step GROUP BY run HAVING count(*) <> max(step)",

    "SELECT 'run ' || run || ': running totals differ from step ' || min(step) FROM ("
    "  SELECT run, step, wall_ns_sum - sum(wall_ns) OVER w AS wall,"
    "         tokens_sum - sum(tokens) OVER w AS tokens,"
    "         abs(flops_model_sum - total(flops_model) OVER w) / flops_model_sum AS model,"
    "         abs(flops_useful_sum - total(flops_useful) OVER w) / flops_useful_sum AS useful,"
    "         abs(flops_executed_sum - total(flops_executed) OVER w) / flops_executed_sum"
    "           AS executed"
    "  FROM step WINDOW w AS (PARTITION BY run ORDER BY step))"
    "WHERE wall <> 0 OR tokens <> 0 OR model > 1e-9 OR useful > 1e-9 OR executed > 1e-9 "
    "GROUP BY run",

    "SELECT 'run ' || run || ' has a value at step ' || max(step) || ', after its last step' "
    "FROM value AS v GROUP BY run "
    "HAVING max(step) > (SELECT coalesce(max(step), 0) FROM step WHERE run = v.run)",

    "SELECT 'run ' || run_id || ' is ' || status || ', but its pace is '"
    "       || iif(status = 'running', 'kept', 'missing') "
    "FROM v_run WHERE (status = 'running') = EXISTS (SELECT 1 FROM pace WHERE run = run_id)",

    "SELECT 'run ' || r.id || ' points at ' || f.kind || ' facts where ' || j.key || ' facts "
    "belong' "
    "FROM run AS r, json_each(json_object('machine', r.machine, 'build', r.build, "
    "  'dataset', r.dataset, 'settings', r.settings)) AS j "
    "JOIN fact_set AS f ON f.id = j.value WHERE f.kind <> j.key",
};

/* Prints the first column of every row; *found counts them. A database too damaged to be asked is
   one more finding. */
static void report_rows(mb_store *s, const char *sql, const char *fine, FILE *report, int *found)
{
    mb_rows *rows;
    mb_err err = mb_store_query(s, sql, NULL, &rows);

    if (err) {
        fprintf(report, "%s\n", mb_message());
        ++*found;
        return;
    }
    for (size_t i = 0; i < rows->n; i++) {
        const char *text = rows->cell[i * rows->columns].string;

        if (fine && !strcmp(text, fine))
            continue;
        fprintf(report, "%s: %s\n", s->path, text);
        ++*found;
    }
    mb_rows_free(rows);
}

mb_err mb_store_check(mb_store *s, FILE *report)
{
    int found = 0;

    report_rows(s, "PRAGMA integrity_check", "ok", report, &found);
    report_rows(s,
                "SELECT 'row ' || coalesce(rowid, '?') || ' of ' || \"table\" || ' points at a ' "
                "|| parent || ' that is not there' FROM pragma_foreign_key_check",
                NULL, report, &found);
    for (size_t i = 0; i < sizeof invariants / sizeof *invariants; i++)
        report_rows(s, invariants[i], NULL, report, &found);
    if (found)
        return mb_fail(MB_ECORRUPT, "%s: %d problems found", s->path, found);
    return MB_OK;
}
