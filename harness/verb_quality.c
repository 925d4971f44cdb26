/* motbench quality: what stored runs' models are good for, beside their loss. */
#include "harness/command.h"
#include "harness/options.h"
#include "harness/quality.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>

enum { RUNS = MB_ASKED_MAX };
enum { DOCUMENTS = 256, SAMPLES, SEED, BACKEND, THREADS };

typedef struct quality_options {
    mb_common common;
    const char *run[RUNS], *backend;
    int runs, threads;
    mb_quality_plan plan;
} quality_options;

static const struct argp_option options[] = {
    { "documents", DOCUMENTS, "N", 0, "Documents scored, at most (default: 256)", 0 },
    { "samples", SAMPLES, "N", 0, "Samples generated, at most (default: 2000)", 0 },
    { "seed", SEED, "N", 0, "Of the samples (default: 1)", 0 },
    { "backend", BACKEND, "NAME", 0, "cpu (default), cuda or ref", 0 },
    { "threads", THREADS, "N", 0, "Threads (default: all cores)", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    quality_options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->child_inputs[1] = &o->common;
        state->child_inputs[2] = &o->plan.diffuse;
        break;
    case DOCUMENTS:
        o->plan.documents = mb_parse_count(state, "--documents", arg, 1000000);
        break;
    case SAMPLES:
        o->plan.samples = mb_parse_count(state, "--samples", arg, 1000000);
        break;
    case SEED:
        o->plan.seed = (uint64_t)mb_parse_count(state, "--seed", arg, INT32_MAX);
        break;
    case BACKEND:
        o->backend = mb_parse_backend(state, arg);
        break;
    case THREADS:
        o->threads = mb_parse_count(state, "--threads", arg, 1024);
        break;
    case ARGP_KEY_ARG:
        mb_parse_append(state, o->run, &o->runs, arg, "runs");
        break;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "expected runs, as `motbench list runs` shows them");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const mb_table_column columns[] = {
    { .name = "run_id", .once = true },
    { .name = "arch", .once = true },
    { .name = "modality", .once = true },
    { .name = "metric" },
    { .name = "split" },
    { .name = "value", .show = MB_SHOW_FIXED },
    { .name = "bound", .show = MB_SHOW_FIXED },
    { .name = "bound_is", .title = "" },
    { .name = "n", .show = MB_SHOW_PLAIN },
};

static void add_rows(mb_table *t, const mb_loaded *l, const mb_quality *q)
{
    for (size_t i = 0; i < q->n; i++) {
        const mb_quality_row *r = &q->row[i];

        mb_table_integer(t, l->run);
        mb_table_text(t, l->arch);
        mb_table_text(t, r->modality);
        mb_table_text(t, r->metric);
        mb_table_text(t, r->split);
        mb_table_real(t, r->value);
        mb_table_real(t, r->bound_is ? r->bound : NAN);
        mb_table_text(t, r->bound_is ? r->bound_is : "");
        mb_table_integer(t, r->n);
    }
}

/* How RUN was measured. Caller frees. */
static char *how_measured(const quality_options *o, const mb_loaded *l)
{
    char *sampler = mb_diffuse_how(&o->plan.diffuse);
    char *how = mb_format("%lld documents, %lld samples%s%s, seed %llu, %s, %d threads",
                          (long long)o->plan.documents, (long long)o->plan.samples,
                          mb_data_patch(l->data) > 0 ? ", images by " : "",
                          mb_data_patch(l->data) > 0 ? sampler : "",
                          (unsigned long long)o->plan.seed, o->backend, mb_ctx_threads(l->ctx));

    free(sampler);
    return how;
}

static mb_err measure(const quality_options *o, mb_store *s, const mb_loaded *l, bool first,
                      mb_table *t)
{
    mb_quality q = { 0 };
    char *how = how_measured(o, l);
    mb_err err = mb_quality_of_losses(l, &o->plan, &q);

    if (!err)
        err = mb_quality_of_samples(l, &o->plan, &q);
    if (!err && !mb_store_read_only(s))
        err = mb_store_quality(s, l->run, how, q.row, q.n);
    if (!err)
        add_rows(t, l, &q);
    if (!err && first)
        mb_table_note(t, "Of each at most %s.", how);
    mb_quality_free(&q);
    free(how);
    return err;
}

static mb_err run(const quality_options *o, mb_store *s)
{
    mb_table *t = mb_table_new(columns, sizeof columns / sizeof *columns);
    mb_err err = MB_OK;

    for (int i = 0; !err && i < o->runs; i++) {
        mb_loaded l;

        err = mb_loaded_open(s, o->run[i], o->backend, o->threads, &l);
        if (!err)
            err = measure(o, s, &l, i == 0, t);
        mb_loaded_close(&l);
    }
    mb_table_note(t, "A ceiling or floor is what the data or the judge allow, a baseline what a "
                     "model should pass; workloads/README.md defines every metric.");
    if (!err)
        err = mb_table_print(t, o->common.format, stdout);
    mb_table_free(t);
    return err;
}

mb_err mb_command_quality(int argc, char **argv)
{
    static const struct argp_child children[] = { { &mb_db_argp, 0, NULL, 0 },
                                                  { &mb_format_argp, 0, NULL, 0 },
                                                  { &mb_sampler_argp, 0, NULL, 0 },
                                                  { 0 } };
    static const struct argp argp = {
        options,
        parse,
        "RUN...",
        "Measures what stored runs' models are good for: likelihoods of one modality given "
        "another, "
        "and samples."
        "\vEvery value is stored (v_quality) with what it can be held against.",
        children,
        NULL,
        NULL,
    };
    quality_options o = {
        .backend = "cpu",
        .plan = { .documents = 256, .samples = 2000, .seed = 1, .at_once = 128 },
    };
    mb_store *s = NULL;
    mb_err err;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    err = mb_store_open(o.common.db, false, &s);
    if (!err)
        err = run(&o, s);
    mb_store_close(s);
    return err;
}
