/* Learned routes: from router logits to groups of rows, and back, for ref, cpu and null.

   Host code in float with double sums: T x E numbers are little next to the products around them.
   Order is fixed by row numbers alone, so that drops and ties are the same on every run.

   Switch Transformer sections 2.1-2.2, GShard section 2.2, Expert Choice section 3. */
#include "models/kernels/tape.h"

#include "base/random.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a choice remembers for its backward. */
typedef struct decision {
    const mb_router *how;
    int experts;
    int64_t t;
    const float *score;    /* (T, E) softmax or sigmoid of the logits */
    const float *lse;      /* (T) log-sum-exp of the logits; softmax only */
    const double *first;   /* (E) fraction of rows whose best expert is e: f of the balance loss */
    const int32_t *expert; /* (S) expert of each routed row */
    const float *norm;     /* (T) sum of a token's kept-or-not top-k scores, when renormalised */
    const int32_t *top;    /* (T, k) experts chosen by each token, best first */
} decision;

/* ---- scores --------------------------------------------------------------------------------- */

static void softmax_row(float *p, float *lse, const float *logit, int n)
{
    float max = logit[0];
    double sum = 0;

    for (int e = 1; e < n; e++)
        max = logit[e] > max ? logit[e] : max;
    for (int e = 0; e < n; e++)
        sum += p[e] = expf(logit[e] - max);
    for (int e = 0; e < n; e++)
        p[e] = (float)(p[e] / sum);
    *lse = (float)(max + log(sum));
}

static void make_scores(mb_ctx *c, decision *d, const float *logit)
{
    int n = d->experts;
    float *score = mb_ctx_host(c, (size_t)(d->t * n) * sizeof *score);
    float *lse = mb_ctx_host(c, (size_t)d->t * sizeof *lse);

    for (int64_t i = 0; i < d->t; i++) {
        if (d->how->score == MB_SOFTMAX) {
            softmax_row(score + i * n, lse + i, logit + i * n, n);
        } else {
            for (int e = 0; e < n; e++)
                score[i * n + e] = 1.0f / (1.0f + expf(-logit[i * n + e]));
        }
    }
    d->score = score;
    d->lse = lse;
}

/* ---- the route from a list of assignments ---------------------------------------------------- */

typedef struct assignments { /* in the order made; token choice: in order of claims */
    int32_t *token, *expert;
    float *gate;
    int64_t n;
    int64_t *asked, *load; /* (E) */
} assignments;

static assignments make_list(mb_ctx *c, int64_t most, int experts)
{
    assignments a = { .token = mb_ctx_host(c, (size_t)most * sizeof *a.token),
                      .expert = mb_ctx_host(c, (size_t)most * sizeof *a.expert),
                      .gate = mb_ctx_host(c, (size_t)most * sizeof *a.gate),
                      .asked = mb_ctx_host(c, (size_t)experts * sizeof *a.asked),
                      .load = mb_ctx_host(c, (size_t)experts * sizeof *a.load) };

    memset(a.asked, 0, (size_t)experts * sizeof *a.asked);
    memset(a.load, 0, (size_t)experts * sizeof *a.load);
    return a;
}

static void assign(assignments *a, int64_t token, int expert, float gate)
{
    a->token[a->n] = (int32_t)token;
    a->expert[a->n] = (int32_t)expert;
    a->gate[a->n] = gate;
    a->n++;
    a->load[expert]++;
}

