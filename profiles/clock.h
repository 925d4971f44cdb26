/* Time: the wall, the processor, and how long our threads waited for one. The only timing code.

   A step in which the scheduler made our threads wait is not the machine's fault nor the model's:
   wall - cpu follows the run-queue delay, so it is recorded and the step flagged. When runs train
   side by side in one process, each watches its own threads: a run is not disturbed by what befell
   its neighbour, and does not answer for that one's processor time. */
#ifndef MB_PROFILES_CLOCK_H
#define MB_PROFILES_CLOCK_H

#include <stdint.h>
#include <sys/types.h>

typedef struct mb_instant {
    int64_t wall_ns;   /* CLOCK_MONOTONIC */
    int64_t cpu_ns;    /* of all threads of the process, or of the watched team */
    int64_t queued_ns; /* run-queue delay of the watched threads; -1: the kernel does not tell */
} mb_instant;

enum { MB_CLOCK_THREADS = 256 };

typedef struct mb_clock {
    int fd[MB_CLOCK_THREADS];        /* schedstat of each thread */
    int threads;                     /* 0: unreadable */
    clockid_t cpu[MB_CLOCK_THREADS]; /* processor time of each thread of a team */
    int team;                        /* 0: of the whole process */
    int64_t cpu_ns[MB_CLOCK_THREADS], queued_ns[MB_CLOCK_THREADS]; /* as last read */
} mb_clock;

int64_t mb_wall_ns(void);

/* Watches the threads that exist now; open again when there are more. Cannot fail: without
   schedstat queued_ns is -1. */
void mb_clock_open(mb_clock *c);
/* Watches the calling thread and those that OpenMP lends it to make THREADS, and nothing else of
   the process. */
void mb_clock_open_team(mb_clock *c, int threads);
void mb_clock_close(mb_clock *c); /* accepts a zeroed one */
/* Sums that never fall: a thread that has ended counts with what it had. */
mb_instant mb_clock_read(mb_clock *c);
/* How long the watched threads, busy all the time, waited for a processor between two readings. 0
   when the kernel does not tell. */
int64_t mb_clock_waited_ns(const mb_clock *c, const mb_instant *from, const mb_instant *to);

#endif
