#include "models/sample.h"

#include "base/file.h"
#include "base/random.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

typedef struct candidate {
    double p; /* in proportion */
    int32_t id;
} candidate;

/* Likeliest first, then by id: the order decides what top_p leaves out. */
static int compare(const void *a, const void *b)
{
    const candidate *x = a, *y = b;

    return x->p != y->p ? (x->p < y->p) - (x->p > y->p) : (x->id > y->id) - (x->id < y->id);
}

/* Those from the likeliest on that hold TOP_P of the whole; *sum becomes theirs. */
static int64_t keep_likeliest(candidate *c, int64_t n, double top_p, double *sum)
{
    double wanted = top_p * *sum, kept = 0;
    int64_t i = 0;

    if (top_p >= 1)
        return n;
    qsort(c, (size_t)n, sizeof *c, compare);
    while (i < n && (i == 0 || kept < wanted))
        kept += c[i++].p;
    *sum = kept;
    return i;
}

static int32_t draw(candidate *c, int64_t n, double top, const mb_sampling *how, double uniform)
{
    double sum = 0, at;
    int64_t i;

    for (i = 0; i < n; i++)
        sum += c[i].p = exp((c[i].p - top) / how->temperature);
    n = keep_likeliest(c, n, how->top_p, &sum);
    at = uniform * sum;
    for (i = 0; i < n - 1 && at >= c[i].p; i++)
        at -= c[i].p;
    return c[i].id;
}

int32_t mb_sample(const float *logit, mb_allowed allowed, const mb_sampling *how, uint64_t key,
                  uint64_t i)
{
    int64_t n = 0;
    candidate *c = mb_alloc((size_t)(allowed.past - allowed.first + 1) * sizeof *c), best;

    for (int id = allowed.first; id < allowed.past; id++)
        c[n++] = (candidate){ logit[id], id };
    if (allowed.other >= 0)
        c[n++] = (candidate){ logit[allowed.other], allowed.other };
    assert(n > 0);
    best = c[0];
    for (int64_t k = 1; k < n; k++)
        if (c[k].p > best.p || (c[k].p == best.p && c[k].id < best.id))
            best = c[k];
    if (how->temperature > 0)
        best.id = draw(c, n, best.p, how, mb_uniform(key, i));
    free(c);
    return best.id;
}