/* Counting sort by expert, stable, rank by position; then the inverse, from tokens to rows. */
static mb_route *make_route(mb_ctx *c, const assignments *a, int experts, int64_t t, bool wants,
                            int32_t **expert_of_row)
{
    int64_t *offset = mb_ctx_host(c, (size_t)(experts + 1) * sizeof *offset);
    int64_t *next = mb_ctx_host(c, (size_t)experts * sizeof *next);
    int32_t *token = mb_ctx_host(c, (size_t)a->n * sizeof *token);
    int32_t *expert = mb_ctx_host(c, (size_t)a->n * sizeof *expert);
    int32_t *first = mb_ctx_host(c, (size_t)(t + 1) * sizeof *first);
    int32_t *row = mb_ctx_host(c, (size_t)a->n * sizeof *row);
    int32_t *fill = mb_ctx_host(c, (size_t)t * sizeof *fill);
    mb_tensor *gate = mb_tape_floats(c, "gate", 1, a->n, wants);
    mb_route *r = mb_ctx_host(c, sizeof *r);

    offset[0] = 0;
    for (int e = 0; e < experts; e++) {
        next[e] = offset[e];
        offset[e + 1] = offset[e] + a->load[e];
    }
    memset(first, 0, (size_t)(t + 1) * sizeof *first);
    for (int64_t i = 0; i < a->n; i++) {
        int64_t at = next[a->expert[i]]++;

        token[at] = a->token[i];
        expert[at] = a->expert[i];
        if (c->be->computes)
            mb_f32(gate)[at] = a->gate[i];
        first[a->token[i] + 1]++;
    }
    for (int64_t i = 0; i < t; i++) {
        first[i + 1] += first[i];
        fill[i] = first[i];
    }
    for (int64_t i = 0; i < a->n; i++)
        row[fill[token[i]]++] = (int32_t)i;
    *r = (mb_route){ .groups = experts,
                     .rows = a->n,
                     .tokens = t,
                     .offset = offset,
                     .asked = a->asked,
                     .kept = a->load,
                     .token = token,
                     .first = first,
                     .row = row,
                     .gate = gate };
    *expert_of_row = expert;
    return r;
}

/* ---- token choice --------------------------------------------------------------------------- */

int64_t mb_router_room(const mb_router *how, int64_t n, int experts)
{
    double share = how->choice == MB_TOKEN_CHOOSES ? how->capacity * how->top_k : how->capacity;
    int64_t room = (int64_t)ceil(share * (double)n / experts - 1e-9);

    return how->capacity > 0 && !how->cut && room < n ? room : n;
}

/* The k best experts of every token, best first, ties to the lower index; and their scores' sum. */
static void pick_top(mb_ctx *c, decision *d)
{
    int k = d->how->top_k, n = d->experts;
    int32_t *top = mb_ctx_host(c, (size_t)(d->t * k) * sizeof *top);
    float *norm = mb_ctx_host(c, (size_t)d->t * sizeof *norm);

    for (int64_t i = 0; i < d->t; i++) {
        const float *p = d->score + i * n;

        norm[i] = 0;
        for (int rank = 0; rank < k; rank++) {
            int best = -1;

            for (int e = 0; e < n; e++) {
                bool taken = false;

                for (int before = 0; before < rank; before++)
                    taken |= top[i * k + before] == e;
                if (!taken && (best < 0 || p[e] > p[best]))
                    best = e;
            }
            top[i * k + rank] = (int32_t)best;
            norm[i] += p[best];
        }
    }
    d->top = top;
    d->norm = norm;
}

static float gate_of(const decision *d, int64_t token, int expert)
{
    float p = d->score[token * d->experts + expert];

    return d->how->renormalise ? p / d->norm[token] : p;
}

static void claim(const decision *d, assignments *a, int64_t *room, int64_t token, int rank)
{
    int expert = d->top[token * d->how->top_k + rank];
    float gate = gate_of(d, token, expert);

    a->asked[expert]++;
    if (rank > 0 && d->how->random_second && mb_uniform(d->how->key, (uint64_t)token) >= 2.0 * gate)
        return;
    if (room[expert] == 0)
        return;
    room[expert]--;
    assign(a, token, expert, gate);
}

static void tokens_choose(mb_ctx *c, decision *d, assignments *a)
{
    const mb_router *how = d->how;
    int64_t group = how->group_rows ? how->group_rows : d->t;
    int64_t *room = mb_ctx_host(c, (size_t)d->experts * sizeof *room);

    pick_top(c, d);
    for (int64_t start = 0; start < d->t; start += group) {
        int64_t end = start + group < d->t ? start + group : d->t;
        int64_t most = mb_router_room(how, end - start, d->experts);

        for (int e = 0; e < d->experts; e++)
            room[e] = most;
        for (int rank = 0; rank < how->top_k; rank++)
            for (int64_t i = start; i < end; i++)
                claim(d, a, room, i, rank);
    }
}

