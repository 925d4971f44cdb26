/* motbench profile: where the time of a step goes, and how near it comes to what the machine can.
 */
#include "harness/command.h"
#include "harness/options.h"
#include "harness/profile.h"

#include <stdlib.h>

enum { STEPS = 256, TRACED, WARM_UP, LAYERS, COUNTS, BARE, EACH };

typedef struct profile_options {
    mb_common common;
    mb_asked asked;
    const char *workload, *set;
    int timed, traced, warm_up;
    bool layers, counts, bare, each;
} profile_options;

static const struct argp_option options[] = {
    { "profile", 'p', "NAME", 0,
      "What to count (motbench list profiles, or FILE.ini; default: time)", 0 },
    { "steps", STEPS, "N", 0, "Steps to time and count (default: 10)", 0 },
    { "traced", TRACED, "N", 0, "Steps to trace, operation by operation (default: 5)", 0 },
    { "warm-up", WARM_UP, "N", 0, "Steps before those (default: 3)", 0 },
    { "layers", LAYERS, NULL, 0, "Every layer for itself", 0 },
    { "counts", COUNTS, NULL, 0,
      "Print counts and metrics alone; csv and json have the operations otherwise", 0 },
    { "bare", BARE, NULL, 0, "Do not record what a GPU launches", 0 },
    { "each", EACH, NULL, 0,
      "Also let a GPU count the FLOPs of each operation, which may take minutes", 0 },
    { 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    profile_options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->child_inputs[1] = &o->common;
        state->child_inputs[2] = &o->asked;
        break;
    case 'p':
        o->set = arg;
        break;
    case STEPS:
        o->timed = mb_parse_count(state, "--steps", arg, 1000000);
        break;
    case TRACED:
        o->traced = mb_parse_count(state, "--traced", arg, 1000000);
        break;
    case WARM_UP:
        o->warm_up = mb_parse_count(state, "--warm-up", arg, 1000000);
        break;
    case LAYERS:
        o->layers = true;
        break;
    case COUNTS:
        o->counts = true;
        break;
    case BARE:
        o->bare = true;
        break;
    case EACH:
        o->each = true;
        break;
    case ARGP_KEY_ARG:
        if (o->workload)
            argp_error(state, "one argument too many: '%s'", arg);
        o->workload = arg;
        break;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "expected a workload, such as workloads/demo.ini");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct argp_child children[] = { { &mb_db_argp, 0, NULL, 0 },
                                              { &mb_format_argp, 0, NULL, 0 },
                                              { &mb_asked_argp, 0, NULL, 0 },
                                              { 0 } };
static const struct argp argp = {
    options,
    parse,
    "WORKLOAD -a ARCH",
    "Times and counts some training steps, then traces others operation by operation."
    "\vThe steps are recorded as a run that no comparison takes for training.",
    children,
    NULL,
    NULL,
};

static mb_err print(const profile_options *o, mb_store *s, int64_t run, const mb_event_set *set)
{
    enum mb_table_format format = o->common.format;
    bool people = format == MB_TABLE_HUMAN || format == MB_TABLE_MD;

    if (!o->counts)
        MB_TRY(mb_profile_print_operations(s, run, o->layers, format, stdout));
    if (!o->counts && people)
        putchar('\n');
    return o->counts || people ? mb_profile_print_counts(s, run, set, format, stdout) : MB_OK;
}

/* One architecture and one seed are profiled at a time. */
static mb_err profile(const profile_options *o, mb_bench *b, const mb_work *work,
                      const mb_event_set *set)
{
    mb_profile_plan plan = { .set = set,
                             .warm_up = o->warm_up,
                             .timed = o->timed,
                             .traced = o->traced,
                             .bare = o->bare,
                             .each = o->each };
    double values[MB_METRICS_MAX];
    mb_job *jobs;
    size_t n = mb_jobs_make(b, work, 1, 1, 1, &jobs);
    mb_err err = mb_event_set_metrics(set, b->store, 0, values); /* before anything is measured */
    int64_t run;

    if (!err && n == 0)
        err = mb_fail(MB_EINVAL, "%s: nothing to profile", o->workload);
    if (!err && work->settings->archs != 1)
        err = mb_fail(MB_EUSAGE, "%s: expected one architecture to profile (-a), found %d",
                      o->workload, work->settings->archs);
    if (!err && plan.warm_up + plan.timed + plan.traced > work->settings->steps)
        err = mb_fail(MB_EINVAL, "%s: %d steps to profile, expected at most the workload's %lld",
                      o->workload, plan.warm_up + plan.timed + plan.traced,
                      (long long)work->settings->steps);
    if (!err)
        err = mb_profile_run(b, &jobs[0], &plan, &run);
    if (!err)
        err = print(o, b->store, run, set);
    free(jobs);
    return err;
}

mb_err mb_command_profile(int argc, char **argv)
{
    static volatile sig_atomic_t never;
    profile_options o = { .set = "time", .timed = 10, .traced = 5, .warm_up = 3 };
    mb_progress progress;
    mb_bench b = { .stop = &never, .progress = &progress, .jobs_asked = 1 };
    mb_work work = { 0 };
    mb_event_set *set = NULL;
    mb_err err;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    mb_progress_open(&progress, stderr, mb_progress_columns(stderr), true, 0, 0);
    err = mb_event_set_open(o.set, &set);
    if (!err)
        err = mb_bench_open(&b, &o.asked, o.common.db, &o.workload, 1, &work);
    if (!err)
        err = profile(&o, &b, &work, set);
    mb_bench_close(&b, &work, 1);
    mb_event_set_close(set);
    return err;
}
