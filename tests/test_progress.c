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
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 0, false, 2, 200);
    mb_progress_begin(&p, "demo dense seed 1", 0, 100, 2048, SECOND);
    mb_progress_step(&p, 1, &losses, 2 * SECOND); /* steps are for terminals */
    mb_progress_evaluated(&p, 50, &losses, 11 * SECOND);
    fclose(s.file);
    cr_assert(eq(str, s.text,
                 "[1/2] demo dense seed 1  50/100  val text 2.000 image 3.000  left 0:10  all 0:30"
                 "  10240 tokens/s\n"));
    free(s.text);
}

Test(progress, a_resumed_run_counts_the_steps_done_here_for_its_speed)
{
    struct screen s = { 0 };
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 0, false, 1, 100);
    mb_progress_begin(&p, "a", 40, 100, 10, 0);
    mb_progress_evaluated(&p, 50, &losses, 10 * SECOND);
    fclose(s.file);
    cr_assert(eq(str, s.text, "a  50/100  val text 2.000 image 3.000  left 0:50  10 tokens/s\n"));
    free(s.text);
}

Test(progress, skipped_runs_cost_no_time)
{
    struct screen s = { 0 };
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 0, false, 3, 300);
    mb_progress_skip(&p, 100);
    mb_progress_begin(&p, "b", 0, 100, 10, 0);
    mb_progress_evaluated(&p, 50, &losses, 10 * SECOND);
    fclose(s.file);
    cr_assert(strstr(s.text, "[2/3] b") && strstr(s.text, "left 0:10  all 0:30  50 tokens/s\n"),
              "%s", s.text);
    free(s.text);
}

Test(progress, a_terminal_line_is_updated_in_place_cut_to_fit_and_finished)
{
    struct screen s = { 0 };
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 21, false, 1, 100);
    mb_progress_begin(&p, "demo dense seed 1", 0, 100, 2048, 0);
    mb_progress_step(&p, 1, &losses, SECOND);
    mb_progress_step(&p, 2, &losses, SECOND + 1); /* too soon to be seen */
    mb_progress_note(&p, "careful");
    mb_progress_end(&p, 100, "ok", 90 * SECOND);
    fclose(s.file);
    cr_assert(eq(str, s.text,
                 "\rdemo dense seed 1  1\033[K" /* 20 columns */
                 "\r\033[Kcareful\n"
                 "\rdemo dense seed 1  1\033[K\n"),
              "%s", s.text);
    free(s.text);
}

Test(progress, quiet_leaves_warnings_alone)
{
    struct screen s = { 0 };
    mb_progress p;

    s.file = open_memstream(&s.text, &s.size);
    mb_progress_open(&p, s.file, 80, true, 1, 100);
    mb_progress_begin(&p, "a", 0, 100, 2048, 0);
    mb_progress_step(&p, 1, &losses, SECOND);
    mb_progress_evaluated(&p, 50, &losses, SECOND);
    mb_progress_note(&p, "careful %d", 1);
    mb_progress_end(&p, 100, "ok", SECOND);
    fclose(s.file);
    cr_assert(eq(str, s.text, "careful 1\n"));
    free(s.text);
}
