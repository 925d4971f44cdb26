#include "bench/worker.h"

#include "base/file.h"
#include "profiles/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = 48 };

/* In the child: never returns. */
static void become(const char *command)
{
    char *copy = strdup(command), *word[WORDS + 1], *rest = NULL;
    int n = 0;

    for (char *w = strtok_r(copy, " ", &rest); w && n < WORDS; w = strtok_r(NULL, " ", &rest))
        word[n++] = w;
    word[n] = NULL;
    if (n)
        execvp(word[0], word);
    fprintf(stderr, "%s: %s\n", command, strerror(errno));
    _exit(127);
}

mb_err mb_worker_start(mb_worker *w, const char *command)
{
    int in[2], out[2];

    *w = (mb_worker){ .pid = 0 };
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
        return mb_fail(MB_EIO, "pipe: %s", strerror(errno));
    fflush(NULL);
    w->pid = fork();
    if (w->pid == 0) {
        setpgid(0, 0);                    /* a compiler that it starts goes with it */
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* and it with the driver, also from within a step */
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        become(command);
    }
    close(in[0]);
    close(out[1]);
    w->to = fdopen(in[1], "w");
    w->from = fdopen(out[0], "r");
    return w->pid < 0 ? mb_fail(MB_EIO, "fork: %s", strerror(errno)) : MB_OK;
}

/* Whether a line, or the worker's end, comes in time. Nothing is buffered between two answers. */
static bool answers(mb_worker *w)
{
    struct pollfd from = { .fd = fileno(w->from), .events = POLLIN };

    if (poll(&from, 1, MB_STEP_LIMIT_S * 1000) != 0)
        return true;
    kill(-w->pid, SIGKILL);
    return false;
}

static mb_err ended(mb_worker *w)
{
    int status = 0;

    waitpid(w->pid, &status, 0);
    w->pid = 0;
    return WIFSIGNALED(status)
               ? mb_fail(MB_EIO, "ended by signal %d, without a step", WTERMSIG(status))
               : mb_fail(MB_EIO, "ended with exit code %d, without a step", WEXITSTATUS(status));
}

mb_err mb_worker_step(mb_worker *w, mb_turn *out)
{
    char line[256] = "";

    out->predicted = 0; /* which builds from before do not tell */
    if (fputs("step\n", w->to) == EOF || fflush(w->to))
        return ended(w);
    if (!answers(w))
        return mb_fail(MB_EIO, "no answer within %d s", MB_STEP_LIMIT_S);
    if (!fgets(line, sizeof line, w->from))
        return ended(w);
    if (sscanf(line,
               "%" SCNd64 " %" SCNd64 " %" SCNd64 " %lf %lf %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64,
               &out->wall_ns, &out->cpu_ns, &out->queued_ns, &out->peak, &out->loss,
               &out->flops_model, &out->flops_executed, &out->bytes, &out->predicted) < 8)
        return mb_fail(MB_EIO, "answered '%.*s', expected nine numbers", (int)strcspn(line, "\n"),
                       line);
    return MB_OK;
}

void mb_worker_stop(mb_worker *w)
{
    if (w->to)
        fclose(w->to);
    if (w->from)
        fclose(w->from);
    if (w->pid > 0)
        waitpid(w->pid, NULL, 0);
    *w = (mb_worker){ .pid = 0 };
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

mb_err mb_command_time(const char *command, double *cpu_s, double *wall_s)
{
    int64_t begun = mb_wall_ns();
    struct rusage used;
    pid_t pid;
    int status;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        int nowhere = open("/dev/null", O_WRONLY);

        dup2(nowhere, STDOUT_FILENO);
        become(command);
    }
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid)
        return mb_fail(MB_EIO, "%s: %s", command, strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status))
        return mb_fail(MB_EIO, "%s: failed", command);
    *cpu_s = seconds(used.ru_utime) + seconds(used.ru_stime);
    *wall_s = 1e-9 * (double)(mb_wall_ns() - begun);
    return MB_OK;
}
