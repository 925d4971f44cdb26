/* Learned routes on the device: scores, the experts of each token, places by rank, and the way
   back. The host's choose.c says what is chosen; here, who gets which place is a count of those
   before, so that nothing depends on which block runs first. */
#include "models/kernels/cuda/kernel.cuh"

/* Threads of a block that goes over all rows: as many as there can be, so that a thread has 64
   registers at most, which its kernel must say: with more it does not start. */
enum { SCAN = 1024 };

/* ---- scores: one thread per row ------------------------------------------------------------- */

__device__ static inline void softmax_row(float *p, float *lse, const float *logit, int n)
{
    float top = logit[0];
    double sum = 0;

    for (int e = 1; e < n; e++)
        top = fmaxf(top, logit[e]);
    for (int e = 0; e < n; e++)
        sum += p[e] = expf(logit[e] - top);
    for (int e = 0; e < n; e++)
        p[e] = (float)(p[e] / sum);
    *lse = (float)(top + log(sum));
}

/* The k best, best first, ties to the lower index; returns their sum. */
__device__ static inline float pick_top(int32_t *top, int k, const float *p, int n)
{
    float sum = 0;

    for (int rank = 0; rank < k; rank++) {
        int best = -1;

        for (int e = 0; e < n; e++) {
            bool taken = false;

            for (int before = 0; before < rank; before++)
                taken |= top[before] == e;
            if (!taken && (best < 0 || p[e] > p[best]))
                best = e;
        }
        top[rank] = best;
        sum += p[best];
    }
    return sum;
}

__global__ void score_rows(cu_choice c)
{
    int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    const float *logit = c.logit + t * c.experts;
    float *p = c.score + t * c.experts;

    if (t >= c.t)
        return;
    if (c.softmax)
        softmax_row(p, c.lse + t, logit, c.experts);
    else
        for (int e = 0; e < c.experts; e++)
            p[e] = 1 / (1 + expf(-logit[e]));
    if (!c.by_experts)
        c.norm[t] = pick_top(c.top + t * c.k, c.k, p, c.experts);
}

void cu_scores(cu *on, const cu_choice *c)
{
    launch(on, score_rows, blocks_for(c->t, THREADS), THREADS, *c);
}

/* ---- places: one block per expert ------------------------------------------------------------ */

