/* Matrix products of groups of rows, and the head, which is made of products.

   Groups of equal size are one strided product; groups of other sizes are one product each, side by
   side, or where that was asked for one grouped product. Rows and weights are row-major. */
#include "models/kernels/cuda/cuda.h"

/* The product in LANE, unless the graph under way has it already. */
static mb_err multiply_in(cuda_ctx *c, int lane, const cuda_product *p, void *to, const void *a,
                          const void *b)
{
    const void *at[] = { to, a, b };
    const int64_t what[] = { lane,        p->m,        p->n,          p->k,   p->batch,
                             p->stride_a, p->stride_b, p->stride_c,   p->add, p->turn_a,
                             p->turn_b,   p->bf16,     p->result_bf16 };

    cu_note(&c->cu, at, sizeof at);
    cu_note(&c->cu, what, sizeof what);
    return c->cu.replaying ? MB_OK : cuda_lt_multiply(c->lt, lane, c->cu.stream, p, to, a, b);
}

void cuda_multiply(cuda_ctx *c, const cuda_product *p, void *to, const void *a, const void *b)
{
    cuda_keep(c, multiply_in(c, -1, p, to, a, b));
}

static void fork_lanes(cuda_ctx *c)
{
    if (!c->cu.replaying)
        cuda_keep(c, cuda_lt_fork(c->lt, c->cu.stream));
}

static void join_lanes(cuda_ctx *c)
{
    if (!c->cu.replaying)
        cuda_keep(c, cuda_lt_join(c->lt, c->cu.stream));
}

/* ---- groups ---------------------------------------------------------------------------------- */

typedef struct operand { /* what one group takes of it: so many elements per row, or per slice */
    const char *data;
    int64_t per_row, per_slice;
    size_t size; /* of an element */
} operand;

static const void *of_group(const operand *o, int64_t row, int64_t slice)
{
    return o->data + (size_t)(row * o->per_row + slice * o->per_slice) * o->size;
}

/* Rows of a group, where all groups have as many; else -1. */
static int64_t equal_rows(const mb_route *r)
{
    int64_t rows = r->offset[1] - r->offset[0];

    for (int g = 1; g < r->groups; g++)
        if (r->offset[g + 1] - r->offset[g] != rows)
            return -1;
    return rows;
}

static void multiply_strided(cuda_ctx *c, cuda_product p, int64_t rows, const operand *to,
                             const operand *a, const operand *b, const mb_route *r)
{
    if (r->groups > 1) {
        p.batch = r->groups;
        p.stride_a = rows * a->per_row + a->per_slice;
        p.stride_b = rows * b->per_row + b->per_slice;
        p.stride_c = rows * to->per_row + to->per_slice;
    }
    cuda_multiply(c, &p, (void *)to->data, a->data, b->data);
}

/* Opens cuBLAS for the first of them. */
static bool have_grouped(cuda_ctx *c)
{
    if (c->grouped)
        return true;
    if (c->base.err != MB_OK)
        return false;
    if (cuda_grouped_open(&c->grouped, c->cu.stream))
        cuda_keep(c, mb_fail_in(MB_EMISSING, "gpu.grouping = library"));
    else
        c->kept += CUDA_PRODUCT_BYTES;
    return c->grouped;
}

/* Groups without rows are left out: what they have to set has no rows, and what they add is none.
 */
static void multiply_grouped(cuda_ctx *c, cuda_product p, bool rows_are_k, const operand *to,
                             const operand *a, const operand *b, const mb_route *r)
{
    cuda_product *each = mb_ctx_host(&c->base, (size_t)r->groups * sizeof *each);
    const void **at = mb_ctx_host(&c->base, (size_t)(3 * r->groups) * sizeof *at);
    int64_t *rows = rows_are_k ? &p.k : &p.m;
    int n = 0, filled = 0;

    for (int g = 0; g < r->groups; g++)
        filled += r->offset[g + 1] > r->offset[g];
    for (int g = 0; g < r->groups; g++) {
        int64_t first = r->offset[g];

        *rows = r->offset[g + 1] - first;
        if (*rows == 0)
            continue;
        at[n] = of_group(to, first, g);
        at[filled + n] = of_group(a, first, g);
        at[2 * filled + n] = of_group(b, first, g);
        each[n++] = p;
    }
    if (n > 0)
        cuda_keep(c, cuda_grouped_multiply(c->grouped, each, n,
                                           cuda_indices(c, at, (size_t)(3 * n) * sizeof *at)));
}

