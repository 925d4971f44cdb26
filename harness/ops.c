#include "harness/ops.h"

#include "base/file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool same(const mb_op_row *a, const mb_op_row *b)
{
    return a->layer == b->layer && a->group == b->group && !strcmp(a->op, b->op) &&
           !strcmp(a->part, b->part) && !strcmp(a->pass, b->pass);
}

static mb_op_row *append(mb_ops *o, const mb_op_row *key)
{
    mb_op_name *name = mb_zalloc(1, sizeof *name);
    mb_op_row *row;

    if (o->n == o->max) {
        o->max = o->max ? 2 * o->max : 64;
        o->rows = realloc(o->rows, o->max * sizeof *o->rows);
        o->names = realloc(o->names, o->max * sizeof *o->names);
        if (!o->rows || !o->names)
            abort();
    }
    snprintf(name->op, sizeof name->op, "%s", key->op);
    snprintf(name->part, sizeof name->part, "%s", key->part);
    snprintf(name->pass, sizeof name->pass, "%s", key->pass);
    row = &o->rows[o->n];
    *row = (mb_op_row){ .op = name->op,
                        .part = name->part,
                        .pass = name->pass,
                        .layer = key->layer,
                        .group = key->group,
                        .wall_ns = -1 };
    o->names[o->n++] = name;
    return row;
}

/* Adds MORE to the row of its key; the search begins at NEAR, where it mostly is. */
static void add(mb_ops *o, const mb_op_row *more, size_t near)
{
    mb_op_row *row = NULL;
    size_t i;

    for (i = 0; !row && i < o->n; i++)
        if (same(&o->rows[(near + i) % o->n], more))
            row = &o->rows[(near + i) % o->n];
    if (!row)
        row = append(o, more);
    row->calls += more->calls;
    if (more->wall_ns >= 0)
        row->wall_ns = more->wall_ns + (row->wall_ns > 0 ? row->wall_ns : 0);
    row->flops_model += more->flops_model;
    row->flops_useful += more->flops_useful;
    row->flops_executed += more->flops_executed;
    row->flops_vector += more->flops_vector;
    row->bytes += more->bytes;
}

void mb_ops_close(mb_ops *o)
{
    size_t i;

    for (i = 0; i < o->n; i++)
        free(o->names[i]);
    free(o->names);
    free(o->rows);
    memset(o, 0, sizeof *o);
}

void mb_ops_add(mb_ops *o, const mb_ledger *l, bool traced)
{
    size_t n, i;
    const mb_entry *e = mb_ledger_entries(l, &n);

    for (i = 0; i < n; i++, e++)
        add(o,
            &(mb_op_row){ .op = e->op,
                          .part = mb_part_name[e->part],
                          .pass = mb_pass_name[e->pass],
                          .layer = e->layer,
                          .group = e->group,
                          .calls = (int64_t)e->calls,
                          .wall_ns = traced ? (int64_t)e->wall_ns : -1,
                          .flops_model = e->cost.model,
                          .flops_useful = e->cost.useful,
                          .flops_executed = e->cost.executed,
                          .flops_vector = e->cost.vector,
                          .bytes = e->cost.bytes },
            i);
}

char *mb_ops_text(const mb_ops *o)
{
    char *text = NULL;
    size_t size, i;
    FILE *f = open_memstream(&text, &size);

    if (!f)
        abort();
    for (i = 0; i < o->n; i++) {
        const mb_op_row *r = &o->rows[i];

        fprintf(f, "%s %s %s %d %d %" PRId64, r->op, r->part, r->pass, r->layer, r->group,
                r->calls);
        fprintf(f, " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", r->flops_model,
                r->flops_useful, r->flops_executed, r->flops_vector, r->bytes);
    }
    if (fclose(f))
        abort();
    return text;
}

mb_err mb_ops_read(mb_ops *o, const char *text)
{
    const char *line = text;
    size_t i;

    for (i = 0; *line; i++) {
        mb_op_name name = { 0 };
        mb_op_row row = { .op = name.op, .part = name.part, .pass = name.pass, .wall_ns = -1 };
        int used = -1;

        sscanf(line,
               "%31s %15s %7s %d %d %" SCNd64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64 "%n",
               name.op, name.part, name.pass, &row.layer, &row.group, &row.calls, &row.flops_model,
               &row.flops_useful, &row.flops_executed, &row.flops_vector, &row.bytes, &used);
        if (used < 0 || line[used] != '\n')
            return mb_fail(MB_ECORRUPT, "saved operations: line %zu is not an operation", i + 1);
        add(o, &row, i);
        line += used + 1;
    }
    return MB_OK;
}
