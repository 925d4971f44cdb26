#include "harness/progress.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

#define SECOND 1000000000LL

struct screen {
    char *text;
    size_t size;
    FILE *file;
};

static const mb_losses losses = { .sum = { 20, 9 }, .n = { 10, 3 } };

Test(progress, elsewhere_prints_a_line_per_evaluation_with_speed_and_time_left)
{
    struct screen s = { 0 };
    mb_progress_run run;
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 0, false, 2, 200);
    mb_progress_begin(&p, &run, "demo dense seed 1", 0, 100, 2048, SECOND);
    mb_progress_step(&p, &run, 1, &losses, 2 * SECOND); /* steps are for terminals */
    mb_progress_evaluated(&p, &run, 50, &losses, 11 * SECOND);
    fclose(s.file);
    cr_assert(eq(str, s.text,
                 "[1/2] demo dense seed 1  50/100  val text 2.000 image 3.000  left 0:10  all 0:30"
                 "  10240 tokens/s\n"));
    free(s.text);
}

Test(progress, elsewhere_says_every_ten_seconds_what_is_being_prepared_and_how_long_yet)
{
    struct screen s = { 0 };
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 0, false, 0, 0);
    mb_progress_preparing(&p, "voices", 0, 5 * SECOND);
    mb_progress_preparing(&p, "voices", 0.1, 9 * SECOND);
    mb_progress_preparing(&p, "voices", 0.25, 15 * SECOND);
    mb_progress_preparing(&p, "units", 0.5, 20 * SECOND);
    mb_progress_preparing(&p, "units", 1, 30 * SECOND);
    fclose(s.file);
    cr_assert(
        eq(str, s.text, "preparing data: voices 25 %  left 0:30\npreparing data: units 100 %\n"));
    free(s.text);
}

Test(progress, a_resumed_run_counts_the_steps_done_here_for_its_speed)
{
    struct screen s = { 0 };
    mb_progress_run run;
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 0, false, 1, 100);
    mb_progress_begin(&p, &run, "a", 40, 100, 10, 0);
    mb_progress_evaluated(&p, &run, 50, &losses, 10 * SECOND);
    fclose(s.file);
    cr_assert(eq(str, s.text, "a  50/100  val text 2.000 image 3.000  left 0:50  10 tokens/s\n"));
    free(s.text);
}

Test(progress, a_note_stays_above_the_line_of_its_run)
{
    struct screen s = { 0 };
    mb_progress_run run;
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 21, false, 1, 100);
    mb_progress_begin(&p, &run, "a", 0, 100, 10, 0);
    mb_progress_step(&p, &run, 1, &losses, SECOND);
    mb_progress_note(&p, &run, "slow", 2 * SECOND);
    fclose(s.file);
    cr_assert(eq(str, s.text,
                 "\ra  1/100  train text\033[J"
                 "\ra  1/100  slow\033[K\na  1/100  train text\033[J"),
              "%s", s.text);
    free(s.text);
}

Test(progress, skipped_runs_cost_no_time)
{
    struct screen s = { 0 };
    mb_progress_run run;
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 0, false, 3, 300);
    mb_progress_skip(&p, 100);
    mb_progress_begin(&p, &run, "b", 0, 100, 10, 0);
    mb_progress_evaluated(&p, &run, 50, &losses, 10 * SECOND);
    fclose(s.file);
    cr_assert(strstr(s.text, "[2/3] b") && strstr(s.text, "left 0:10  all 0:30  50 tokens/s\n"),
              "%s", s.text);
    free(s.text);
}

