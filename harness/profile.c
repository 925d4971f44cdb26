#include "harness/profile.h"

#include "harness/kernels.h"
#include "harness/op_counts.h"
#include "harness/run.h"
#include "profiles/ceilings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    TRIAD_BYTES = 64 << 20,
    PRODUCT_WIDTH = 512,
    GPU_WIDTH = 8192,
    OWN_COUNTS = 11 /* at most */
};

typedef struct profile {
    const mb_profile_plan *plan;
    mb_run run;
    mb_outcome outcome;        /* that the run fills in */
    int64_t *traced_ns;        /* (plan->traced) */
    mb_event *events;          /* of the set: first those that leave a step its time */
    size_t quiet;              /* how many these are */
    mb_counter *quiet_counter; /* counted the timed steps */
    mb_counter_row *others;    /* counted in steps of their own; NULL: all events were quiet */
    size_t n_others;
    mb_kernels *kernels;     /* what a GPU did; NULL: none computes */
    mb_op_counts *op_counts; /* NULL: the hardware counts nothing */
    double counted;          /* executed FLOPs in those */
    uint64_t graphs;         /* passes of the timed steps that a device launched whole */
    double fma, product, triad, datasheet; /* NaN: not known */
} profile;

/* ---- measuring ------------------------------------------------------------------------------ */

/* In the same turn as the steps: what a machine gives changes with what else it does. The peak of
   multiply-adds is that of fp32, in which the processor's backends also compute with bf16 operands;
   a backend that computes nothing has no product. */
static mb_err measure_ceilings(profile *p)
{
    const mb_bench *b = p->run.bench;
    int threads = mb_ctx_threads(p->run.ctx);
    bool gpu = !strcmp(b->backend, "cuda");

    p->fma = p->product = p->triad = NAN;
    p->datasheet = gpu ? mb_ceiling_datasheet(b->device, b->precision) : NAN;
    if (!gpu) {
        MB_TRY(mb_ceiling_triad(threads, TRIAD_BYTES, &p->triad));
        MB_TRY(mb_ceiling_fma(threads, &p->fma));
    }
    return strcmp(b->backend, "null")
               ? mb_ceiling_product(b->backend, b->precision, threads,
                                    gpu ? GPU_WIDTH : PRODUCT_WIDTH, &p->product)
               : MB_OK;
}

static mb_err warm_up(profile *p)
{
    mb_stepped stepped;
    int i;

    mb_clock_open(&p->run.clock);
    for (i = 0; i < p->plan->warm_up; i++) {
        MB_TRY(mb_train_step(&p->run, &stepped));
        mb_train_record(&p->run, &stepped, true);
    }
    mb_train_watch(&p->run); /* now the backend's threads are there to be watched */
    if (*mb_ctx_note(p->run.ctx))
        fprintf(stderr, "motbench: %s\n", mb_ctx_note(p->run.ctx));
    return MB_OK;
}

/* Events that disturb go behind the others, each kind in its order. */
static void sort_events(profile *p)
{
    const mb_event_set *set = p->plan->set;
    size_t i, n = 0;
    int disturbs;

    p->events = mb_zalloc(set->n + 1, sizeof *p->events);
    for (disturbs = 0; disturbs <= 1; disturbs++) {
        for (i = 0; i < set->n; i++)
            if (mb_event_disturbs(&set->events[i]) == disturbs)
                p->events[n++] = set->events[i];
        p->quiet = disturbs ? p->quiet : n;
    }
}

static mb_err time_steps(profile *p)
{
    mb_run *r = &p->run;
    mb_stepped stepped;
    int i;

    r->tally.ledger = mb_ctx_ledger(r->ctx);
    mb_sde_publish(&r->tally);
    mb_counter_open(p->events, p->quiet, mb_ctx_threads(r->ctx), &p->quiet_counter);
    r->counter = p->quiet_counter;
    p->graphs = mb_ctx_graphs(r->ctx);
    for (i = 0; i < p->plan->timed; i++) {
        MB_TRY(mb_train_step(r, &stepped));
        mb_train_record(r, &stepped, false);
    }
    p->graphs = mb_ctx_graphs(r->ctx) - p->graphs;
    r->counter = NULL;
    return MB_OK;
}

/* A step on the batches of the one before that leaves the run where it was. */
static mb_err repeat_step(mb_run *r)
{
    int64_t step = r->step;
    mb_stepped stepped;
    mb_err err;

    r->same_batches = true;
    err = mb_train_step(r, &stepped);
    r->same_batches = false;
    r->step = step;
    return err;
}