/* ---- expert choice --------------------------------------------------------------------------- */

/* The K-th largest of N floats (K from 1), by quickselect over a copy. */
static float kth_largest(float *x, int64_t n, int64_t k)
{
    int64_t lo = 0, hi = n - 1;

    k--;
    while (lo < hi) {
        float pivot = x[(lo + hi) / 2];
        int64_t i = lo, j = hi;

        while (i <= j) {
            while (x[i] > pivot)
                i++;
            while (x[j] < pivot)
                j--;
            if (i <= j) {
                float swap = x[i];

                x[i++] = x[j];
                x[j--] = swap;
            }
        }
        if (k <= j)
            hi = j;
        else if (k >= i)
            lo = i;
        else
            break;
    }
    return x[k];
}

/* Expert e takes its MOST best rows of start .. end-1, or those from its cut on, in row order; ties
   to the lower row. Returns the score from which it took them. */
static float expert_takes(const decision *d, assignments *a, float *copy, int e, int64_t start,
                          int64_t end, int64_t most)
{
    int n = d->experts;
    int64_t above = 0, before = a->n;
    float least;

    for (int64_t i = start; i < end; i++)
        copy[i - start] = d->score[i * n + e];
    least = d->how->cut ? d->how->cut[e] : kth_largest(copy, end - start, most);
    for (int64_t i = start; i < end; i++)
        above += d->score[i * n + e] > least;
    for (int64_t i = start, ties = most - above; i < end; i++) {
        float p = d->score[i * n + e];

        if (p > least || (p == least && ties-- > 0))
            assign(a, i, e, p);
    }
    a->asked[e] += a->n - before;
    return least;
}

static void experts_choose(mb_ctx *c, decision *d, assignments *a)
{
    int64_t group = d->how->group_rows ? d->how->group_rows : d->t;
    float *copy = mb_ctx_host(c, (size_t)group * sizeof *copy);

    for (int e = 0; e < d->experts; e++) {
        double sum = 0;
        int64_t groups = 0;

        for (int64_t start = 0; start < d->t; start += group, groups++) {
            int64_t end = start + group < d->t ? start + group : d->t;

            sum += expert_takes(d, a, copy, e, start, end,
                                mb_router_room(d->how, end - start, d->experts));
        }
        if (d->how->least)
            d->how->least[e] = (float)(sum / (double)groups);
    }
}

/* Rows that all experts have room for. */
static int64_t room_of_all(const decision *d)
{
    int64_t group = d->how->group_rows ? d->how->group_rows : d->t, rest = d->t % group;

    return d->experts * (d->t / group * mb_router_room(d->how, group, d->experts) +
                         mb_router_room(d->how, rest, d->experts));
}

/* Without numbers (backend `null`) every row is asked for in turn: the sizes of a full load, or of
   all the room where that is taken. */
static void take_turns(mb_ctx *c, const decision *d, assignments *a)
{
    bool room = d->how->choice == MB_EXPERT_CHOOSES || (c->padded && d->how->capacity > 0);
    int64_t n = room ? room_of_all(d) : d->t * d->how->top_k;

    *a = make_list(c, n, d->experts);
    for (int64_t i = 0; i < n; i++) {
        int e = (int)(i % d->experts);

        a->asked[e]++;
        assign(a, i % d->t, e, 1.0f);
    }
}

/* ---- losses of the router, and the way back ----------------------------------------------------
 */

