/* Routes on the device: known ones follow from host memory; learned ones are made there, padded to
   the capacity, and only what they kept comes back. */
#include "models/kernels/cuda/cuda.h"

#include "models/kernels/arena.h"
#include "models/kernels/tape.h"

cu_route cuda_route(cuda_ctx *c, const mb_route *r)
{
    cu_route on = { .rows = r->rows,
                    .tokens = r->tokens,
                    .token = r->token,
                    .first = r->first,
                    .row = r->row,
                    .gate = r->gate ? mb_f32(r->gate) : NULL };

    if (r->token && !r->device) {
        size_t rows = (size_t)r->rows * sizeof *r->token;

        on.token = cuda_indices(c, r->token, rows);
        on.row = cuda_indices(c, r->row, rows);
        on.first = cuda_indices(c, r->first, (size_t)(r->tokens + 1) * sizeof *r->first);
    }
    return on;
}

/* ---- learned ----------------------------------------------------------------------------------
 */

_Static_assert(sizeof(mb_routed) == sizeof(cu_routed), "one is copied into the other");

typedef struct decision { /* what a choice remembers, until the reset */
    cu_choice choice;
    const mb_router *how;
} decision;

static void *take(mb_ctx *c, int64_t n, size_t size)
{
    return mb_arena_take(&c->data, (size_t)n * size);
}

static cu_choice describe(mb_ctx *c, const mb_tensor *logits, const mb_router *how)
{
    int64_t t = logits->rows, e = logits->cols;
    int64_t rows = t > 0 ? t : 1; /* no rows: one group of none */
    int64_t group = how->group_rows && how->capacity > 0 ? how->group_rows : rows;
    bool experts = how->choice == MB_EXPERT_CHOOSES;
    cu_choice d = { .t = t,
                    .group = group,
                    .groups = (rows + group - 1) / group,
                    .experts = (int)e,
                    .k = experts ? (int)e : how->top_k,
                    .by_experts = experts,
                    .softmax = how->score == MB_SOFTMAX,
                    .renormalise = how->renormalise && !experts,
                    .random_second = how->random_second,
                    .balance = how->balance,
                    .z = how->z,
                    .key = cuda_numbers(cuda_of(c), &how->key, sizeof how->key),
                    .logit = mb_f32(logits) };

    d.room = mb_router_room(how, group, d.experts);
    d.last_room = mb_router_room(how, t % group, d.experts);
    d.score = take(c, t * e, sizeof *d.score);
    d.lse = take(c, t, sizeof *d.lse);
    d.norm = take(c, t, sizeof *d.norm);
    *(experts ? &d.place : &d.top) = take(c, t * d.k, sizeof *d.top);
    d.inverse = take(c, t * d.k, sizeof *d.inverse);
    d.asked = take(c, 2 * e, sizeof *d.asked);
    d.kept = d.asked + e;
    d.group_asked = take(c, 2 * d.groups * e, sizeof *d.group_asked);
    d.group_kept = d.group_asked + d.groups * e;
    d.first = take(c, 2 * e + 1, sizeof *d.first);
    d.terms = d.first + e;
    d.routed = take(c, 1, sizeof *d.routed);
    d.least = take(c, e, sizeof *d.least);
    d.group_least = take(c, d.groups * e, sizeof *d.group_least);
    d.cut = cuda_indices(cuda_of(c), how->cut, (size_t)e * sizeof *d.cut);
    return d;
}

/* Where each expert's rows begin: at multiples of its room; or, without a limit, after the rows
   that the experts before it have got, for which the device is waited for. */
static void find_offsets(cuda_ctx *c, cu_choice *d, bool limited, int64_t *offset, int64_t *counts)
{
    int64_t room = d->t / d->group * d->room + (d->t % d->group ? d->last_room : 0);

    if (!limited) {
        cu_assign(&c->cu, d);
        cuda_fetch_to(&c->base, counts, d->group_asked, (size_t)(2 * d->experts) * sizeof *counts);
        cuda_sync(&c->base);
    }
    offset[0] = 0;
    for (int e = 0; e < d->experts; e++)
        offset[e + 1] = offset[e] + (limited ? room : counts[d->experts + e]);
    if (!limited)
        d->offset = cuda_indices(c, offset, (size_t)(d->experts + 1) * sizeof *offset);
}

mb_route *cuda_choose(mb_ctx *base, const mb_tensor *logits, const mb_router *how, mb_routed *out)
{
    cuda_ctx *c = cuda_of(base);
    decision *d = mb_ctx_host(base, sizeof *d);
    int64_t e = logits->cols, t = logits->rows;
    int64_t *offset = mb_ctx_host(base, (size_t)(e + 1) * sizeof *offset);
    int64_t *counts = mb_ctx_host(base, (size_t)(2 * e) * sizeof *counts); /* asked, kept */
    int32_t *first = take(base, t + 1, sizeof *first);
    mb_route *r = mb_ctx_host(base, sizeof *r);

    *d = (decision){ .choice = describe(base, logits, how), .how = how };
    cu_scores(&c->cu, &d->choice);
    find_offsets(c, &d->choice, how->capacity > 0, offset, counts);
    *r = (mb_route){ .groups = (int)e,
                     .rows = offset[e],
                     .tokens = t,
                     .offset = offset,
                     .asked = counts,
                     .kept = counts + e,
                     .token = take(base, offset[e], sizeof *r->token),
                     .first = first,
                     .row = d->choice.inverse,
                     .gate = mb_tape_floats(base, "gate", 1, offset[e], logits->wants),
                     .decision = d,
                     .device = true };
    d->choice.token = (int32_t *)r->token;
    d->choice.gate = mb_f32(r->gate);
    cu_assign(&c->cu, &d->choice);
    cu_list_rows(&c->cu, first, &d->choice);
    cu_choice_losses(&c->cu, &d->choice);
    cuda_fetch_to(base, counts, d->choice.asked, (size_t)(2 * e) * sizeof *counts);
    cuda_fetch_to(base, out, d->choice.routed, sizeof *out);
    if (how->least)
        cuda_fetch_to(base, how->least, d->choice.least, (size_t)e * sizeof *how->least);
    return r;
}

void cuda_choose_bwd(mb_ctx *base, float *dlogit, const mb_route *r, bool add)
{
    const decision *d = r->decision;

    cu_choose_bwd(&cuda_of(base)->cu, dlogit, r->gate->grad, &d->choice, add);
}
