/* A run: one job under way. For run.c (its life: begin or resume, end) and train.c (its steps). */
#ifndef MB_HARNESS_RUN_H
#define MB_HARNESS_RUN_H

#include "harness/bench.h"
#include "harness/ops.h"
#include "harness/samples.h"
#include "harness/saved.h"
#include "profiles/clock.h"

enum mb_overhead { MB_OPENING, MB_DATA, MB_EVALUATING, MB_SAVING, MB_OVERHEADS };

typedef struct mb_run {
    mb_bench *bench;
    const mb_job *job;
    mb_outcome *out;
    int64_t id; /* in the store; 0: not there yet */
    char uuid[40];
    bool resumed;  /* goes on where another process stopped */
    bool hopeless; /* would fail again: no state is worth keeping */
    mb_saved saved;
    mb_ctx *ctx;
    mb_model *model;
    mb_stream *stream;
    mb_batch *batches; /* micro-batches of a step */
    void *copies;      /* what they point to when there are several */
    mb_samples samples;
    mb_ops ops;
    mb_cost counted; /* the ledger's total after the last step */
    mb_clock clock;
    mb_progress_run shown;
    int64_t step, first; /* steps done; those done when this process began */
    int64_t overhead_ns[MB_OVERHEADS];
} mb_run;

/* Room for micro-batches and samples, the stream at the run's step. */
mb_err mb_train_open(mb_run *r);
/* From the run's step to the last one, with evaluations and saved states. MB_EINTERRUPTED when the
   user asked to stop; samples may then be unwritten. */
mb_err mb_train(mb_run *r);
/* Writes the samples, then the state. */
mb_err mb_train_save(mb_run *r);

#endif
