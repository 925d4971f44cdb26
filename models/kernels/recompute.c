/* Part of a pass made a second time instead of kept: less memory for more FLOPs (Chen et al.,
   Training Deep Nets with Sublinear Memory Cost). It uses the front's own operations, so that no
   backend knows of it. */
#include "models/kernels/tape.h"

#include <assert.h>

typedef struct segment {
    mb_residual *f;
    void *arg;
} segment;

static void recompute_back(mb_ctx *c, const mb_node *n)
{
    const segment *s = n->more;
    mb_arena_mark mark = mb_arena_at(&c->data);
    size_t floor = c->n_nodes;
    mb_tensor *y;

    c->again = true;
    y = s->f(s->arg, n->x);
    c->again = false;
    y->grad = n->y->grad;
    y->grad_live = true;
    mb_tape_reverse(c, floor);
    assert(n->x->grad == n->y->grad); /* it outlives what is given back */
    n->y->grad = NULL;
    mb_tape_release(c, mark);
}

/* What f returned lies among what is given back. */
static void keep(mb_ctx *c, mb_tensor *kept, const mb_tensor *y)
{
    uint64_t since = mb_tape_clock(c);
    mb_cost cost = { .bytes = 2 * mb_bytes(y) };

    assert(y->rows == kept->rows && y->cols == kept->cols);
    c->be->gather(c, kept->data, y->data, mb_route_all(c, y->rows), y->cols);
    mb_tape_enter(c, "keep", MB_FWD, -1, cost, mb_tape_clock(c) - since);
}

mb_tensor *mb_recompute(mb_ctx *c, mb_residual *f, void *arg, mb_tensor *x)
{
    bool record = c->record;
    mb_tensor *kept = mb_tape_tensor(c, "kept", x->rows, x->cols, true), *y;
    segment *s = mb_ctx_host(c, sizeof *s);
    mb_arena_mark mark = mb_arena_at(&c->data);

    c->record = false;
    y = f(arg, x);
    keep(c, kept, y);
    mb_tape_release(c, mark);
    c->record = record;
    *s = (segment){ f, arg };
    mb_tape_push(c, (mb_node){ .back = recompute_back, .y = kept, .x = x, .more = s });
    return kept;
}