/* The product P of every group, whose rows are P's m, or with ROWS_ARE_K its k. */
static void multiply_groups(cuda_ctx *c, cuda_product p, bool rows_are_k, const operand *to,
                            const operand *a, const operand *b, const mb_route *r)
{
    int64_t *rows = rows_are_k ? &p.k : &p.m, all = equal_rows(r);
    mb_err err = MB_OK;

    if (all >= 0) {
        *rows = all;
        multiply_strided(c, p, all, to, a, b, r);
        return;
    }
    if (c->base.grouping == MB_GROUPING_LIBRARY && !c->keyed && r->groups <= CUDA_GROUPS &&
        cuda_grouped_takes(&p)) {
        if (have_grouped(c))
            multiply_grouped(c, p, rows_are_k, to, a, b, r);
        return;
    }
    fork_lanes(c);
    for (int g = 0; !err && g < r->groups; g++) {
        int64_t at = r->offset[g];

        *rows = r->offset[g + 1] - at;
        err = multiply_in(c, g % CUDA_LANES, &p, (void *)of_group(to, at, g), of_group(a, at, g),
                          of_group(b, at, g));
    }
    cuda_keep(c, err);
    join_lanes(c);
}

/* The same route with one group: all rows meet the one slice of weights. */
static mb_route one_group(const mb_route *r, int64_t offset[2])
{
    mb_route all = *r;

    offset[0] = 0;
    offset[1] = r->rows;
    all.groups = 1;
    all.offset = offset;
    return all;
}

/* ---- the slots --------------------------------------------------------------------------------
 */

static operand activations(const cuda_ctx *c, const void *data, int64_t cols, mb_precision dtype)
{
    return (operand){ .data = data, .per_row = cols, .size = mb_size(dtype) };
}

static operand slices(const void *data, const mb_tensor *w, mb_precision dtype)
{
    return (operand){ .data = data, .per_slice = w->rows * w->cols, .size = mb_size(dtype) };
}

static operand weights(cuda_ctx *c, const mb_tensor *w)
{
    return slices(cuda_operand(c, mb_f32(w), mb_count(w)), w, c->base.stored);
}

/* dy as products take it: logits have an fp32 gradient in every precision. */
static operand upstream(cuda_ctx *c, const mb_real *dy, int64_t rows, int64_t cols)
{
    void *narrow;

    if (!c->cu.bf16 || c->base.result == MB_BF16)
        return activations(c, dy, cols, c->base.stored);
    narrow = cuda_space(c, cuda_bytes(c, rows * cols));
    cu_to_bf16(&c->cu, narrow, dy, rows * cols);
    return activations(c, narrow, cols, MB_BF16);
}

/* y[i] = w[g] x[i] */
void cuda_gemm(mb_ctx *base, mb_real *y, const mb_real *x, const mb_tensor *w, const mb_route *r)
{
    cuda_ctx *c = cuda_of(base);
    operand to = activations(c, y, w->rows, base->result);
    operand a = activations(c, x, w->cols, base->stored), b = weights(c, w);
    int64_t offset[2];
    mb_route all = one_group(r, offset);

    multiply_groups(c,
                    (cuda_product){ .n = w->rows,
                                    .k = w->cols,
                                    .turn_b = true,
                                    .bf16 = c->cu.bf16,
                                    .result_bf16 = base->result == MB_BF16,
                                    .batch = 1 },
                    false, &to, &a, &b, w->slices == 1 ? &all : r);
}

/* dx[i] (+)= w[g]^T dy[i] */
void cuda_gemm_dx(mb_ctx *base, mb_real *dx, const mb_real *dy, const mb_tensor *w,
                  const mb_route *r, bool add)
{
    cuda_ctx *c = cuda_of(base);
    operand to = activations(c, dx, w->cols, base->stored), b = weights(c, w);
    operand a = upstream(c, dy, r->rows, w->rows);
    int64_t offset[2];
    mb_route all = one_group(r, offset);

    multiply_groups(c,
                    (cuda_product){ .n = w->cols,
                                    .k = w->rows,
                                    .bf16 = c->cu.bf16,
                                    .result_bf16 = c->cu.bf16,
                                    .add = add,
                                    .batch = 1 },
                    false, &to, &a, &b, w->slices == 1 ? &all : r);
}

