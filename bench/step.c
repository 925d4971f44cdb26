/* A worker of the benchmark: builds one model and makes a training step whenever it is told to.

       step NAME=VALUE...        names: bench/task.h

   Reads commands from stdin, one a line. "step" is answered by one line of numbers,

       wall_ns cpu_ns queued_ns peak loss flops_model flops_executed bytes predicted

   for one optimiser step: time on the wall, of the processor, and spent waiting for one (-1:
   unknown); the register-only peak measured just before it, FLOP/s; the loss before the step; the
   ledger's FLOPs; the most memory that the model held, and what its formula says. The driver puts
   the steps of several workers, of any build or language, into one order. No timing rule lives
   here. */
#include "bench/peak.h"
#include "bench/task.h"
#include "profiles/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct worker {
    mb_task task;
    mb_ctx *c;
    mb_model *m;
    mb_batch batch;
    mb_clock clock;
    int64_t step;
} worker;

static mb_err open_worker(worker *w)
{
    mb_precision precision;

    MB_TRY(mb_precision_find(w->task.precision, &precision));
    MB_TRY(mb_ctx_open(w->task.backend, precision, w->task.threads, &w->c));
    MB_TRY(mb_task_model(&w->task, w->c, &w->m));
    w->batch = mb_task_batch(&w->task);
    if (*w->task.export)
        MB_TRY(mb_task_export(&w->task, w->m, &w->batch));
    mb_peak(w->task.threads); /* makes the threads that the clock is to watch */
    mb_clock_open(&w->clock);
    return MB_OK;
}

static void close_worker(worker *w)
{
    mb_clock_close(&w->clock);
    mb_task_free_batch(&w->batch);
    mb_model_close(w->m);
    mb_ctx_close(w->c);
}

static mb_err answer_step(worker *w)
{
    mb_optimizer_config how = mb_task_optimizer();
    mb_ledger *ledger = mb_ctx_ledger(w->c);
    double peak = mb_peak(w->task.threads);
    mb_instant a, b;
    mb_memory predicted = mb_model_memory(w->m);
    mb_losses losses;
    mb_cost cost;

    mb_ledger_clear(ledger);
    a = mb_clock_read(&w->clock);
    MB_TRY(mb_model_step(w->m, &w->batch, 1, &how, w->step++, &losses));
    b = mb_clock_read(&w->clock);
    cost = mb_ledger_total(ledger);
    printf("%" PRId64 " %" PRId64 " %" PRId64 " %.6g %.9g %" PRIu64 " %" PRIu64 " %" PRIu64
           " %" PRIu64 "\n",
           b.wall_ns - a.wall_ns, b.cpu_ns - a.cpu_ns,
           a.queued_ns < 0 ? -1 : b.queued_ns - a.queued_ns, peak, mb_losses_mean(&losses),
           cost.model, cost.executed, mb_model_held(w->m), mb_memory_total(&predicted));
    return fflush(stdout) ? mb_fail(MB_EIO, "standard output: closed") : MB_OK;
}

static mb_err serve(worker *w)
{
    char line[64];

    while (fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "step\n"))
            return mb_fail(MB_EINVAL, "standard input: found '%.*s', expected step",
                           (int)strcspn(line, "\n"), line);
        MB_TRY(answer_step(w));
    }
    return MB_OK;
}

int main(int argc, char **argv)
{
    worker w = { .step = 0 };
    mb_err err = mb_task_read(&w.task, argv + 1, argc - 1);

    if (!err)
        err = open_worker(&w);
    if (!err)
        err = serve(&w);
    if (err)
        fprintf(stderr, "step: %s\n", mb_message());
    close_worker(&w);
    return err != MB_OK;
}
