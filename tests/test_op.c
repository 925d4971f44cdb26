/* Kernels: every slot of every backend against `ref`, over a table of shapes, with guard words
   after every result.

   Each operation is one function here that calls its forward and backward kernels on whatever
   backend it is given; the same function serves the comparison, and the check that `null` writes
   nothing. */
#include "base/random.h"
#include "tests/kernels_support.h"

#include <assert.h>
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 16 };
/* Large: with a small one the gradient of a norm of one element is a difference of nearly equal
   numbers, of which float keeps no digits. */
static const float EPS = 0.05f, ROPE_BASE = 10000;

/* Ways in which one operation can be asked; a case says which of them it knows. */
enum {
    ADD = 1,        /* gradients add to what is there */
    SLICED = 2,     /* several weight slices */
    NORMED = 4,     /* with weights of a norm */
    GATED = 8,      /* the route has gates */
    RESIDUAL = 16,  /* x is not NULL */
    BACKWARD = 32,  /* gradients are wanted */
    DOCUMENTS = 64, /* spans: several documents, */
    IMAGES = 128,   /* positions that see later ones, */
    PERMUTED = 256, /* rows in another order than positions */
    PADDED = 512,   /* and some of them no position's */
    GROUPED = 1024, /* unequal groups as one product of the library */
    WAYS = 2048
};

typedef struct shape {
    int64_t t, d, n; /* rows, width, and the operation's other size */
    int heads, groups;
    enum test_layout layout;
} shape;

/* What one backend did with one case: its results, in guarded memory, and the inputs it had. */
typedef struct side {
    mb_ctx *c;
    const mb_backend *be;
    mb_precision inputs; /* activations that come in are rounded to it */
    int n_results, n_inputs;
    struct result {
        const char *name;
        test_memory memory;
    } result[MOST];
    test_memory input[MOST];
} side;

