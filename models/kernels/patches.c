/* The front's part for rows that are numbers in place of ids: how they come in, and the loss of
   what is predicted of them. */
#include "models/kernels/bf16.h"
#include "models/kernels/tape.h"

#include <assert.h>
#include <string.h>

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
