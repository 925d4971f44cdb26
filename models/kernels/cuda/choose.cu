/* Learned routes on the device: scores, the experts of each token, places by rank, and the way
   back. The host's choose.c says what is chosen; here, who gets which place is a count of those
   before, so that nothing depends on which block or thread runs first. */
#include "models/kernels/cuda/kernel.cuh"

/* Threads of a block that goes over many rows: as many as there can be, so that a thread has 64
   registers at most, which its kernel must say: with more it does not start. */
enum { SCAN = 1024 };

/* ---- scores: one thread per row, next to each other for one expert ----------------------------
 */

/* p[e T] of the row's logits. */
__device__ static inline void softmax_row(float *p, float *lse, const float *logit, int n,
                                          int64_t t)
{
    float top = logit[0];
    double sum = 0;

    for (int e = 1; e < n; e++)
        top = fmaxf(top, logit[e]);
    for (int e = 0; e < n; e++)
        sum += expf(logit[e] - top);
    for (int e = 0; e < n; e++)
        p[e * t] = (float)(expf(logit[e] - top) / sum);
    *lse = (float)(top + log(sum));
}

/* The k best, best first, ties to the lower index; returns their sum. */
__device__ static inline float pick_top(int32_t *top, int k, const float *p, int n, int64_t t)
{
    float sum = 0;

    for (int rank = 0; rank < k; rank++) {
        float most = 0;
        int best = -1;

        for (int e = 0; e < n; e++) {
            float score = p[e * t];
            bool taken = false;

            for (int before = 0; before < rank; before++)
                taken |= top[before] == e;
            if (!taken && (best < 0 || score > most)) {
                best = e;
                most = score;
            }
        }
        top[rank] = best;
        sum += most;
    }
    return sum;
}

__global__ void score_rows(cu_choice c)
{
    int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    const float *logit = c.logit + t * c.experts;
    float *p = c.score + t;

    if (t >= c.t)
        return;
    if (c.softmax)
        softmax_row(p, c.lse + t, logit, c.experts, c.t);
    else
        for (int e = 0; e < c.experts; e++)
            p[e * c.t] = 1 / (1 + expf(-logit[e]));
    if (!c.by_experts)
        c.norm[t] = pick_top(c.top + t * c.k, c.k, p, c.experts, c.t);
}

void cu_scores(cu *on, const cu_choice *c)
{
    launch(on, score_rows, blocks_for(c->t, THREADS), THREADS, *c);
}

/* ---- places: one block per expert and group of rows -------------------------------------------
 */

/* Neighbouring rows that a thread takes at a time, and those of a block. */
enum { ROWS = 4, TURN = SCAN * ROWS };

/* The sum over this lane and those before it. */
__device__ static inline int lanes_up_to(int x)
{
    int lane = threadIdx.x % WARP;

#pragma unroll
    for (int step = 1; step < WARP; step *= 2) {
        int before = __shfl_up_sync(0xffffffffu, x, step);

        x += lane >= step ? before : 0;
    }
    return x;
}

/* The sum over the threads before this one of a block of SCAN; *all: over the block. */
__device__ static inline int sum_before(int x, int *all)
{
    __shared__ int part[WARP];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, lanes = lanes_up_to(x), warps;

    static_assert(SCAN == WARP * WARP, "every lane has one warp's sum");
    __syncthreads(); /* part may still be read from the last call */
    if (lane == WARP - 1)
        part[warp] = lanes;
    __syncthreads();
    warps = lanes_up_to(part[lane]);
    *all = __shfl_sync(0xffffffffu, warps, WARP - 1);
    return __shfl_sync(0xffffffffu, warps, warp) - part[warp] + lanes - x;
}

/* A group of rows that share the capacity, as one expert sees it. */
typedef struct group {
    int64_t start;
    int n, room;  /* rows; places, */
    int64_t base; /* and the first of them */
} group;

__device__ static inline group group_of(const cu_choice &c, int e, int64_t number)
{
    int64_t start = number * c.group, rest = c.t % c.group;
    bool whole = start + c.group <= c.t;
    group g = { start, (int)(whole ? c.group : rest), (int)(whole ? c.room : c.last_room), 0 };

    g.base = c.offset ? c.offset[e]
                      : e * (c.t / c.group * c.room + (rest ? c.last_room : 0)) + number * c.room;
    return g;
}

__device__ static inline void leave_empty(const cu_choice &c, const group &g, int taken)
{
    for (int i = taken + (int)threadIdx.x; i < g.room; i += SCAN) {
        c.token[g.base + i] = -1;
        c.gate[g.base + i] = 0;
    }
}

/* Whether row T's choice of rank RANK claims a place, which a second one does at random. */
__device__ static inline bool claims(const cu_choice &c, int64_t t, int rank, float gate)
{
    return !(c.random_second && rank > 0 && uniform(*c.key, (uint64_t)t) >= 2.0 * gate);
}

