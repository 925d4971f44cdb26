/* Everything that adds rows. */
#include "results/sql.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- facts --------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const mb_pair *const *)a)->key, (*(const mb_pair *const *)b)->key);
}

/* Keys and values with their NULs, so that no two different lists give the same bytes. */
static void hash_facts(const mb_pair *const *sorted, size_t n, char out[MB_HASH_SIZE])
{
    size_t size = 0;
    char *text, *p;

    for (size_t i = 0; i < n; i++)
        size += strlen(sorted[i]->key) + strlen(sorted[i]->value) + 2;
    p = text = mb_alloc(size);
    for (size_t i = 0; i < n; i++) {
        p = stpcpy(p, sorted[i]->key) + 1;
        p = stpcpy(p, sorted[i]->value) + 1;
    }
    mb_hash(text, size, out);
    free(text);
}

static mb_err insert_facts(mb_store *s, const char *kind, const char *hash,
                           const mb_pair *const *sorted, size_t n, int64_t *id)
{
    sqlite3_stmt *st = NULL;
    mb_err err;

    MB_TRY(mb_sql_integer(s, id, 0, "SELECT id FROM fact_set WHERE kind = ?1 AND hash = ?2", "tt",
                          kind, hash));
    if (*id)
        return MB_OK;
    MB_TRY(mb_sql_run(s, "INSERT INTO fact_set (kind, hash) VALUES (?1, ?2)", "tt", kind, hash));
    *id = sqlite3_last_insert_rowid(s->db);
    err = mb_sql_prepare(s, "INSERT INTO fact (fact_set, key, value) VALUES (?1, ?2, ?3)", &st);
    for (size_t i = 0; !err && i < n; i++) {
        err = mb_sql_bind(s, st, "itt", *id, sorted[i]->key, sorted[i]->value);
        if (!err)
            err = mb_sql_finish(s, st);
    }
    sqlite3_finalize(st);
    return err;
}

mb_err mb_store_facts(mb_store *s, const char *kind, const mb_pair *facts, size_t n, int64_t *id)
{
    const mb_pair **sorted = mb_alloc(n * sizeof *sorted);
    char hash[MB_HASH_SIZE];
    mb_err err = MB_OK;

    *id = 0;
    for (size_t i = 0; i < n; i++)
        sorted[i] = &facts[i];
    qsort(sorted, n, sizeof *sorted, by_key);
    for (size_t i = 1; !err && i < n; i++)
        if (!strcmp(sorted[i - 1]->key, sorted[i]->key))
            err = mb_fail(MB_EINVAL, "%s: the %s fact \"%s\" is given twice", s->path, kind,
                          sorted[i]->key);
    if (!err) {
        hash_facts(sorted, n, hash);
        err = mb_sql_begin(s);
        if (!err)
            err = mb_sql_end(s, insert_facts(s, kind, hash, sorted, n, id));
    }
    free(sorted);
    if (err)
        *id = 0;
    return err;
}

/* ---- runs and events ----------------------------------------------------------------------- */