/* Activations hold what bf16 can where the other side stores them so. */
static void round_to(float *x, mb_precision precision, int64_t n)
{
    for (int64_t i = 0; precision == MB_BF16 && i < n; i++) {
        uint32_t bits;

        memcpy(&bits, &x[i], sizeof bits);
        bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

static void set_normal(const side *s, test_memory *m, const char *name)
{
    float *x = test_normal(name, m->n);

    round_to(x, m->kind == TEST_REAL ? s->inputs : MB_FP32, m->n);
    test_set(m, x);
    free(x);
}

static float *add_input(side *s, enum test_kind kind, const char *name, int64_t n)
{
    test_memory *m = &s->input[s->n_inputs++];

    assert(s->n_inputs <= MOST);
    *m = test_unset(s->c, kind, n);
    set_normal(s, m, name);
    return m->data;
}

static mb_real *input(side *s, const char *name, int64_t n)
{
    return add_input(s, TEST_REAL, name, n);
}

static float *weights(side *s, const char *name, int64_t n)
{
    return add_input(s, TEST_FLOAT, name, n);
}

static void *add_result(side *s, enum test_kind kind, const char *name, int64_t n)
{
    struct result *r = &s->result[s->n_results++];

    assert(s->n_results <= MOST);
    *r = (struct result){ name, test_unset(s->c, kind, n) };
    return r->memory.data;
}

static mb_real *result(side *s, const char *name, int64_t n)
{
    return add_result(s, TEST_REAL, name, n);
}

static float *floats(side *s, const char *name, int64_t n)
{
    return add_result(s, TEST_FLOAT, name, n);
}

/* A result that starts from numbers: a gradient that is added to, or memory updated in place. */
static float *updated(side *s, enum test_kind kind, const char *name, int64_t n, bool add)
{
    void *x = add_result(s, kind, name, n);

    if (add && s->be->computes)
        set_normal(s, &s->result[s->n_results - 1].memory, name);
    return x;
}

static mb_real *update(side *s, const char *name, int64_t n, bool add)
{
    return updated(s, TEST_REAL, name, n, add);
}

/* The gradient of a parameter, or one in place: fp32, and always from numbers. */
static float *parameter(side *s, const char *name, int64_t n)
{
    return updated(s, TEST_FLOAT, name, n, true);
}

static mb_tensor *tensor(side *s, const char *name, int64_t slices, int64_t rows, int64_t cols)
{
    mb_tensor *w = mb_wrap(s->c, name, rows, cols, weights(s, name, slices * rows * cols));

    w->dtype = MB_FP32;
    w->slices = slices;
    return w;
}

/* ---- the operations ------------------------------------------------------------------------- */

static void run_embed(side *s, const shape *a, int how)
{
    int32_t *token = test_below(s->c, "token", a->t, a->n);
    float *table = weights(s, "table", a->n * a->d), *dy = input(s, "dy", a->t * a->d);

    s->be->embed(s->c, result(s, "y", a->t * a->d), table, token, a->t, a->d);
    s->be->embed_bwd(s->c, parameter(s, "dtable", a->n * a->d), dy, token, a->t, a->d, a->n);
}

static void run_gemm(side *s, const shape *a, int how)
{
    mb_route *r = test_route(s->c, a->layout, a->t, a->groups);
    mb_tensor *w = tensor(s, "w", how & SLICED ? a->groups : 1, a->n, a->d);
    float *x = input(s, "x", r->rows * a->d), *dy = input(s, "dy", r->rows * a->n);

    s->c->result = s->c->stored;
    mb_ctx_ways(s->c, MB_ATTENTION_AUTO, how & GROUPED ? MB_GROUPING_LIBRARY : MB_GROUPING_STREAMS);
    s->be->gemm(s->c, result(s, "y", r->rows * a->n), x, w, r);
    s->be->gemm_dx(s->c, update(s, "dx", r->rows * a->d, how & ADD), dy, w, r, how & ADD);
    w->grad = parameter(s, "dw", mb_count(w));
    s->be->gemm_dw(s->c, w, dy, x, r);
}

/* The same with fp32 results: a product of logits. */
static void run_logits(side *s, const shape *a, int how)
{
    mb_route *r = test_route(s->c, TEST_SORTED, a->t, 1);
    mb_tensor *w = tensor(s, "w", 1, a->n, a->d);
    float *x = input(s, "x", r->rows * a->d), *dy = weights(s, "dy", r->rows * a->n);

    s->c->result = MB_FP32;
    s->be->gemm(s->c, floats(s, "y", r->rows * a->n), x, w, r);
    s->be->gemm_dx(s->c, update(s, "dx", r->rows * a->d, how & ADD), dy, w, r, how & ADD);
    w->grad = parameter(s, "dw", mb_count(w));
    s->be->gemm_dw(s->c, w, dy, x, r);
}

static void run_gather(side *s, const shape *a, int how)
{
    mb_route *r = test_route(s->c, a->layout, a->t, a->groups);
    float *x = input(s, "x", a->t * a->d), *dy = input(s, "dy", r->rows * a->d);

    s->be->gather(s->c, result(s, "y", r->rows * a->d), x, r, a->d);
    s->be->gather_bwd(s->c, update(s, "dx", a->t * a->d, how & ADD), dy, r, a->d, how & ADD);
}

/* n places */
static void run_unfold(side *s, const shape *a, int how)
{
    const int32_t *around = test_around(s->c, a->t, (int)a->n);
    float *x = input(s, "x", a->t * a->d), *dy = input(s, "dy", a->t * a->n * a->d);

    s->be->unfold(s->c, result(s, "y", a->t * a->n * a->d), x, around, (int)a->n, a->t, a->d);
    s->be->unfold_bwd(s->c, update(s, "dx", a->t * a->d, how & ADD), dy, around, (int)a->n, a->t,
                      a->d, how & ADD);
}

static void run_combine(side *s, const shape *a, int how)
{
    mb_route *r = test_route(s->c, a->layout, a->t, a->groups);
    int slices = how & SLICED ? 3 : 1;
    const uint8_t *slice = how & SLICED ? test_slices(s->c, a->t, slices) : NULL;
    float *x = how & RESIDUAL ? input(s, "x", a->t * a->d) : NULL;
    float *rows = input(s, "rows", r->rows * a->d), *dy = input(s, "dy", a->t * a->d);
    float *w = how & NORMED ? weights(s, "w", slices * a->d) : NULL;
    float *rstd = w ? floats(s, "rstd", r->rows) : NULL;

    r->gate = how & GATED ? tensor(s, "gate", 1, 1, r->rows) : NULL;
    s->be->combine(s->c, result(s, "y", a->t * a->d), rstd, x, rows, w, slice, EPS, r, a->d);
    s->be->combine_bwd(s->c, update(s, "drows", r->rows * a->d, how & ADD),
                       r->gate ? floats(s, "dgate", r->rows) : NULL,
                       w ? parameter(s, "dw", slices * a->d) : NULL, dy, rows, rstd, w, slice, r,
                       a->d, how & ADD);
}

static void run_norm(side *s, const shape *a, int how)
{
    int slices = how & SLICED ? 3 : 1;
    const uint8_t *slice = how & SLICED ? test_slices(s->c, a->t, slices) : NULL;
    float *x = input(s, "x", a->t * a->d), *dy = input(s, "dy", a->t * a->d);
    float *w = weights(s, "w", slices * a->d), *rstd = floats(s, "rstd", a->t);

    s->be->norm(s->c, result(s, "y", a->t * a->d), rstd, x, w, slice, EPS, a->t, a->d);
    s->be->norm_bwd(s->c, update(s, "dx", a->t * a->d, how & ADD),
                    parameter(s, "dw", slices * a->d), dy, x, rstd, w, slice, a->t, a->d,
                    how & ADD);
}

/* n sequences of t positions */
static mb_span *span_of(side *s, const shape *a, int how)
{
    return test_span(s->c, a->n, a->t,
                     (how & DOCUMENTS ? TEST_DOCUMENTS : 0) | (how & IMAGES ? TEST_IMAGES : 0) |
                         (how & PERMUTED ? TEST_PERMUTED : 0) | (how & PADDED ? TEST_PADDED : 0));
}

/* As op.c does, of which kernels then write the rows of positions alone. */
static void clear(side *s, mb_real *x, int64_t n)
{
    s->be->clear(s->c, x, (size_t)n * mb_size(s->c->stored));
}

static void run_rope(side *s, const shape *a, int how)
{
    const mb_span *span = how & (PERMUTED | PADDED) ? span_of(s, a, how) : NULL;
    int64_t t = a->t * a->n, rows = span ? span->rows : t, e = a->d / a->heads;
    int slices = how & SLICED ? 3 : 1;
    const uint8_t *slice = how & SLICED ? test_slices(s->c, rows, slices) : NULL;
    const int32_t *position = test_below(s->c, "position", rows, 4096);
    float *x = input(s, "x", 3 * rows * a->d), *dy = input(s, "dy", 3 * t * a->d);
    float *dx = update(s, "dx", 3 * rows * a->d, how & ADD);
    float *qw = how & NORMED ? weights(s, "qw", slices * e) : NULL;
    float *kw = how & NORMED ? weights(s, "kw", slices * e) : NULL;

    if (how & PADDED && !(how & ADD))
        clear(s, dx, 3 * rows * a->d);
    s->be->rope(s->c, result(s, "y", 3 * t * a->d), x, qw, kw, slice, position, span, rows, a->d,
                a->heads, EPS, ROPE_BASE);
    s->be->rope_bwd(s->c, dx, qw ? parameter(s, "dqw", slices * e) : NULL,
                    kw ? parameter(s, "dkw", slices * e) : NULL, dy, x, qw, kw, slice, position,
                    span, rows, a->d, a->heads, EPS, ROPE_BASE, how & ADD);
}

static void run_attend(side *s, const shape *a, int how)
{
    mb_span *span = span_of(s, a, how);
    int64_t t = a->t * a->n;
    float *x = input(s, "x", 3 * t * a->d), *dy = input(s, "dy", span->rows * a->d);
    float *y = result(s, "y", span->rows * a->d);
    /* in bf16 it may be in an order of the library's own: the backward shows whether it is right */
    float *lse =
        s->inputs == MB_BF16 ? weights(s, "lse", t * a->heads) : floats(s, "lse", t * a->heads);

    if (how & PADDED)
        clear(s, y, span->rows * a->d);
    s->be->attend(s->c, y, lse, x, span, a->d, a->heads);
    s->be->attend_bwd(s->c, update(s, "dx", 3 * t * a->d, how & ADD), dy, y, lse, x, span, a->d,
                      a->heads, how & ADD);
}

/* n sequences of room t that hold up to t positions already; two new rows each. */
static void run_attend_cached(side *s, const shape *a, int how)
{
    enum { NEW = 2 };
    int64_t t = NEW * a->n;
    mb_cache cache = { a->t + NEW, input(s, "cache", a->n * (a->t + NEW) * 2 * a->d) };
    int32_t *sequence = mb_ctx_host(s->c, (size_t)(t + a->n * a->t) * sizeof *sequence);
    int32_t *position = mb_ctx_host(s->c, (size_t)(t + a->n * a->t) * sizeof *position);
    mb_places before = { sequence, position, position, 0 };
    mb_places now = { sequence + a->n * a->t, position + a->n * a->t, position + a->n * a->t, 0 };

    for (int64_t i = 0; i < t + a->n * a->t; i++) { /* the last ones of all sequences, in turns */
        sequence[i] = (int32_t)(i % a->n);
        position[i] = (int32_t)(i / a->n);
    }
    s->be->attend_cached(s->c, result(s, "y before", a->n * a->t * a->d),
                         input(s, "x before", 3 * a->n * a->t * a->d), &cache, &before, a->n * a->t,
                         a->d, a->heads);
    s->be->attend_cached(s->c, result(s, "y", t * a->d), input(s, "x", 3 * t * a->d), &cache, &now,
                         t, a->d, a->heads);
}

static void run_swiglu(side *s, const shape *a, int how)
{
    float *x = input(s, "x", 2 * a->t * a->d), *dy = input(s, "dy", a->t * a->d);

    s->be->swiglu(s->c, result(s, "y", a->t * a->d), x, a->t, a->d);
    s->be->swiglu_bwd(s->c, update(s, "dx", 2 * a->t * a->d, how & ADD), dy, x, a->t, a->d,
                      how & ADD);
}

static void run_jitter(side *s, const shape *a, int how)
{
    uint64_t key = mb_key(1, "jitter", 0, 0);
    float *x = input(s, "x", a->t * a->d), *dy = input(s, "dy", a->t * a->d);

    s->be->jitter(s->c, result(s, "y", a->t * a->d), x, 0.5f, key, a->t, a->d);
    s->be->jitter_bwd(s->c, update(s, "dx", a->t * a->d, how & ADD), dy, 0.5f, key, a->t, a->d,
                      how & ADD);
}

/* Every third row, and the last one, have no target. */
static void run_classify(side *s, const shape *a, int how)
{
    int32_t *target = test_below(s->c, "target", a->t, a->n);
    float *x = input(s, "x", a->t * a->d), *w = weights(s, "w", a->n * a->d);
    float *loss = add_result(s, TEST_HOST, "loss", a->t);
    float *dx = how & BACKWARD ? result(s, "dx", a->t * a->d) : NULL;
    float *dw = how & BACKWARD ? parameter(s, "dw", a->n * a->d) : NULL;

    for (int64_t i = 0; i < a->t; i++)
        if (i % 3 == 2 || (i > 0 && i == a->t - 1))
            target[i] = -1;
    s->be->classify(s->c, loss, dx, dw, x, mb_wrap(s->c, "w", a->n, a->d, w), target, 0.25f, 1e-2f,
                    a->t);
}

static void run_regress(side *s, const shape *a, int how)
{
    float *y = weights(s, "y", a->t * a->d), *loss = add_result(s, TEST_HOST, "loss", a->t);
    float *dy = how & BACKWARD ? floats(s, "dy", a->t * a->d) : NULL;
    float *wanted = mb_ctx_host(s->c, (size_t)(a->t * a->d) * sizeof *wanted);

    test_fill_normal(wanted, "wanted", a->t * a->d);
    s->be->regress(s->c, loss, dy, y, wanted, 0.25f, a->t, a->d);
}

static void run_sum_squares(side *s, const shape *a, int how)
{
    int64_t n = a->t * a->d;

    s->be->sum_squares(s->c, add_result(s, TEST_DOUBLE, "sum", 1), weights(s, "x", n), n);
}

static void run_adamw(side *s, const shape *a, int how)
{
    int64_t n = a->t * a->d;
    test_memory squares = test_unset(s->c, TEST_DOUBLE, 1);
    mb_adamw adamw = { .lr = 0.1f,
                       .beta1 = 0.9f,
                       .beta2 = 0.95f,
                       .eps = 1e-5f,
                       .decay = 0.1f,
                       .clip = 1,
                       .squares = squares.data,
                       .step = a->n };
    float *p = parameter(s, "p", n), *g = parameter(s, "g", n), *m = parameter(s, "m", n);
    float *v = floats(s, "v", n), *positive = test_normal("v", n);

    for (int64_t i = 0; i < n; i++)
        positive[i] *= positive[i];
    if (s->be->computes)
        test_set(&s->result[s->n_results - 1].memory, positive);
    free(positive);
    test_set(&squares, (float[]){ 4 }); /* a norm of 2, clipped to 1 */
    s->be->adamw(s->c, p, g, m, v, n, &adamw);
    test_memory_free(&squares);
}

/* ---- their shapes --------------------------------------------------------------------------- */

/* t, d, other size, heads, groups, layout: 1, primes, an empty group (sorted: group 1 of three or
   more), everything in one group, rows that are dropped and rows that occur twice. */
static const shape flat[] = { { 1, 1, 1, 1, 1, TEST_SORTED },
                              { 3, 7, 1, 1, 1, TEST_SORTED },
                              { 13, 24, 2, 1, 1, TEST_SORTED },
                              { 61, 37, 9, 1, 1, TEST_SORTED },
                              { 200, 64, 3, 1, 1, TEST_SORTED } };
static const shape routed[] = {
    { 1, 1, 1, 1, 1, TEST_SORTED },    { 5, 3, 2, 1, 1, TEST_SORTED },
    { 13, 7, 5, 1, 3, TEST_SORTED },   { 17, 24, 19, 1, 4, TEST_ALL_IN_LAST },
    { 29, 8, 31, 1, 2, TEST_INDEXED }, { 97, 40, 24, 1, 5, TEST_INDEXED },
    { 128, 64, 96, 1, 2, TEST_SORTED }
};
static const shape headed[] = {
    { 1, 2, 1, 1, 1, TEST_SORTED },    { 5, 6, 1, 3, 1, TEST_SORTED },
    { 13, 28, 2, 2, 1, TEST_SORTED },  { 37, 24, 2, 2, 1, TEST_SORTED },
    { 64, 64, 3, 4, 1, TEST_SORTED },  { 97, 20, 1, 1, 1, TEST_SORTED },
    { 33, 128, 2, 2, 1, TEST_SORTED }, { 19, 192, 1, 2, 1, TEST_SORTED },
    { 11, 256, 1, 1, 1, TEST_SORTED }
};
static const shape vocabularies[] = {
    { 1, 1, 1, 1, 1, TEST_SORTED },    { 1, 7, 2, 1, 1, TEST_SORTED },
    { 13, 5, 17, 1, 1, TEST_SORTED },  { 31, 24, 257, 1, 1, TEST_SORTED },
    { 3, 8, 9000, 1, 1, TEST_SORTED }, { 130, 64, 101, 1, 1, TEST_SORTED }
};

typedef struct kernel {
    const char *name;
    void (*run)(side *s, const shape *a, int how);
    int ways;
    const shape *shapes;
    size_t n_shapes;
    double bf16; /* allowed distance in bf16, where an operand is a result: one that rounds the
                    other way is off by 4e-3. All operands rounded at random would give 3e-6 */
} kernel;

#define SHAPES(list)         (list), sizeof(list) / sizeof *(list), 0
#define ROUNDED_SHAPES(list) (list), sizeof(list) / sizeof *(list), 3e-7
static const kernel kernels[] = {
    { "embed", run_embed, 0, SHAPES(vocabularies) },
    { "gemm", run_gemm, ADD | SLICED | GROUPED, SHAPES(routed) },
    { "logits", run_logits, ADD, SHAPES(vocabularies) },
    { "gather", run_gather, ADD, SHAPES(routed) },
    { "unfold", run_unfold, ADD, SHAPES(flat) },
    { "combine", run_combine, ADD | SLICED | NORMED | GATED | RESIDUAL, SHAPES(routed) },
    { "norm", run_norm, ADD | SLICED, SHAPES(flat) },
    { "rope", run_rope, ADD | SLICED | NORMED | PERMUTED | PADDED, SHAPES(headed) },
    { "attend", run_attend, ADD | DOCUMENTS | IMAGES | PERMUTED | PADDED, ROUNDED_SHAPES(headed) },
    { "attend_cached", run_attend_cached, 0, ROUNDED_SHAPES(headed) },
    { "swiglu", run_swiglu, ADD, SHAPES(flat) },
    { "jitter", run_jitter, ADD, SHAPES(flat) },
    { "classify", run_classify, BACKWARD, ROUNDED_SHAPES(vocabularies) },
    { "regress", run_regress, BACKWARD, SHAPES(flat) },
    { "sum_squares", run_sum_squares, 0, SHAPES(flat) },
    { "adamw", run_adamw, 0, SHAPES(flat) },
};
enum { KERNELS = sizeof kernels / sizeof *kernels };

/* ---- comparing ------------------------------------------------------------------------------ */

static void run_side(side *s, mb_ctx *c, mb_precision inputs, const kernel *k, const shape *a,
                     int how)
{
    *s = (side){ .c = c, .be = c->be, .inputs = inputs };
    k->run(s, a, how);
    cr_assert_eq(mb_ctx_sync(c), MB_OK, "%s: %s", c->be->name, mb_message());
    for (int i = 0; i < s->n_results; i++)
        test_fetch(&s->result[i].memory);
    for (int i = 0; i < s->n_results; i++)
        cr_assert(test_guards_survive(&s->result[i].memory),
                  "%s: %s writes beyond %s; T %d, D %d, N %d, ways %#x", c->be->name, k->name,
                  s->result[i].name, (int)a->t, (int)a->d, (int)a->n, how);
}

static void end_side(side *s)
{
    for (int i = 0; i < s->n_results; i++)
        test_memory_free(&s->result[i].memory);
    for (int i = 0; i < s->n_inputs; i++)
        test_memory_free(&s->input[i]);
    mb_ctx_reset(s->c);
}

/* 1e-10: results differ by 1e-5 of their size, some hundred roundings of a float. In bf16 a device
   stores results so: 1e-4, a few roundings to 2^-9. */
static double allowed(const mb_ctx *c, const kernel *k)
{
    if (c->precision != MB_BF16)
        return 1e-10;
    return c->be->device ? 1e-4 : k->bf16 > 0 ? k->bf16 : 1e-10;
}

static void compare(const side *mine, const side *ref, const kernel *k, const shape *a, int how)
{
    for (int i = 0; i < ref->n_results; i++) {
        const struct result *r = &ref->result[i];
        double distance = test_distance(mine->result[i].memory.value, r->memory.value, r->memory.n);
        bool few = r->memory.n < 8; /* may all be differences of nearly equal numbers */

        cr_assert(distance < allowed(mine->c, k) * (few ? 100 : 1),
                  "%s, %s: %s: %s is %.3g away from ref; T %d, D %d, N %d, H %d, G %d, layout %d, "
                  "ways %#x",
                  mine->be->name, mb_precision_name[mine->c->precision], k->name, r->name, distance,
                  (int)a->t, (int)a->d, (int)a->n, a->heads, a->groups, (int)a->layout, how);
    }
}

/* Calls BODY for each shape of a kernel, in each of the ways it knows. */
static void each_case(const kernel *k, void (*body)(const kernel *, const shape *, int, mb_ctx **),
                      mb_ctx **c)
{
    for (size_t i = 0; i < k->n_shapes; i++)
        for (int how = 0; how < WAYS; how++)
            if ((how & ~k->ways) == 0)
                body(k, &k->shapes[i], how, c);
}

static void compare_case(const kernel *k, const shape *a, int how, mb_ctx **c)
{
    side mine, ref;

    run_side(&mine, c[0], c[0]->stored, k, a, how);
    run_side(&ref, c[1], c[0]->stored, k, a, how);
    compare(&mine, &ref, k, a, how);
    end_side(&mine);
    end_side(&ref);
}

/* Every backend in this build that computes, `ref` among them: with itself it shows that every
   element is written, since what is not stays NaN. */
static void agree_in(mb_precision precision, const char *name)
{
    const kernel *k = kernels;

    while (strcmp(k->name, name))
        k++;
    for (const char *const *be = mb_backends(); *be; be++) {
        mb_ctx *c[2] = { test_open_if_there(*be, precision) };

        cr_assert_eq(mb_ctx_open("ref", precision, 2, &c[1]), MB_OK, "%s", mb_message());
        if (c[0] && c[0]->be->computes)
            each_case(k, compare_case, c);
        mb_ctx_close(c[0]);
        mb_ctx_close(c[1]);
    }
}

static void agree_with_ref(const char *name)
{
    agree_in(MB_FP32, name);
    agree_in(MB_BF16, name);
}

Test(op, embed_agrees_with_ref)
{
    agree_with_ref("embed");
}

Test(op, gemm_agrees_with_ref)
{
    agree_with_ref("gemm");
}

Test(op, logits_agree_with_ref)
{
    agree_with_ref("logits");
}

Test(op, gather_agrees_with_ref)
{
    agree_with_ref("gather");
}

Test(op, unfold_agrees_with_ref)
{
    agree_with_ref("unfold");
}

Test(op, combine_agrees_with_ref)
{
    agree_with_ref("combine");
}

Test(op, norm_agrees_with_ref)
{
    agree_with_ref("norm");
}

Test(op, rope_agrees_with_ref)
{
    agree_with_ref("rope");
}

Test(op, attend_agrees_with_ref)
{
    agree_with_ref("attend");
}

Test(op, attend_cached_agrees_with_ref)
{
    agree_with_ref("attend_cached");
}

Test(op, swiglu_agrees_with_ref)
{
    agree_with_ref("swiglu");
}

Test(op, jitter_agrees_with_ref)
{
    agree_with_ref("jitter");
}

Test(op, classify_agrees_with_ref)
{
    agree_with_ref("classify");
}

Test(op, regress_agrees_with_ref)
{
    agree_with_ref("regress");
}

Test(op, sum_squares_agrees_with_ref)
{
    agree_with_ref("sum_squares");
}

Test(op, adamw_agrees_with_ref)
{
    agree_with_ref("adamw");
}

/* ---- tables and `null` ---------------------------------------------------------------------- */

Test(op, no_slot_of_any_backend_is_empty)
{
    typedef void (*slot)(void);

    for (const char *const *be = mb_backends(); *be; be++) {
        mb_ctx *c = test_open_if_there(*be, MB_FP32);

        if (!c)
            continue;
        for (size_t at = offsetof(mb_backend, open); at < sizeof *c->be; at += sizeof(slot)) {
            slot f;

            memcpy(&f, (const char *)c->be + at, sizeof f);
            cr_assert_not_null(f, "%s: the slot at byte %zu of its table", *be, at);
        }
        cr_assert_str_eq(c->be->name, *be);
        mb_ctx_close(c);
    }
}

static void check_unset(const kernel *k, const shape *a, int how, mb_ctx **c)
{
    side s;

    run_side(&s, *c, MB_FP32, k, a, how);
    for (int i = 0; i < s.n_results; i++)
        cr_assert(test_is_unset(&s.result[i].memory), "%s writes %s", k->name, s.result[i].name);
    end_side(&s);
}

Test(op, null_writes_nothing)
{
    mb_ctx *c = test_open("null");

    for (int k = 0; k < KERNELS; k++)
        each_case(&kernels[k], check_unset, &c);
    mb_ctx_close(c);
}