/* How many threads before this one say IS; *all: how many of the block do. */
__device__ static inline int block_rank(bool is, int *all)
{
    __shared__ int part[WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, before = 0;
    unsigned votes = __ballot_sync(0xffffffffu, is);

    __syncthreads();
    if (lane == 0)
        part[warp] = __popc(votes);
    __syncthreads();
    *all = 0;
    for (int w = 0; w < (int)blockDim.x / WARP; w++) {
        before += w < warp ? part[w] : 0;
        *all += part[w];
    }
    return before + __popc(votes & ((1u << lane) - 1));
}

/* A group of rows that share the capacity, as one expert sees it. */
typedef struct group {
    int64_t start, n;
    int64_t room, base; /* places, and the first of them */
} group;

__device__ static inline group group_of(const cu_choice &c, int e, int64_t start)
{
    int64_t whole = c.t / c.group;
    group g = { start, c.t - start < c.group ? c.t - start : c.group, 0, 0 };

    g.room = g.n == c.group ? c.room : c.last_room;
    g.base = c.offset ? c.offset[e]
                      : e * (whole * c.room + (c.t % c.group ? c.last_room : 0)) +
                            start / c.group * c.room;
    return g;
}

__device__ static inline void leave_empty(const cu_choice &c, const group &g, int64_t taken)
{
    for (int64_t s = taken + threadIdx.x; s < g.room; s += blockDim.x) {
        c.token[g.base + s] = -1;
        c.gate[g.base + s] = 0;
    }
}

__device__ static inline float gate_of(const cu_choice &c, int64_t t, int e)
{
    float p = c.score[t * c.experts + e];

    return c.renormalise ? p / c.norm[t] : p;
}

/* Claims of a group in order: every token's first choice, then every token's second. */
__device__ static void tokens_claim(const cu_choice &c, const group &g, int e, int64_t *asked,
                                    int64_t *kept)
{
    int64_t taken = 0;

    for (int64_t at = 0; at < g.n * c.k; at += blockDim.x) {
        int64_t i = at + threadIdx.x, t = g.start + i % g.n, claim = t * c.k + i / g.n, row;
        bool mine = i < g.n * c.k && c.top[claim] == e, stands;
        float gate = mine ? gate_of(c, t, e) : 0;
        int all;

        stands =
            mine && !(c.random_second && i >= g.n && uniform(*c.key, (uint64_t)t) >= 2.0 * gate);
        row = taken + block_rank(stands, &all);
        taken += all;
        stands = stands && row < g.room;
        if (mine && c.token)
            c.inverse[claim] = stands ? (int32_t)(g.base + row) : -1;
        if (stands && c.token) {
            c.token[g.base + row] = (int32_t)t;
            c.gate[g.base + row] = gate;
        }
        block_rank(mine, &all);
        *asked += all;
    }
    taken = taken < g.room ? taken : g.room;
    *kept += taken;
    if (c.token && !c.offset)
        leave_empty(c, g, taken);
}

/* Scores are positive floats, whose bits are in the same order. */
__device__ static inline unsigned score_bits(const cu_choice &c, const group &g, int64_t i, int e)
{
    return __float_as_uint(c.score[(g.start + i) * c.experts + e]);
}

__device__ static inline int64_t count_from(const cu_choice &c, const group &g, int e,
                                            unsigned least)
{
    int64_t n = 0;

    for (int64_t i = threadIdx.x; i < g.n; i += blockDim.x)
        n += score_bits(c, g, i, e) >= least;
    return block_sum(n);
}

/* The expert's best rows, or those from its cut on, in order of rows, ties to the lower row: first
   the least score that has a place, bit by bit, then places. Returns how many, and that score. */
__device__ static int64_t expert_takes(const cu_choice &c, const group &g, int e, float *from)
{
    int64_t taken = 0, ties = 0, above;
    unsigned least = c.cut ? __float_as_uint(c.cut[e]) : 0;

    for (int bit = 31; !c.cut && bit >= 0; bit--)
        if (count_from(c, g, e, least | 1u << bit) >= g.room)
            least |= 1u << bit;
    above = least < 0xffffffffu ? count_from(c, g, e, least + 1) : 0;
    for (int64_t at = 0; at < g.n; at += blockDim.x) {
        int64_t i = at + threadIdx.x, row;
        unsigned bits = i < g.n ? score_bits(c, g, i, e) : 0;
        bool tie = i < g.n && bits == least, takes;
        int all;

        row = ties + block_rank(tie, &all);
        ties += all;
        takes = i < g.n && (bits > least || (tie && row < g.room - above));
        row = g.base + taken + block_rank(takes, &all);
        taken += all;
        if (i < g.n)
            c.inverse[(g.start + i) * c.experts + e] = takes ? (int32_t)row : -1;
        if (takes) {
            c.token[row] = (int32_t)(g.start + i);
            c.gate[row] = c.score[(g.start + i) * c.experts + e];
        }
    }
    leave_empty(c, g, taken);
    *from = __uint_as_float(least);
    return taken;
}

__global__ void __launch_bounds__(SCAN) assign(cu_choice c)
{
    int e = blockIdx.x;
    int64_t asked = 0, kept = 0, groups = 0;
    double sum = 0;

    for (int64_t start = 0; start < c.t; start += c.group, groups++) {
        group g = group_of(c, e, start);
        float from;

        if (c.by_experts) {
            kept += expert_takes(c, g, e, &from);
            asked = kept;
            sum += from;
        } else {
            tokens_claim(c, g, e, &asked, &kept);
        }
    }
    if (threadIdx.x == 0) {
        c.asked[e] = asked;
        c.kept[e] = kept;
        if (c.by_experts)
            c.least[e] = (float)(sum / (double)groups);
    }
}

void cu_assign(cu *on, const cu_choice *c)
{
    launch(on, assign, c->experts, SCAN, *c);
}

__global__ void strides(int32_t *first, int64_t t, int k)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (i <= t)
        first[i] = (int32_t)(i * k);
}

