/* A source of counts, for counter.c and the sources themselves. */
#ifndef MB_PROFILES_SOURCE_H
#define MB_PROFILES_SOURCE_H

#include "profiles/counter.h"

typedef struct mb_source {
    const char *name;
    const char *const *events; /* all that it has; NULL: whatever the machine has */
    bool disturbs;             /* a region that it counts takes longer: it is not to be timed */
    /* Sets the status of the N counts, all of this source, and keeps the pointers. */
    void *(*open)(mb_counted **counts, size_t n, int threads);
    void (*start)(void *state);
    void (*stop)(void *state); /* adds to the values of the counts that are ok */
    void (*close)(void *state);
} mb_source;

extern const mb_source mb_source_clock, mb_source_rusage; /* process.c */
extern const mb_source mb_source_papi, mb_source_sde;     /* papi.c; no_papi.c without PAPI */
extern const mb_source mb_source_cupti;   /* cupti.c; no_cupti.c without its headers */
extern const mb_source mb_source_nvml;    /* nvml.c */
extern const char *const mb_sde_events[]; /* counter.c; ends with NULL */

#endif
