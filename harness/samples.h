/* Samples: rows of steps and values, kept in memory until the store may be written, which is never
   between two timed steps. */
#ifndef MB_HARNESS_SAMPLES_H
#define MB_HARNESS_SAMPLES_H

#include "models/model.h"
#include "results/store.h"
#include "workloads/data.h"

typedef struct mb_samples {
    mb_step_row *steps;
    mb_value_row *values;
    size_t n_steps, max_steps, n_values, max_values;
} mb_samples;

/* Room for STEPS steps without another allocation; more is made when they run out. */
void mb_samples_open(mb_samples *s, size_t steps);
void mb_samples_close(mb_samples *s); /* accepts a zeroed one */

void mb_samples_step(mb_samples *s, const mb_step_row *row);
/* The losses of SPLIT after STEP, per modality and over all, and what the router did, if any. */
void mb_samples_losses(mb_samples *s, int64_t step, const char *split, const mb_losses *l);
/* Writes everything in one transaction and forgets it. */
mb_err mb_samples_flush(mb_samples *s, mb_store *store, int64_t run);

#endif
