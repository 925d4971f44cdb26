/* Everything that adds rows. */
#include "results/derive.h"
#include "results/sql.h"

#include "base/file.h"

#include <math.h>
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

typedef struct fact_rows {
    int64_t set;
    const mb_pair *const *pair;
} fact_rows;

static mb_err bind_fact(mb_store *s, sqlite3_stmt *st, int at, size_t i, void *context)
{
    const fact_rows *f = context;

    return mb_sql_bind(s, st, at, "itt", f->set, f->pair[i]->key, f->pair[i]->value);
}

static mb_err insert_facts(mb_store *s, const char *kind, const char *hash,
                           const mb_pair *const *sorted, size_t n, int64_t *id)
{
    MB_TRY(mb_sql_integer(s, id, 0, "SELECT id FROM fact_set WHERE kind = ?1 AND hash = ?2", "tt",
                          kind, hash));
    if (*id)
        return MB_OK;
    MB_TRY(mb_sql_run(s, "INSERT INTO fact_set (kind, hash) VALUES (?1, ?2)", "tt", kind, hash));
    *id = sqlite3_last_insert_rowid(s->db);
    return mb_sql_insert(s, "INSERT INTO fact (fact_set, key, value)", 3, "", n, bind_fact,
                         &(fact_rows){ *id, sorted });
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

static mb_err write_event(mb_store *s, int64_t run, const char *status, const char *detail,
                          const char *checkpoint)
{
    MB_TRY(insert_event(s, run, getpid(), status, detail, checkpoint));
    return strcmp(status, "running") ? mb_derive(s, run) : mb_derive_drop(s, run);
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
        err = mb_sql_bind(s, st, 1, "i", run);
    if (!err)
        err = mb_sql_next(s, st, &row);
    if (row)
        *out = (sums){ sqlite3_column_int64(st, 0),  sqlite3_column_int64(st, 1),
                       sqlite3_column_int64(st, 2),  sqlite3_column_double(st, 3),
                       sqlite3_column_double(st, 4), sqlite3_column_double(st, 5) };
    sqlite3_finalize(st);
    return err;
}

typedef struct step_rows {
    int64_t run;
    const mb_step_row *row;
    sums to;
} step_rows;

static mb_err bind_step(mb_store *s, sqlite3_stmt *st, int at, size_t i, void *context)
{
    step_rows *rows = context;
    const mb_step_row *r = &rows->row[i];
    sums *to = &rows->to;

    if (r->step != to->step + 1)
        return mb_fail(MB_EINVAL, "%s: run %lld: step %lld does not follow step %lld", s->path,
                       (long long)rows->run, (long long)r->step, (long long)to->step);
    *to = (sums){ r->step,
                  to->wall_ns + r->wall_ns,
                  to->tokens + r->tokens,
                  to->model + (double)r->flops_model,
                  to->useful + (double)r->flops_useful,
                  to->executed + (double)r->flops_executed };
    return mb_sql_bind(s, st, at, "iiiiiuuuiiiddd", rows->run, r->step, r->wall_ns, r->cpu_ns,
                       r->tokens, r->flops_model, r->flops_useful, r->flops_executed,
                       (int64_t)r->flagged, to->wall_ns, to->tokens, to->model, to->useful,
                       to->executed);
}

/* Those that are already there come first. */
static mb_err insert_steps(mb_store *s, int64_t run, const mb_step_row *rows, size_t n)
{
    step_rows to = { .run = run };
    size_t there = 0;

    MB_TRY(read_sums(s, run, &to.to));
    for (; there < n && rows[there].step <= to.to.step; there++)
        if (rows[there].step < 1)
            return mb_fail(MB_EINVAL, "%s: run %lld: step %lld: steps count from 1", s->path,
                           (long long)run, (long long)rows[there].step);
    to.row = rows + there;
    return mb_sql_insert(s, "INSERT INTO step", 14, "", n - there, bind_step, &to);
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

/* Equal names are mostly one and the same constant. */
static bool same_text(const char *a, const char *b)
{
    return a == b || !strcmp(a, b);
}

static bool same_series(const mb_value_row *a, const mb_value_row *b)
{
    return same_text(a->modality, b->modality) && same_text(a->metric, b->metric) &&
           same_text(a->split, b->split);
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

typedef struct value_rows {
    int64_t run;
    const mb_value_row *row;
    int64_t *series; /* of each row */
    size_t *order;   /* rows as they lie in the table, where one beside the last costs less */
} value_rows;

/* Fills series, and order: series by series. */
static mb_err sort_values(mb_store *s, value_rows *v, size_t n)
{
    seen known = { .n = 0 };
    int64_t least = INT64_MAX, most = 0;
    size_t sorted = 0;

    for (size_t i = 0; i < n; i++) {
        MB_TRY(series_of(s, &known, &v->row[i], &v->series[i]));
        least = v->series[i] < least ? v->series[i] : least;
        most = v->series[i] > most ? v->series[i] : most;
    }
    for (int64_t which = least; which <= most; which++)
        for (size_t i = 0; i < n; i++)
            if (v->series[i] == which)
                v->order[sorted++] = i;
    return MB_OK;
}

static mb_err bind_value(mb_store *s, sqlite3_stmt *st, int at, size_t i, void *context)
{
    const value_rows *v = context;
    size_t which = v->order[i];
    const mb_value_row *r = &v->row[which];

    return mb_sql_bind(s, st, at, "iiidi", v->run, v->series[which], r->step, r->value, r->n);
}

static mb_err insert_values(mb_store *s, int64_t run, const mb_value_row *rows, size_t n)
{
    value_rows v = { run, rows, mb_alloc(n * sizeof *v.series), mb_alloc(n * sizeof *v.order) };
    mb_err err = sort_values(s, &v, n);

    if (!err)
        err = mb_sql_insert(s, "INSERT INTO value (run, series, step, value, n)", 5,
                            "ON CONFLICT DO NOTHING", /* IGNORE would also swallow a negative n */
                            n, bind_value, &v);
    free(v.series);
    free(v.order);
    return err;
}

static mb_err insert_samples(mb_store *s, int64_t run, const mb_step_row *steps, size_t n_steps,
                             const mb_value_row *values, size_t n_values)
{
    int64_t there;

    MB_TRY(mb_sql_integer(s, &there, 0, "SELECT count(*) FROM run WHERE id = ?1", "i", run));
    if (!there)
        return mb_fail(MB_EINVAL, "%s: there is no run %lld", s->path, (long long)run);
    MB_TRY(insert_steps(s, run, steps, n_steps));
    return insert_values(s, run, values, n_values);
}

/* What these rows point at is looked up once, here; SQLite would do so for each row again, in a
   sixth of the time of them all. It hears of it only outside of a transaction. */
mb_err mb_store_samples(mb_store *s, int64_t run, const mb_step_row *steps, size_t n_steps,
                        const mb_value_row *values, size_t n_values)
{
    mb_err err;

    MB_TRY(mb_sql_exec(s, "PRAGMA foreign_keys = OFF"));
    err = mb_sql_begin(s);
    if (!err)
        err = mb_sql_end(s, insert_samples(s, run, steps, n_steps, values, n_values));
    sqlite3_exec(s->db, "PRAGMA foreign_keys = ON", NULL, NULL, NULL); /* cannot fail: no I/O */
    return err;
}

/* ---- operations, overhead, matches --------------------------------------------------------- */

typedef struct op_rows {
    int64_t run;
    const mb_op_row *row;
} op_rows;

static mb_err bind_op(mb_store *s, sqlite3_stmt *st, int at, size_t i, void *context)
{
    const op_rows *rows = context;
    const mb_op_row *r = &rows->row[i];

    return mb_sql_bind(s, st, at, "ittitiinuuuuu", rows->run, r->op, r->part, (int64_t)r->layer,
                       r->pass, (int64_t)r->group, r->calls, r->wall_ns, r->flops_model,
                       r->flops_useful, r->flops_executed, r->flops_vector, r->bytes);
}

mb_err mb_store_ops(mb_store *s, int64_t run, const mb_op_row *rows, size_t n)
{
    MB_TRY(mb_sql_begin(s));
    return mb_sql_end(
        s, mb_sql_insert(s, "INSERT INTO op", 13, "", n, bind_op, &(op_rows){ run, rows }));
}

typedef struct kernel_rows {
    int64_t run;
    const mb_kernel_row *row;
} kernel_rows;

static mb_err bind_kernel(mb_store *s, sqlite3_stmt *st, int at, size_t i, void *context)
{
    const kernel_rows *rows = context;
    const mb_kernel_row *r = &rows->row[i];

    return mb_sql_bind(s, st, at, "ittittiiu", rows->run, r->op, r->part, (int64_t)r->layer,
                       r->pass, r->name, r->calls, r->gpu_ns, r->bytes);
}

mb_err mb_store_kernels(mb_store *s, int64_t run, const mb_kernel_row *rows, size_t n)
{
    MB_TRY(mb_sql_begin(s));
    return mb_sql_end(s, mb_sql_insert(s, "INSERT INTO kernel", 9, "", n, bind_kernel,
                                       &(kernel_rows){ run, rows }));
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

mb_err mb_store_memory(mb_store *s, int64_t run, int64_t peak_bytes, int64_t predicted_bytes)
{
    return mb_sql_run(s,
                      "INSERT INTO memory (run, peak_bytes, predicted_bytes) VALUES (?1, ?2, ?3)",
                      "iii", run, peak_bytes, predicted_bytes);
}

typedef struct quality_rows {
    int64_t run, measurement;
    const char *how;
    const mb_quality_row *row;
} quality_rows;

static mb_err bind_quality(mb_store *s, sqlite3_stmt *st, int at, size_t i, void *context)
{
    const quality_rows *rows = context;
    const mb_quality_row *r = &rows->row[i];

    return mb_sql_bind(s, st, at, "iitttdidtt", rows->run, rows->measurement, r->metric,
                       r->modality, r->split, r->value, r->n, r->bound_is ? r->bound : NAN,
                       r->bound_is, rows->how);
}

static mb_err insert_quality(mb_store *s, quality_rows *to, size_t n)
{
    MB_TRY(mb_sql_integer(s, &to->measurement, 0,
                          "SELECT coalesce(max(measurement), 0) + 1 FROM quality", ""));
    return mb_sql_insert(s, "INSERT INTO quality", 10, "", n, bind_quality, to);
}

mb_err mb_store_quality(mb_store *s, int64_t run, const char *how, const mb_quality_row *rows,
                        size_t n)
{
    MB_TRY(mb_sql_begin(s));
    return mb_sql_end(s, insert_quality(s, &(quality_rows){ run, 0, how, rows }, n));
}

typedef struct match_rows {
    int64_t comparison;
    const mb_match_row *row;
} match_rows;

static mb_err bind_match(mb_store *s, sqlite3_stmt *st, int at, size_t i, void *context)
{
    const match_rows *rows = context;
    const mb_match_row *r = &rows->row[i];

    return mb_sql_bind(s, st, at, "itttttttttdddii", rows->comparison, r->workload, r->arch,
                       r->baseline, r->backend, r->precision, r->modality, r->metric, r->split,
                       r->by, r->slope, r->ci_lo, r->ci_hi, r->n_seeds, (int64_t)r->reached);
}

static mb_err insert_matches(mb_store *s, const mb_match_row *rows, size_t n)
{
    match_rows to = { .row = rows };

    MB_TRY(mb_sql_integer(s, &to.comparison, 0,
                          "SELECT coalesce(max(comparison), 0) + 1 FROM match", ""));
    return mb_sql_insert(s, "INSERT INTO match", 15, "", n, bind_match, &to);
}

mb_err mb_store_match(mb_store *s, const mb_match_row *rows, size_t n)
{
    MB_TRY(mb_sql_begin(s));
    return mb_sql_end(s, insert_matches(s, rows, n));
}