static mb_err insert_event(mb_store *s, int64_t run, int64_t pid, const char *status,
                           const char *detail, const char *checkpoint)
{
    return mb_sql_run(s,
                      "INSERT INTO event (run, at_ns, pid, status, detail, checkpoint) "
                      "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                      "iiittt", run, mb_sql_now(), pid, status, detail, checkpoint);
}

static mb_err insert_run(mb_store *s, const mb_run_row *r, int64_t *run)
{
    MB_TRY(mb_sql_run(s,
                      "INSERT INTO run (uuid, workload, arch, backend, precision, device, job, "
                      "seed, machine, build, dataset, settings, params_total, params_active, "
                      "steps, purpose) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, "
                      "?13, ?14, ?15, coalesce(?16, 'train'))",
                      "tttttttiiiiiiiit", r->uuid, r->workload, r->arch, r->backend, r->precision,
                      r->device, r->job, r->seed, r->machine, r->build, r->dataset, r->settings,
                      r->params_total, r->params_active, r->steps, r->purpose));
    *run = sqlite3_last_insert_rowid(s->db);
    return insert_event(s, *run, r->pid, "running", NULL, NULL);
}

mb_err mb_store_run_begin(mb_store *s, const mb_run_row *row, int64_t *run)
{
    mb_err err;

    *run = 0;
    MB_TRY(mb_sql_begin(s));
    err = mb_sql_end(s, insert_run(s, row, run));
    if (err)
        *run = 0;
    return err;
}

/* What is derived from a run's samples is made when it ends, and dropped when it goes on. */
static mb_err derive(mb_store *s, int64_t run)
{
    static const char smooth[] =
        "INSERT INTO smooth (run, series, step, value) "
        "SELECT v.run, v.series, avg(v.step), sum(v.value * v.n) / sum(v.n) "
        "FROM value AS v JOIN run AS r ON r.id = v.run JOIN series AS q ON q.id = v.series "
        "WHERE v.run = ?1 AND q.split = 'train' AND v.value IS NOT NULL AND v.n > 0 "
        "GROUP BY v.series, (max(v.step, 1) - 1) * 100 / r.steps";

    MB_TRY(mb_sql_run(s,
                      "INSERT INTO pace "
                      "SELECT ?1, (SELECT step_s FROM v_pace WHERE run_id = ?1)",
                      "i", run));
    return mb_sql_run(s, smooth, "i", run);
}

static mb_err write_event(mb_store *s, int64_t run, const char *status, const char *detail,
                          const char *checkpoint)
{
    MB_TRY(insert_event(s, run, getpid(), status, detail, checkpoint));
    MB_TRY(mb_sql_run(s, "DELETE FROM pace WHERE run = ?1", "i", run));
    MB_TRY(mb_sql_run(s, "DELETE FROM smooth WHERE run = ?1", "i", run));
    return strcmp(status, "running") ? derive(s, run) : MB_OK;
}

mb_err mb_store_run_event(mb_store *s, int64_t run, const char *status, const char *detail,
                          const char *checkpoint)
{
    MB_TRY(mb_sql_begin(s));
    return mb_sql_end(s, write_event(s, run, status, detail, checkpoint));
}

/* ---- samples ------------------------------------------------------------------------------- */

/* The last step of a run and its running totals. */
typedef struct sums {
    int64_t step, wall_ns, tokens;
    double model, useful, executed;
} sums;

static mb_err read_sums(mb_store *s, int64_t run, sums *out)
{
    sqlite3_stmt *st = NULL;
    bool row = false;
    mb_err err = mb_sql_prepare(s,
                                "SELECT step, wall_ns_sum, tokens_sum, flops_model_sum, "
                                "flops_useful_sum, flops_executed_sum FROM step "
                                "WHERE run = ?1 ORDER BY step DESC LIMIT 1",
                                &st);

    memset(out, 0, sizeof *out);
    if (!err)
        err = mb_sql_bind(s, st, "i", run);
    if (!err)
        err = mb_sql_next(s, st, &row);
    if (row)
        *out = (sums){ sqlite3_column_int64(st, 0),  sqlite3_column_int64(st, 1),
                       sqlite3_column_int64(st, 2),  sqlite3_column_double(st, 3),
                       sqlite3_column_double(st, 4), sqlite3_column_double(st, 5) };
    sqlite3_finalize(st);
    return err;
}

static mb_err insert_step(mb_store *s, sqlite3_stmt *st, int64_t run, const mb_step_row *r,
                          sums *to)
{
    if (r->step <= to->step)
        return r->step >= 1 ? MB_OK
                            : mb_fail(MB_EINVAL, "%s: run %lld: step %lld: steps count from 1",
                                      s->path, (long long)run, (long long)r->step);
    if (r->step != to->step + 1)
        return mb_fail(MB_EINVAL, "%s: run %lld: step %lld does not follow step %lld", s->path,
                       (long long)run, (long long)r->step, (long long)to->step);
    *to = (sums){ r->step,
                  to->wall_ns + r->wall_ns,
                  to->tokens + r->tokens,
                  to->model + (double)r->flops_model,
                  to->useful + (double)r->flops_useful,
                  to->executed + (double)r->flops_executed };
    MB_TRY(mb_sql_bind(s, st, "iiiiiuuuiiiddd", run, r->step, r->wall_ns, r->cpu_ns, r->tokens,
                       r->flops_model, r->flops_useful, r->flops_executed, (int64_t)r->flagged,
                       to->wall_ns, to->tokens, to->model, to->useful, to->executed));
    return mb_sql_finish(s, st);
}

static mb_err insert_steps(mb_store *s, int64_t run, const mb_step_row *rows, size_t n)
{
    sqlite3_stmt *st = NULL;
    sums to;
    mb_err err;

    MB_TRY(read_sums(s, run, &to));
    err = mb_sql_prepare(s,
                         "INSERT INTO step VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, "
                         "?12, ?13, ?14)",
                         &st);
    for (size_t i = 0; !err && i < n; i++)
        err = insert_step(s, st, run, &rows[i], &to);
    sqlite3_finalize(st);
    return err;
}

static mb_err find_series(mb_store *s, const mb_value_row *r, int64_t *id)
{
    MB_TRY(mb_sql_run(s,
                      "INSERT OR IGNORE INTO series (split, modality, metric) VALUES (?1, ?2, ?3)",
                      "ttt", r->split, r->modality, r->metric));
    return mb_sql_integer(
        s, id, 0, "SELECT id FROM series WHERE split = ?1 AND modality = ?2 AND metric = ?3", "ttt",
        r->split, r->modality, r->metric);
}

static bool same_series(const mb_value_row *a, const mb_value_row *b)
{
    return !strcmp(a->split, b->split) && !strcmp(a->modality, b->modality) &&
           !strcmp(a->metric, b->metric);
}

/* Values come as a few series taking turns: remembering those seen in this call saves nearly all
   look-ups. */
enum { SEEN = 32 };
typedef struct seen {
    const mb_value_row *row[SEEN];
    int64_t id[SEEN];
    size_t n;
} seen;

static mb_err series_of(mb_store *s, seen *k, const mb_value_row *r, int64_t *id)
{
    for (size_t i = 0; i < k->n; i++)
        if (same_series(k->row[i], r)) {
            *id = k->id[i];
            return MB_OK;
        }
    MB_TRY(find_series(s, r, id));
    if (k->n < SEEN) {
        k->row[k->n] = r;
        k->id[k->n++] = *id;
    }
    return MB_OK;
}

/* The rows of one series, which lie together in the table. */
static mb_err insert_series(mb_store *s, sqlite3_stmt *st, int64_t run, const mb_value_row *rows,
                            const int64_t *series, size_t n, int64_t which)
{
    for (size_t i = 0; i < n; i++) {
        if (series[i] != which)
            continue;
        MB_TRY(mb_sql_bind(s, st, "iiidi", run, which, rows[i].step, rows[i].value, rows[i].n));
        MB_TRY(mb_sql_finish(s, st));
    }
    return MB_OK;
}

/* Series by series: rows that come in the table's own order cost less. */
static mb_err insert_values(mb_store *s, int64_t run, const mb_value_row *rows, size_t n)
{
    sqlite3_stmt *st = NULL;
    seen known = { .n = 0 };
    int64_t *series = mb_alloc(n * sizeof *series), least = INT64_MAX, most = 0;
    mb_err err = mb_sql_prepare(
        s,
        "INSERT INTO value (run, series, step, value, n) VALUES (?1, ?2, ?3, ?4, ?5) "
        "ON CONFLICT DO NOTHING", /* OR IGNORE would also swallow a negative n */
        &st);

    for (size_t i = 0; !err && i < n; i++) {
        err = series_of(s, &known, &rows[i], &series[i]);
        least = series[i] < least ? series[i] : least;
        most = series[i] > most ? series[i] : most;
    }
    for (int64_t which = least; !err && which <= most; which++)
        err = insert_series(s, st, run, rows, series, n, which);
    sqlite3_finalize(st);
    free(series);
    return err;
}

static mb_err insert_samples(mb_store *s, int64_t run, const mb_step_row *steps, size_t n_steps,
                             const mb_value_row *values, size_t n_values)
{
    MB_TRY(insert_steps(s, run, steps, n_steps));
    return insert_values(s, run, values, n_values);
}

mb_err mb_store_samples(mb_store *s, int64_t run, const mb_step_row *steps, size_t n_steps,
                        const mb_value_row *values, size_t n_values)
{
    MB_TRY(mb_sql_begin(s));
    return mb_sql_end(s, insert_samples(s, run, steps, n_steps, values, n_values));
}

/* ---- operations, overhead, matches --------------------------------------------------------- */

static mb_err insert_ops(mb_store *s, int64_t run, const mb_op_row *rows, size_t n)
{
    sqlite3_stmt *st = NULL;
    mb_err err = mb_sql_prepare(s,
                                "INSERT INTO op VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, nullif(?8, -1)"
                                ", ?9, ?10, ?11, ?12, ?13)",
                                &st);

    for (size_t i = 0; !err && i < n; i++) {
        const mb_op_row *r = &rows[i];

        err = mb_sql_bind(s, st, "ittitiiiuuuuu", run, r->op, r->part, (int64_t)r->layer, r->pass,
                          (int64_t)r->group, r->calls, r->wall_ns, r->flops_model, r->flops_useful,
                          r->flops_executed, r->flops_vector, r->bytes);
        if (!err)
            err = mb_sql_finish(s, st);
    }
    sqlite3_finalize(st);
    return err;
}

mb_err mb_store_ops(mb_store *s, int64_t run, const mb_op_row *rows, size_t n)
{
    MB_TRY(mb_sql_begin(s));
    return mb_sql_end(s, insert_ops(s, run, rows, n));
}

static mb_err insert_counters(mb_store *s, int64_t run, const mb_counter_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        MB_TRY(mb_sql_run(s,
                          "INSERT INTO counter (run, source, event, status, value, unit) "
                          "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                          "itttdt", run, rows[i].source, rows[i].event, rows[i].status,
                          rows[i].value, rows[i].unit));
    return MB_OK;
}

mb_err mb_store_counters(mb_store *s, int64_t run, const mb_counter_row *rows, size_t n)
{
    MB_TRY(mb_sql_begin(s));
    return mb_sql_end(s, insert_counters(s, run, rows, n));
}

mb_err mb_store_overhead(mb_store *s, int64_t run, const char *kind, int64_t wall_ns)
{
    return mb_sql_run(s, "INSERT INTO overhead (run, kind, wall_ns) VALUES (?1, ?2, ?3)", "iti",
                      run, kind, wall_ns);
}

static mb_err insert_matches(mb_store *s, const mb_match_row *rows, size_t n)
{
    sqlite3_stmt *st = NULL;
    int64_t comparison;
    mb_err err;

    MB_TRY(mb_sql_integer(s, &comparison, 0, "SELECT coalesce(max(comparison), 0) + 1 FROM match",
                          ""));
    err = mb_sql_prepare(s,
                         "INSERT INTO match VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, "
                         "?12, ?13, ?14, ?15)",
                         &st);
    for (size_t i = 0; !err && i < n; i++) {
        const mb_match_row *r = &rows[i];

        err = mb_sql_bind(s, st, "itttttttttdddii", comparison, r->workload, r->arch, r->baseline,
                          r->backend, r->precision, r->modality, r->metric, r->split, r->by,
                          r->slope, r->ci_lo, r->ci_hi, r->n_seeds, (int64_t)r->reached);
        if (!err)
            err = mb_sql_finish(s, st);
    }
    sqlite3_finalize(st);
    return err;
}

mb_err mb_store_match(mb_store *s, const mb_match_row *rows, size_t n)
{
    MB_TRY(mb_sql_begin(s));
    return mb_sql_end(s, insert_matches(s, rows, n));
}
