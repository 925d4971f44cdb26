#include "workloads/sound.h"
#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CROSSINGS = 16 /* of the sinc, on either side */ };
enum { BLOCK = MB_SOUND_RATE / 50, MARGIN = 5 /* blocks */ };

void mb_sound_free(mb_sound *s)
{
    free(s->sample);
    memset(s, 0, sizeof *s);
}

static int64_t divisor(int64_t a, int64_t b)
{
    return b ? divisor(b, a % b) : a;
}

/* Hann-windowed sinc of cut-off CUT (of the input's Nyquist frequency), X input samples away. */
static double kernel(double x, double cut)
{
    double t = M_PI * x * cut, reach = CROSSINGS / cut;

    if (fabs(x) >= reach)
        return 0;
    return cut * (x == 0 ? 1 : sin(t) / t) * (0.5 + 0.5 * cos(M_PI * x / reach));
}

/* The weights of input samples around an output sample that lies P / UP behind one. */
static void make_row(int64_t p, int64_t up, double cut, int64_t taps, double *row)
{
    for (int64_t k = 0; k < taps; k++)
        row[k] = kernel((double)(k - taps / 2 + 1) - (double)p / (double)up, cut);
}

/* Output sample i lies at input time i * down / up, which has UP different fractions: a row of
   weights for each, made beforehand unless there are fewer samples than rows. */
void mb_sound_resample(const mb_sound *s, mb_sound *out)
{
    int64_t common = divisor(s->rate, MB_SOUND_RATE), up = MB_SOUND_RATE / common;
    int64_t down = s->rate / common;
    double cut = up < down ? (double)up / (double)down : 1;
    int64_t half = (int64_t)ceil(CROSSINGS / cut), taps = 2 * half, rows;
    double *table;

    *out = (mb_sound){ .n = s->n * up / down, .rate = MB_SOUND_RATE };
    out->sample = mb_zalloc((size_t)out->n + 1, sizeof *out->sample);
    rows = up <= out->n ? up : 1;
    table = mb_alloc((size_t)(rows * taps) * sizeof *table);
    for (int64_t p = 0; rows == up && p < up; p++)
        make_row(p, up, cut, taps, table + p * taps);
    for (int64_t i = 0; i < out->n; i++) {
        double *row = table + (rows == up ? i * down % up * taps : 0);
        int64_t first = i * down / up - half + 1;
        int64_t from = first < 0 ? -first : 0, to = s->n - first < taps ? s->n - first : taps;
        double sum = 0;

        if (rows < up)
            make_row(i * down % up, up, cut, taps, row);
        for (int64_t k = from; k < to; k++)
            sum += row[k] * s->sample[first + k];
        out->sample[i] = sum;
    }
    free(table);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double power(const double *x, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum / (double)n;
}

/* The blocks [first, last] that are louder than 35 dB below the 95th percentile. */
static void find_loud(const double *level, int64_t n, int64_t *first, int64_t *last)
{
    double *sorted = mb_alloc((size_t)n * sizeof *sorted), least;

    memcpy(sorted, level, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare);
    least = sorted[n * 95 / 100] * pow(10, -3.5);
    free(sorted);
    *first = 0;
    *last = n - 1;
    while (*first < *last && level[*first] < least)
        ++*first;
    while (*last > *first && level[*last] < least)
        --*last;
}

int64_t mb_sound_trim(mb_sound *s)
{
    int64_t blocks = s->n / BLOCK, first = 0, last = 0, begin = 0, end = s->n;
    double *level = mb_alloc((size_t)(blocks + 1) * sizeof *level), rms;

    for (int64_t b = 0; b < blocks; b++)
        level[b] = power(s->sample + b * BLOCK, BLOCK);
    if (blocks > 0) {
        find_loud(level, blocks, &first, &last);
        begin = first > MARGIN ? (first - MARGIN) * BLOCK : 0;
        end = last + MARGIN + 1 < blocks ? (last + MARGIN + 1) * BLOCK : s->n;
    }
    free(level);
    s->n = end - begin;
    memmove(s->sample, s->sample + begin, (size_t)s->n * sizeof *s->sample);
    rms = s->n > 0 ? sqrt(power(s->sample, s->n)) : 0;
    for (int64_t i = 0; rms > 0 && i < s->n; i++)
        s->sample[i] /= rms;
    return begin;
}
