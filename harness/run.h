/* A run: one job under way. For run.c (its life: begin or resume, end) and train.c (its steps). */
#ifndef MB_HARNESS_RUN_H
#define MB_HARNESS_RUN_H

#include "harness/bench.h"
#include "harness/ops.h"
#include "harness/samples.h"
#include "harness/saved.h"
#include "profiles/clock.h"
#include "profiles/counter.h"
#include "profiles/nvml.h"

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
    int copies;        /* that have arrays of their own, since a stream overwrites its own: all or
                          none */
    mb_samples samples;
    mb_ops ops;
    mb_cost counted; /* the ledger's total after the last step */
    mb_clock clock;
    mb_nvml *nvml;       /* of the GPU that the run computes on; NULL: none */
    mb_counter *counter; /* counts during steps; NULL: nothing */
    bool same_batches;   /* steps repeat on those of the one before: for work that is to be equal */
    mb_tally tally;      /* what routers did so far */
    mb_progress_run shown;
    int64_t step, first; /* steps done; those done when this process began */
    int64_t overhead_ns[MB_OVERHEADS];
} mb_run;

/* Backend and model. */
mb_err mb_run_open(mb_run *r);
/* A new run's row in the store, with its settings: r->uuid and r->id. PURPOSE "train" or "profile";
   STEPS are planned. The model may be missing, when it could not be opened. */
mb_err mb_run_begin(mb_run *r, const char *purpose, int64_t steps);
/* What the run held in memory at most, into the store; nothing without a model. */
mb_err mb_run_memory(mb_run *r);
void mb_run_close(mb_run *r);
void mb_run_uuid(mb_run *r); /* gives it one */

/* Room for micro-batches and samples, the stream at the run's step. */
mb_err mb_train_open(mb_run *r);
/* From the run's step to the last one, with evaluations and saved states. MB_EINTERRUPTED when the
   user asked to stop; samples may then be unwritten. */
mb_err mb_train(mb_run *r);
/* Watches the run's own threads from now on. Several are all of the process's when no other run is
   beside this one; that also sees those that a library replaces. */
void mb_train_watch(mb_run *r);

typedef struct mb_stepped { /* what one step took, and its losses */
    mb_instant before, after;
    mb_losses losses;
} mb_stepped;

/* The next step on the next batches; records nothing. MB_EINVAL when a loss or the gradient is not
   finite. */
mb_err mb_train_step(mb_run *r, mb_stepped *out);
/* Keeps the last step in the samples, with what the ledger has taken since the one before. */
void mb_train_record(mb_run *r, const mb_stepped *s, bool warm_up);
/* Writes the samples, then the state. */
mb_err mb_train_save(mb_run *r);

#endif
