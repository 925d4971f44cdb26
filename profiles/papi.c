/* PAPI: hardware and software events, and software-defined events that show our ledger to it.

   An event set holds events of one component and counts in the thread that made it, so there is a
   set per component and, for processor events, per OpenMP thread. (One set with inheritance would
   do, but PAPI refuses that on machines without a performance monitoring unit.) */
#include "base/file.h"
#include "profiles/source.h"

#include <papi.h>
#include <pthread.h>
#include <sde_lib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct group { /* events of one component */
    int component, threads;
    size_t n;
    mb_counted **counts; /* (n) */
    int *codes;          /* (n) */
    int *sets;           /* (threads) */
    long long *values;   /* (threads, n) of the last stop */
    bool running;
} group;

typedef struct state {
    group *groups;
    size_t n;
} state;

/* ---- the library ------------------------------------------------------------------------------
 */

static unsigned long thread_id(void)
{
    return (unsigned long)pthread_self();
}

static bool library(void)
{
    static int result; /* PAPI's own state is the process's, too */

    if (!result) {
        result = PAPI_library_init(PAPI_VER_CURRENT);
        if (result == PAPI_VER_CURRENT && PAPI_thread_init(thread_id) != PAPI_OK)
            result = -1;
    }
    return result == PAPI_VER_CURRENT;
}

bool mb_papi_works(void)
{
    return library();
}

const char *mb_papi_about(void)
{
    static char about[64];

    snprintf(about, sizeof about, "PAPI %d.%d.%d%s", PAPI_VERSION_MAJOR(PAPI_VERSION),
             PAPI_VERSION_MINOR(PAPI_VERSION), PAPI_VERSION_REVISION(PAPI_VERSION),
             library() ? "" : " does not start");
    return about;
}

static enum mb_count_status status_of(int code)
{
    switch (code) {
    case PAPI_OK:
        return MB_COUNT_OK;
    case PAPI_ECNFLCT:
    case PAPI_ECOUNT:
        return MB_COUNT_MULTIPLEXED;
    case PAPI_ENOEVNT:
    case PAPI_ENOTPRESET:
    case PAPI_ENOCMP:
    case PAPI_ECMP:
    case PAPI_ECMP_DISABLED:
    case PAPI_ENOSUPP:
        return MB_COUNT_NOT_SUPPORTED;
    case PAPI_EPERM:
        return MB_COUNT_NOT_PERMITTED;
    default:
        return MB_COUNT_ERROR;
    }
}

/* ---- groups --------------------------------------------------------------------------------- */

/* The group of COMPONENT, made when there is none; the caller's thread has its first set. Only
   component 0, the processor's, has events that belong to threads. MAX events will come at most. */
static group *group_of(state *s, int component, int threads, size_t max)
{
    group *g;
    size_t i;

    for (i = 0; i < s->n; i++)
        if (s->groups[i].component == component)
            return &s->groups[i];
    g = &s->groups[s->n++];
    g->component = component;
    g->threads = component == 0 ? threads : 1;
    g->counts = mb_zalloc(max, sizeof *g->counts);
    g->codes = mb_zalloc(max, sizeof *g->codes);
    g->sets = mb_alloc((size_t)g->threads * sizeof *g->sets);
    for (i = 0; i < (size_t)g->threads; i++)
        g->sets[i] = PAPI_NULL;
    if (PAPI_create_eventset(&g->sets[0]) != PAPI_OK)
        g->sets[0] = PAPI_NULL;
    return g;
}

/* Where PAPI counts in user mode alone, events that only the kernel has stand still: it adds and
   starts them and says 0. */
static bool stands_still(group *g, const char *name)
{
    long long *values;
    bool still;

    if (!strstr(name, "SWITCHES"))
        return strstr(name, "MIGRATIONS"); /* cannot be provoked, and are counted the same way */
    values = mb_zalloc(g->n + 1, sizeof *values);
    if (PAPI_start(g->sets[0]) == PAPI_OK) {
        usleep(1); /* a switch */
        PAPI_stop(g->sets[0], values);
    }
    still = values[g->n] == 0;
    free(values);
    return still;
}

/* Adds an event to the first set and starts it, which alone says whether it counts. */
static int probe(group *g, int code, const char *name)
{
    int result = PAPI_add_event(g->sets[0], code);

    if (result != PAPI_OK)
        return result;
    result = PAPI_start(g->sets[0]);
    if (result == PAPI_OK)
        result = PAPI_stop(g->sets[0], NULL);
    if (result == PAPI_OK && stands_still(g, name))
        result = PAPI_ENOSUPP;
    if (result != PAPI_OK)
        PAPI_remove_event(g->sets[0], code);
    return result;
}

static void add_event(state *s, mb_counted *count, const char *name, int threads, size_t max)
{
    int code, result = PAPI_event_name_to_code(name, &code);
    group *g;

    if (result != PAPI_OK) { /* no such name here */
        count->status = MB_COUNT_NOT_SUPPORTED;
        return;
    }
    g = group_of(s, PAPI_get_event_component(code), threads, max);
    result = probe(g, code, name);
    count->status = status_of(result);
    if (result == PAPI_OK) {
        g->counts[g->n] = count;
        g->codes[g->n++] = code;
    }
}

