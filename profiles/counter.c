/* The front over the sources of counts. */
#include "profiles/counter.h"

#include "base/file.h"
#include "profiles/source.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const mb_source *const sources[] = { &mb_source_clock, &mb_source_rusage, &mb_source_papi,
                                            &mb_source_sde,   &mb_source_cupti,  &mb_source_nvml };
enum { SOURCES = sizeof sources / sizeof *sources };

const char *const mb_count_status_name[MB_COUNT_STATUSES] = { "ok", "multiplexed", "not_supported",
                                                              "not_permitted", "error" };
const char *const mb_sde_events[] = { "flops_model", "flops_useful",  "flops_executed",
                                      "bytes",       "tokens_routed", "tokens_dropped",
                                      NULL };

struct mb_counter {
    mb_counted *counts;
    size_t n;
    struct part {
        mb_counted **counts; /* those of one source; NULL: none */
        void *state;
    } part[SOURCES];
};

static const mb_source *source_of(const mb_event *e)
{
    size_t i;

    for (i = 0; i < SOURCES; i++)
        if (!strcmp(sources[i]->name, e->source))
            return sources[i];
    return NULL;
}

bool mb_event_disturbs(const mb_event *e)
{
    return source_of(e)->disturbs;
}

mb_err mb_event_check(const mb_event *e)
{
    const mb_source *s = source_of(e);
    size_t i;

    if (!s)
        return mb_fail(MB_EINVAL,
                       "source '%s' is not known, expected clock, rusage, papi, sde, cupti or nvml",
                       e->source);
    for (i = 0; s->events && s->events[i]; i++)
        if (!strcmp(s->events[i], e->name))
            return MB_OK;
    return s->events ? mb_fail(MB_EINVAL, "source %s has no event '%s'", e->source, e->name)
                     : MB_OK;
}

static void open_part(mb_counter *c, size_t which, int threads)
{
    struct part *p = &c->part[which];
    size_t i, n = 0;

    p->counts = mb_zalloc(c->n, sizeof *p->counts);
    for (i = 0; i < c->n; i++)
        if (!strcmp(c->counts[i].event.source, sources[which]->name))
            p->counts[n++] = &c->counts[i];
    if (n > 0)
        p->state = sources[which]->open(p->counts, n, threads);
    for (i = 0; i < n; i++)
        p->counts[i]->value = p->counts[i]->status == MB_COUNT_OK ? 0 : NAN;
}

void mb_counter_open(const mb_event *events, size_t n, int threads, mb_counter **out)
{
    mb_counter *c = mb_zalloc(1, sizeof *c);
    size_t i;

    c->n = n;
    c->counts = mb_zalloc(n + 1, sizeof *c->counts); /* N may be 0 */
    for (i = 0; i < n; i++)
        c->counts[i] = (mb_counted){ .event = events[i], .status = MB_COUNT_NOT_SUPPORTED };
    for (i = 0; i < SOURCES; i++)
        open_part(c, i, threads);
    *out = c;
}

void mb_counter_close(mb_counter *c)
{
    size_t i;

    if (!c)
        return;
    for (i = 0; i < SOURCES; i++) {
        if (c->part[i].state)
            sources[i]->close(c->part[i].state);
        free(c->part[i].counts);
    }
    free(c->counts);
    free(c);
}

/* The clock, first of the sources, starts last and stops first: it does not time the others. */
void mb_counter_start(mb_counter *c)
{
    size_t i;

    for (i = SOURCES; i-- > 0;)
        if (c->part[i].state)
            sources[i]->start(c->part[i].state);
}

void mb_counter_stop(mb_counter *c)
{
    size_t i;

    for (i = 0; i < SOURCES; i++)
        if (c->part[i].state)
            sources[i]->stop(c->part[i].state);
    for (i = 0; i < c->n; i++)
        if (c->counts[i].status != MB_COUNT_OK) /* it may have failed on the way */
            c->counts[i].value = NAN;
}

const mb_counted *mb_counter_read(const mb_counter *c, size_t *n)
{
    *n = c->n;
    return c->counts;
}
