/* Progress: one line per run on a terminal, updated in place; elsewhere a line per evaluation.

   Knows nothing of clocks or models: the caller says how far it is and what time it is. */
#ifndef MB_HARNESS_PROGRESS_H
#define MB_HARNESS_PROGRESS_H

#include "models/model.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct mb_progress {
    FILE *out;
    int columns; /* of the terminal; 0: OUT is none */
    bool quiet;
    int jobs, job;           /* of all, and the current one from 1 */
    int64_t all_steps;       /* of all jobs */
    int64_t done_steps;      /* of jobs that are behind us, skipped ones too */
    int64_t worked_steps;    /* those of them that took time here ... */
    int64_t worked_ns;       /* ... and the time */
    char label[128];         /* of the current run */
    int64_t steps, first;    /* of the run; it began (or went on) after step FIRST */
    int64_t tokens_per_step; /* of the run */
    int64_t began_ns, shown_ns;
    bool line_open; /* the terminal's cursor stands in an unfinished line */
} mb_progress;

/* JOBS runs of ALL_STEPS steps together are ahead. */
void mb_progress_open(mb_progress *p, FILE *out, int columns, bool quiet, int jobs,
                      int64_t all_steps);
/* The columns of the terminal that F is; 0 when it is none. */
int mb_progress_columns(FILE *f);
/* A run of STEPS steps needs nothing any more. */
void mb_progress_skip(mb_progress *p, int64_t steps);
/* The next run begins, at step FIRST of STEPS. */
void mb_progress_begin(mb_progress *p, const char *label, int64_t first, int64_t steps,
                       int64_t tokens_per_step, int64_t now_ns);
/* STEP steps are done, the last one with losses L. */
void mb_progress_step(mb_progress *p, int64_t step, const mb_losses *l, int64_t now_ns);
/* The evaluation after STEP found losses L. */
void mb_progress_evaluated(mb_progress *p, int64_t step, const mb_losses *l, int64_t now_ns);
/* The run ended after STEP as OUTCOME says: "ok", "failed: ...". */
void mb_progress_end(mb_progress *p, int64_t step, const char *outcome, int64_t now_ns);
/* A line in between: a warning, or what is being prepared. Also when quiet. */
__attribute__((format(printf, 2, 3))) void mb_progress_note(mb_progress *p, const char *format,
                                                            ...);
/* What is being done before the runs, and how far (0..1); a line of its own on a terminal alone. */
void mb_progress_preparing(mb_progress *p, const char *what, double fraction);

#endif
