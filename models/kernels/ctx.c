/* The life of a ctx: backends by name, scratch, the tape and its reversal. */
#include "base/file.h"
#include "models/kernels/arena.h"
#include "models/kernels/tape.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const mb_backend *const backends[] = { &mb_cpu, &mb_ref, &mb_null, NULL };
static const char *const names[] = { "cpu", "ref", "null", NULL };

const char *const *mb_backends(void)
{
    return names;
}

mb_err mb_ctx_open(const char *backend, int threads, mb_ctx **out)
{
    const mb_backend *be = NULL;

    *out = NULL;
    for (int i = 0; backends[i]; i++)
        if (!strcmp(backends[i]->name, backend))
            be = backends[i];
    if (!be)
        return mb_fail(MB_EINVAL, "backend '%s': expected cpu, ref or null", backend);
    MB_TRY(be->open(threads, out));
    (*out)->be = be;
    (*out)->ledger = mb_ledger_new();
    (*out)->layer = -1;
    (*out)->count = true;
    (*out)->data.fake = !be->computes;
    return MB_OK;
}

void mb_ctx_close(mb_ctx *c)
{
    if (!c)
        return;
    mb_arena_free(&c->data);
    mb_arena_free(&c->host);
    mb_ledger_free(c->ledger);
    free(c->nodes);
    c->be->close(c);
}

const char *mb_ctx_backend(const mb_ctx *c)
{
    return c->be->name;
}

int mb_ctx_threads(const mb_ctx *c)
{
    return c->threads;
}

mb_err mb_ctx_reserve(mb_ctx *c, size_t bytes)
{
    assert(c->data.used == 0);
    return mb_arena_reserve(&c->data, bytes);
}

size_t mb_ctx_peak(const mb_ctx *c)
{
    return c->data.peak;
}

void mb_ctx_reset(mb_ctx *c)
{
    mb_arena_reset(&c->data);
    mb_arena_reset(&c->host);
    c->n_nodes = 0;
}

mb_err mb_ctx_error(mb_ctx *c)
{
    mb_err err = c->err;

    c->err = MB_OK;
    return err;
}

void mb_ctx_record(mb_ctx *c, bool on)
{
    c->record = on;
}

void mb_ctx_trace(mb_ctx *c, bool on)
{
    c->trace = on;
}

void mb_ctx_count(mb_ctx *c, bool on)
{
    c->count = on;
}

void mb_ctx_at(mb_ctx *c, mb_part part, int layer)
{
    c->part = part;
    c->layer = layer;
}

mb_ledger *mb_ctx_ledger(mb_ctx *c)
{
    return c->ledger;
}

uint64_t mb_ctx_counted(mb_ctx *c)
{
    uint64_t counted = c->counted;

    c->counted = 0;
    return counted;
}

void *mb_ctx_host(mb_ctx *c, size_t bytes)
{
    return mb_arena_take(&c->host, bytes);
}

static mb_tensor *make_tensor(mb_ctx *c, const char *name, int64_t rows, int64_t cols, float *data)
{
    mb_tensor *t = mb_ctx_host(c, sizeof *t);

    *t = (mb_tensor){
        .name = name, .slices = 1, .rows = rows, .cols = cols, .rank = 2, .data = data
    };
    return t;
}

mb_tensor *mb_wrap(mb_ctx *c, const char *name, int64_t rows, int64_t cols, float *data)
{
    return make_tensor(c, name, rows, cols, data);
}

mb_tensor *mb_tape_tensor(mb_ctx *c, const char *name, int64_t rows, int64_t cols, bool wants)
{
    size_t bytes = (size_t)(rows * cols) * sizeof(float);
    mb_tensor *t = make_tensor(c, name, rows, cols, mb_arena_take(&c->data, bytes));

    t->wants = wants && c->record;
    return t;
}

mb_tensor *mb_scratch(mb_ctx *c, const char *name, int64_t rows, int64_t cols)
{
    mb_tensor *t = mb_tape_tensor(c, name, rows, cols, false);

    if (c->be->computes)
        memset(t->data, 0, (size_t)mb_count(t) * sizeof(float));
    return t;
}

/* ---- the tape ------------------------------------------------------------------------------ */

void mb_tape_push(mb_ctx *c, mb_node node)
{
    if (!c->record || !node.y->wants)
        return;
    if (c->n_nodes == c->max_nodes) {
        c->max_nodes = c->max_nodes ? 2 * c->max_nodes : 64;
        c->nodes = realloc(c->nodes, c->max_nodes * sizeof *c->nodes);
        if (!c->nodes)
            abort();
    }
    node.part = c->part;
    node.layer = c->layer;
    c->nodes[c->n_nodes++] = node;
}

float *mb_tape_grad(mb_ctx *c, mb_tensor *t, bool *add)
{
    *add = t->parameter || t->grad_live;
    if (!t->wants)
        return NULL;
    if (!t->grad)
        t->grad = mb_arena_take(&c->data, (size_t)mb_count(t) * sizeof(float));
    t->grad_live = true;
    return t->grad;
}

void mb_tape_reverse(mb_ctx *c, size_t floor)
{
    mb_part part = c->part;
    int layer = c->layer;

    while (c->n_nodes > floor) {
        mb_node n = c->nodes[--c->n_nodes]; /* its place is free for calls that are made again */

        if (!n.y->grad)
            continue; /* nothing that the loss depends on */
        mb_ctx_at(c, n.part, n.layer);
        n.back(c, &n);
    }
    mb_ctx_at(c, part, layer);
}

void mb_backward(mb_ctx *c)
{
    mb_tape_reverse(c, 0);
}

uint64_t mb_tape_clock(const mb_ctx *c)
{
    struct timespec t;

    if (!c->trace)
        return 0;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void mb_tape_enter(mb_ctx *c, const char *op, mb_pass_kind pass, int group, mb_cost cost,
                   uint64_t wall_ns)
{
    if (c->again) { /* work of the backward that the architecture did not ask for */
        pass = MB_BWD;
        cost.model = cost.useful = 0;
    }
    if (c->count)
        mb_ledger_add(c->ledger, op, c->part, c->layer, pass, group, cost, wall_ns);
}