static mb_counter_row given(const char *source, const char *event, double value, const char *unit)
{
    bool there = !isnan(value);

    return (mb_counter_row){ source, event, unit,
                             mb_count_status_name[there ? MB_COUNT_OK : MB_COUNT_NOT_SUPPORTED],
                             value };
}

/* What C counted, as rows; returns how many. */
static size_t counts_of(const mb_counter *c, mb_counter_row *rows)
{
    const mb_counted *counts;
    size_t n = 0, i;

    counts = c ? mb_counter_read(c, &n) : NULL;
    for (i = 0; i < n; i++)
        rows[i] = (mb_counter_row){ .source = counts[i].event.source,
                                    .event = counts[i].event.name,
                                    .unit = counts[i].event.unit,
                                    .status = mb_count_status_name[counts[i].status],
                                    .value = counts[i].value };
    return n;
}

/* Says what a source gave up for: statuses alone do not tell what to mend. */
static void say_why(const mb_counter *c)
{
    size_t n, i;
    const mb_counted *counts = mb_counter_read(c, &n);

    for (i = 0; i < n && !*counts[i].why; i++)
        ;
    if (i < n)
        fprintf(stderr, "motbench: events of the source %s are not counted: %s\n",
                counts[i].event.source, counts[i].why);
}

/* What the hardware counted in each operation, and what the ledger says, in one step more; nothing
   where it counts nothing. */
static mb_err count_operations(profile *p)
{
    mb_run *r = &p->run;
    const mb_op_count *g;
    mb_err err;
    size_t n, i;

    mb_op_counts_open(r->ctx, r->bench->precision, &p->op_counts);
    if (!p->op_counts)
        return MB_OK;
    err = repeat_step(r);
    g = mb_op_counts_read(p->op_counts, &n);
    for (i = 0; !err && i < n; i++) {
        if (g[i].executed == 0)
            continue;
        p->others[p->n_others++] = given("hardware", g[i].name, g[i].hardware, "FLOP");
        p->others[p->n_others++] = given("executed", g[i].name, g[i].executed, "FLOP");
    }
    return err;
}

static void nothing(void *user)
{
}

static void nothing_of(void *user, const char *op, mb_part part, int layer, mb_pass_kind pass)
{
}

/* As many steps as were timed, for counts that take time themselves, and all alike: some sources
   count one thing in one step and another in the next. They are watched, so that a device launches
   call by call: whether a range of CUPTI sees into a graph is not known. */
static mb_err count_steps(profile *p)
{
    mb_run *r = &p->run;
    const mb_watch watch = { nothing, nothing_of, NULL };
    size_t others = p->plan->set->n - p->quiet;
    double before = (double)mb_ledger_total(mb_ctx_ledger(r->ctx)).executed;
    mb_err err = MB_OK;
    mb_counter *c;
    int i;

    if (others == 0)
        return MB_OK;
    mb_counter_open(p->events + p->quiet, others, mb_ctx_threads(r->ctx), &c);
    r->counter = c;
    mb_ctx_watch(r->ctx, &watch);
    for (i = 0; !err && i < p->plan->timed; i++)
        err = repeat_step(r);
    mb_ctx_watch(r->ctx, NULL);
    r->counter = NULL;
    p->counted = (double)mb_ledger_total(mb_ctx_ledger(r->ctx)).executed - before;
    p->others = mb_zalloc(others + 2 * MB_OP_COUNTS_MAX, sizeof *p->others);
    p->n_others = counts_of(c, p->others);
    say_why(c);
    mb_counter_close(c); /* the hardware serves one at a time */
    return err || !p->plan->each ? err : count_operations(p);
}

/* No kernels are kept; what was timed is. */
static void drop_kernels(profile *p)
{
    fprintf(stderr, "motbench: no kernels are recorded: %s\n", mb_message());
    mb_kernels_close(p->kernels);
    p->kernels = NULL;
}

/* As many steps as will be traced, in which a GPU is watched and nothing waits for it. */
static mb_err watch_steps(profile *p)
{
    mb_run *r = &p->run;
    mb_err err = MB_OK;
    int i;

    if (p->plan->bare || strcmp(r->bench->backend, "cuda"))
        return MB_OK;
    if (mb_kernels_open(r->ctx, &p->kernels))
        drop_kernels(p);
    for (i = 0; !err && p->kernels && i < p->plan->traced; i++) {
        err = repeat_step(r);
        if (!err && mb_kernels_step(p->kernels))
            drop_kernels(p);
    }
    if (p->kernels)
        mb_kernels_stop(p->kernels);
    return err;
}

