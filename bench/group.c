#include "bench/group.h"

#include "base/file.h"
#include "base/random.h"
#include "harness/statistics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MORE = 4 }; /* rounds at most for each that is wanted */

/* ---- right before fast --------------------------------------------------------------------- */

static bool agree(double a, double b, double tolerance)
{
    return fabs(a - b) <= tolerance * fabs(b); /* false for NaN */
}

/* How far losses of one model may lie apart, of its value. Against `ref` sums differ in their
   order; in bf16 a difference in the last bit of fp32 then rounds an operand the other way, by 2^-8
   of it, here and there; layer by layer that grows to what bf16 resolves, and experts then choose
   otherwise: 0.5 % for expert choice of four rows each. Between us and others bf16 also differs in
   what it rounds: they keep activations and results of products so, we only operands. */
static const double against_ref[] = { [MB_FP32] = 1e-4, [MB_BF16] = 1e-2 };
static const double against_others[] = { [MB_FP32] = 1e-3, [MB_BF16] = 1e-2 };

/* Two steps of COMMAND on BACKEND: the second loss also depends on all gradients of the first. */
static mb_err two_losses(const char *command, const char *backend, double loss[2])
{
    char *whole = mb_format("%s backend=%s", command, backend);
    mb_worker w;
    mb_turn t;
    mb_err err = mb_worker_start(&w, whole);

    for (int i = 0; !err && i < 2; i++) {
        err = mb_worker_step(&w, &t);
        loss[i] = t.loss;
    }
    mb_worker_stop(&w);
    if (err)
        mb_fail_in(err, "%s", whole);
    free(whole);
    return err;
}

static mb_err check_against_ref(const mb_variant *v, mb_precision precision)
{
    double ours[2], ref[2];

    if (!v->check)
        return MB_OK;
    MB_TRY(two_losses(v->check, "cpu", ours));
    MB_TRY(two_losses(v->check, "ref", ref));
    for (int i = 0; i < 2; i++)
        if (!agree(ours[i], ref[i], against_ref[precision]))
            return mb_fail(MB_ECORRUPT, "%s: loss %.6f before step %d, %.6f on ref: not timed",
                           v->check, ours[i], i + 1, ref[i]);
    return MB_OK;
}

/* The losses of the first rounds. A foreign variant that has others is not compared. */
static mb_err check_same(mb_group *g)
{
    for (int i = 1; i < g->n; i++)
        for (int r = 0; !g->v[i].failed && r < MB_WARM_UP + 1; r++) {
            double own = g->v[0].turn[r].loss, other = g->v[i].turn[r].loss;

            if (agree(other, own, against_others[g->precision]))
                continue;
            mb_fail(MB_ECORRUPT, "loss %.6f at step %d, %.6f of %s", other, r + 1, own,
                    g->v[0].name);
            if (!g->v[i].foreign)
                return mb_fail_in(MB_ECORRUPT, "%s: not compared", g->v[i].name);
            g->v[i].failed = mb_format("%s", mb_message());
        }
    return MB_OK;
}

/* ---- rounds -------------------------------------------------------------------------------- */

/* Threads of the worker before may still be spinning for work. */
static void settle(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
}

/* One step of a variant, unless it has failed before; a foreign one may. */
static mb_err step(mb_variant *v, mb_worker *w, int round)
{
    mb_err err = v->failed ? MB_OK : mb_worker_step(w, &v->turn[round]);

    if (!err)
        return MB_OK;
    if (!v->foreign)
        return mb_fail_in(err, "%s", v->command);
    v->failed = mb_format("%s", mb_message());
    return MB_OK;
}

static mb_err run_round(mb_group *g, mb_worker *w, int round)
{
    uint64_t key = mb_key(1, g->section, (uint64_t)round, 0);

    for (int i = 0; i < g->n; i++) {
        int next = (int)mb_permute(key, (uint64_t)g->n, (uint64_t)i);

        settle();
        MB_TRY(step(&g->v[next], &w[next], round));
    }
    return MB_OK;
}

