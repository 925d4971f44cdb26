/* Comparing architectures: the runs that count (v_latest), brought together by workload, backend
   and precision, each seed paired with the baseline's run of the same seed, which saw the same
   batches. The method of matching is harness/match.h; this is everything around it. */
#ifndef MB_HARNESS_COMPARE_H
#define MB_HARNESS_COMPARE_H

#include "harness/statistics.h"
#include "results/store.h"

enum mb_match_by { MB_MATCH_FLOPS, MB_MATCH_TIME, MB_MATCH_BYS };
enum mb_compare_split { MB_COMPARE_VAL, MB_COMPARE_TRAIN, MB_COMPARE_SPLITS };

typedef struct mb_slope {
    double slope;          /* mean over paired seeds; NaN unless all of them reached the baseline */
    mb_interval ci;        /* 95 % bootstrap over paired seeds; NaN with one */
    size_t seeds, reached; /* pairs, and those of them that reached */
} mb_slope;

/* An architecture of a workload, seen in one modality. Strings belong to the comparison. */
typedef struct mb_compared {
    const char *workload, *backend, *precision, *arch, *modality;
    bool is_baseline;
    int64_t params_total, params_active;
    size_t runs;
    double flops_model, train_s; /* means over runs of the whole training; NaN: not known */
    double loss, loss_sd;        /* last validation loss: mean and deviation over runs; NaN when one
                                    diverged */
    mb_slope slope[MB_COMPARE_SPLITS][MB_MATCH_BYS]; /* seeds = 0: not compared */
} mb_compared;

typedef struct mb_comparison {
    size_t n;
    mb_compared *row; /* by workload and condition, baseline first, "all" first */
    size_t notes;
    char **note;  /* why something was not compared */
    size_t pairs; /* pairs of runs that were compared */
    mb_rows *runs;
} mb_comparison;

/* WORKLOAD NULL: all. MB_EMISSING when there is no finished run. */
mb_err mb_compare(mb_store *s, const char *workload, const char *baseline, mb_comparison *out);
void mb_comparison_free(mb_comparison *c); /* accepts a zeroed one */

/* Keeps all slopes for v_to_match. */
mb_err mb_compare_store(mb_store *s, const mb_comparison *c, const char *baseline);

#endif
