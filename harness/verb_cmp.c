/* `motbench cmp`: a comparison as a table, with a line that reads one row aloud. */
#include "harness/verbs.h"

#include "base/file.h"
#include "harness/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORKLOAD, CONDITION };
static const mb_table_column columns[] = {
    [WORKLOAD] = { .name = "workload", .once = true },
    [CONDITION] = { .name = "on", .audience = MB_FOR_PEOPLE, .once = true },
    { .name = "backend", .audience = MB_FOR_PROGRAMS },
    { .name = "precision", .audience = MB_FOR_PROGRAMS },
    { .name = "arch", .once = true },
    { .name = "params (active)", .show = MB_SHOW_PLAIN, .audience = MB_FOR_PEOPLE, .once = true },
    { .name = "params_total", .audience = MB_FOR_PROGRAMS },
    { .name = "params_active", .audience = MB_FOR_PROGRAMS },
    { .name = "flops_model", .title = "FLOPs", .show = MB_SHOW_SI, .once = true },
    { .name = "train_s", .title = "time", .show = MB_SHOW_SECONDS, .once = true },
    { .name = "modality" },
    { .name = "val loss", .show = MB_SHOW_PLAIN, .audience = MB_FOR_PEOPLE },
    { .name = "val_loss", .audience = MB_FOR_PROGRAMS },
    { .name = "val_loss_sd", .audience = MB_FOR_PROGRAMS },
    { .name = "FLOPs to match", .show = MB_SHOW_PLAIN, .audience = MB_FOR_PEOPLE },
    { .name = "flops_slope", .audience = MB_FOR_PROGRAMS },
    { .name = "flops_lo", .audience = MB_FOR_PROGRAMS },
    { .name = "flops_hi", .audience = MB_FOR_PROGRAMS },
    { .name = "time to match", .show = MB_SHOW_PLAIN, .audience = MB_FOR_PEOPLE },
    { .name = "time_slope", .audience = MB_FOR_PROGRAMS },
    { .name = "time_lo", .audience = MB_FOR_PROGRAMS },
    { .name = "time_hi", .audience = MB_FOR_PROGRAMS },
    { .name = "reached", .audience = MB_FOR_PROGRAMS }, /* seeds, of n_seeds */
    { .name = "n_seeds", .audience = MB_FOR_PROGRAMS }, /* paired with the baseline's */
    { .name = "n_runs", .audience = MB_FOR_PROGRAMS },
};
enum { COLUMNS = sizeof columns / sizeof *columns };

/* ---- cells --------------------------------------------------------------------------------- */

/* Takes TEXT. */
static void add_text(mb_table *t, char *text)
{
    mb_table_text(t, text);
    free(text);
}

static void add_params(mb_table *t, const mb_compared *r)
{
    char total[MB_SHOWN], active[MB_SHOWN];

    mb_show_si((double)r->params_total, total);
    mb_show_si((double)r->params_active, active);
    add_text(t, r->params_total == r->params_active ? mb_format("%s", total)
                                                    : mb_format("%s (%s)", total, active));
    mb_table_integer(t, r->params_total);
    mb_table_integer(t, r->params_active);
}

static void add_loss(mb_table *t, const mb_compared *r)
{
    add_text(t, isnan(r->loss)      ? mb_format("diverged")
                : isnan(r->loss_sd) ? mb_format("%.3f", r->loss)
                                    : mb_format("%.3f ± %.3f", r->loss, r->loss_sd));
    mb_table_real(t, r->loss);
    mb_table_real(t, r->loss_sd);
}

/* "0.52 [0.48, 0.57]", caller frees. */
static char *slope_text(const mb_slope *m)
{
    if (m->seeds == 0)
        return mb_format("-");
    if (m->reached == 0)
        return mb_format("not reached");
    if (m->reached < m->seeds)
        return mb_format("reached by %zu of %zu", m->reached, m->seeds);
    if (isnan(m->slope))
        return mb_format("-");
    if (isnan(m->ci.lo))
        return mb_format("%.2f", m->slope);
    return mb_format("%.2f [%.2f, %.2f]", m->slope, m->ci.lo, m->ci.hi);
}

static void add_slope(mb_table *t, const mb_compared *r, int by)
{
    const mb_slope none = { NAN, { NAN, NAN }, 0, 0 }, *m = &r->slope[MB_COMPARE_VAL][by];

    add_text(t, r->is_baseline ? mb_format("1") : slope_text(m));
    m = m->seeds ? m : &none;
    mb_table_real(t, m->slope);
    mb_table_real(t, m->ci.lo);
    mb_table_real(t, m->ci.hi);
}

static void add_row(mb_table *t, const mb_compared *r)
{
    mb_table_text(t, r->workload);
    add_text(t, mb_format("%s %s", r->backend, r->precision));
    mb_table_text(t, r->backend);
    mb_table_text(t, r->precision);
    mb_table_text(t, r->arch);
    add_params(t, r);
    mb_table_real(t, r->flops_model);
    mb_table_real(t, r->train_s);
    mb_table_text(t, r->modality);
    add_loss(t, r);
    add_slope(t, r, MB_MATCH_FLOPS);
    add_slope(t, r, MB_MATCH_TIME);
    mb_table_integer(t, (int64_t)r->slope[MB_COMPARE_VAL][MB_MATCH_FLOPS].reached);
    mb_table_integer(t, (int64_t)r->slope[MB_COMPARE_VAL][MB_MATCH_FLOPS].seeds);
    mb_table_integer(t, (int64_t)r->runs);
}