/* Choices of rank RANK of rows FIRST .. FIRST+ROWS-1 of the group, after *taken claims in all;
   returns how many of them ask for expert E. */
__device__ static inline int claim_rows(const cu_choice &c, const group &g, int e, int rank,
                                        int first, int *taken)
{
    bool asks[ROWS], stands[ROWS];
    float gate[ROWS];
    int asked = 0, standing = 0, place, all;

#pragma unroll
    for (int i = 0; i < ROWS; i++) { /* scores of all: no load waits for another */
        int64_t t = g.start + first + i;
        bool is = first + i < g.n;

        asks[i] = is && c.top[t * c.k + rank] == e;
        gate[i] = is ? c.score[e * c.t + t] : 0;
    }
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        int64_t t = g.start + first + i;

        if (asks[i] && c.renormalise)
            gate[i] /= c.norm[t];
        stands[i] = asks[i] && claims(c, t, rank, gate[i]);
        asked += asks[i];
        standing += stands[i];
    }
    place = *taken + sum_before(standing, &all);
    *taken += all;
#pragma unroll
    for (int i = 0; i < ROWS && c.token; i++) {
        int64_t t = g.start + first + i;
        bool gets = stands[i] && place < g.room;

        if (asks[i])
            c.inverse[t * c.k + rank] = gets ? (int32_t)(g.base + place) : -1;
        if (gets) {
            c.token[g.base + place] = (int32_t)t;
            c.gate[g.base + place] = gate[i];
        }
        place += stands[i];
    }
    return asked;
}

/* Claims of a group in order: every token's first choice, then every token's second. Returns how
   many the expert keeps. */
__device__ static int tokens_claim(const cu_choice &c, const group &g, int e, int *asked)
{
    int taken = 0;

    *asked = 0;
    for (int rank = 0; rank < c.k; rank++)
        for (int at = 0; at < g.n; at += TURN)
            *asked += claim_rows(c, g, e, rank, at + (int)threadIdx.x * ROWS, &taken);
    *asked = block_sum(*asked);
    taken = taken < g.room ? taken : g.room;
    if (c.token && !c.offset)
        leave_empty(c, g, taken);
    return taken;
}

/* Scores in order, as numbers of three digits. From 0 to 1 floats are in the order of their bits,
   which are below 2^30; what is no number counts as the highest. */
enum { DIGIT = 10, DIGITS = 3 };

__device__ static inline unsigned order_of(float score)
{
    unsigned bits = __float_as_uint(score), most = (1u << DIGIT * DIGITS) - 1;

    return bits < most ? bits : most;
}

/* Of the rows whose order begins with the digits HIGH: the digit after it, SHIFT bits from the end,
   that the *want-th highest has. *want is then counted among those that have it. */
__device__ static unsigned find_digit(const float *score, int n, unsigned high, int shift,
                                      int *want)
{
    __shared__ int rows[SCAN], found, above;
    int digit = SCAN - 1 - (int)threadIdx.x, before, all;

    static_assert(SCAN == 1 << DIGIT, "every thread counts a digit");
    rows[digit] = 0;
    __syncthreads();
#pragma unroll 8
    for (int i = threadIdx.x; i < n; i += SCAN) {
        unsigned order = order_of(score[i]);

        if (order >> shift >> DIGIT == high)
            atomicAdd(&rows[order >> shift & (SCAN - 1)], 1);
    }
    __syncthreads();
    before = sum_before(rows[digit], &all);
    if (before < *want && *want <= before + rows[digit]) {
        found = digit;
        above = before;
    }
    __syncthreads();
    *want -= above;
    return high << DIGIT | found;
}

/* Rows FIRST .. FIRST+ROWS-1 of the group: those above LEAST are taken, and of those at it the
   first TIES. *above, *same: rows above it and at it before this turn, and then after it. */
__device__ static inline void take_rows(const cu_choice &c, const group &g, int e, int first,
                                        unsigned least, int ties, int *above, int *same)
{
    enum { HALF = 16 }; /* both counts in one number: a turn has fewer rows */
    const float *score = c.score + e * c.t + g.start + first;
    float p[ROWS];
    int sum = 0, over, tie, all;

#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        p[i] = first + i < g.n ? score[i] : 0;
        if (first + i < g.n)
            sum += (order_of(p[i]) > least) << HALF | (order_of(p[i]) == least);
    }
    sum = sum_before(sum, &all);
    over = *above + (sum >> HALF);
    tie = *same + (sum & ((1 << HALF) - 1));
    *above += all >> HALF;
    *same += all & ((1 << HALF) - 1);
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        unsigned order = order_of(p[i]);
        bool takes = order > least || (order == least && tie < ties);
        int64_t t = g.start + first + i, row = g.base + over + (tie < ties ? tie : ties);

        if (first + i >= g.n)
            break;
        c.place[e * c.t + t] = takes ? (int32_t)row : -1;
        if (takes) {
            c.token[row] = (int32_t)t;
            c.gate[row] = p[i];
        }
        over += order > least;
        tie += order == least;
    }
}

