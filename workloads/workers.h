/* Jobs in processes of their own, for libraries that are not safe in threads. */
#ifndef MB_WORKLOADS_WORKERS_H
#define MB_WORKLOADS_WORKERS_H

#include "workloads/source.h"

/* Runs JOB(user, i) for i = 0 .. n-1, each in a child process, as many at a time as there are
   processors; a job leaves its result in a file and must not use OpenMP. The first failure keeps
   others from beginning and is returned with its message. */
mb_err mb_workers_run(int64_t n, mb_err (*job)(void *user, int64_t i), void *user,
                      const mb_progress *p, const char *what);

#endif
