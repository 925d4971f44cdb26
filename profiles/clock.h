/* Time: the wall, the processor, and how long our threads waited for one. The only timing code.

   A step in which the scheduler made our threads wait is not the machine's fault nor the model's:
   wall - cpu follows the run-queue delay, so it is recorded and the step flagged. */
#ifndef MB_PROFILES_CLOCK_H
#define MB_PROFILES_CLOCK_H

#include <stdint.h>

typedef struct mb_instant {
    int64_t wall_ns;   /* CLOCK_MONOTONIC */
    int64_t cpu_ns;    /* of all threads of the process */
    int64_t queued_ns; /* run-queue delay of the watched threads; -1: the kernel does not tell */
} mb_instant;

enum { MB_CLOCK_THREADS = 256 };

typedef struct mb_clock {
    int fd[MB_CLOCK_THREADS]; /* schedstat of each thread */
    int threads;              /* 0: unreadable */
} mb_clock;

int64_t mb_wall_ns(void);

/* Watches the threads that exist now; open again when there are more. Cannot fail: without
   schedstat queued_ns is -1. */
void mb_clock_open(mb_clock *c);
void mb_clock_close(mb_clock *c); /* accepts a zeroed one */
mb_instant mb_clock_read(const mb_clock *c);

#endif
