/* motbench run: trains every architecture of some workloads on every seed and keeps all of it. */
#include "harness/bench.h"
#include "harness/command.h"
#include "harness/options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { JOBS_MAX = 256 };
enum { RESUME = 256, SHARD };

typedef struct run_options {
    mb_common common;
    mb_asked asked;
    const char *workloads[MB_ASKED_MAX];
    int n_workloads, jobs, shard, shards;
    bool resume, quiet;
} run_options;

static const struct argp_option options[] = {
    { "jobs", 'j', "N", 0,
      "Train N jobs side by side (default, or 0: as many as there are cores; 1 with --threads)",
      0 },
    { "resume", RESUME, NULL, 0, "Skip what is done and go on with what was interrupted", 0 },
    { "shard", SHARD, "I/N", 0, "Run every N-th job alone, beginning with the I-th", 0 },
    { "quiet", 'q', NULL, 0, "No progress", 0 },
    { 0 },
};

static void parse_shard(run_options *o, const char *text, const struct argp_state *state)
{
    int used = -1;

    if (sscanf(text, "%d/%d%n", &o->shard, &o->shards, &used) != 2 || text[used] || o->shard < 1 ||
        o->shard > o->shards)
        argp_error(state, "--shard %s: expected I/N with 1 <= I <= N", text);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    run_options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->child_inputs[1] = &o->common;
        state->child_inputs[2] = &o->asked;
        break;
    case 'j':
        o->jobs = strcmp(arg, "0") ? mb_parse_count(state, "--jobs", arg, JOBS_MAX) : 0;
        break;
    case 'q':
        o->quiet = true;
        break;
    case RESUME:
        o->resume = true;
        break;
    case SHARD:
        parse_shard(o, arg, state);
        break;
    case ARGP_KEY_ARG:
        mb_parse_append(state, o->workloads, &o->n_workloads, arg, "workloads");
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
    "WORKLOAD...",
    "Trains every architecture of the workloads on every seed and records all measurements."
    "\vSeveral jobs train side by side and share out the cores, unless --jobs or --threads says "
    "otherwise. A job that fails is recorded and the others go on. Ctrl-C finishes the steps and "
    "saves; with --resume the same command goes on from there.",
    children,
    NULL,
    NULL,
};

/* ---- Ctrl-C -------------------------------------------------------------------------------- */

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    if (stop)
        _exit(130);
    stop = signal;
}

static void watch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- the summary --------------------------------------------------------------------------- */

static const mb_table_column columns[] = {
    { "workload", NULL, MB_SHOW_TEXT, MB_FOR_ALL, true },
    { "seed", NULL, MB_SHOW_PLAIN, MB_FOR_ALL, true },
    { "arch", NULL, MB_SHOW_TEXT, MB_FOR_ALL, false },
    { "status", NULL, MB_SHOW_TEXT, MB_FOR_ALL, false },
    { "steps", NULL, MB_SHOW_PLAIN, MB_FOR_ALL, false },
    { "loss_text", "text loss", MB_SHOW_FIXED, MB_FOR_ALL, false },
    { "loss_image", "image loss", MB_SHOW_FIXED, MB_FOR_ALL, false },
    { "loss_speech", "speech loss", MB_SHOW_FIXED, MB_FOR_ALL, false },
    { "tokens_per_s", "tokens/s", MB_SHOW_SI, MB_FOR_ALL, false },
    { "train_s", "trained", MB_SHOW_SECONDS, MB_FOR_ALL, false },
    { "detail", NULL, MB_SHOW_TEXT, MB_FOR_PROGRAMS, false },
};

static double loss(const mb_outcome *o, int modality)
{
    return o->val.n[modality] ? o->val.sum[modality] / (double)o->val.n[modality] : NAN;
}

static mb_err print_summary(const run_options *o, const mb_job *jobs, const mb_outcome *outcomes,
                            size_t n)
{
    mb_table *t = mb_table_new(columns, sizeof columns / sizeof *columns);
    mb_err err;
    size_t i;

    for (i = 0; i < n; i++) {
        const mb_settings *s = jobs[i].work->settings;
        const mb_outcome *out = &outcomes[i];
        double train_s = (double)out->train_ns * 1e-9;

        mb_table_text(t, s->name);
        mb_table_integer(t, jobs[i].seed);
        mb_table_text(t, jobs[i].arch->arch->name);
        mb_table_text(t, mb_status_name[out->status]);
        mb_table_integer(t, out->step);
        mb_table_real(t, loss(out, MB_TEXT));
        mb_table_real(t, loss(out, MB_IMAGE));
        mb_table_real(t, loss(out, MB_SPEECH));
        mb_table_real(t, out->trained ? (double)(out->trained * mb_settings_tokens(s)) / train_s
                                      : NAN);
        mb_table_real(t, out->trained ? train_s : NAN);
        mb_table_text(t, *out->detail ? out->detail : NULL);
    }
    mb_table_note(t, "Losses are of the last evaluation on the validation split, in nats per token"
                     " and, of images as patches, as mean squared error; tokens/s and time are of "
                     "training alone, in this invocation.");
    err = mb_table_print(t, o->common.format, stdout);
    mb_table_free(t);
    return err;
}

static mb_err judge(const run_options *o, const mb_outcome *outcomes, size_t n)
{
    size_t i, failed = 0, first = 0;

    for (i = n; i-- > 0;) {
        failed += outcomes[i].status == MB_FAILED;
        first = outcomes[i].status == MB_FAILED ? i : first;
    }
    if (!failed)
        return MB_OK;
    return mb_fail(MB_EINVAL, "%zu of %zu runs failed (recorded in %s), the first: %s", failed, n,
                   o->common.db, outcomes[first].detail);
}

/* ---- the verb ------------------------------------------------------------------------------ */

static mb_err run_jobs(const run_options *o, mb_bench *b, const mb_work *works)
{
    mb_job *jobs;
    size_t n = mb_jobs_make(b, works, (size_t)o->n_workloads, o->shard, o->shards, &jobs), i;
    mb_outcome *outcomes = mb_zalloc(n, sizeof *outcomes);
    int64_t steps = 0;
    mb_err err, printed;

    for (i = 0; i < n; i++)
        steps += jobs[i].work->settings->steps;
    mb_progress_open(b->progress, stderr, mb_progress_columns(stderr), o->quiet, (int)n, steps);
    watch_signals();
    err = mb_jobs_run(b, jobs, n, outcomes);
    if (!err || err == MB_EINTERRUPTED) {
        printed = print_summary(o, jobs, outcomes, n);
        if (printed)
            err = printed;
        else if (err)
            err = mb_fail(err, "interrupted; what was measured is kept, and the same command with "
                               "--resume goes on");
        else
            err = judge(o, outcomes, n);
    }
    free(outcomes);
    free(jobs);
    return err;
}

mb_err mb_command_run(int argc, char **argv)
{
    run_options o = { .shard = 1, .shards = 1 };
    mb_work *works;
    mb_progress progress;
    mb_bench b = { .stop = &stop, .progress = &progress };
    mb_err err;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    b.resume = o.resume;
    b.jobs_asked = o.jobs;
    works = mb_zalloc((size_t)o.n_workloads, sizeof *works);
    mb_progress_open(&progress, stderr, mb_progress_columns(stderr), o.quiet, 0, 0);
    err = mb_bench_open(&b, &o.asked, o.common.db, o.workloads, o.n_workloads, works);
    if (!err)
        err = run_jobs(&o, &b, works);
    mb_bench_close(&b, works, o.n_workloads);
    free(works);
    return err;
}
