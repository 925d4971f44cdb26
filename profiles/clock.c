#include "profiles/clock.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t mb_wall_ns(void)
{
    return now_ns(CLOCK_MONOTONIC);
}

void mb_clock_open(mb_clock *c)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    char path[320];

    memset(c, 0, sizeof *c);
    while (tasks && c->threads < MB_CLOCK_THREADS && (task = readdir(tasks))) {
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", task->d_name);
        c->fd[c->threads] = *task->d_name == '.' ? -1 : open(path, O_RDONLY | O_CLOEXEC);
        if (c->fd[c->threads] >= 0)
            c->threads++;
    }
    if (tasks)
        closedir(tasks);
}

void mb_clock_close(mb_clock *c)
{
    int i;

    for (i = 0; i < c->threads; i++)
        close(c->fd[i]);
    c->threads = 0;
}

/* The second number of "on_cpu_ns run_delay_ns slices"; 0 from a thread that has ended. */
static int64_t delay_ns(int fd)
{
    char text[96], *space;
    ssize_t n = pread(fd, text, sizeof text - 1, 0);

    if (n <= 0)
        return 0;
    text[n] = '\0';
    space = strchr(text, ' ');
    return space ? strtoll(space, NULL, 10) : 0;
}

mb_instant mb_clock_read(const mb_clock *c)
{
    mb_instant now = { .queued_ns = c->threads ? 0 : -1 };
    int i;

    for (i = 0; i < c->threads; i++)
        now.queued_ns += delay_ns(c->fd[i]);
    now.cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    now.wall_ns = mb_wall_ns();
    return now;
}