void cu_strides(cu *on, int32_t *first, int64_t t, int k)
{
    launch(on, strides, blocks_for(t + 1, THREADS), THREADS, first, t, k);
}

/* ---- losses: one block per expert, and one for z ----------------------------------------------
 */

__global__ void __launch_bounds__(SCAN) choice_losses(cu_choice c)
{
    int e = blockIdx.x;
    double best = 0, sum = 0;

    for (int64_t t = threadIdx.x; c.softmax && t < c.t; t += blockDim.x)
        if (e == c.experts) {
            sum += (double)c.lse[t] * c.lse[t];
        } else if (!c.by_experts) { /* experts that choose are balanced by construction */
            best += c.top[t * c.k] == e;
            sum += c.score[t * c.experts + e];
        }
    best = block_sum(best) / (double)c.t;
    sum = block_sum(sum) / (double)c.t;
    if (threadIdx.x != 0)
        return;
    if (e < c.experts)
        c.first[e] = best;
    c.terms[e] = e < c.experts ? c.experts * best * sum : sum;
}

__global__ void summary(cu_choice c)
{
    cu_routed all = { 0, 0, 0, c.terms[c.experts] };

    for (int e = 0; e < c.experts; e++) {
        all.asked += c.asked[e];
        all.kept += c.kept[e];
        all.balance += c.terms[e];
    }
    *c.routed = all;
}

void cu_choice_losses(cu *on, const cu_choice *c)
{
    launch(on, choice_losses, c->experts + 1, SCAN, *c);
    launch(on, summary, 1, 1, *c);
}

/* ---- backward: one thread per row ------------------------------------------------------------ */

/* What row T's score of expert E is asked for: by the balance loss and by the gates of its rows,
   through the renormalisation, which takes SHARED from every chosen score. */
__device__ static inline double score_gradient(const cu_choice &c, const float *dgate, int64_t t,
                                               int e, double shared)
{
    double dp = c.balance * c.experts * c.first[e] / (double)c.t;
    const int32_t *row = c.inverse + t * c.k;

    if (c.by_experts)
        return row[e] >= 0 ? dp + dgate[row[e]] : dp;
    for (int rank = 0; rank < c.k; rank++)
        if (c.top[t * c.k + rank] == e) {
            double g = row[rank] >= 0 ? dgate[row[rank]] : 0;

            dp += c.renormalise ? g / c.norm[t] - shared : g;
        }
    return dp;
}

__global__ void choose_bwd(float *dlogit, const float *dgate, cu_choice c, bool add)
{
    int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    double shared = 0, mean = 0, z = 0;

    if (t >= c.t)
        return;
    const float *p = c.score + t * c.experts;

    for (int rank = 0; c.renormalise && rank < c.k; rank++) {
        int32_t row = c.inverse[t * c.k + rank];

        if (row >= 0)
            shared += (double)dgate[row] * c.gate[row] / c.norm[t];
    }
    if (c.softmax) {
        for (int e = 0; e < c.experts; e++)
            mean += p[e] * score_gradient(c, dgate, t, e, shared);
        z = 2.0 * c.z * c.lse[t] / (double)c.t;
    }
    for (int e = 0; e < c.experts; e++) {
        double dp = score_gradient(c, dgate, t, e, shared);
        double g = c.softmax ? p[e] * (dp - mean + z) : dp * p[e] * (1.0 - p[e]);

        dlogit[t * c.experts + e] = (float)(g + (add ? dlogit[t * c.experts + e] : 0));
    }
}

void cu_choose_bwd(cu *on, float *dlogit, const float *dgate, const cu_choice *c, bool add)
{
    launch(on, choose_bwd, blocks_for(c->t, THREADS), THREADS, dlogit, dgate, *c, add);
}