static void measure(mb_ctx *c, decision *d, mb_routed *out)
{
    int n = d->experts;
    double *first = mb_ctx_host(c, (size_t)n * sizeof *first);

    memset(first, 0, (size_t)n * sizeof *first);
    d->first = first;
    if (d->how->score != MB_SOFTMAX)
        return;
    for (int64_t i = 0; i < d->t; i++)
        out->z += (double)d->lse[i] * d->lse[i] / (double)d->t;
    if (d->how->choice == MB_EXPERT_CHOOSES) /* balanced by construction */
        return;
    for (int64_t i = 0; i < d->t; i++)
        first[d->top[i * d->how->top_k]] += 1.0 / (double)d->t;
    for (int e = 0; e < n; e++) {
        double mean = 0;

        for (int64_t i = 0; i < d->t; i++)
            mean += d->score[i * n + e] / (double)d->t;
        out->balance += n * first[e] * mean;
    }
}

/* dp[t] += what the gates of t's rows ask for; through the renormalisation when there is one. */
static void gates_back(const decision *d, const mb_route *r, int64_t t, double *dp)
{
    const float *dgate = r->gate->grad, *gate = mb_f32(r->gate);
    double shared = 0;

    for (int32_t j = r->first[t]; j < r->first[t + 1]; j++) {
        int32_t i = r->row[j];

        if (d->how->renormalise) {
            dp[d->expert[i]] += dgate[i] / d->norm[t];
            shared += (double)dgate[i] * gate[i] / d->norm[t];
        } else {
            dp[d->expert[i]] += dgate[i];
        }
    }
    if (d->how->renormalise) /* every chosen score is in the sum that divides */
        for (int rank = 0; rank < d->how->top_k; rank++)
            dp[d->top[t * d->how->top_k + rank]] -= shared;
}

static void score_back(const decision *d, int64_t t, const double *dp, float *dlogit, bool add)
{
    const float *p = d->score + t * d->experts;
    int n = d->experts;
    double mean = 0, z = 0;

    if (d->how->score == MB_SOFTMAX) {
        for (int e = 0; e < n; e++)
            mean += p[e] * dp[e];
        z = 2.0 * d->how->z * d->lse[t] / (double)d->t;
    }
    for (int e = 0; e < n; e++) {
        double g =
            d->how->score == MB_SOFTMAX ? p[e] * (dp[e] - mean + z) : dp[e] * p[e] * (1.0 - p[e]);

        dlogit[t * n + e] = (float)(g + (add ? dlogit[t * n + e] : 0));
    }
}

void mb_host_choose_bwd(mb_ctx *c, float *dlogit, const mb_route *r, bool add)
{
    const decision *d = r->decision;
    int n = d->experts;
    double *dp = mb_ctx_host(c, (size_t)n * sizeof *dp);

    for (int64_t t = 0; c->be->computes && t < d->t; t++) {
        for (int e = 0; e < n; e++)
            dp[e] = d->how->balance * n * d->first[e] / (double)d->t;
        gates_back(d, r, t, dp);
        score_back(d, t, dp, dlogit, add);
    }
}

mb_route *mb_host_choose(mb_ctx *c, const mb_tensor *logits, const mb_router *how, mb_routed *out)
{
    int64_t t = logits->rows,
            most = t * (how->choice == MB_TOKEN_CHOOSES ? how->top_k : logits->cols);
    decision *d = mb_ctx_host(c, sizeof *d);
    assignments a;
    int32_t *expert;
    mb_route *r;

    *d = (decision){ .how = how, .experts = (int)logits->cols, .t = t };
    *out = (mb_routed){ 0 };
    if (!c->be->computes) {
        take_turns(c, d, &a);
    } else {
        a = make_list(c, most, d->experts);
        make_scores(c, d, mb_f32(logits));
        if (how->choice == MB_TOKEN_CHOOSES)
            tokens_choose(c, d, &a);
        else
            experts_choose(c, d, &a);
        measure(c, d, out);
    }
    r = make_route(c, &a, d->experts, t, logits->wants, &expert);
    d->expert = expert;
    for (int e = 0; e < d->experts; e++)
        out->asked += a.asked[e];
    out->kept = a.n;
    r->decision = d;
    return r;
}
