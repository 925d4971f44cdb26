/* The store: every measurement in one SQLite database, and the only door to it.

   Numbers live in typed columns, raw samples are kept, summaries are views (views.sql). Machine,
   build, data set and settings are written once and pointed at. Rows are never edited: what happens
   to a run is told by its events, and v_run shows the last one. */
#ifndef MB_RESULTS_STORE_H
#define MB_RESULTS_STORE_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct mb_store mb_store; /* for one thread at a time */

/* Opens PATH, creating it (and its folder) when CREATE, and migrates it forward. Refuses a file
   that is not ours, damaged, or from a newer schema; without CREATE also one that is empty. What
   may not be written can be read, if nobody is writing it and it needs no migration. */
mb_err mb_store_open(const char *path, bool create, mb_store **out);
void mb_store_close(mb_store *s); /* accepts NULL */
const char *mb_store_path(const mb_store *s);
bool mb_store_read_only(const mb_store *s);

/* ---- things that are written once and pointed at (deduplicated by content) ------------------- */

typedef struct mb_pair {
    const char *key, *value;
} mb_pair;

/* KIND "machine", "build", "dataset" or "settings": named facts; equal facts give the same id. */
mb_err mb_store_facts(mb_store *s, const char *kind, const mb_pair *facts, size_t n, int64_t *id);

/* ---- runs ---------------------------------------------------------------------------------- */

typedef struct mb_run_row {
    const char *uuid, *workload, *arch, *backend, *precision, *device;
    const char *job; /* hash of all that decides the numbers: equal jobs are the same work */
    int64_t seed, machine, build, dataset, settings;
    int64_t params_total, params_active, steps; /* steps: planned */
    int64_t pid;
    const char *purpose; /* "train" or "profile"; NULL: "train" */
} mb_run_row;

/* Also writes the first event, "running". */
mb_err mb_store_run_begin(mb_store *s, const mb_run_row *row, int64_t *run);

/* STATUS "running" (resumed by the calling process), "ok", "failed" or "interrupted"; DETAIL and
   CHECKPOINT (a path) or NULL. */
mb_err mb_store_run_event(mb_store *s, int64_t run, const char *status, const char *detail,
                          const char *checkpoint);

typedef struct mb_found_run {
    int64_t run, steps_done, pid; /* pid: of the last event */
    int64_t machine, build;       /* facts */
    char uuid[40], status[16];
} mb_found_run;

/* The newest run of JOB that trains; run = 0 when there is none. */
mb_err mb_store_find_job(mb_store *s, const char *job, mb_found_run *out);

typedef struct mb_step_row { /* steps count from 1 and come in order */
    int64_t step, wall_ns, cpu_ns, tokens;
    uint64_t flops_model, flops_useful, flops_executed;
    int flagged; /* 1: disturbed, not for medians; 2: warm-up */
} mb_step_row;

typedef struct mb_value_row { /* a measured value: loss and its like */
    int64_t step;             /* measured after this step; 0: before the first */
    const char *split;        /* "train", "val" */
    const char *modality;     /* "all", "text", ... */
    const char *metric;       /* "loss", "dropped", "balance", "grad_norm", ... */
    double value;             /* NaN (a diverged loss) is kept as NULL */
    int64_t n;                /* weight: targets behind it, so that means combine exactly */
} mb_value_row;

/* One transaction; rows that are already there (after --resume) stay as they were. A step that
   neither is there nor follows the last one is refused. */
mb_err mb_store_samples(mb_store *s, int64_t run, const mb_step_row *steps, size_t n_steps,
                        const mb_value_row *values, size_t n_values);

typedef struct mb_op_row {
    const char *op, *part, *pass;
    int layer, group;
    int64_t calls, wall_ns; /* wall_ns -1: not traced */
    uint64_t flops_model, flops_useful, flops_executed, flops_vector, bytes;
} mb_op_row;

/* The counts since the last call: rows of one operation add up. */
mb_err mb_store_ops(mb_store *s, int64_t run, const mb_op_row *rows, size_t n);

