#include "bench/worker.h"

#include "base/file.h"
#include "profiles/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
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

    *w = (mb_worker){ .command = command };
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
        return mb_fail(MB_EIO, "pipe: %s", strerror(errno));
    fflush(NULL);
    w->pid = fork();
    if (w->pid == 0) {
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

mb_err mb_worker_step(mb_worker *w, mb_turn *out)
{
    char line[256] = "";

    if (fputs("step\n", w->to) == EOF || fflush(w->to) || !fgets(line, sizeof line, w->from))
        return mb_fail(MB_EIO, "%s: ended instead of making a step", w->command);
    if (sscanf(line, "%" SCNd64 " %" SCNd64 " %" SCNd64 " %lf %lf %" SCNu64 " %" SCNu64 " %" SCNu64,
               &out->wall_ns, &out->cpu_ns, &out->queued_ns, &out->peak, &out->loss,
               &out->flops_model, &out->flops_executed, &out->bytes) != 8)
        return mb_fail(MB_EIO, "%s: answered '%.*s', expected eight numbers", w->command,
                       (int)strcspn(line, "\n"), line);
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
