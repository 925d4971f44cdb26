/* Summaries of a few numbers. None changes its input; all give NaN where there is no answer. */
#ifndef MB_HARNESS_STATISTICS_H
#define MB_HARNESS_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

double mb_mean(const double *v, size_t n);
double mb_median(const double *v, size_t n);

/* The value below which a share Q of the sample lies, linear between order statistics (Hyndman &
   Fan's type 7, the usual one): q = 0 the least, 0.5 the median, 1 the greatest. */
double mb_quantile(const double *v, size_t n, double q);

/* Sample standard deviation, n - 1 below; in two passes, so that large numbers close together keep
   their digits. NaN for fewer than two. */
double mb_deviation(const double *v, size_t n);

typedef struct mb_interval {
    double lo, hi;
} mb_interval;

typedef double mb_statistic(const double *v, size_t n);

enum { MB_RESAMPLES = 2000 };

/* Percentile bootstrap of STATISTIC at LEVEL (0.95, ...): items are drawn with replacement, keyed
   by KEY, so that the same numbers give the same interval. NaN for fewer than two items; with a
   handful the interval is too narrow, as every percentile bootstrap is. */
mb_interval mb_bootstrap(const double *v, size_t n, mb_statistic *statistic, double level,
                         uint64_t key);

#endif
