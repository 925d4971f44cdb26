/* RMS norm and the ways in which rows re-join the residual stream: n(v) = w v rstd with rstd = 1 /
   sqrt(mean(v^2) + eps). For g = dL/dn:  dw = g v rstd,  dv = rstd (w g - v rstd^2 mean(w g v)).

   A norm alone is a combination without a residual, of rows that go nowhere. */
#include "models/kernels/cuda/kernel.cuh"

/* The routed rows of token t: routed(r, k) for k = begin(r, t) .. begin(r, t + 1) - 1. */
__device__ static inline int64_t begin(const cu_route &r, int64_t t)
{
    return r.token ? r.first[t] : t;
}

__device__ static inline int64_t routed(const cu_route &r, int64_t k)
{
    return r.token ? r.row[k] : k;
}

__device__ static inline float gate_of(const cu_route &r, int64_t row)
{
    return r.gate ? r.gate[row] : 1;
}

/* ---- forward: one block per token ------------------------------------------------------------ */

template <typename T, int N>
__device__ static inline float row_rstd(const T *v, float eps, int64_t d)
{
    float sum = 0;

    for (int64_t j = threadIdx.x * N; j < d; j += blockDim.x * N) {
        float x[N];

        load(x, v + j);
        for (int i = 0; i < N; i++)
            sum += x[i] * x[i];
    }
    return 1 / sqrtf(block_sum(sum) / (float)d + eps);
}

template <typename T, int N>
__global__ void combine(void *to, float *rstd, const void *residual, const void *from,
                        const float *w, const uint8_t *slice, float eps, cu_route r, int64_t d)
{
    int64_t t = blockIdx.x, first = begin(r, t), end = begin(r, t + 1);
    const T *x = (const T *)residual, *rows = (const T *)from;
    T *y = (T *)to;

    if (w) {
        w += slice ? slice[t] * d : 0;
        for (int64_t k = first; k < end; k++) {
            int64_t row = routed(r, k);

            if (row < 0)
                continue;
            float scale = row_rstd<T, N>(rows + row * d, eps, d);

            if (threadIdx.x == 0)
                rstd[row] = scale;
        }
        __syncthreads();
    }
    for (int64_t j = threadIdx.x * N; j < d; j += blockDim.x * N) {
        float sum[N] = {}, v[N], weight[N];

        if (x)
            load(sum, x + t * d + j);
        if (w)
            load(weight, w + j);
        for (int64_t k = first; k < end; k++) {
            int64_t row = routed(r, k);

            if (row < 0)
                continue;
            load(v, rows + row * d + j);
            for (int i = 0; i < N; i++)
                sum[i] += gate_of(r, row) * (w ? weight[i] * (v[i] * rstd[row]) : v[i]);
        }
        store(y + t * d + j, sum);
    }
}

void cu_combine(cu *on, void *y, float *rstd, const void *x, const void *rows, const float *w,
                const uint8_t *slice, float eps, const cu_route *r, int64_t d)
{
    LAUNCH(on, combine, wide(d, y, x, rows, w), r->tokens, THREADS, y, rstd, x, rows, w, slice, eps,
           *r, d);
}

/* ---- backward: one block per routed row ------------------------------------------------------ */

/* d gate = dy . n(v); d n = gate dy. Rows that stay empty get zeros. */
template <typename T, int N>
__global__ void combine_rows_bwd(void *to, float *dgate, const void *up, const void *from,
                                 const float *rstd, const float *w, const uint8_t *slice,
                                 cu_route r, int64_t d, bool add)
{
    int64_t row = blockIdx.x, t = r.token ? r.token[row] : row;
    bool empty = t < 0;
    T *drows = (T *)to;
    const T *dy = (const T *)up + (empty ? 0 : t * d), *v = (const T *)from + row * d;
    float gate = empty ? 0 : gate_of(r, row), scale = w && !empty ? rstd[row] : 0, sum = 0;

    w = w && !empty ? w + (slice ? slice[t] * d : 0) : NULL;
    for (int64_t j = threadIdx.x * N; !empty && j < d; j += blockDim.x * N) {
        float g[N], x[N], weight[N];

        load(g, dy + j);
        load(x, v + j);
        if (w)
            load(weight, w + j);
        for (int i = 0; i < N; i++)
            sum += (w ? weight[i] * g[i] : g[i]) * x[i];
    }
    sum = block_sum(sum);
    if (dgate && threadIdx.x == 0)
        dgate[row] = w ? sum * scale : sum;
    for (int64_t j = threadIdx.x * N; drows && j < d; j += blockDim.x * N) {
        float g[N] = {}, x[N], weight[N];

        if (!empty)
            load(g, dy + j);
        if (w) {
            float mean = gate * sum / (float)d;

            load(x, v + j);
            load(weight, w + j);
            for (int i = 0; i < N; i++)
                g[i] = scale * (weight[i] * gate * g[i] - x[i] * scale * scale * mean);
        } else {
            for (int i = 0; i < N; i++)
                g[i] *= gate;
        }
        give(drows + row * d + j, g, add);
    }
}