Test(progress, a_terminal_line_is_updated_in_place_cut_to_fit_and_finished)
{
    struct screen s = { 0 };
    mb_progress_run run;
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 21, false, 1, 100);
    mb_progress_begin(&p, &run, "demo dense seed 1", 0, 100, 2048, 0);
    mb_progress_step(&p, &run, 1, &losses, SECOND);
    mb_progress_step(&p, &run, 2, &losses, SECOND + 1); /* too soon to be seen */
    mb_progress_end(&p, &run, 100, "ok", 90 * SECOND);
    fclose(s.file);
    cr_assert(eq(str, s.text,
                 "\rdemo dense seed 1  1\033[J" /* 20 columns */
                 "\rdemo dense seed 1  1\033[K\n\033[J"),
              "%s", s.text);
    free(s.text);
}

Test(progress, runs_side_by_side_have_a_line_each_below_those_that_ended)
{
    struct screen s = { 0 };
    mb_progress_run a, b;
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 16, false, 3, 300);
    mb_progress_begin(&p, &a, "a", 0, 100, 10, 0);
    mb_progress_begin(&p, &b, "b", 0, 100, 10, 0);
    mb_progress_step(&p, &a, 1, &losses, SECOND);
    mb_progress_step(&p, &b, 1, &losses, 2 * SECOND);
    mb_progress_end(&p, &a, 100, "ok", 3 * SECOND);
    mb_progress_end(&p, &b, 100, "ok", 4 * SECOND);
    fclose(s.file);
    cr_assert(eq(str, s.text,
                 "\r[1/3] a  1/100 \033[K\n[2/3] b  0/100\033[J"
                 "\r\033[1A[1/3] a  1/100 \033[K\n[2/3] b  1/100 \033[J"
                 "\r\033[1A[1/3] a  100/10\033[K\n[2/3] b  1/100 \033[J"
                 "\r[2/3] b  100/10\033[K\n\033[J"),
              "%s", s.text);
    free(s.text);
}

/* Two at once do 2 x 10 steps/s: of 400, 100 are done, and 300 take 15 s. */
Test(progress, the_time_left_is_shared_among_the_runs_under_way)
{
    struct screen s = { 0 };
    mb_progress_run a, b;
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 0, false, 4, 400);
    mb_progress_begin(&p, &a, "a", 0, 100, 10, 0);
    mb_progress_begin(&p, &b, "b", 0, 100, 10, 0);
    mb_progress_step(&p, &a, 50, &losses, 5 * SECOND);
    mb_progress_evaluated(&p, &b, 50, &losses, 5 * SECOND);
    mb_progress_end(&p, &a, 100, "ok", 10 * SECOND);
    fclose(s.file);
    cr_assert(eq(str, s.text,
                 "[2/4] b  50/100  val text 2.000 image 3.000  left 0:05  all 0:15  100 tokens/s\n"
                 "[1/4] a  100/100  ok in 0:10\n"),
              "%s", s.text);
    free(s.text);
}

/* One of two is behind: the other cannot help it. */
Test(progress, the_time_left_is_at_least_the_slowest_runs)
{
    struct screen s = { 0 };
    mb_progress_run a, b;
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 0, false, 2, 200);
    mb_progress_begin(&p, &a, "a", 0, 100, 10, 0);
    mb_progress_begin(&p, &b, "b", 0, 100, 10, 0);
    mb_progress_step(&p, &a, 90, &losses, 10 * SECOND);
    mb_progress_evaluated(&p, &b, 10, &losses, 10 * SECOND);
    fclose(s.file);
    cr_assert(strstr(s.text, "left 1:30  all 1:30  10 tokens/s\n") != NULL, "%s", s.text);
    free(s.text);
}

Test(progress, quiet_writes_nothing)
{
    struct screen s = { 0 };
    mb_progress_run run;
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 80, true, 1, 100);
    mb_progress_begin(&p, &run, "a", 0, 100, 2048, 0);
    mb_progress_step(&p, &run, 1, &losses, SECOND);
    mb_progress_evaluated(&p, &run, 50, &losses, SECOND);
    mb_progress_end(&p, &run, 100, "ok", SECOND);
    fclose(s.file);
    cr_assert(eq(str, s.text, ""));
    free(s.text);
}
