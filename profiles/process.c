/* What the kernel counts for every process: time, run-queue delay, faults and switches. */
#include "base/file.h"
#include "profiles/clock.h"
#include "profiles/source.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct process {
    mb_counted **counts;
    size_t n;
    mb_clock clock;
    mb_instant before;
    struct rusage used;
} process;

static process *open_process(mb_counted **counts, size_t n)
{
    process *p = mb_zalloc(1, sizeof *p);
    size_t i;

    p->counts = counts;
    p->n = n;
    for (i = 0; i < n; i++)
        counts[i]->status = MB_COUNT_OK;
    return p;
}

/* ---- clock --------------------------------------------------------------------------------- */

static const char *const clock_events[] = { "wall", "cpu", "queued", NULL };

static int64_t instant(const mb_instant *t, const char *event)
{
    return !strcmp(event, "wall") ? t->wall_ns : !strcmp(event, "cpu") ? t->cpu_ns : t->queued_ns;
}

static void *open_clock(mb_counted **counts, size_t n, int threads)
{
    process *p = open_process(counts, n);
    size_t i;

    mb_clock_open(&p->clock);
    for (i = 0; i < n && p->clock.threads == 0; i++)
        if (!strcmp(counts[i]->event.name, "queued"))
            counts[i]->status = MB_COUNT_NOT_SUPPORTED;
    return p;
}

static void start_clock(void *state)
{
    process *p = state;

    p->before = mb_clock_read(&p->clock);
}

static void stop_clock(void *state)
{
    process *p = state;
    mb_instant now = mb_clock_read(&p->clock);
    size_t i;

    for (i = 0; i < p->n; i++)
        p->counts[i]->value += (double)(instant(&now, p->counts[i]->event.name) -
                                        instant(&p->before, p->counts[i]->event.name));
}

static void close_clock(void *state)
{
    process *p = state;

    mb_clock_close(&p->clock);
    free(p);
}

const mb_source mb_source_clock = { "clock",     clock_events, false,      open_clock,
                                    start_clock, stop_clock,   close_clock };

/* ---- rusage -------------------------------------------------------------------------------- */

static const char *const rusage_events[] = {
    "user_time",          "system_time",          "minor_faults", "major_faults",
    "voluntary_switches", "involuntary_switches", "max_rss",      NULL
};

static double nanoseconds(struct timeval t)
{
    return (double)t.tv_sec * 1e9 + (double)t.tv_usec * 1e3;
}

/* The values of all events in the order of their names. */
static void values_of(const struct rusage *u, double value[])
{
    value[0] = nanoseconds(u->ru_utime);
    value[1] = nanoseconds(u->ru_stime);
    value[2] = (double)u->ru_minflt;
    value[3] = (double)u->ru_majflt;
    value[4] = (double)u->ru_nvcsw;
    value[5] = (double)u->ru_nivcsw;
    value[6] = (double)u->ru_maxrss * 1024; /* the kernel counts it in KiB */
}

static void *open_rusage(mb_counted **counts, size_t n, int threads)
{
    return open_process(counts, n);
}

static void start_rusage(void *state)
{
    process *p = state;

    getrusage(RUSAGE_SELF, &p->used);
}

static void stop_rusage(void *state)
{
    process *p = state;
    double before[7], after[7];
    struct rusage now;
    size_t i, k;

    getrusage(RUSAGE_SELF, &now);
    values_of(&p->used, before);
    values_of(&now, after);
    for (i = 0; i < p->n; i++)
        for (k = 0; rusage_events[k]; k++)
            if (!strcmp(p->counts[i]->event.name, rusage_events[k])) {
                if (!strcmp(rusage_events[k], "max_rss"))
                    p->counts[i]->value = after[k];
                else
                    p->counts[i]->value += after[k] - before[k];
            }
}

const mb_source mb_source_rusage = { "rusage",     rusage_events, false, open_rusage,
                                     start_rusage, stop_rusage,   free };
