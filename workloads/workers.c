#include "workloads/workers.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKERS_MAX = 64, MESSAGE = 512 };

typedef struct pool {
    pid_t child[WORKERS_MAX];
    int running, limit;
    char *message; /* MESSAGE bytes that all processes share: the first failure's */
    mb_err err;
} pool;

/* In the child; _exit() leaves the parent's open files alone. */
static void work(const pool *p, pid_t parent, mb_err (*job)(void *user, int64_t i), void *user,
                 int64_t i)
{
    mb_err err;

    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a parent that is killed needs no results */
    if (getppid() != parent)
        _exit(MB_EINTERRUPTED);
    err = job(user, i);
    if (err)
        snprintf(p->message, MESSAGE, "%s", mb_message());
    _exit((int)err);
}

/* Waits until one of our children has ended; children of others are not touched. */
static void await(pool *p)
{
    int status = 0, at = 0;
    pid_t pid = 0;

    while (pid == 0) {
        pid = waitpid(p->child[at], &status, WNOHANG);
        if (pid == 0 && ++at == p->running) {
            at = 0;
            usleep(2000);
        }
    }
    p->child[at] = p->child[--p->running];
    if (p->err || (pid > 0 && status == 0))
        return;
    p->err = pid > 0 && WIFEXITED(status) ? (mb_err)WEXITSTATUS(status) : MB_EIO;
    mb_fail(p->err, "%s", *p->message ? p->message : "a worker process was killed");
}

static void start(pool *p, mb_err (*job)(void *user, int64_t i), void *user, int64_t i)
{
    pid_t parent = getpid(), child = fork();

    if (child == 0)
        work(p, parent, job, user, i);
    if (child < 0)
        p->err = mb_fail(MB_EIO, "fork: %s", strerror(errno));
    else
        p->child[p->running++] = child;
}

mb_err mb_workers_run(int64_t n, mb_err (*job)(void *user, int64_t i), void *user,
                      const mb_progress *progress, const char *what)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    pool p = { .limit = processors < 1             ? 1
                        : processors > WORKERS_MAX ? WORKERS_MAX
                                                   : (int)processors };
    int64_t begun = 0;

    p.message = mmap(NULL, MESSAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p.message == MAP_FAILED)
        return mb_fail(MB_EIO, "mmap: %s", strerror(errno));
    fflush(NULL); /* or a child's crash could write our buffers again */
    while (p.running > 0 || (begun < n && !p.err)) {
        if (begun < n && !p.err && p.running < p.limit) {
            start(&p, job, user, begun++);
        } else {
            await(&p);
            mb_progress_tell(progress, what, (double)(begun - p.running) / (double)n);
        }
    }
    munmap(p.message, MESSAGE);
    return p.err;
}
