/* Workers in lock-step: in every round each of a group makes one step, in random order, so that
   whatever else the machine does meets all of them alike. What is judged are ratios within a round.

   On one thread the processor time of the process counts, which other processes hardly touch; on
   more the wall, and then a turn in which our threads waited for a processor for more than 1 % of
   it is left out, and more rounds are made instead. */
#ifndef MB_BENCH_GROUP_H
#define MB_BENCH_GROUP_H

#include "bench/worker.h"
#include "models/kernels/tensor.h"

#include <stdbool.h>

enum { MB_VARIANTS = 10, MB_WARM_UP = 2, MB_ROUNDS_MAX = 100 };

typedef struct mb_variant {
    char *name, *command; /* owned by the group, as all text here */
    char *check;          /* the same model, small, for the check against `ref`; NULL: none */
    bool foreign;         /* that it fails is no reason to end; ... */
    char *failed;         /* ... then why it is not measured; NULL: it is */
    mb_turn turn[MB_WARM_UP + MB_ROUNDS_MAX];
} mb_variant;

typedef struct mb_group {
    const char *section;
    mb_precision precision;
    int threads;
    int rounds;      /* made, of which the first MB_WARM_UP do not count */
    int wanted;      /* of those that count, undisturbed; more are made for it, within reason */
    bool same_model; /* all variants must have the losses of the first */
    int n;
    mb_variant v[MB_VARIANTS];
} mb_group;

/* Makes all the steps, and sets ROUNDS. Fails when a worker of ours does, and refuses when a
   model's losses are not those of the backend `ref`, or, of one model, not those of the first
   variant. */
mb_err mb_group_run(mb_group *g);
void mb_group_free(mb_group *g);

bool mb_turn_disturbed(const mb_group *g, const mb_turn *t);

typedef struct mb_measure { /* median over N rounds, 95 % bootstrap interval; NaN for too few */
    double median, lo, hi;
    int n;
} mb_measure;

/* Of N values, one a round. */
mb_measure mb_measure_of(const double *v, int n);
/* Time of variant A over that of B; each divided by its own executed FLOPs when PER_FLOP. */
mb_measure mb_group_ratio(const mb_group *g, int a, int b, bool per_flop);
/* Memory held over what the formula says, and over that of variant B; of the last round, which is
   exact: no interval. */
double mb_group_of_predicted(const mb_group *g, int a);
double mb_group_bytes_ratio(const mb_group *g, int a, int b);
/* Model FLOPs per second over the register-only peak of the same turn. */
mb_measure mb_group_of_peak(const mb_group *g, int a);

#endif
