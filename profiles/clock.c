#include "profiles/clock.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* 0 when the clock's thread has ended. */
static int64_t now_ns(clockid_t id)
{
    struct timespec t = { 0 };

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t mb_wall_ns(void)
{
    return now_ns(CLOCK_MONOTONIC);
}

static void watch_schedstat(mb_clock *c, const char *path)
{
    int fd = c->threads < MB_CLOCK_THREADS ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd >= 0)
        c->fd[c->threads++] = fd;
}

void mb_clock_open(mb_clock *c)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    char path[320];

    *c = (mb_clock){ 0 };
    while (tasks && (task = readdir(tasks))) {
        snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", task->d_name);
        if (*task->d_name != '.')
            watch_schedstat(c, path);
    }
    if (tasks)
        closedir(tasks);
}

void mb_clock_open_team(mb_clock *c, int threads)
{
    *c = (mb_clock){ 0 };
    /* Every thread adds itself: nothing else tells which of the process's are the team's. */
#pragma omp parallel num_threads(threads)
#pragma omp critical(mb_clock_team)
    {
        if (threads > 1) /* one thread's waiting is known without: mb_clock_waited_ns() */
            watch_schedstat(c, "/proc/thread-self/schedstat");
        if (c->team < MB_CLOCK_THREADS && !pthread_getcpuclockid(pthread_self(), &c->cpu[c->team]))
            c->team++;
    }
}

void mb_clock_close(mb_clock *c)
{
    int i;

    for (i = 0; i < c->threads; i++)
        close(c->fd[i]);
    *c = (mb_clock){ 0 };
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

static int64_t larger(int64_t *last, int64_t now)
{
    if (now > *last)
        *last = now;
    return *last;
}

mb_instant mb_clock_read(mb_clock *c)
{
    mb_instant now = { .queued_ns = c->threads ? 0 : -1,
                       .cpu_ns = c->team ? 0 : now_ns(CLOCK_PROCESS_CPUTIME_ID) };
    int i;

    for (i = 0; i < c->threads; i++)
        now.queued_ns += larger(&c->queued_ns[i], delay_ns(c->fd[i]));
    for (i = 0; i < c->team; i++)
        now.cpu_ns += larger(&c->cpu_ns[i], now_ns(c->cpu[i]));
    now.wall_ns = mb_wall_ns();
    return now;
}

/* One busy thread either has a processor or waits for one. Its schedstat tells less: with two busy
   threads of ours on two crowded cores, Linux 6.18 left out most of what wall - cpu shows. */
int64_t mb_clock_waited_ns(const mb_clock *c, const mb_instant *from, const mb_instant *to)
{
    if (c->team == 1)
        return (to->wall_ns - from->wall_ns) - (to->cpu_ns - from->cpu_ns);
    return to->queued_ns - from->queued_ns;
}
