/* Counters: events of several sources, counted around a region that may be entered many times.

   Sources:
     clock   wall, cpu, queued (run-queue delay)                                        nanoseconds
     rusage  user_time, system_time, minor_faults, major_faults, voluntary_switches,
             involuntary_switches, max_rss (bytes; the most so far, not a difference)
     papi    any name that PAPI knows: PAPI_TOT_INS, perf::TASK-CLOCK, ...
     sde     our own ledger through PAPI (mb_tally below)
     cupti   counters of the GPU by any name that CUPTI knows: dram__bytes_read.sum, ...
     nvml    energy (J); sm_clock, memory_clock (Hz, the slowest at the end of any region);
             power_capped, throttled (regions that ended so)
   What a machine cannot count is a status and no value; never 0 and never an error. Whether an
   event counts is known only by adding and starting it: machines list events that they do not have.
 */
#ifndef MB_PROFILES_COUNTER_H
#define MB_PROFILES_COUNTER_H

#include "base/err.h"
#include "models/kernels/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mb_event {
    const char *source, *name, *unit; /* borrowed until mb_counter_close() */
} mb_event;

enum mb_count_status {
    MB_COUNT_OK,
    MB_COUNT_MULTIPLEXED, /* it would have to share a hardware counter: an estimate, not a count */
    MB_COUNT_NOT_SUPPORTED, /* not on this machine, or not in this build */
    MB_COUNT_NOT_PERMITTED,
    MB_COUNT_ERROR,
    MB_COUNT_STATUSES
};
extern const char *const mb_count_status_name[MB_COUNT_STATUSES]; /* "ok", "multiplexed", ... */

typedef struct mb_counted {
    mb_event event;
    enum mb_count_status status;
    double value;  /* NaN unless ok */
    char why[160]; /* of a source that gave up: what it was told; else "" */
} mb_counted;

typedef struct mb_counter mb_counter; /* for one region at a time */

/* Fails when the source is not known, or is one of ours and has no such event. */
mb_err mb_event_check(const mb_event *e);

/* Whether counting an event that has passed the check slows the region down: it is then counted in
   regions of its own, which nobody times. */
bool mb_event_disturbs(const mb_event *e);

/* Probes N events that have passed mb_event_check(). Events that belong to a thread are counted in
   THREADS OpenMP threads, those that the backend computes with, and summed. */
void mb_counter_open(const mb_event *events, size_t n, int threads, mb_counter **out);
void mb_counter_close(mb_counter *c); /* accepts NULL */

/* Every start is followed by a stop, which adds what happened in between. */
void mb_counter_start(mb_counter *c);
void mb_counter_stop(mb_counter *c);

/* The (n) counts in the order of the events, as of the last stop; valid until the next start. */
const mb_counted *mb_counter_read(const mb_counter *c, size_t *n);

/* Whether this build and machine have PAPI: "PAPI 7.0.0", or why not. */
bool mb_papi_works(void);
const char *mb_papi_about(void);

/* What any PAPI tool in this process reads as sde:::motbench::flops_model, flops_useful,
   flops_executed, bytes, tokens_routed (assignments to experts) and tokens_dropped. */
typedef struct mb_tally {
    const mb_ledger *ledger;
    int64_t routed, dropped;
} mb_tally;

/* From now on the events are T's, borrowed until another is published; NULL: they stand still at 0.
   Does nothing in a build without PAPI. */
void mb_sde_publish(const mb_tally *t);

#endif
