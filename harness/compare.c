#include "harness/compare.h"

#include "base/batch.h"
#include "base/file.h"
#include "base/random.h"
#include "harness/match.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- runs and arms ------------------------------------------------------------------------- */

/* Columns of the query below, in its order. */
enum {
    WORKLOAD,
    BACKEND,
    PRECISION,
    ARCH,
    SEED,
    RUN,
    STEPS,
    TOKENS,
    FLOPS,
    STEP_S,
    PARAMS,
    ACTIVE,
    DEVICE,
    MACHINE,
    BUILD,
    DATA,
    SETTINGS,
    COLUMNS
};

static const char select_runs[] =
    "SELECT workload, backend, precision, arch, seed, run_id, steps, tokens, flops_model, step_s, "
    "       params_total, params_active, device, machine, build, "
    "       coalesce((SELECT value FROM v_fact WHERE fact_set = dataset AND key = 'hash'), "
    "dataset),"
    "       settings "
    "FROM (SELECT *, min(run_id) OVER (PARTITION BY workload, backend, precision, arch) AS first "
    "      FROM v_latest WHERE ?1 = '' OR workload = ?1) "
    "ORDER BY workload, backend, precision, arch <> ?2, first, seed";

typedef const mb_cell *run; /* a row of it */

/* The runs of one architecture under one condition. */
typedef struct arm {
    run first; /* of n rows, one after another */
    size_t n;
    run *pair;   /* (n) the baseline's run that each is compared with, or NULL */
    bool timely; /* all pairs ran on one machine and device: times may be compared */
} arm;

static run run_of(const arm *a, size_t i)
{
    return a->first + i * COLUMNS;
}

static bool same(run a, run b, int column)
{
    return !strcmp(a[column].string, b[column].string);
}

static bool same_condition(run a, run b)
{
    return same(a, b, WORKLOAD) && same(a, b, BACKEND) && same(a, b, PRECISION);
}

__attribute__((format(printf, 2, 3))) static void note(mb_comparison *c, const char *format, ...)
{
    char **more = mb_zalloc(c->notes + 1, sizeof *more), *text = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = mb_format("out of memory");
    va_end(args);
    for (size_t i = 0; i < c->notes; i++)
        more[i] = c->note[i];
    more[c->notes++] = text;
    free(c->note);
    c->note = more;
}

/* ---- may two runs be compared? ------------------------------------------------------------- */

/* The first setting, but for those of the architecture and the seed, in which two runs differ;
   out[0] stays empty when there is none. */
static mb_err differing_setting(mb_store *s, run a, run b, char out[160])
{
    static const char sql[] =
        "SELECT key, max(iif(fact_set = ?1, value, NULL)), max(iif(fact_set = ?2, value, NULL)) "
        "FROM v_fact WHERE fact_set IN (?1, ?2) AND key NOT GLOB 'arch*' AND key NOT GLOB 'seed*' "
        "GROUP BY key HAVING count(DISTINCT value) > 1 OR count(*) = 1 ORDER BY key LIMIT 1";
    const char *const ids[] = { a[SETTINGS].string, b[SETTINGS].string, NULL };
    mb_rows *rows;

    *out = '\0';
    if (same(a, b, SETTINGS))
        return MB_OK;
    MB_TRY(mb_store_query(s, sql, ids, &rows));
    if (rows->n)
        snprintf(out, 160, "%s is %s against %s", rows->cell[0].string,
                 rows->cell[1].type ? rows->cell[1].string : "not set",
                 rows->cell[2].type ? rows->cell[2].string : "not set");
    mb_rows_free(rows);
    return MB_OK;
}

/* WHY stays empty when both saw the same batches under the same settings. */
static mb_err why_not(mb_store *s, run a, run b, char why[160])
{
    *why = '\0';
    if (!same(a, b, DATA))
        snprintf(why, 160, "the data differ");
    else if (!same(a, b, STEPS))
        snprintf(why, 160, "%s steps against %s", a[STEPS].string, b[STEPS].string);
    else if (!same(a, b, TOKENS))
        snprintf(why, 160, "%s tokens against %s", a[TOKENS].string, b[TOKENS].string);
    else
        return differing_setting(s, a, b, why);
    return MB_OK;
}

static mb_err find_pairs(mb_store *s, mb_comparison *c, arm *a, const arm *base)
{
    char why[160];
    bool builds = true;

    for (size_t i = 0; i < a->n; i++) {
        run r = run_of(a, i), b = NULL;

        for (size_t k = 0; k < base->n && !b; k++)
            if (same(r, run_of(base, k), SEED))
                b = run_of(base, k);
        if (!b)
            continue;
        MB_TRY(why_not(s, r, b, why));
        if (*why) {
            note(c, "%s: %s and %s with seed %s are not comparable: %s.", r[WORKLOAD].string,
                 r[ARCH].string, b[ARCH].string, r[SEED].string, why);
            continue;
        }
        a->pair[i] = b;
        a->timely = a->timely && same(r, b, MACHINE) && same(r, b, DEVICE);
        builds = builds && same(r, b, BUILD);
        c->pairs++;
    }
    if (!a->timely)
        note(c,
             "%s: %s and %s ran on different machines or with different shares of one: times are "
             "not compared.",
             a->first[WORKLOAD].string, a->first[ARCH].string, base->first[ARCH].string);
    else if (!builds)
        note(c, "%s: %s and %s ran with different builds.", a->first[WORKLOAD].string,
             a->first[ARCH].string, base->first[ARCH].string);
    return MB_OK;
}

