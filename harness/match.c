#include "harness/match.h"

#include <math.h>

static const double LEFT_OUT = 0.1; /* share of the baseline's steps */

/* Where the other run is in its own envelope. */
typedef struct walk {
    const mb_point *p;
    size_t n, next;     /* next: first measurement not yet taken in */
    mb_point last, low; /* the envelope at the last but one and the last measurement taken in */
} walk;

/* The first step at which the envelope is at or below LEVEL; NaN when it never is. Levels must
   fall from call to call. */
static double first_step(walk *w, double level)
{
    double share;

    while (w->low.value > level && w->next < w->n) {
        const mb_point *p = &w->p[w->next++];

        w->last = w->low;
        w->low = (mb_point){ p->step, fmin(w->low.value, p->value) };
    }
    if (w->low.value > level)
        return NAN;
    if (isinf(w->last.value)) /* at its first measurement already */
        return w->low.step;
    share = (w->last.value - level) / (w->last.value - w->low.value);
    return w->last.step + share * (w->low.step - w->last.step);
}

mb_match mb_match_curves(const mb_point *base, size_t n_base, const mb_point *other, size_t n_other)
{
    walk w = { .p = other, .n = n_other, .last = { 0, INFINITY }, .low = { 0, INFINITY } };
    mb_match out = { .reached = n_base > 0 && n_other > 0, .slope = NAN };
    double from = n_base ? LEFT_OUT * base[n_base - 1].step : 0, least = INFINITY;
    double xy = 0, xx = 0;

    for (size_t i = 0; i < n_base && out.reached; i++) {
        double y;

        if (base[i].value >= least)
            continue;
        least = base[i].value;
        y = first_step(&w, least);
        out.reached = !isnan(y);
        if (!out.reached || base[i].step <= from)
            continue;
        xy += base[i].step * y;
        xx += base[i].step * base[i].step;
        out.points++;
    }
    if (out.reached && out.points)
        out.slope = xy / xx;
    return out;
}
