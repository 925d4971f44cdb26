#include "harness/statistics.h"

#include "base/file.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double mb_mean(const double *v, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += v[i];
    return sum / (double)n; /* 0/0 is NaN */
}

double mb_median(const double *v, size_t n)
{
    return mb_quantile(v, n, 0.5);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double sorted_quantile(const double *v, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;

    return i + 1 < n ? v[i] + (at - (double)i) * (v[i + 1] - v[i]) : v[n - 1];
}

double mb_quantile(const double *v, size_t n, double q)
{
    double *sorted, out;

    if (n == 0)
        return NAN;
    sorted = mb_alloc(n * sizeof *sorted);
    memcpy(sorted, v, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, ascending);
    out = sorted_quantile(sorted, n, q);
    free(sorted);
    return out;
}

double mb_deviation(const double *v, size_t n)
{
    double mean = mb_mean(v, n), sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (v[i] - mean) * (v[i] - mean);
    return n < 2 ? NAN : sqrt(sum / (double)(n - 1));
}

mb_interval mb_bootstrap(const double *v, size_t n, mb_statistic *statistic, double level,
                         uint64_t key)
{
    mb_interval out = { NAN, NAN };
    double *drawn, *of;

    if (n < 2)
        return out;
    drawn = mb_alloc(n * sizeof *drawn);
    of = mb_alloc(MB_RESAMPLES * sizeof *of);
    for (size_t r = 0; r < MB_RESAMPLES; r++) {
        for (size_t i = 0; i < n; i++)
            drawn[i] = v[mb_below(key, r * n + i, n)];
        of[r] = statistic(drawn, n);
    }
    qsort(of, MB_RESAMPLES, sizeof *of, ascending);
    out.lo = sorted_quantile(of, MB_RESAMPLES, (1 - level) / 2);
    out.hi = sorted_quantile(of, MB_RESAMPLES, (1 + level) / 2);
    free(drawn);
    free(of);
    return out;
}
