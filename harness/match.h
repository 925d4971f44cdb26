/* The slope of a step-matching plot [MoT 3.2.2]: how many steps another run needs for the losses of
   a baseline, as a share of the baseline's steps.

   Both curves become monotone: the least loss so far. Every new least loss of the baseline is a
   point of the plot: x is the baseline's step, y the first step at which the other run is as low,
   linear between its measurements. The slope is that of the least-squares line through the origin.
   Points of the first tenth of the baseline's steps are left out: warm-up and the common first
   losses say nothing about either. The paper gives neither fitting range nor intercept; these are
   ours. */
#ifndef MB_HARNESS_MATCH_H
#define MB_HARNESS_MATCH_H

#include "results/store.h"

typedef struct mb_match {
    bool reached;  /* the other run got as low as the baseline ever did */
    double slope;  /* NaN unless reached, or when no point is left */
    size_t points; /* of the plot that the line went through */
} mb_match;

/* Curves in order of steps, as mb_store_curve() gives them. */
mb_match mb_match_curves(const mb_point *base, size_t n_base, const mb_point *other,
                         size_t n_other);

#endif