/* The sets of the other threads, each made in its own. */
static void spread(group *g)
{
    int t, bad = 0;
    size_t i;

    g->values = mb_zalloc((size_t)g->threads * g->n, sizeof *g->values);
#pragma omp parallel for num_threads(g->threads) schedule(static, 1) reduction(+ : bad)
    for (t = 0; t < g->threads; t++)
        if (t > 0)
            bad += PAPI_create_eventset(&g->sets[t]) != PAPI_OK ||
                   PAPI_add_events(g->sets[t], g->codes, (int)g->n) != PAPI_OK;
    for (i = 0; bad && i < g->n; i++)
        g->counts[i]->status = MB_COUNT_ERROR;
}

static void start_group(group *g)
{
    int t, bad = 0;
    size_t i;

#pragma omp parallel for num_threads(g->threads) schedule(static, 1) reduction(+ : bad)
    for (t = 0; t < g->threads; t++)
        bad += PAPI_start(g->sets[t]) != PAPI_OK;
    g->running = !bad;
    for (i = 0; bad && i < g->n; i++)
        g->counts[i]->status = MB_COUNT_ERROR;
}

static void stop_group(group *g)
{
    int t, bad = 0;
    size_t i;

#pragma omp parallel for num_threads(g->threads) schedule(static, 1) reduction(+ : bad)
    for (t = 0; t < g->threads; t++)
        bad += PAPI_stop(g->sets[t], g->values + (size_t)t * g->n) != PAPI_OK;
    g->running = false;
    for (i = 0; i < g->n; i++) {
        if (bad)
            g->counts[i]->status = MB_COUNT_ERROR;
        for (t = 0; t < g->threads; t++)
            g->counts[i]->value += (double)g->values[(size_t)t * g->n + i];
    }
}

static void close_group(group *g)
{
    int t;

#pragma omp parallel for num_threads(g->threads) schedule(static, 1)
    for (t = 0; t < g->threads; t++) {
        PAPI_cleanup_eventset(g->sets[t]);
        PAPI_destroy_eventset(&g->sets[t]);
    }
    free(g->counts);
    free(g->codes);
    free(g->sets);
    free(g->values);
}

/* ---- the source papi ------------------------------------------------------------------------ */

/* PREFIX comes before the name of every event. */
static void *open_events(mb_counted **counts, size_t n, int threads, const char *prefix)
{
    state *s;
    size_t i;

    if (!library())
        return NULL;
    s = mb_zalloc(1, sizeof *s);
    s->groups = mb_zalloc(n, sizeof *s->groups);
    for (i = 0; i < n; i++) {
        char *name = mb_format("%s%s", prefix, counts[i]->event.name);

        add_event(s, counts[i], name, threads, n);
        free(name);
    }
    for (i = 0; i < s->n; i++)
        if (s->groups[i].n)
            spread(&s->groups[i]);
    return s;
}

static void *open_papi(mb_counted **counts, size_t n, int threads)
{
    return open_events(counts, n, threads, "");
}

static void start_papi(void *of)
{
    state *s = of;
    size_t i;

    for (i = 0; i < s->n; i++)
        if (s->groups[i].n && s->groups[i].counts[0]->status == MB_COUNT_OK)
            start_group(&s->groups[i]);
}

static void stop_papi(void *of)
{
    state *s = of;
    size_t i;

    for (i = 0; i < s->n; i++)
        if (s->groups[i].running)
            stop_group(&s->groups[i]);
}

static void close_papi(void *of)
{
    state *s = of;
    size_t i;

    for (i = 0; i < s->n; i++)
        close_group(&s->groups[i]);
    free(s->groups);
    free(s);
}

const mb_source mb_source_papi = {
    "papi", NULL, false, open_papi, start_papi, stop_papi, close_papi
};

/* ---- software-defined events ---------------------------------------------------------------- */

static const mb_tally *published;

static long long read_tally(void *of)
{
    const char *event = of;
    mb_cost total;

    if (!published)
        return 0;
    total = mb_ledger_total(published->ledger);
    return !strcmp(event, "flops_model")      ? (long long)total.model
           : !strcmp(event, "flops_useful")   ? (long long)total.useful
           : !strcmp(event, "flops_executed") ? (long long)total.executed
           : !strcmp(event, "bytes")          ? (long long)total.bytes
           : !strcmp(event, "tokens_routed")  ? published->routed
                                              : published->dropped;
}

/* Registered once and for good: PAPI 7.0.0 crashes when a name is looked up after its library's
   last counter was taken back. */
void mb_sde_publish(const mb_tally *t)
{
    static bool registered;
    papi_handle_t handle;
    size_t i;

    published = t;
    if (registered)
        return;
    registered = true;
    handle = papi_sde_init("motbench");
    for (i = 0; handle && mb_sde_events[i]; i++)
        papi_sde_register_counter_cb(handle, mb_sde_events[i], PAPI_SDE_RO | PAPI_SDE_DELTA,
                                     PAPI_SDE_long_long, read_tally, (void *)mb_sde_events[i]);
}

static void *open_sde(mb_counted **counts, size_t n, int threads)
{
    return open_events(counts, n, threads, "sde:::motbench::");
}

const mb_source mb_source_sde = { "sde",      mb_sde_events, false,     open_sde,
                                  start_papi, stop_papi,     close_papi };
