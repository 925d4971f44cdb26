/* Progress: one line per run under way on a terminal, updated in place, with the runs that ended
   above; elsewhere a line per evaluation.

   Knows nothing of clocks or models: the caller says how far it is and what time it is. Several
   threads may tell of their runs at once; what each writes comes out in one piece. */
#ifndef MB_HARNESS_PROGRESS_H
#define MB_HARNESS_PROGRESS_H

#include "models/model.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct mb_progress_run { /* a run under way; the caller's, for progress.c to fill in */
    char label[128];
    int job;                    /* its number, from 1 */
    int64_t first, step, steps; /* it began (or went on) after step FIRST */
    int64_t tokens_per_step, began_ns;
    const char *split; /* what LOSSES are of; NULL: there are none yet */
    mb_losses losses;
    struct mb_progress_run *next;
} mb_progress_run;

typedef struct mb_progress {
    pthread_mutex_t lock;
    FILE *out;
    int columns; /* of the terminal; 0: OUT is none */
    bool quiet;
    int jobs, begun;        /* of all, and those that were begun or skipped */
    int64_t all_steps;      /* of all jobs */
    int64_t done_steps;     /* of jobs that are behind us, skipped ones too */
    int64_t worked_steps;   /* those of them that took time here ... */
    int64_t worked_ns;      /* ... and the time */
    mb_progress_run *first; /* under way, the longest first */
    int64_t preparing_ns;   /* since when data are being prepared ... */
    double prepared;        /* ... and how far */
    int64_t shown_ns;
    int lines_open; /* lines to be written over; the terminal's cursor stands in the last one */
} mb_progress;

/* JOBS runs of ALL_STEPS steps together are ahead. */
void mb_progress_open(mb_progress *p, FILE *out, int columns, bool quiet, int jobs,
                      int64_t all_steps);
/* The columns of the terminal that F is; 0 when it is none. */
int mb_progress_columns(FILE *f);
/* A run of STEPS steps needs nothing any more. */
void mb_progress_skip(mb_progress *p, int64_t steps);
/* RUN begins, at step FIRST of STEPS; it must stay where it is until it ends. */
void mb_progress_begin(mb_progress *p, mb_progress_run *run, const char *label, int64_t first,
                       int64_t steps, int64_t tokens_per_step, int64_t now_ns);
/* STEP steps of RUN are done, the last one with losses L. */
void mb_progress_step(mb_progress *p, mb_progress_run *run, int64_t step, const mb_losses *l,
                      int64_t now_ns);
/* A line about RUN that stays: what its user should know. */
void mb_progress_note(mb_progress *p, const mb_progress_run *run, const char *note, int64_t now_ns);
/* The evaluation of RUN after STEP found losses L. */
void mb_progress_evaluated(mb_progress *p, mb_progress_run *run, int64_t step, const mb_losses *l,
                           int64_t now_ns);
/* RUN ended after STEP as OUTCOME says: "ok", "failed: ...". */
void mb_progress_end(mb_progress *p, mb_progress_run *run, int64_t step, const char *outcome,
                     int64_t now_ns);
/* What is being done before the runs, and how far (0..1): a line of its own on a terminal,
   elsewhere one every ten seconds. */
void mb_progress_preparing(mb_progress *p, const char *what, double fraction, int64_t now_ns);

#endif