/* ---- the lines under the table ------------------------------------------------------------- */

/* The row to read aloud: one that reached if there is any, a single modality rather than all. */
static const mb_compared *example(const mb_comparison *c)
{
    const mb_compared *best = NULL;
    int best_score = -1;

    for (size_t i = 0; i < c->n; i++) {
        const mb_slope *m = &c->row[i].slope[MB_COMPARE_VAL][MB_MATCH_FLOPS];
        int score = 2 * !isnan(m->slope) + !!strcmp(c->row[i].modality, "all");

        if (m->seeds && score >= best_score) {
            best = &c->row[i];
            best_score = score;
        }
    }
    return best;
}

static void read_aloud(mb_table *t, const mb_compared *r, const char *baseline)
{
    const mb_slope *flops = &r->slope[MB_COMPARE_VAL][MB_MATCH_FLOPS],
                   *time = &r->slope[MB_COMPARE_VAL][MB_MATCH_TIME];
    const char *on = strcmp(r->modality, "all") ? r->modality : "all tokens";
    char *of_time = time->seeds && !isnan(time->slope)
                        ? mb_format(" and %.2f of its training time", time->slope)
                        : mb_format("%s", "");

    if (!isnan(flops->slope))
        mb_table_note(t,
                      "How to read it: on %s, %s fell to the validation losses of %s with %.2f "
                      "of its FLOPs%s.",
                      on, r->arch, baseline, flops->slope, of_time);
    else
        mb_table_note(t,
                      "How to read it: on %s, the validation loss of %s did not fall as low as "
                      "the last one of %s in %zu of %zu seeds.",
                      on, r->arch, baseline, flops->seeds - flops->reached, flops->seeds);
    free(of_time);
}

static size_t most_seeds(const mb_comparison *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n; i++)
        if (c->row[i].slope[MB_COMPARE_VAL][MB_MATCH_FLOPS].seeds > n)
            n = c->row[i].slope[MB_COMPARE_VAL][MB_MATCH_FLOPS].seeds;
    return n;
}

static void add_notes(mb_table *t, const mb_comparison *c, const char *baseline)
{
    const mb_compared *r = example(c);

    if (r)
        read_aloud(t, r, baseline);
    if (c->pairs && most_seeds(c) == 1)
        mb_table_note(t,
                      "One seed decides nothing: there is no interval, and another seed may turn "
                      "the order around.");
    else if (c->pairs)
        mb_table_note(t, "Brackets: 95 %% bootstrap interval over paired seeds. ±: standard "
                         "deviation over seeds.");
    for (size_t i = 0; i < c->notes; i++)
        mb_table_note(t, "%s", c->note[i]);
}

/* ---- the verb ------------------------------------------------------------------------------ */

/* What is the same in all rows is not worth a column: it goes into a line under the table. */
static void choose_columns(const mb_comparison *c, mb_table_column *out)
{
    bool workload = false, condition = false;

    for (size_t i = 1; i < c->n; i++) {
        const mb_compared *a = &c->row[0], *b = &c->row[i];

        workload = workload || strcmp(a->workload, b->workload);
        condition =
            condition || strcmp(a->backend, b->backend) || strcmp(a->precision, b->precision);
    }
    memcpy(out, columns, sizeof columns);
    if (!workload && !condition) {
        out[WORKLOAD].audience = MB_FOR_PROGRAMS;
        out[CONDITION].audience = MB_FOR_NOBODY;
    }
}

static mb_err print(const mb_comparison *c, const mb_cmp_options *o, const char *baseline,
                    FILE *out)
{
    mb_table_column chosen[COLUMNS];
    mb_table *t;
    mb_err err;

    choose_columns(c, chosen);
    t = mb_table_new(chosen, COLUMNS);
    for (size_t i = 0; i < c->n; i++)
        add_row(t, &c->row[i]);
    if (c->n && chosen[CONDITION].audience == MB_FOR_NOBODY)
        mb_table_note(t, "Workload %s on %s %s, baseline %s.", c->row[0].workload,
                      c->row[0].backend, c->row[0].precision, baseline);
    add_notes(t, c, baseline);
    err = mb_table_print(t, o->format, out);
    mb_table_free(t);
    return err;
}

mb_err mb_verb_cmp(const mb_cmp_options *o, FILE *out)
{
    const char *baseline = o->baseline ? o->baseline : "dense";
    mb_comparison c = { 0 };
    mb_store *s;
    mb_err err;

    MB_TRY(mb_store_open(o->db, false, &s));
    err = mb_compare(s, o->workload, baseline, &c);
    if (!err)
        err = mb_compare_store(s, &c, baseline);
    if (!err)
        err = print(&c, o, baseline, out);
    if (!err && !c.pairs)
        err = mb_fail(MB_EINCOMPARABLE, "%s: nothing could be compared with %s: %s", o->db,
                      baseline, c.notes ? c.note[0] : "it is the only architecture that finished.");
    mb_comparison_free(&c);
    mb_store_close(s);
    return err;
}
