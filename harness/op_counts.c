#include "harness/op_counts.h"

#include "base/file.h"
#include "profiles/counter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct mb_op_counts {
    mb_ctx *c;
    mb_watch watch;
    mb_counter *counter;
    double scale;   /* FLOPs of one that is counted */
    double last;    /* all that was counted at the last boundary */
    double pending; /* counted between the last two, of an operation that is yet to be named */
    bool running;
    mb_op_count *now; /* of the operation that ended at the last boundary */
    mb_op_count groups[MB_OP_COUNTS_MAX];
    size_t n;
};

static mb_op_count *group_of(mb_op_counts *o, const char *op, mb_part part, mb_pass_kind pass)
{
    mb_op_count *g = o->groups;

    while (g < o->groups + o->n && (strcmp(g->op, op) || g->part != part || g->pass != pass))
        g++;
    if (g == o->groups + MB_OP_COUNTS_MAX)
        return NULL;
    if (g == o->groups + o->n) {
        *g = (mb_op_count){ .op = op, .part = part, .pass = pass, .into = g };
        snprintf(g->name, sizeof g->name, "%s %s %s", op, mb_part_name[part], mb_pass_name[pass]);
        o->n++;
    }
    return g;
}

/* NaN once counting has failed. */
static double counted(const mb_op_counts *o)
{
    size_t n;

    return mb_counter_read(o->counter, &n)->value;
}

static void boundary(void *user)
{
    mb_op_counts *o = user;
    double all;

    if (o->running)
        mb_counter_stop(o->counter);
    all = counted(o);
    o->pending = all - o->last;
    o->now = NULL;
    o->last = all;
    mb_counter_start(o->counter);
    o->running = true;
}

/* An operation of several entries goes by its first: the head's two passes run together. */
static void entered(void *user, const char *op, mb_part part, int layer, mb_pass_kind pass)
{
    mb_op_counts *o = user;
    mb_op_count *g = group_of(o, op, part, pass);

    if (!g)
        return;
    if (o->now) {
        g->into = o->now;
        return;
    }
    o->now = g;
    g->hardware += o->scale * o->pending;
}

void mb_op_counts_open(mb_ctx *c, mb_precision precision, mb_op_counts **out)
{
    static const mb_event events[] = {
        [MB_FP32] = { "cupti", "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum", "instr" },
        [MB_BF16] = { "cupti", "sm__ops_path_tensor_src_bf16_dst_fp32.sum", "FLOP" },
    };
    mb_op_counts *o = mb_zalloc(1, sizeof *o);

    o->c = c;
    o->scale = precision == MB_FP32 ? 2 : 1;
    mb_counter_open(&events[precision], 1, 1, &o->counter);
    o->last = counted(o);
    o->watch = (mb_watch){ boundary, entered, o };
    *out = isnan(o->last) ? NULL : o;
    if (*out) {
        mb_ledger_clear(mb_ctx_ledger(c));
        mb_ctx_watch(c, &o->watch);
        return;
    }
    mb_counter_close(o->counter);
    free(o);
}

void mb_op_counts_close(mb_op_counts *o)
{
    if (!o)
        return;
    mb_ctx_watch(o->c, NULL);
    mb_counter_close(o->counter);
    free(o);
}

const mb_op_count *mb_op_counts_read(mb_op_counts *o, size_t *n)
{
    size_t entries, i;
    const mb_entry *e = mb_ledger_entries(mb_ctx_ledger(o->c), &entries);

    if (o->running)
        mb_counter_stop(o->counter);
    o->running = false;
    for (i = 0; i < o->n; i++)
        o->groups[i].executed = 0;
    for (i = 0; i < entries; i++) {
        mb_op_count *g = group_of(o, e[i].op, e[i].part, e[i].pass);

        if (g)
            g->into->executed += (double)e[i].cost.executed;
    }
    *n = isnan(counted(o)) ? 0 : o->n;
    return *n ? o->groups : NULL;
}
