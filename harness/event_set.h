/* Event sets: what a profile counts, and what follows from it. Data, in profiles/NAME.ini:

     [clock cpu]               an event, by source and name (profiles/counter.h)
     column = cpu_ns           what metrics call its sum over the timed steps; NULL without a value
     unit = ns
     [metric processors]       a metric: an SQL expression of such columns and those of v_profile
     unit = processors
     sql = cpu_ns / wall_ns

   Those of this folder are compiled in; a name with a slash or ending in .ini is a file. Each set
   also has the metrics of profiles/step.ini. */
#ifndef MB_HARNESS_EVENT_SET_H
#define MB_HARNESS_EVENT_SET_H

#include "harness/verbs.h"
#include "profiles/counter.h"
#include "results/store.h"

enum { MB_METRICS_MAX = 64 }; /* of a set; of events there may be as many */

typedef struct mb_metric {
    char *name, *unit, *sql;
    char *place; /* FILE:LINE of the section */
} mb_metric;

typedef struct mb_event_set {
    mb_event *events; /* (n) */
    char **columns;   /* (n) */
    char **places;    /* (n) */
    size_t n;
    mb_metric *metrics; /* (n_metrics) */
    size_t n_metrics;
} mb_event_set;

/* MB_EMISSING when there is no such set. */
mb_err mb_event_set_open(const char *name, mb_event_set **out);
void mb_event_set_close(mb_event_set *s); /* accepts NULL */

/* Names and texts of the sets that are compiled in; ends with a NULL name. */
typedef struct mb_event_text {
    const char *name, *text;
} mb_event_text;
extern const mb_event_text mb_event_texts[];

/* VALUE (n_metrics) of RUN; NaN where there is none. An expression that is no SQL is said with its
   place, also when there is no such run. */
mb_err mb_event_set_metrics(const mb_event_set *s, mb_store *store, int64_t run, double *value);

#endif