/* dw[g] += sum over its rows of dy[i] x[i]^T */
void cuda_gemm_dw(mb_ctx *base, const mb_tensor *w, const mb_real *dy, const mb_real *x,
                  const mb_route *r)
{
    cuda_ctx *c = cuda_of(base);
    operand to = slices(w->grad, w, MB_FP32), b = activations(c, x, w->cols, base->stored);
    operand a = upstream(c, dy, r->rows, w->rows);
    int64_t offset[2];
    mb_route all = one_group(r, offset);

    multiply_groups(c,
                    (cuda_product){ .m = w->rows,
                                    .n = w->cols,
                                    .turn_a = true,
                                    .bf16 = c->cu.bf16,
                                    .add = true,
                                    .batch = 1 },
                    true, &to, &a, &b, w->slices == 1 ? &all : r);
}

/* ---- the head ---------------------------------------------------------------------------------
 */

typedef struct head { /* arguments on the device, and a chunk of rows */
    const void *w;
    float *dw;
    int64_t d, v;
    const float *scale;
    float z;
    float *logits;
    void *dlogits; /* NULL: no gradients */
} head;

static void classify_rows(cuda_ctx *c, const head *h, float *loss, void *dx, const void *x,
                          const int32_t *target, int64_t n)
{
    bool bf16 = c->cu.bf16;
    cuda_product forward = { n, h->v, h->d, .turn_b = true, .bf16 = bf16, .batch = 1 };
    cuda_product to_x = { n, h->d, h->v, .bf16 = bf16, .result_bf16 = bf16, .batch = 1 };
    cuda_product to_w = { h->v, h->d, n, .turn_a = true, .bf16 = bf16, .add = true, .batch = 1 };

    cuda_multiply(c, &forward, h->logits, x, h->w);
    cu_cross_entropy(&c->cu, loss, h->dlogits, h->logits, target, h->scale, h->z, n, h->v);
    if (!h->dlogits)
        return;
    cuda_multiply(c, &to_x, dx, h->dlogits, h->w);
    cuda_multiply(c, &to_w, h->dw, h->dlogits, x);
}

static int64_t chunk_rows(int64_t t, int64_t v)
{
    int64_t most = CUDA_HEAD_BYTES / 4 / v;

    return most < 1 ? 1 : most < t ? most : t;
}

size_t cuda_head_bytes(const cuda_ctx *c, int64_t t, int64_t v)
{
    int64_t rows = chunk_rows(t, v);

    return cuda_aligned((size_t)t * sizeof(float)) +
           cuda_aligned((size_t)(rows * v) * sizeof(float)) + cuda_bytes(c, rows * v);
}

/* Every row is worked on, with a target or not: shapes must not depend on targets. */
void cuda_classify(mb_ctx *base, float *loss, mb_real *dx, float *dw, const mb_real *x,
                   const mb_tensor *w, const int32_t *target, float scale, float z, int64_t t)
{
    cuda_ctx *c = cuda_of(base);
    const int32_t *targets = cuda_indices(c, target, (size_t)t * sizeof *target);
    int64_t d = w->cols, v = w->rows, rows = chunk_rows(t, v);
    size_t size_logits = cuda_aligned((size_t)(rows * v) * sizeof(float));
    size_t size_loss = cuda_aligned((size_t)t * sizeof *loss);
    char *space = cuda_space(c, cuda_head_bytes(c, t, v));
    float *losses = (float *)space;
    head h = { .w = cuda_operand(c, mb_f32(w), v * d),
               .dw = dw,
               .d = d,
               .v = v,
               .scale = cuda_numbers(c, &scale, sizeof scale),
               .z = z,
               .logits = (float *)(space + size_loss),
               .dlogits = dx ? space + size_loss + size_logits : NULL };

    for (int64_t i = 0; i < t; i += rows) {
        size_t skip = cuda_bytes(c, i * d);

        classify_rows(c, &h, losses + i, dx ? (char *)dx + skip : NULL, (const char *)x + skip,
                      targets + i, t - i < rows ? t - i : rows);
    }
    if (t > 0)
        cuda_fetch_to(base, loss, losses, (size_t)t * sizeof *loss);
    base->executed = (uint64_t)(2 * t * d * v);
}
