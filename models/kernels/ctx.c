/* The life of a ctx: backends by name, scratch, the tape and its reversal. */
#include "base/file.h"
#include "models/kernels/arena.h"
#include "models/kernels/tape.h"

#include <assert.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef MB_CUDA
static const mb_backend *const backends[] = { &mb_cpu, &mb_cuda, &mb_ref, &mb_null, NULL };
static const char *const names[] = { "cpu", "cuda", "ref", "null", NULL };
#else
static const mb_backend *const backends[] = { &mb_cpu, &mb_ref, &mb_null, NULL };
static const char *const names[] = { "cpu", "ref", "null", NULL };
#endif
const char *const mb_precision_name[] = { [MB_FP32] = "fp32", [MB_BF16] = "bf16", NULL };

const char *const *mb_backends(void)
{
    return names;
}

mb_err mb_precision_find(const char *name, mb_precision *out)
{
    for (int i = 0; mb_precision_name[i]; i++)
        if (!strcmp(mb_precision_name[i], name)) {
            *out = (mb_precision)i;
            return MB_OK;
        }
    return mb_fail(MB_EINVAL, "precision '%s': expected fp32 or bf16", name);
}

mb_err mb_ctx_open(const char *backend, mb_precision precision, int threads, mb_ctx **out)
{
    const mb_backend *be = NULL;

    *out = NULL;
    for (int i = 0; backends[i]; i++)
        if (!strcmp(backends[i]->name, backend))
            be = backends[i];
    if (!be)
        return mb_fail(MB_EINVAL, "backend '%s': expected one of those of `motbench list backends`",
                       backend);
    if (precision == MB_BF16 && !be->bf16)
        return mb_fail(MB_EINVAL, "backend '%s': precision bf16: expected fp32", backend);
    MB_TRY(be->open(precision, threads, out));
    (*out)->be = be;
    (*out)->precision = precision;
    (*out)->stored = (*out)->result = be->device ? precision : MB_FP32;
    (*out)->padded = be->device;
    (*out)->ledger = mb_ledger_new();
    (*out)->layer = -1;
    (*out)->count = true;
    (*out)->data.alloc = be->alloc;
    (*out)->data.free = be->free;
    (*out)->data.of = *out;
    (*out)->data.fake = !be->computes;
    return MB_OK;
}

