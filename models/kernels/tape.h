/* The tape: the calls of a pass, recorded so that they can be run in reverse. For the
   front alone: op.c, choose.c, recompute.c, ctx.c. */
#ifndef MB_KERNELS_TAPE_H
#define MB_KERNELS_TAPE_H

#include "models/kernels/arena.h"

/* One recorded call: what its backward needs. Fields that an operation does not use stay 0. */
typedef struct mb_node {
    void (*back)(mb_ctx *c, const struct mb_node *n);
    mb_part part;
    int layer;
    mb_tensor *y, *x, *w, *w2;
    mb_tensor *saved; /* rstd, lse, ... */
    const mb_route *route;
    const mb_span *span;
    const uint8_t *slice;
    const int32_t *index; /* tokens or positions */
    const void *more;     /* the operation's own */
    int heads;
    float eps, base;
    uint64_t key;
} mb_node;

/* Keeps NODE when gradients are recorded and one flows through y; fills in part and layer. */
void mb_tape_push(mb_ctx *c, mb_node node);

/* A scratch tensor (1, rows, cols), not cleared, that wants a gradient if WANTS and recording is
   on: as activations are stored, or fp32 in every precision. */
mb_tensor *mb_tape_tensor(mb_ctx *c, const char *name, int64_t rows, int64_t cols, bool wants);
mb_tensor *mb_tape_floats(mb_ctx *c, const char *name, int64_t rows, int64_t cols, bool wants);

/* Where t's gradient goes, or NULL when none is wanted. *add: it holds one already. It is there
   until the call that made t has been reversed; a call that passes it on sets it to NULL. */
mb_real *mb_tape_grad(mb_ctx *c, mb_tensor *t, bool *add);

/* mb_arena_release() of the scratch, and of gradients in it. */
void mb_tape_release(mb_ctx *c, mb_arena_mark mark);

/* Runs the recorded calls after the first FLOOR in reverse, and forgets them. */
void mb_tape_reverse(mb_ctx *c, size_t floor);

/* Enters a cost for the place the ctx is at. SINCE: mb_tape_clock() before the call. */
void mb_tape_enter(mb_ctx *c, const char *op, mb_pass_kind pass, int group, mb_cost cost,
                   uint64_t wall_ns);
uint64_t mb_tape_clock(mb_ctx *c); /* ns when tracing, once all work is done; else 0 */

/* The cost of a product of ROUTE's rows with (N, K) per group. That of a route of a device is
   entered by the sync that tells its counts: mb_tape_settle() does. */
typedef struct mb_product_cost {
    const mb_route *route;
    int64_t n, k;
    mb_pass_kind pass;
    bool sliced; /* one slice of weights per group */
    uint64_t wall_ns;
} mb_product_cost;

void mb_tape_enter_product(mb_ctx *c, mb_product_cost p);
void mb_tape_settle(mb_ctx *c);

#endif
