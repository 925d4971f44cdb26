/* Reference: embeddings, grouped matrix products, and the movement of rows between x and groups. */
#include "models/kernels/ref/ref.h"

#include "base/file.h"

void mb_ref_embed(mb_ctx *c, float *y, const float *table, const int32_t *token, int64_t t,
                  int64_t d)
{
    for (int64_t i = 0; i < t; i++)
        memcpy(y + i * d, table + token[i] * d, (size_t)d * sizeof *y);
}

void mb_ref_embed_bwd(mb_ctx *c, float *dtable, const float *dy, const int32_t *token, int64_t t,
                      int64_t d, int64_t v)
{
    double *sum = mb_zalloc((size_t)(v * d), sizeof *sum);

    for (int64_t i = 0; i < t; i++)
        for (int64_t j = 0; j < d; j++)
            sum[token[i] * d + j] += dy[i * d + j];
    ref_put(dtable, sum, v * d, true);
    free(sum);
}

/* Rows *begin .. *end - 1 use slice s of w: those of group s, or all when w has one slice. */
static void slice_rows(const mb_tensor *w, const mb_route *r, int64_t s, int64_t *begin,
                       int64_t *end)
{
    *begin = w->slices == 1 ? 0 : r->offset[s];
    *end = w->slices == 1 ? r->rows : r->offset[s + 1];
}

/* y[i][n] = sum_k x[i][k] w[n][k] */
void mb_ref_gemm(mb_ctx *c, float *y, const float *x, const mb_tensor *w, const mb_route *r)
{
    int64_t N = w->rows, K = w->cols, begin, end;

    for (int64_t s = 0; s < w->slices; s++) {
        const float *ws = mb_f32(w) + s * N * K;

        slice_rows(w, r, s, &begin, &end);
        for (int64_t i = begin; i < end; i++)
            for (int64_t n = 0; n < N; n++)
                y[i * N + n] = (float)ref_dot(c, x + i * K, ws + n * K, K);
    }
}

/* dx[i][k] = sum_n dy[i][n] w[n][k] */
void mb_ref_gemm_dx(mb_ctx *c, float *dx, const float *dy, const mb_tensor *w, const mb_route *r,
                    bool add)
{
    int64_t N = w->rows, K = w->cols, begin, end;
    double *sum = mb_alloc((size_t)K * sizeof *sum);

    for (int64_t s = 0; s < w->slices; s++) {
        const float *ws = mb_f32(w) + s * N * K;

        slice_rows(w, r, s, &begin, &end);
        for (int64_t i = begin; i < end; i++) {
            memset(sum, 0, (size_t)K * sizeof *sum);
            for (int64_t n = 0; n < N; n++)
                ref_axpy(c, sum, dy[i * N + n], ws + n * K, K);
            ref_put(dx + i * K, sum, K, add);
        }
    }
    free(sum);
}

/* dw[n][k] += sum_i dy[i][n] x[i][k] */
void mb_ref_gemm_dw(mb_ctx *c, const mb_tensor *w, const float *dy, const float *x,
                    const mb_route *r)
{
    int64_t N = w->rows, K = w->cols, begin, end;
    double *sum = mb_alloc((size_t)K * sizeof *sum);

    for (int64_t s = 0; s < w->slices; s++) {
        float *dws = w->grad + s * N * K;

        slice_rows(w, r, s, &begin, &end);
        for (int64_t n = 0; n < N; n++) {
            memset(sum, 0, (size_t)K * sizeof *sum);
            for (int64_t i = begin; i < end; i++)
                ref_axpy(c, sum, dy[i * N + n], x + i * K, K);
            ref_put(dws + n * K, sum, K, true);
        }
    }
    free(sum);
}

void mb_ref_gather(mb_ctx *c, float *y, const float *x, const mb_route *r, int64_t d)
{
    for (int64_t i = 0; i < r->rows; i++)
        memcpy(y + i * d, x + ref_token(r, i) * d, (size_t)d * sizeof *y);
}

/* dx[t] = sum of dy over the routed rows of t */
void mb_ref_gather_bwd(mb_ctx *c, float *dx, const float *dy, const mb_route *r, int64_t d,
                       bool add)
{
    double *sum = mb_alloc((size_t)d * sizeof *sum);

    for (int64_t t = 0; t < r->tokens; t++) {
        memset(sum, 0, (size_t)d * sizeof *sum);
        for (int64_t k = ref_first(r, t); k < ref_first(r, t + 1); k++)
            for (int64_t j = 0; j < d; j++)
                sum[j] += dy[ref_routed(r, k) * d + j];
        ref_put(dx + t * d, sum, d, add);
    }
    free(sum);
}

void mb_ref_unfold(mb_ctx *c, float *y, const float *x, const int32_t *around, int places,
                   int64_t t, int64_t d)
{
    for (int64_t i = 0; i < t * places; i++)
        for (int64_t j = 0; j < d; j++)
            y[i * d + j] = around[i] >= 0 ? x[around[i] * d + j] : 0;
}

/* dx[around[i][s]] += dy[i][s], seen from the other side: i is in place places-1-s of it */
void mb_ref_unfold_bwd(mb_ctx *c, float *dx, const float *dy, const int32_t *around, int places,
                       int64_t t, int64_t d, bool add)
{
    double *sum = mb_alloc((size_t)d * sizeof *sum);

    for (int64_t i = 0; i < t; i++) {
        memset(sum, 0, (size_t)d * sizeof *sum);
        for (int s = 0; s < places; s++) {
            int64_t row = around[i * places + places - 1 - s];

            for (int64_t j = 0; row >= 0 && j < d; j++)
                sum[j] += dy[(row * places + s) * d + j];
        }
        ref_put(dx + i * d, sum, d, add);
    }
    free(sum);
}
