/* An invocation of `motbench run` or `profile`: what its runs share, the workloads, and the list of
   jobs.

   A job is one model on one workload with one seed. Jobs are equal when all that decides their
   numbers is equal; that is their hash, by which --resume finds what is there. */
#ifndef MB_HARNESS_BENCH_H
#define MB_HARNESS_BENCH_H

#include "base/file.h"
#include "harness/options.h"
#include "harness/progress.h"
#include "harness/settings.h"
#include "results/store.h"
#include "workloads/data.h"

#include <signal.h>
#include <stdbool.h>

typedef struct mb_bench {
    const char *backend;
    mb_precision precision;
    int jobs_asked;    /* side by side; 0: as mb_jobs_plan() finds best */
    int threads_asked; /* of one job; 0: the same, or else the machine's own choice */
    int at_once;       /* jobs side by side ... */
    int threads;       /* ... with so many threads each, as the backend opened with */
    bool resume;
    mb_store *store;
    char *folder;           /* of checkpoints */
    char device[384];       /* for people; times of one device may be compared */
    int64_t machine, build; /* facts */
    mb_progress *progress;
    const volatile sig_atomic_t *stop; /* not 0: finish the step, save, end */
} mb_bench;

typedef struct mb_work { /* a workload with its data */
    mb_settings *settings;
    mb_data *data;
    int64_t dataset; /* facts */
} mb_work;

/* Opens the N workloads of PATHS as ASKED, their data prepared, and the database; B is zeroed but
   for progress, resume, jobs_asked and stop. Works (N) are zeroed. Close also after a failure. */
mb_err mb_bench_open(mb_bench *b, const mb_asked *asked, const char *db, const char *const *paths,
                     int n, mb_work *works);
void mb_bench_close(mb_bench *b, mb_work *works, int n);

typedef struct mb_job {
    const mb_work *work;
    const mb_arch_settings *arch;
    int64_t seed;
    char hash[MB_HASH_SIZE];
} mb_job;

enum mb_status { MB_PENDING, MB_DONE, MB_WAS_DONE, MB_BUSY, MB_FAILED, MB_STOPPED };
extern const char *const mb_status_name[]; /* "ok", "was ok", "running elsewhere", ... */

typedef struct mb_outcome {
    enum mb_status status;
    int64_t step, train_ns; /* steps done in all; time of those trained in this invocation ... */
    int64_t trained;        /* ... and their number */
    mb_losses val;          /* of the last evaluation */
    char detail[512];       /* why it failed */
} mb_outcome;

/* From what was asked of B and the settings of N workloads: how many jobs run side by side, and
   with how many threads. Asked for nothing, several jobs share out the threads that the backend
   would take by itself, one each at the least: on two cores two jobs of one thread did 1.2 to 1.3
   times the work of one job of two, whose threads wait for each other many times a step. Asked for
   the jobs alone, these share out the threads; asked for the threads alone, jobs run one after
   another. Shards and what is done already do not count: threads are part of what a job is. */
mb_err mb_jobs_plan(mb_bench *b, const mb_work *works, size_t n);

/* All jobs of N workloads that fall to SHARD (from 1) of SHARDS, round robin: workload by workload,
   for each seed all architectures. Caller frees *out. */
size_t mb_jobs_make(const mb_bench *b, const mb_work *works, size_t n, int shard, int shards,
                    mb_job **out);

/* Begins the jobs in order, as many at once as planned; a failed one does not stop the rest.
   OUTCOMES (N). MB_EINTERRUPTED when the user asked to stop, another error when nothing could be
   recorded any more. */
mb_err mb_jobs_run(mb_bench *b, const mb_job *jobs, size_t n, mb_outcome *outcomes);

/* One job. What befalls the job alone is in the outcome and in the store, not in the result. */
mb_err mb_run_job(mb_bench *b, const mb_job *job, mb_outcome *out);

/* Records machine, build and data set, each once (harness/facts.c). */
mb_err mb_facts_machine(mb_store *s, int64_t *id);
mb_err mb_facts_build(mb_store *s, int64_t *id);
mb_err mb_facts_dataset(mb_store *s, const mb_data *d, int64_t *id);
/* What BACKEND computes on: the processor's name and its cores, after the GPU's for cuda. */
void mb_facts_device(const char *backend, char *text, size_t size);

#endif
