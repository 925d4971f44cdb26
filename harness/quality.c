#include "harness/quality.h"

#include "base/file.h"

#include <stdlib.h>

void mb_quality_free(mb_quality *q)
{
    for (size_t i = 0; i < q->n; i++)
        free(q->metric[i]);
    free(q->metric);
    free(q->row);
    *q = (mb_quality){ 0 };
}

static void make_room(mb_quality *q)
{
    if (q->n < q->room)
        return;
    q->room = q->room ? 2 * q->room : 64;
    q->row = realloc(q->row, q->room * sizeof *q->row);
    q->metric = realloc(q->metric, q->room * sizeof *q->metric);
    if (!q->row || !q->metric)
        abort();
}

void mb_quality_add(mb_quality *q, const char *name, int given, int modality, const char *split,
                    double value, int64_t n, double bound, const char *bound_is)
{
    make_room(q);
    q->metric[q->n] = given == MB_GIVEN_NOTHING
                          ? mb_format("%s", name)
                          : mb_format("%s given %s", name, mb_modality_name[given]);
    q->row[q->n] =
        (mb_quality_row){ q->metric[q->n], mb_modality_name[modality], split, value, n, bound,
                          bound_is };
    q->n++;
}