/* ---- gradients of weights: blocks of rows, then their sum in order --------------------------- */

static const int64_t MOST_PARTS = 1024, LEAST_ROWS = 32;
static const int AT_ONCE = 2, STRIPES = 32; /* rows read side by side; warps that share parts */

static int64_t rows_per_part(int64_t rows)
{
    int64_t each = blocks_for(rows, MOST_PARTS);

    return each > LEAST_ROWS ? each : LEAST_ROWS;
}

int64_t cu_partials(int64_t rows, int slices, int64_t d)
{
    return blocks_for(rows, rows_per_part(rows)) * slices * d;
}

/* A row that is added to the sums: its token, -1 for none, and where its numbers are. An empty one
   reads what it has, so that no branch keeps loads from being under way side by side; what it read
   is not used. */
template <typename T> struct added {
    int64_t row, token;
    const T *dy, *v;
};

template <typename T>
__device__ static inline added<T> added_row(const cu_route &r, int64_t row, int64_t end,
                                            const void *up, const void *from, int64_t d)
{
    int64_t last = row < end ? row : end - 1, token = r.token ? r.token[last] : last;
    const T *v = (const T *)from + last * d;

    return { last, row < end ? token : -1, token < 0 ? v : (const T *)up + token * d, v };
}

/* N columns of a thread; a block for each part and THREADS N columns. Slices mostly come in runs,
   so sums are kept in registers until the slice changes. */
template <typename T, int N>
__global__ void combine_weights_bwd(float *partial, const void *up, const void *from,
                                    const float *rstd, const uint8_t *slice, int slices, cu_route r,
                                    int64_t d, int64_t each, int columns)
{
    int64_t part = blockIdx.x / columns;
    int64_t j = ((blockIdx.x % columns) * (int64_t)blockDim.x + threadIdx.x) * N;
    int64_t end = (part + 1) * each < r.rows ? (part + 1) * each : r.rows;
    float sum[N] = {};
    int current = 0;

    if (j >= d)
        return;
    partial += part * slices * d + j;
    for (int s = 0; s < slices; s++)
        store(partial + s * d, sum);
    for (int64_t row = part * each; row < end; row += AT_ONCE) {
        added<T> a[AT_ONCE];
        float g[AT_ONCE][N], x[AT_ONCE][N];

#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            a[i] = added_row<T>(r, row + i, end, up, from, d);
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            load(g[i], a[i].dy + j);
            load(x[i], a[i].v + j);
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            if (a[i].token < 0)
                continue;
            float scale = gate_of(r, a[i].row) * rstd[a[i].row];
            int s = slice ? slice[a[i].token] : 0;

            if (s != current) {
                give(partial + current * d, sum, true);
                current = s;
                for (int k = 0; k < N; k++)
                    sum[k] = 0;
            }
            for (int k = 0; k < N; k++)
                sum[k] += scale * g[i][k] * x[i][k];
        }
    }
    give(partial + current * d, sum, true);
}

/* A block has WARP columns, and each of its warps every STRIPES-th part. */
__global__ void __launch_bounds__(STRIPES *WARP)
    add_parts(float *total, const float *partial, int64_t parts, int64_t n)
{
    __shared__ float stripe[STRIPES][WARP];
    int column = threadIdx.x % WARP, mine = threadIdx.x / WARP;
    int64_t j = (int64_t)blockIdx.x * WARP + column;
    float sum = 0;

#pragma unroll 8
    for (int64_t p = mine; j < n && p < parts; p += STRIPES)
        sum += partial[p * n + j];
    stripe[mine][column] = sum;
    __syncthreads();
    if (mine > 0 || j >= n)
        return;
    for (int s = 1; s < STRIPES; s++)
        sum += stripe[s][column];
    total[j] += sum;
}

void cu_add_parts(cu *on, float *total, const float *partial, int64_t parts, int64_t n)
{
    if (parts > 0)
        launch(on, add_parts, blocks_for(n, WARP), STRIPES * WARP, total, partial, parts, n);
}

void cu_combine_bwd(cu *on, void *drows, float *dgate, float *dw, const void *dy, const void *rows,
                    const float *rstd, const float *w, const uint8_t *slice, int slices,
                    const cu_route *r, int64_t d, bool add, float *partial)
{
    int64_t each = rows_per_part(r->rows), parts = blocks_for(r->rows, each);
    bool is_wide = wide(d, dy, rows, partial);
    int columns = (int)blocks_for(d, THREADS * (is_wide ? on->bf16 ? 8 : 4 : 1));

    if (drows || dgate)
        LAUNCH(on, combine_rows_bwd, wide(d, drows, dy, rows, w), r->rows, THREADS, drows, dgate,
               dy, rows, rstd, w, slice, *r, d, add);
    if (!dw)
        return;
    LAUNCH(on, combine_weights_bwd, is_wide, parts * columns, THREADS, partial, dy, rows, rstd,
           slice, slices, *r, d, each, columns);
    cu_add_parts(on, dw, partial, parts, slices * d);
}
