#include "harness/kernels.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

typedef struct interval { /* from one boundary to the next: an operation, or what is between two */
    const char *op;       /* NULL: between */
    mb_part part;
    mb_pass_kind pass;
    int layer;
} interval;

struct mb_kernels {
    mb_ctx *c;             /* NULL: stopped */
    mb_activity *activity; /* NULL: none is recorded */
    mb_watch watch;
    interval *intervals; /* of this step; number I + 1 is launches' id */
    size_t n, room;
    mb_kernel_row *rows; /* their names are owned */
    size_t n_rows, room_rows;
};

/* ---- watching ------------------------------------------------------------------------------- */

static void boundary(void *user)
{
    mb_kernels *k = user;

    if (k->n == k->room) {
        k->room = k->room ? 2 * k->room : 256;
        k->intervals = realloc(k->intervals, k->room * sizeof *k->intervals);
        if (!k->intervals)
            abort();
    }
    k->intervals[k->n++] = (interval){ .op = NULL };
    if (k->activity)
        mb_activity_number(k->activity, k->n);
}

/* The interval that the last boundary closed was OP's. An operation of several entries goes by its
   first: the head's two passes run together. */
static void entered(void *user, const char *op, mb_part part, int layer, mb_pass_kind pass)
{
    mb_kernels *k = user;
    interval *last = k->n >= 2 ? &k->intervals[k->n - 2] : NULL;

    if (last && !last->op)
        *last = (interval){ op, part, pass, layer };
}

mb_kernels *mb_kernels_watch(mb_ctx *c)
{
    mb_kernels *k = mb_zalloc(1, sizeof *k);

    k->c = c;
    k->watch = (mb_watch){ boundary, entered, k };
    mb_ctx_watch(c, &k->watch);
    return k;
}

mb_err mb_kernels_open(mb_ctx *c, mb_kernels **out)
{
    mb_activity *activity;

    *out = NULL;
    MB_TRY(mb_activity_open(&activity));
    *out = mb_kernels_watch(c);
    (*out)->activity = activity;
    return MB_OK;
}

void mb_kernels_stop(mb_kernels *k)
{
    if (k->c)
        mb_ctx_watch(k->c, NULL);
    mb_activity_close(k->activity);
    k->c = NULL;
    k->activity = NULL;
}

void mb_kernels_close(mb_kernels *k)
{
    size_t i;

    if (!k)
        return;
    mb_kernels_stop(k);
    for (i = 0; i < k->n_rows; i++)
        free((char *)k->rows[i].name);
    free(k->rows);
    free(k->intervals);
    free(k);
}

/* ---- sums ----------------------------------------------------------------------------------- */

static mb_kernel_row *row_of(mb_kernels *k, const mb_kernel_row *key)
{
    mb_kernel_row *r;
    size_t i;

    for (i = 0; i < k->n_rows; i++) {
        r = &k->rows[i];
        if (r->layer == key->layer && !strcmp(r->op, key->op) && !strcmp(r->part, key->part) &&
            !strcmp(r->pass, key->pass) && !strcmp(r->name, key->name))
            return r;
    }
    if (k->n_rows == k->room_rows) {
        k->room_rows = k->room_rows ? 2 * k->room_rows : 256;
        k->rows = realloc(k->rows, k->room_rows * sizeof *k->rows);
        if (!k->rows)
            abort();
    }
    r = &k->rows[k->n_rows++];
    *r = *key;
    r->name = mb_format("%s", key->name);
    return r;
}

static void add(mb_kernels *k, mb_kernel_row key, int64_t gpu_ns, uint64_t bytes)
{
    mb_kernel_row *r = row_of(k, &key);

    r->calls++;
    r->gpu_ns += gpu_ns;
    r->bytes += bytes;
}

static mb_kernel_row key_of(const mb_kernels *k, const mb_launch *l)
{
    const interval *i = l->id >= 1 && l->id <= k->n ? &k->intervals[l->id - 1] : NULL;

    if (!i || !i->op)
        return (mb_kernel_row){
            .op = "outside operations", .part = "", .pass = "", .name = l->name, .layer = -1
        };
    return (mb_kernel_row){ .op = i->op,
                            .part = mb_part_name[i->part],
                            .pass = mb_pass_name[i->pass],
                            .name = l->name,
                            .layer = i->layer };
}

/* A gap is where nothing runs, and something has and will. */
void mb_kernels_add(mb_kernels *k, const mb_launch *launches, size_t n)
{
    const mb_kernel_row gap = {
        .op = "launch gaps", .part = "", .pass = "", .name = "", .layer = -1
    };
    int64_t busy_until = n ? launches[0].start_ns : 0;
    size_t i;

    for (i = 0; i < n; i++) {
        const mb_launch *l = &launches[i];

        add(k, key_of(k, l), l->end_ns - l->start_ns, l->bytes);
        if (l->start_ns > busy_until)
            add(k, gap, l->start_ns - busy_until, 0);
        busy_until = l->end_ns > busy_until ? l->end_ns : busy_until;
    }
    k->n = 0;
}

mb_err mb_kernels_step(mb_kernels *k)
{
    const mb_launch *launches;
    size_t n;

    MB_TRY(mb_activity_take(k->activity, &launches, &n));
    mb_kernels_add(k, launches, n);
    return MB_OK;
}

const mb_kernel_row *mb_kernels_rows(const mb_kernels *k, size_t *n)
{
    *n = k->n_rows;
    return k->rows;
}