/* The expert's best rows, or those from its cut on, in order of rows, ties to the lower row: first
   the least score that has a place, digit by digit, then places. Returns how many, and that score.
 */
__device__ static int expert_takes(const cu_choice &c, const group &g, int e, float *from)
{
    int ties = g.room, above = 0, same = 0, taken;
    unsigned least = c.cut ? __float_as_uint(c.cut[e]) : 0;

    for (int shift = DIGIT * (DIGITS - 1); !c.cut && shift >= 0; shift -= DIGIT)
        least = find_digit(c.score + e * c.t + g.start, g.n, least, shift, &ties);
    for (int at = 0; at < g.n; at += TURN)
        take_rows(c, g, e, at + (int)threadIdx.x * ROWS, least, ties, &above, &same);
    taken = above + (same < ties ? same : ties);
    leave_empty(c, g, taken);
    *from = __uint_as_float(least);
    return taken;
}

__global__ void __launch_bounds__(SCAN, 1) assign(cu_choice c)
{
    int e = blockIdx.x % c.experts, asked, kept;
    group g = group_of(c, e, blockIdx.x / c.experts);
    float from = 0;

    if (c.by_experts)
        asked = kept = expert_takes(c, g, e, &from);
    else
        kept = tokens_claim(c, g, e, &asked);
    if (threadIdx.x == 0) {
        c.group_asked[blockIdx.x] = asked;
        c.group_kept[blockIdx.x] = kept;
        c.group_least[blockIdx.x] = from;
    }
}

void cu_assign(cu *on, const cu_choice *c)
{
    launch(on, assign, c->groups * c->experts, SCAN, *c);
}

/* Every token has k rows, which experts that choose have left in their own order. */
__global__ void list_rows(int32_t *first, cu_choice c)
{
    int64_t t = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (t <= c.t)
        first[t] = (int32_t)(t * c.k);
    for (int e = 0; c.by_experts && t < c.t && e < c.experts; e++)
        c.inverse[t * c.k + e] = c.place[e * c.t + t];
}

void cu_list_rows(cu *on, int32_t *first, const cu_choice *c)
{
    launch(on, list_rows, blocks_for(c->t + 1, THREADS), THREADS, first, *c);
}

/* ---- losses and counts: one block per expert, and one for z ------------------------------------
 */

/* What expert E has got in all groups of rows. */
__device__ static inline void add_groups(const cu_choice &c, int e)
{
    int64_t asked = 0, kept = 0;
    double least = 0;

    for (int64_t g = threadIdx.x; g < c.groups; g += SCAN) {
        asked += c.group_asked[g * c.experts + e];
        kept += c.group_kept[g * c.experts + e];
        least += c.group_least[g * c.experts + e];
    }
    asked = block_sum(asked);
    kept = block_sum(kept);
    least = block_sum(least);
    if (threadIdx.x == 0) {
        c.asked[e] = asked;
        c.kept[e] = kept;
        c.least[e] = (float)(least / (double)c.groups);
    }
}

__global__ void __launch_bounds__(SCAN, 1) choice_losses(cu_choice c)
{
    int e = blockIdx.x;
    bool balanced = c.by_experts && e < c.experts; /* by construction */
    int64_t rows = c.softmax && !balanced ? c.t : 0;
    double best = 0, sum = 0;

    if (e < c.experts)
        add_groups(c, e);
#pragma unroll 8
    for (int64_t t = threadIdx.x; t < rows; t += SCAN)
        if (e == c.experts) {
            sum += (double)c.lse[t] * c.lse[t];
        } else {
            best += c.top[t * c.k] == e;
            sum += c.score[e * c.t + t];
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
    const float *p = c.score + t;

    for (int rank = 0; c.renormalise && rank < c.k; rank++) {
        int32_t row = c.inverse[t * c.k + rank];

        if (row >= 0)
            shared += (double)dgate[row] * c.gate[row] / c.norm[t];
    }
    if (c.softmax) {
        for (int e = 0; e < c.experts; e++)
            mean += p[e * c.t] * score_gradient(c, dgate, t, e, shared);
        z = 2.0 * c.z * c.lse[t] / (double)c.t;
    }
    for (int e = 0; e < c.experts; e++) {
        double dp = score_gradient(c, dgate, t, e, shared), score = p[e * c.t];
        double g = c.softmax ? score * (dp - mean + z) : dp * score * (1.0 - score);

        dlogit[t * c.experts + e] = (float)(g + (add ? dlogit[t * c.experts + e] : 0));
    }
}

void cu_choose_bwd(cu *on, float *dlogit, const float *dgate, const cu_choice *c, bool add)
{
    launch(on, choose_bwd, blocks_for(c->t, THREADS), THREADS, dlogit, dgate, *c, add);
}