/* ---- slopes -------------------------------------------------------------------------------- */

static const char *const split_name[] = { "val", "train" };

/* *known is false when the baseline has no curve there. */
static mb_err match_pair(mb_store *s, run r, run base, const char *split, const char *modality,
                         mb_match *out, bool *known)
{
    mb_point *a, *b = NULL;
    size_t n_a, n_b;
    mb_err err;

    MB_TRY(mb_store_curve(s, base[RUN].integer, split, modality, "loss", &a, &n_a));
    err = mb_store_curve(s, r[RUN].integer, split, modality, "loss", &b, &n_b);
    *known = !err && n_a > 0;
    if (*known)
        *out = mb_match_curves(a, n_a, b, n_b);
    free(a);
    free(b);
    return err;
}

/* FLOPs or seconds of a step, relative to the baseline's. Both arms took as many steps. */
static double cost_ratio(run r, run base, int by)
{
    int column = by == MB_MATCH_FLOPS ? FLOPS : STEP_S;

    return r[column].type && base[column].real > 0 ? r[column].real / base[column].real : NAN;
}

/* Mean and interval over the slopes V of all pairs. */
static void summarise(mb_slope *out, const double *v)
{
    out->slope = out->ci.lo = out->ci.hi = NAN;
    if (out->reached < out->seeds)
        return;
    out->slope = mb_mean(v, out->seeds);
    if (!isnan(out->slope))
        out->ci = mb_bootstrap(v, out->seeds, mb_mean, 0.95, mb_key(0, "bootstrap", 0, 0));
}

static mb_err find_slopes(mb_store *s, const arm *a, int split, const char *modality,
                          mb_slope out[MB_MATCH_BYS])
{
    double *v = mb_alloc(MB_MATCH_BYS * a->n * sizeof *v);
    size_t pairs = 0, reached = 0;
    mb_err err = MB_OK;

    for (size_t i = 0; !err && i < a->n; i++) {
        bool known = false;
        mb_match m;

        if (a->pair[i])
            err = match_pair(s, run_of(a, i), a->pair[i], split_name[split], modality, &m, &known);
        if (!known)
            continue;
        for (int by = 0; by < MB_MATCH_BYS; by++)
            v[(size_t)by * a->n + pairs] = m.slope * cost_ratio(run_of(a, i), a->pair[i], by);
        pairs++;
        reached += m.reached;
    }
    for (int by = 0; !err && by < MB_MATCH_BYS; by++) {
        out[by].seeds = by == MB_MATCH_TIME && !a->timely ? 0 : pairs;
        out[by].reached = reached;
        if (out[by].seeds)
            summarise(&out[by], v + (size_t)by * a->n);
    }
    free(v);
    return err;
}

/* ---- rows ---------------------------------------------------------------------------------- */

/* Last validation losses of an arm, NaN where a run diverged; *n of them. */
static mb_err last_losses(mb_store *s, const arm *a, const char *modality, double *out, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < a->n; i++) {
        const char *const parameters[] = { run_of(a, i)[RUN].string, modality, NULL };
        mb_rows *rows;

        MB_TRY(mb_store_query(s,
                              "SELECT value FROM v_final WHERE run_id = CAST(?1 AS INTEGER) "
                              "AND split = 'val' AND modality = ?2 AND metric = 'loss'",
                              parameters, &rows));
        if (rows->n)
            out[(*n)++] = rows->cell[0].type == MB_NULL ? NAN : rows->cell[0].real;
        mb_rows_free(rows);
    }
    return MB_OK;
}

static double mean_of(const arm *a, double (*value)(run r))
{
    double sum = 0;

    for (size_t i = 0; i < a->n; i++)
        sum += value(run_of(a, i));
    return sum / (double)a->n;
}

static double flops_of(run r)
{
    return r[FLOPS].real;
}

static double seconds_of(run r)
{
    return r[STEP_S].type ? r[STEPS].real * r[STEP_S].real : NAN;
}

