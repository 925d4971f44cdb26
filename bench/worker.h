/* Other processes: workers that make steps on command, and programs that are timed whole. */
#ifndef MB_BENCH_WORKER_H
#define MB_BENCH_WORKER_H

#include "base/err.h"

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

typedef struct mb_worker {
    pid_t pid;
    FILE *to, *from;
} mb_worker;

typedef struct mb_turn { /* what a worker answers to "step", as in bench/step.c */
    int64_t wall_ns, cpu_ns, queued_ns;
    double peak, loss;
    uint64_t flops_model, flops_executed, bytes, predicted;
} mb_turn;

/* Starts COMMAND (words, no quoting). MB_EMISSING when there is no such program shows with the
   first step. */
mb_err mb_worker_start(mb_worker *w, const char *command);
/* One step; a worker that ends or answers anything else is an error, and so is one that does not
   answer in MB_STEP_LIMIT_S: it is killed, with what it has started. The message does not name it.
 */
enum { MB_STEP_LIMIT_S = 300 };
mb_err mb_worker_step(mb_worker *w, mb_turn *out);
void mb_worker_stop(mb_worker *w); /* accepts a zeroed one; waits for its end */

/* Runs COMMAND to its end, its output thrown away; processor time of it and its children, and the
   wall. */
mb_err mb_command_time(const char *command, double *cpu_s, double *wall_s);

#endif
