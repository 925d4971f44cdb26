#include "profiles/clock.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static atomic_bool done;

static void *be_busy(void *unused)
{
    while (!done)
        ;
    return unused;
}

/* Keeps this thread busy for so much processor time, by its own clock. */
static void work_ns(int64_t wanted)
{
    mb_clock own;
    int64_t before;

    mb_clock_open_team(&own, 1);
    before = mb_clock_read(&own).cpu_ns;
    while (mb_clock_read(&own).cpu_ns - before < wanted)
        ;
    mb_clock_close(&own);
}

Test(clock, a_team_of_one_has_its_own_processor_time_and_nobody_elses)
{
    mb_instant before, after;
    pthread_t stranger;
    int64_t wall_ns, cpu_ns;
    mb_clock c;

    cr_assert(eq(int, pthread_create(&stranger, NULL, be_busy, NULL), 0));
    mb_clock_open_team(&c, 1);
    before = mb_clock_read(&c);
    work_ns(20 * 1000 * 1000);
    after = mb_clock_read(&c);
    done = true;
    pthread_join(stranger, NULL);
    wall_ns = after.wall_ns - before.wall_ns;
    cpu_ns = after.cpu_ns - before.cpu_ns;
    cr_expect(cpu_ns >= 20 * 1000 * 1000);
    /* The wall's clock is slewed, the processor's is not. */
    cr_expect(cpu_ns <= wall_ns + wall_ns / 100, "%ld of %ld", (long)cpu_ns, (long)wall_ns);
    cr_expect(eq(i64, mb_clock_waited_ns(&c, &before, &after), wall_ns - cpu_ns));
    mb_clock_close(&c);
}

Test(clock, a_team_is_as_many_threads_as_asked_for)
{
    mb_clock c;

    mb_clock_open_team(&c, 3);
    cr_assert(eq(int, c.team, 3));
    mb_clock_close(&c);
    mb_clock_close(&c);
}

static void *watch_itself(void *clock)
{
    mb_clock_open_team(clock, 1);
    work_ns(1000 * 1000);
    mb_clock_read(clock);
    return NULL;
}

/* A joined thread still runs for a moment, and its clock with it. */
static void await_end(clockid_t of_thread)
{
    struct timespec unused;

    while (!clock_gettime(of_thread, &unused))
        ;
}

Test(clock, a_thread_that_has_ended_counts_with_what_it_had)
{
    mb_clock c;
    mb_instant then, now;
    pthread_t thread;

    cr_assert(eq(int, pthread_create(&thread, NULL, watch_itself, &c), 0));
    pthread_join(thread, NULL);
    await_end(c.cpu[0]);
    then = mb_clock_read(&c);
    now = mb_clock_read(&c);
    cr_expect(now.cpu_ns >= 1000 * 1000);
    cr_expect(eq(i64, now.cpu_ns, then.cpu_ns));
    cr_expect(eq(i64, now.queued_ns, then.queued_ns));
    mb_clock_close(&c);
}
