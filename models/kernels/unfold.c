/* The front's part for rows that have a place on a grid: those around a row, which make a product a
   convolution, and rows seen as longer or shorter ones. */
#include "models/kernels/tape.h"

#include <assert.h>

/* FLOPS of a vector operation, and MOVED numbers that are read or written. */
static mb_cost cost_of(const mb_ctx *c, int64_t flops, int64_t moved)
{
    return (mb_cost){ .vector = (uint64_t)flops, .bytes = (uint64_t)moved * mb_size(c->stored) };
}

static void unfold_back(mb_ctx *c, const mb_node *n)
{
    uint64_t since = mb_tape_clock(c);
    int64_t all = mb_count(n->y), d = n->x->cols;
    bool add;
    mb_real *dx = mb_tape_grad(c, n->x, &add);

    c->be->unfold_bwd(c, dx, n->y->grad, n->index, (int)(n->y->cols / d), n->x->rows, d, add);
    mb_tape_enter(c, "unfold", MB_BWD, -1, cost_of(c, all, all + mb_count(n->x)),
                  mb_tape_clock(c) - since);
}

mb_tensor *mb_unfold(mb_ctx *c, mb_tensor *x, const int32_t *around, int places)
{
    uint64_t since = mb_tape_clock(c);
    mb_tensor *y = mb_tape_tensor(c, "unfold", x->rows, places * x->cols, x->wants);

    c->be->unfold(c, y->data, x->data, around, places, x->rows, x->cols);
    mb_tape_enter(c, "unfold", MB_FWD, -1, cost_of(c, 0, mb_count(x) + mb_count(y)),
                  mb_tape_clock(c) - since);
    mb_tape_push(c, (mb_node){ .back = unfold_back, .y = y, .x = x, .index = around });
    return y;
}

/* The gradient has the same numbers, too: its memory becomes x's, unless x was used later on. */
static void reshape_back(mb_ctx *c, const mb_node *n)
{
    uint64_t since = mb_tape_clock(c);
    mb_tensor *x = n->x;

    if (x->grad_live) {
        c->be->gather_bwd(c, x->grad, n->y->grad, mb_route_all(c, x->rows), x->cols, true);
        mb_tape_enter(c, "reshape", MB_BWD, -1, cost_of(c, mb_count(x), 3 * mb_count(x)),
                      mb_tape_clock(c) - since);
        return;
    }
    x->grad = n->y->grad;
    x->grad_live = true;
    n->y->grad = NULL;
}

mb_tensor *mb_reshape(mb_ctx *c, mb_tensor *x, int64_t rows, int64_t cols)
{
    mb_tensor *y = mb_wrap(c, x->name, rows, cols, x->data);

    assert(rows * cols == mb_count(x) && x->dtype == c->stored && !x->parameter);
    y->wants = x->wants;
    mb_tape_push(c, (mb_node){ .back = reshape_back, .y = y, .x = x });
    return y;
}