/* Rounds undisturbed for both variants, without warm-up. */
static int undisturbed(const mb_group *g, int a, int b)
{
    int n = 0;

    for (int r = MB_WARM_UP; r < g->rounds; r++)
        n += !mb_turn_disturbed(g, &g->v[a].turn[r]) && !mb_turn_disturbed(g, &g->v[b].turn[r]);
    return n;
}

/* Whether a variant still lacks rounds to be compared with the first. */
static bool lacking(const mb_group *g)
{
    for (int i = 0; i < g->n; i++)
        if (!g->v[i].failed && undisturbed(g, 0, i) < g->wanted)
            return true;
    return false;
}

mb_err mb_group_run(mb_group *g)
{
    int allowed = MORE * g->wanted;
    int most = MB_WARM_UP + (allowed < MB_ROUNDS_MAX ? allowed : MB_ROUNDS_MAX);
    mb_worker w[MB_VARIANTS] = { { .pid = 0 } };
    mb_err err = MB_OK;

    for (int i = 0; !err && i < g->n; i++)
        err = check_against_ref(&g->v[i], g->precision);
    /* one after the other, since a peer reads what the first has written when it answers */
    for (int i = 0; !err && i < g->n; i++) {
        err = mb_worker_start(&w[i], g->v[i].command);
        if (!err)
            err = step(&g->v[i], &w[i], 0);
    }
    for (int r = 1; !err && r < g->rounds; r++)
        err = run_round(g, w, r);
    while (!err && g->rounds < most && lacking(g))
        err = run_round(g, w, g->rounds++);
    for (int i = 0; i < g->n; i++)
        mb_worker_stop(&w[i]);
    return !err && g->same_model ? check_same(g) : err;
}

void mb_group_free(mb_group *g)
{
    for (int i = 0; i < g->n; i++) {
        free(g->v[i].name);
        free(g->v[i].command);
        free(g->v[i].check);
        free(g->v[i].failed);
    }
    g->n = 0;
}

/* ---- figures ------------------------------------------------------------------------------- */

bool mb_turn_disturbed(const mb_group *g, const mb_turn *t)
{
    return g->threads > 1 && (t->queued_ns < 0 || t->queued_ns * 100 > t->wall_ns);
}

static double time_ns(const mb_group *g, const mb_turn *t)
{
    return (double)(g->threads == 1 ? t->cpu_ns : t->wall_ns);
}

mb_measure mb_measure_of(const double *v, int n)
{
    mb_measure m = { NAN, NAN, NAN, n };

    if (n >= 3) {
        mb_interval ci = mb_bootstrap(v, (size_t)n, mb_median, 0.95, 1);

        m = (mb_measure){ mb_median(v, (size_t)n), ci.lo, ci.hi, n };
    }
    return m;
}

mb_measure mb_group_ratio(const mb_group *g, int a, int b, bool per_flop)
{
    double v[MB_ROUNDS_MAX];
    int n = 0;

    for (int r = MB_WARM_UP; r < g->rounds; r++) {
        const mb_turn *x = &g->v[a].turn[r], *y = &g->v[b].turn[r];

        if (mb_turn_disturbed(g, x) || mb_turn_disturbed(g, y))
            continue;
        v[n] = time_ns(g, x) / time_ns(g, y);
        if (per_flop)
            v[n] *= (double)y->flops_executed / (double)x->flops_executed;
        n++;
    }
    return mb_measure_of(v, n);
}

double mb_group_of_predicted(const mb_group *g, int a)
{
    const mb_turn *t = &g->v[a].turn[g->rounds - 1];

    return (double)t->bytes / (double)t->predicted;
}

double mb_group_bytes_ratio(const mb_group *g, int a, int b)
{
    return (double)g->v[a].turn[g->rounds - 1].bytes / (double)g->v[b].turn[g->rounds - 1].bytes;
}

mb_measure mb_group_of_peak(const mb_group *g, int a)
{
    double v[MB_ROUNDS_MAX];
    int n = 0;

    for (int r = MB_WARM_UP; r < g->rounds; r++) {
        const mb_turn *x = &g->v[a].turn[r];

        if (!mb_turn_disturbed(g, x))
            v[n++] = 1e9 * (double)x->flops_model / time_ns(g, x) / x->peak;
    }
    return mb_measure_of(v, n);
}
