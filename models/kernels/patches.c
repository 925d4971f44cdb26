/* The front's part for rows that are numbers in place of ids: how they come in, which rows of x
   they are, and the loss of what is predicted of them. */
#include "models/kernels/bf16.h"
#include "models/kernels/tape.h"

#include <assert.h>
#include <string.h>

const mb_route *mb_route_some(mb_ctx *c, int64_t t, const int32_t *token, int64_t n)
{
    mb_route *r = mb_ctx_host(c, sizeof *r);
    int64_t *offset = mb_ctx_host(c, 3 * sizeof *offset);
    int32_t *first = mb_ctx_host(c, (size_t)(t + 1) * sizeof *first);
    int32_t *row = mb_ctx_host(c, (size_t)(n + 1) * sizeof *row);
    int64_t at = 0;

    for (int64_t i = 0; i <= t; i++) {
        first[i] = (int32_t)at;
        at += at < n && token[at] == i;
    }
    assert(at == n); /* ascending, each once */
    for (int64_t i = 0; i < n; i++)
        row[i] = (int32_t)i;
    offset[0] = 0;
    offset[1] = offset[2] = n;
    *r = (mb_route){ .groups = 1,
                     .rows = n,
                     .tokens = t,
                     .offset = offset,
                     .asked = offset + 2,
                     .kept = offset + 2,
                     .token = token,
                     .first = first,
                     .row = row };
    return r;
}

/* N floats as bf16 alone. */
static const uint16_t *narrowed(mb_ctx *c, const float *x, int64_t n)
{
    uint16_t *y = mb_ctx_host(c, (size_t)n * sizeof *y);

    for (int64_t i = 0; i < n; i++) {
        float rounded = mb_bf16_of(x[i]);
        uint32_t bits;

        memcpy(&bits, &rounded, sizeof bits);
        y[i] = (uint16_t)(bits >> 16);
    }
    return y;
}

mb_tensor *mb_input(mb_ctx *c, const char *name, int64_t rows, int64_t cols, const float *x)
{
    mb_tensor *y = mb_tape_tensor(c, name, rows, cols, false);

    c->be->write(c, y->data, y->dtype == MB_BF16 ? (const void *)narrowed(c, x, rows * cols) : x,
                 mb_bytes(y));
    return y;
}

void mb_regress(mb_ctx *c, mb_tensor *y, const float *wanted, float scale, float *loss)
{
    uint64_t since = mb_tape_clock(c), n = (uint64_t)mb_count(y), wall_ns;
    mb_cost cost = { .vector = 3 * n, .bytes = 2 * n * sizeof(float) };
    bool add;
    float *dy = c->record ? mb_tape_grad(c, y, &add) : NULL;

    assert(y->dtype == MB_FP32 && (!dy || !add));
    c->be->regress(c, loss, dy, mb_f32(y), wanted, scale, y->rows, y->cols);
    wall_ns = mb_tape_clock(c) - since;
    mb_tape_enter(c, "regress", MB_FWD, -1, cost, dy ? wall_ns / 2 : wall_ns);
    cost.vector = n;
    if (dy)
        mb_tape_enter(c, "regress", MB_BWD, -1, cost, wall_ns - wall_ns / 2);
}