mb_err mb_ctx_open_sizing(const mb_ctx *like, mb_ctx **out)
{
    MB_TRY(mb_ctx_open("null", like->precision, 1, out));
    (*out)->stored = (*out)->result = like->stored;
    (*out)->padded = like->padded;
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
    free(c->late);
    free(c->lent);
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

int mb_ctx_host_threads(const mb_ctx *c)
{
    return c->be->device ? omp_get_max_threads() : c->threads;
}

void mb_ctx_ways(mb_ctx *c, enum mb_attention attention, enum mb_grouping grouping)
{
    c->attention = attention;
    c->grouping = grouping;
}

const char *mb_ctx_note(const mb_ctx *c)
{
    return c->note;
}

void mb_ctx_graph(mb_ctx *c, uint64_t key)
{
    if (!c->trace && !c->watch)
        c->be->graph(c, key);
}

uint64_t mb_ctx_graphs(const mb_ctx *c)
{
    return c->graphs;
}

bool mb_ctx_computes(const mb_ctx *c)
{
    return c->be->computes;
}

void mb_ctx_weights_changed(mb_ctx *c)
{
    c->be->weights_changed(c);
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

size_t mb_ctx_held(const mb_ctx *c)
{
    return c->data.peak + (c->be->device ? 0 : c->host.peak) + c->own;
}

size_t mb_ctx_free_bytes(mb_ctx *c)
{
    return c->be->free_bytes(c);
}

uint64_t mb_ctx_workspace(const mb_ctx *c, const mb_sizes *of)
{
    return c->be->workspace(c, of);
}

mb_keeping mb_ctx_keeping(const mb_ctx *c)
{
    bool copies = !c->be->device || c->stored == MB_BF16; /* a device takes weights as they are */

    return (mb_keeping){ .activation = (int)mb_size(c->stored),
                         .copies = copies ? c->be->copies : 0,
                         .few = c->be->few,
                         .many = c->be->many,
                         .head_rows = c->be->head_rows,
                         .padded = c->padded };
}

void mb_ctx_reset(mb_ctx *c)
{
    c->be->reset(c); /* while what it may still read is there */
    mb_arena_reset(&c->data);
    mb_arena_reset(&c->host);
    c->n_nodes = c->n_late = c->n_lent = 0;
}

mb_err mb_ctx_sync(mb_ctx *c)
{
    mb_err err;

    c->be->sync(c);
    mb_tape_settle(c);
    err = c->err;
    c->err = MB_OK;
    return err;
}

void *mb_ctx_alloc(mb_ctx *c, size_t bytes)
{
    void *p = c->be->alloc(c, bytes);

    if (p)
        c->be->clear(c, p, bytes);
    return p;
}

void mb_ctx_free(mb_ctx *c, void *p)
{
    if (p)
        c->be->free(c, p);
}

void mb_ctx_clear(mb_ctx *c, void *p, size_t bytes)
{
    c->be->clear(c, p, bytes);
}

void mb_ctx_write(mb_ctx *c, void *to, const void *from, size_t bytes)
{
    c->be->write(c, to, from, bytes);
}

void mb_ctx_fetch(mb_ctx *c, void *to, const void *from, size_t bytes)
{
    c->be->fetch(c, to, from, bytes);
}

void mb_ctx_record(mb_ctx *c, bool on)
{
    c->record = on;
}

void mb_ctx_trace(mb_ctx *c, bool on)
{
    c->trace = on;
}

void mb_ctx_watch(mb_ctx *c, const mb_watch *w)
{
    c->watch = w;
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

mb_tensor *mb_wrap(mb_ctx *c, const char *name, int64_t rows, int64_t cols, mb_real *data)
{
    mb_tensor *t = mb_ctx_host(c, sizeof *t);

    *t = (mb_tensor){ .name = name,
                      .slices = 1,
                      .rows = rows,
                      .cols = cols,
                      .rank = 2,
                      .dtype = c->stored,
                      .data = data };
    return t;
}

static mb_tensor *take_tensor(mb_ctx *c, const char *name, int64_t rows, int64_t cols,
                              mb_precision dtype, bool wants)
{
    mb_tensor *t = mb_wrap(c, name, rows, cols, NULL);

    t->dtype = dtype;
    t->data = mb_arena_take(&c->data, mb_bytes(t));
    t->wants = wants && c->record;
    return t;
}

mb_tensor *mb_tape_tensor(mb_ctx *c, const char *name, int64_t rows, int64_t cols, bool wants)
{
    return take_tensor(c, name, rows, cols, c->stored, wants);
}

mb_tensor *mb_tape_floats(mb_ctx *c, const char *name, int64_t rows, int64_t cols, bool wants)
{
    return take_tensor(c, name, rows, cols, MB_FP32, wants);
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

/* ---- memory of gradients --------------------------------------------------------------------

   That of an activation is needed from the last of its uses to the call that made it, and then
   serves another: a backward pass so needs little memory, which stays in cache. Learned routes keep
   other numbers of rows in every layer and step, so a little more is taken than is asked for, and
   what is large enough serves. */

typedef struct mb_lent {
    void *memory;
    size_t bytes, at; /* at: what was in use of the arena before */
    bool used;
} mb_lent;

/* BYTES, to the next eighth of its power of two. */
static size_t roomy(size_t bytes)
{
    size_t step = 8;

    while (16 * step <= bytes)
        step *= 2;
    return (bytes + step - 1) / step * step;
}

/* The smallest that is free and holds BYTES without wasting as much; NULL when there is none. */
static mb_lent *find_free(mb_ctx *c, size_t bytes)
{
    mb_lent *best = NULL;

    for (size_t i = c->n_lent; i > 0; i--) { /* the last one given back is likeliest in cache */
        mb_lent *l = &c->lent[i - 1];

        if (!l->used && l->bytes >= bytes && l->bytes / 2 < bytes &&
            (!best || l->bytes < best->bytes))
            best = l;
    }
    return best;
}

static void *lend(mb_ctx *c, size_t bytes)
{
    mb_lent *l = find_free(c, bytes);

    if (l) {
        l->used = true;
        return l->memory;
    }
    bytes = roomy(bytes);
    if (c->n_lent == c->max_lent) {
        c->max_lent = c->max_lent ? 2 * c->max_lent : 64;
        c->lent = realloc(c->lent, c->max_lent * sizeof *c->lent);
        if (!c->lent)
            abort();
    }
    l = &c->lent[c->n_lent++];
    *l = (mb_lent){ .bytes = bytes, .at = c->data.used, .used = true };
    l->memory = mb_arena_take(&c->data, bytes);
    return l->memory;
}

/* The call that made Y has been reversed: nobody asks for its gradient any more. */
static void take_back(mb_ctx *c, mb_tensor *y)
{
    for (size_t i = 0; i < c->n_lent; i++)
        if (c->lent[i].memory == y->grad)
            c->lent[i].used = false;
    y->grad = NULL;
}

void mb_tape_release(mb_ctx *c, mb_arena_mark mark)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_lent; i++)
        if (c->lent[i].at < mark.used)
            c->lent[n++] = c->lent[i];
    c->n_lent = n;
    mb_arena_release(&c->data, mark);
}

mb_real *mb_tape_grad(mb_ctx *c, mb_tensor *t, bool *add)
{
    *add = t->parameter || t->grad_live;
    if (!t->wants)
        return NULL;
    if (!t->grad)
        t->grad = lend(c, mb_bytes(t));
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
        if (n.y->grad)
            take_back(c, n.y);
    }
    mb_ctx_at(c, part, layer);
}

void mb_backward(mb_ctx *c)
{
    mb_tape_reverse(c, 0);
}

uint64_t mb_tape_clock(mb_ctx *c)
{
    struct timespec t;

    if (c->watch)
        c->watch->boundary(c->watch->user);
    if (!c->trace)
        return 0;
    c->be->sync(c);
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void tell(const mb_ctx *c, const char *op, mb_pass_kind pass)
{
    if (c->watch)
        c->watch->entered(c->watch->user, op, c->part, c->layer, c->again ? MB_BWD : pass);
}

void mb_tape_enter(mb_ctx *c, const char *op, mb_pass_kind pass, int group, mb_cost cost,
                   uint64_t wall_ns)
{
    tell(c, op, pass);
    if (c->again) { /* work of the backward that the architecture did not ask for */
        pass = MB_BWD;
        cost.model = cost.useful = 0;
    }
    if (c->count)
        mb_ledger_add(c->ledger, op, c->part, c->layer, pass, group, cost, wall_ns);
}

/* ---- costs that a device has yet to tell ---------------------------------------------------- */

typedef struct mb_late {
    mb_product_cost cost;
    mb_part part;
    int layer;
    bool again;
} mb_late;

/* An entry for each weight slice, or one for all; wall time goes to the groups by their rows. */
static void enter_product(mb_ctx *c, const mb_product_cost *p)
{
    const mb_route *r = p->route;

    for (int g = 0; g < r->groups; g++) {
        int64_t rows = r->offset[g + 1] - r->offset[g], per_row = 2 * p->n * p->k;
        int64_t moved = (rows > 0 ? p->n * p->k : 0) + rows * (p->n + p->k);
        mb_cost cost = { .model = (uint64_t)(per_row * r->asked[g]),
                         .useful = (uint64_t)(per_row * r->kept[g]),
                         .executed = (uint64_t)(per_row * rows),
                         .bytes = (uint64_t)moved * mb_size(c->stored) };

        mb_tape_enter(c, "gemm", p->pass, p->sliced ? g : -1, cost,
                      r->rows ? p->wall_ns * (uint64_t)rows / (uint64_t)r->rows : 0);
    }
}

void mb_tape_enter_product(mb_ctx *c, mb_product_cost p)
{
    if (!p.route->device) {
        enter_product(c, &p);
        return;
    }
    tell(c, "gemm", p.pass);
    if (!c->count)
        return;
    if (c->n_late == c->max_late) {
        c->max_late = c->max_late ? 2 * c->max_late : 64;
        c->late = realloc(c->late, c->max_late * sizeof *c->late);
        if (!c->late)
            abort();
    }
    c->late[c->n_late++] = (mb_late){ p, c->part, c->layer, c->again };
}

void mb_tape_settle(mb_ctx *c)
{
    mb_part part = c->part;
    int layer = c->layer;
    const mb_watch *watch = c->watch;

    c->watch = NULL; /* it was told when they were launched */
    for (size_t i = 0; i < c->n_late; i++) {
        c->again = c->late[i].again;
        mb_ctx_at(c, c->late[i].part, c->late[i].layer);
        enter_product(c, &c->late[i].cost);
    }
    c->again = false;
    c->n_late = 0;
    c->watch = watch;
    mb_ctx_at(c, part, layer);
}