static mb_err trace_steps(profile *p)
{
    mb_run *r = &p->run;
    mb_stepped stepped;
    mb_err err = MB_OK;
    int i;

    mb_ledger_clear(mb_ctx_ledger(r->ctx));
    mb_ctx_trace(r->ctx, true);
    for (i = 0; !err && i < p->plan->traced; i++) {
        err = mb_train_step(r, &stepped);
        p->traced_ns[i] = stepped.after.wall_ns - stepped.before.wall_ns;
    }
    mb_ctx_trace(r->ctx, false);
    mb_ops_add(&r->ops, mb_ctx_ledger(r->ctx), true);
    return err;
}

/* CUPTI counts last: it records no activity beside. */
static mb_err measure(profile *p)
{
    MB_TRY(mb_run_open(&p->run));
    MB_TRY(mb_train_open(&p->run));
    MB_TRY(measure_ceilings(p));
    MB_TRY(warm_up(p));
    MB_TRY(time_steps(p));
    MB_TRY(watch_steps(p));
    MB_TRY(trace_steps(p));
    return count_steps(p);
}

/* ---- recording ------------------------------------------------------------------------------ */

/* What metrics need to know of the model: params are those that a token's products use, all but the
   embedding, which is only looked up. */
static size_t own_counts(const profile *p, mb_counter_row row[OWN_COUNTS])
{
    const mb_model_config *g = mb_model_settings(p->run.model);
    double params = (double)mb_model_params_active(p->run.model) - (double)g->vocab * g->width;

    row[0] = given("model", "len", (double)p->run.job->work->settings->len, "tokens");
    row[1] = given("model", "width", g->width, "1");
    row[2] = given("model", "layers", g->layers, "1");
    row[3] = given("model", "threads", mb_ctx_threads(p->run.ctx), "threads");
    row[4] = given("model", "params", params, "parameters");
    row[5] = given("ceiling", "fma", p->fma, "FLOP/s");
    row[6] = given("ceiling", "product", p->product, "FLOP/s");
    row[7] = given("ceiling", "triad", p->triad, "B/s");
    row[8] = given("ceiling", "datasheet", p->datasheet, "FLOP/s");
    row[9] = given("model", "graphs", (double)p->graphs, "graphs");
    if (p->others)
        row[10] = given("model", "counted", p->counted, "FLOP");
    return p->others ? 11 : 10;
}

static mb_err record_counts(profile *p)
{
    mb_counter_row *rows = mb_zalloc(p->quiet + OWN_COUNTS + p->n_others, sizeof *rows);
    size_t n = own_counts(p, rows);
    mb_err err;

    n += counts_of(p->quiet_counter, rows + n);
    for (size_t i = 0; i < p->n_others; i++)
        rows[n++] = p->others[i];
    err = mb_store_counters(p->run.bench->store, p->run.id, rows, n);
    free(rows);
    return err;
}

static mb_err record_kernels(profile *p)
{
    size_t n = 0;
    const mb_kernel_row *rows = p->kernels ? mb_kernels_rows(p->kernels, &n) : NULL;

    return n ? mb_store_kernels(p->run.bench->store, p->run.id, rows, n) : MB_OK;
}

static mb_err record(profile *p)
{
    mb_run *r = &p->run;
    mb_store *s = r->bench->store;
    int i;

    mb_run_uuid(r);
    MB_TRY(mb_run_begin(r, "profile", p->plan->warm_up + p->plan->timed));
    MB_TRY(mb_samples_flush(&r->samples, s, r->id));
    MB_TRY(mb_store_ops(s, r->id, r->ops.rows, r->ops.n));
    MB_TRY(record_counts(p));
    MB_TRY(record_kernels(p));
    for (i = 0; i < p->plan->traced; i++)
        MB_TRY(mb_store_overhead(s, r->id, "traced", p->traced_ns[i]));
    MB_TRY(mb_run_memory(r));
    return mb_store_run_event(s, r->id, "ok", NULL, NULL);
}

mb_err mb_profile_run(mb_bench *b, const mb_job *job, const mb_profile_plan *plan, int64_t *run)
{
    profile p = { .plan = plan };
    mb_err err;

    p.run.bench = b;
    p.run.job = job;
    p.run.out = &p.outcome;
    sort_events(&p);
    p.traced_ns = mb_zalloc((size_t)plan->traced, sizeof *p.traced_ns);
    err = measure(&p);
    if (!err)
        err = record(&p);
    *run = p.run.id;
    mb_sde_publish(NULL);
    mb_counter_close(p.quiet_counter);
    mb_op_counts_close(p.op_counts);
    free(p.others);
    mb_kernels_close(p.kernels);
    free(p.events);
    mb_run_close(&p.run);
    free(p.traced_ns);
    return err;
}
