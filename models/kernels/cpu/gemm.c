/* Products of routed rows with the weight slices of their groups: one library call per non-empty
   group, one after another, each on all threads. With four groups on two threads that cost 10 %
   over one product of the same size at 256 rows per group, and nothing from 512 on. */
#include "models/kernels/cpu/cpu.h"

typedef struct range { /* of rows that share a slice */
    int64_t begin, rows, slice;
} range;

/* Range I of the route. One slice for all groups: all rows at once, whatever their groups. */
static range range_of(const mb_tensor *w, const mb_route *r, int i)
{
    if (w->slices == 1)
        return (range){ 0, r->rows, 0 };
    return (range){ r->offset[i], r->offset[i + 1] - r->offset[i], i };
}

static int ranges(const mb_tensor *w, const mb_route *r)
{
    return w->slices == 1 ? 1 : r->groups;
}

void cpu_gemm(mb_ctx *c, float *y, const float *x, const mb_tensor *w, const mb_route *r)
{
    int64_t n = w->rows, k = w->cols;

    for (int i = 0; i < ranges(w, r); i++) {
        range g = range_of(w, r, i);

        if (g.rows)
            sgemm(c->threads, 'N', 'T', g.rows, n, k, 1, x + g.begin * k, k,
                  mb_f32(w) + g.slice * n * k, k, 0, y + g.begin * n, n);
    }
}

void cpu_gemm_dx(mb_ctx *c, float *dx, const float *dy, const mb_tensor *w, const mb_route *r,
                 bool add)
{
    int64_t n = w->rows, k = w->cols;

    for (int i = 0; i < ranges(w, r); i++) {
        range g = range_of(w, r, i);

        if (g.rows)
            sgemm(c->threads, 'N', 'N', g.rows, k, n, 1, dy + g.begin * n, n,
                  mb_f32(w) + g.slice * n * k, k, add, dx + g.begin * k, k);
    }
}

void cpu_gemm_dw(mb_ctx *c, const mb_tensor *w, const float *dy, const float *x, const mb_route *r)
{
    int64_t n = w->rows, k = w->cols;

    for (int i = 0; i < ranges(w, r); i++) {
        range g = range_of(w, r, i);

        if (g.rows)
            sgemm(c->threads, 'T', 'N', n, k, g.rows, 1, dy + g.begin * n, n, x + g.begin * k, k, 1,
                  w->grad + g.slice * n * k, k);
    }
}
