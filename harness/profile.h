/* Profiling: some steps of a workload that are timed and counted, some in which a GPU's kernels are
   recorded, some that are traced, some for counts that take time themselves; never two of these at
   once, beside what the machine can do at most. Recorded as a run of its own purpose, which no
   comparison takes for training; read back through v_profile and v_profile_op. */
#ifndef MB_HARNESS_PROFILE_H
#define MB_HARNESS_PROFILE_H

#include "harness/bench.h"
#include "harness/event_set.h"

#include <stdio.h>

typedef struct mb_profile_plan {
    const mb_event_set *set;
    int warm_up, timed, traced; /* steps of each kind, in this order */
    bool bare;                  /* a GPU's kernels are not recorded */
    bool each;                  /* what the hardware counts is counted in each operation, too */
} mb_profile_plan;

/* Measures, then records: whatever fails before leaves nothing behind. *run is its id in the store.
 */
mb_err mb_profile_run(mb_bench *b, const mb_job *job, const mb_profile_plan *plan, int64_t *run);

/* Every operation, summed over layers unless LAYERS, and what is outside of them. */
mb_err mb_profile_print_operations(mb_store *s, int64_t run, bool layers,
                                   enum mb_table_format format, FILE *out);
/* The metrics of SET and all counts. */
mb_err mb_profile_print_counts(mb_store *s, int64_t run, const mb_event_set *set,
                               enum mb_table_format format, FILE *out);

#endif