typedef struct mb_kernel_row {           /* what a GPU did for one operation, with one kernel */
    const char *op, *part, *pass, *name; /* part and pass "": outside of operations */
    int layer;
    int64_t calls, gpu_ns;
    uint64_t bytes;
} mb_kernel_row;

mb_err mb_store_kernels(mb_store *s, int64_t run, const mb_kernel_row *rows, size_t n);

/* What was counted over the timed steps of a run, each event once. */
typedef struct mb_counter_row {
    const char *source, *event, *unit;
    const char *status; /* "ok", or why there is no value */
    double value;       /* NaN: NULL, as it must be unless ok */
} mb_counter_row;

mb_err mb_store_counters(mb_store *s, int64_t run, const mb_counter_row *rows, size_t n);

/* Kinds of seconds that are not training: "evaluate", "checkpoint", "data", "open", and of a
   profiled run "traced", one for each traced step. */
mb_err mb_store_overhead(mb_store *s, int64_t run, const char *kind, int64_t wall_ns);

/* Bytes that the run held at most in this process, and those that the formulas had said. */
mb_err mb_store_memory(mb_store *s, int64_t run, int64_t peak_bytes, int64_t predicted_bytes);

typedef struct mb_quality_row { /* one line of v_quality */
    const char *metric, *modality, *split;
    double value; /* NaN: NULL */
    int64_t n;
    double bound;         /* NaN: none */
    const char *bound_is; /* "ceiling", "floor", "baseline"; NULL: no bound */
} mb_quality_row;

/* One measurement; v_quality shows the newest of each metric. HOW it was made: samples, seed, ...
 */
mb_err mb_store_quality(mb_store *s, int64_t run, const char *how, const mb_quality_row *rows,
                        size_t n);

typedef struct mb_match_row { /* one line of v_to_match */
    const char *workload, *arch, *baseline, *backend, *precision, *modality, *metric, *split, *by;
    double slope, ci_lo, ci_hi; /* NaN: NULL */
    int64_t n_seeds;
    bool reached;
} mb_match_row;

/* Replaces what v_to_match shows for the same (workload, arch, baseline): older rows stay in the
   table. */
mb_err mb_store_match(mb_store *s, const mb_match_row *rows, size_t n);

/* ---- reading ------------------------------------------------------------------------------- */

typedef struct mb_cell {
    enum { MB_NULL, MB_INTEGER, MB_REAL, MB_STRING } type;
    int64_t integer;
    double real;        /* also set for integers */
    const char *string; /* also set for the others, as text; "" for NULL */
} mb_cell;

typedef struct mb_rows {
    size_t n, columns;
    const char *const *column; /* names */
    const mb_cell *cell;       /* (n, columns) */
} mb_rows;

/* Runs one SELECT with text parameters ?1, ?2, ... (NULL-terminated list, or NULL). The result is
   freed by mb_rows_free(). */
mb_err mb_store_query(mb_store *s, const char *sql, const char *const *parameters, mb_rows **out);
void mb_rows_free(mb_rows *r); /* accepts NULL */

typedef struct mb_point {
    double step, value;
} mb_point;

/* The curve of RUN in order of steps: every value of split "val" (without those that are NULL); of
   "train", once the run has ended, weighted means over 100 equal windows of its steps, each at the
   window's mean step. Caller frees *out; *n = 0 when there is none. */
mb_err mb_store_curve(mb_store *s, int64_t run, const char *split, const char *modality,
                      const char *metric, mb_point **out, size_t *n);

/* SQLite's integrity and foreign key checks and our own invariants; prints what is wrong to REPORT
   and fails with MB_ECORRUPT when anything is. */
mb_err mb_store_check(mb_store *s, FILE *report);

/* Writes every view as VIEW.csv (RFC 4180) into FOLDER, atomically file by file. */
mb_err mb_store_export(mb_store *s, const char *folder);

#endif
