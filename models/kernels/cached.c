/* The front of what decoding needs, as op.c is of the rest: attention to what a cache keeps, and
   the few rows of a pass that are wanted. */
#include "models/kernels/tape.h"

#include <assert.h>
#include <string.h>

const mb_route *mb_route_rows(mb_ctx *c, int64_t t, const int32_t *row, int64_t n)
{
    int64_t *offset = mb_ctx_host(c, 2 * sizeof *offset);
    int32_t *first = mb_ctx_host(c, (size_t)(t + 2) * sizeof *first), *next = first + 1;
    int32_t *routed = mb_ctx_host(c, (size_t)n * sizeof *routed);
    mb_route *r = mb_ctx_host(c, sizeof *r);

    offset[0] = 0;
    offset[1] = n;
    memset(first, 0, (size_t)(t + 2) * sizeof *first);
    for (int64_t i = 0; i < n; i++)
        next[row[i] + 1]++;
    for (int64_t i = 0; i < t; i++)
        next[i + 1] += next[i]; /* where those of row i begin; */
    for (int64_t i = 0; i < n; i++)
        routed[next[row[i]]++] = (int32_t)i; /* in the end, where those of row i + 1 do */
    *r = (mb_route){ .groups = 1,
                     .rows = n,
                     .tokens = t,
                     .offset = offset,
                     .asked = offset + 1,
                     .kept = offset + 1,
                     .token = row,
                     .first = first,
                     .row = routed };
    return r;
}

/* The same FLOPs for a query and a key as mb_attend(); each pair reads a key and a value. */
static mb_cost cost_of(const mb_ctx *c, const mb_places *at, int64_t t, int64_t d)
{
    uint64_t products = 4 * (uint64_t)d * at->pairs;

    return (mb_cost){ .model = products,
                      .useful = products,
                      .executed = products,
                      .bytes = (2 * (uint64_t)d * at->pairs + 6 * (uint64_t)(t * d)) *
                               mb_size(c->stored) };
}

mb_tensor *mb_attend_cached(mb_ctx *c, mb_tensor *x, const mb_cache *cache, const mb_places *at,
                            int heads)
{
    uint64_t since = mb_tape_clock(c);
    int64_t t = x->rows, d = x->cols / 3;
    mb_tensor *y = mb_tape_tensor(c, "attend_cached", t, d, false);

    assert(!c->record && x->cols == 3 * d && d % heads == 0);
    for (int64_t i = 0; i < t; i++)
        assert(at->position[i] < cache->room && at->hi[i] < cache->room);
    c->be->attend_cached(c, mb_f32(y), mb_f32(x), cache, at, t, d, heads);
    mb_tape_enter(c, "attend_cached", MB_FWD, -1, cost_of(c, at, t, d), mb_tape_clock(c) - since);
    return y;
}