static mb_err add_row(mb_store *s, mb_comparison *c, const arm *a, const char *modality,
                      bool is_baseline)
{
    mb_compared *row = &c->row[c->n];
    double *loss = mb_alloc(a->n * sizeof *loss);
    run r = a->first;
    size_t n;
    mb_err err = last_losses(s, a, modality, loss, &n);

    if (!err && n) {
        *row = (mb_compared){ .workload = r[WORKLOAD].string,
                              .backend = r[BACKEND].string,
                              .precision = r[PRECISION].string,
                              .arch = r[ARCH].string,
                              .modality = modality,
                              .is_baseline = is_baseline,
                              .params_total = r[PARAMS].integer,
                              .params_active = r[ACTIVE].integer,
                              .runs = a->n,
                              .flops_model = mean_of(a, flops_of),
                              .train_s = mean_of(a, seconds_of),
                              .loss = mb_mean(loss, n),
                              .loss_sd = mb_deviation(loss, n) };
        c->n++;
        if (isnan(row->train_s) && !strcmp(modality, "all"))
            note(c, "%s: %s has no time: the machine was busy in every step of a run.",
                 row->workload, row->arch);
        for (int split = 0; !err && split < MB_COMPARE_SPLITS; split++)
            err = find_slopes(s, a, split, modality, row->slope[split]);
    }
    free(loss);
    return err;
}

/* The arm that begins at row I of the runs. */
static arm arm_at(const mb_rows *runs, size_t i)
{
    arm a = { .first = runs->cell + i * COLUMNS, .timely = true };

    while (i + a.n < runs->n && same_condition(a.first, run_of(&a, a.n)) &&
           same(a.first, run_of(&a, a.n), ARCH))
        a.n++;
    a.pair = mb_zalloc(a.n, sizeof *a.pair);
    return a;
}

static mb_err add_arm(mb_store *s, mb_comparison *c, arm *a, const arm *base)
{
    bool is_baseline = a->first == base->first;

    if (base->first && !is_baseline)
        MB_TRY(find_pairs(s, c, a, base));
    MB_TRY(add_row(s, c, a, "all", is_baseline));
    for (int m = 0; m < MB_MODALITIES; m++)
        MB_TRY(add_row(s, c, a, mb_modality_name[m], is_baseline));
    return MB_OK;
}

static mb_err add_arms(mb_store *s, mb_comparison *c, const char *baseline)
{
    arm base = { 0 };
    mb_err err = MB_OK;

    for (size_t i = 0; !err && i < c->runs->n;) {
        arm a = arm_at(c->runs, i);

        if (!i || !same_condition(a.first, a.first - COLUMNS)) { /* the baseline comes first */
            base = (arm){ 0 };
            if (!strcmp(a.first[ARCH].string, baseline))
                base = a;
            else
                note(c, "%s on %s %s: no finished run of the baseline, %s.",
                     a.first[WORKLOAD].string, a.first[BACKEND].string, a.first[PRECISION].string,
                     baseline);
        }
        err = add_arm(s, c, &a, &base);
        i += a.n;
        free(a.pair);
    }
    return err;
}

mb_err mb_compare(mb_store *s, const char *workload, const char *baseline, mb_comparison *out)
{
    const char *const parameters[] = { workload ? workload : "", baseline, NULL };
    mb_err err;

    memset(out, 0, sizeof *out);
    MB_TRY(mb_store_query(s, select_runs, parameters, &out->runs));
    out->row = mb_zalloc(out->runs->n * (1 + MB_MODALITIES), sizeof *out->row);
    err = out->runs->n ? add_arms(s, out, baseline)
                       : mb_fail(MB_EMISSING, "%s: no finished run%s%s", mb_store_path(s),
                                 workload ? " of workload " : "", workload ? workload : "");
    if (!err && !out->n)
        err = mb_fail(MB_EMISSING, "%s: no finished run has a validation loss", mb_store_path(s));
    if (err)
        mb_comparison_free(out);
    return err;
}

void mb_comparison_free(mb_comparison *c)
{
    for (size_t i = 0; i < c->notes; i++)
        free(c->note[i]);
    free(c->note);
    free(c->row);
    mb_rows_free(c->runs);
    memset(c, 0, sizeof *c);
}

mb_err mb_compare_store(mb_store *s, const mb_comparison *c, const char *baseline)
{
    static const char *const by_name[] = { "flops", "time" };
    mb_match_row *rows = mb_alloc(c->n * MB_COMPARE_SPLITS * MB_MATCH_BYS * sizeof *rows);
    size_t n = 0;
    mb_err err = MB_OK;

    for (size_t i = 0; i < c->n; i++)
        for (int split = 0; split < MB_COMPARE_SPLITS; split++)
            for (int by = 0; by < MB_MATCH_BYS; by++) {
                const mb_compared *r = &c->row[i];
                const mb_slope *m = &r->slope[split][by];

                if (m->seeds)
                    rows[n++] = (mb_match_row){ r->workload,
                                                r->arch,
                                                baseline,
                                                r->backend,
                                                r->precision,
                                                r->modality,
                                                "loss",
                                                split_name[split],
                                                by_name[by],
                                                m->slope,
                                                m->ci.lo,
                                                m->ci.hi,
                                                (int64_t)m->seeds,
                                                m->reached == m->seeds };
            }
    if (n && !mb_store_read_only(s)) /* then they are just printed */
        err = mb_store_match(s, rows, n);
    free(rows);
    return err;
}
