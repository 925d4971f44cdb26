#include "harness/progress.h"

#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LINE = 256, BETWEEN_NS = 100000000 /* ten updates a second are enough to read */ };
#define BETWEEN_LINES_NS INT64_C(10000000000) /* of what is being prepared, elsewhere */
enum { LINES = 20 /* more would not fit on most terminals, where the cursor cannot go back to */ };
enum { SCREEN = (LINES + 2) * (LINE + 8) };

void mb_progress_open(mb_progress *p, FILE *out, int columns, bool quiet, int jobs,
                      int64_t all_steps)
{
    *p = (mb_progress){ .lock = PTHREAD_MUTEX_INITIALIZER,
                        .out = out,
                        .columns = columns,
                        .quiet = quiet,
                        .jobs = jobs,
                        .all_steps = all_steps };
}

int mb_progress_columns(FILE *f)
{
    struct winsize size = { 0 };

    if (!isatty(fileno(f)))
        return 0;
    return ioctl(fileno(f), TIOCGWINSZ, &size) || !size.ws_col ? 80 : size.ws_col;
}

/* ---- the text of a line -------------------------------------------------------------------- */

/* Appends to TEXT (SIZE) as much as there is room for. */
__attribute__((format(printf, 3, 4))) static void add(char *text, size_t size, const char *format,
                                                      ...)
{
    size_t used = strlen(text);
    va_list args;

    va_start(args, format);
    vsnprintf(text + used, size - used, format, args);
    va_end(args);
}

static void add_losses(char *line, const mb_progress_run *run)
{
    const mb_losses *l = &run->losses;
    int m;

    if (!run->split)
        return;
    add(line, LINE, "  %s", run->split);
    for (m = 0; m < MB_MODALITIES; m++)
        if (l->n[m])
            add(line, LINE, " %s %.3f", mb_modality_name[m], l->sum[m] / (double)l->n[m]);
}

static void add_time(char *line, const char *what, double seconds)
{
    long s = (long)(seconds + 0.5);

    if (s >= 3600)
        add(line, LINE, "%s%ld:%02ld:%02ld", what, s / 3600, s / 60 % 60, s % 60);
    else
        add(line, LINE, "%s%ld:%02ld", what, s / 60, s % 60);
}

static double spent_s(const mb_progress_run *run, int64_t now_ns)
{
    return (double)(now_ns - run->began_ns) * 1e-9;
}

/* Of one run; 0 while its speed is unknown. */
static double left_s(const mb_progress_run *run, int64_t now_ns)
{
    int64_t here = run->step - run->first;

    return here > 0 ? spent_s(run, now_ns) / (double)here * (double)(run->steps - run->step) : 0;
}

/* Of all jobs: what is left at the mean speed so far, shared among the runs under way, and at least
   what the slowest of these needs. */
static double all_left_s(const mb_progress *p, int64_t now_ns)
{
    double time_s = (double)p->worked_ns * 1e-9, longest = 0, all;
    int64_t worked = p->worked_steps, left = p->all_steps - p->done_steps;
    const mb_progress_run *run;
    int runs = 0;

    for (run = p->first; run; run = run->next, runs++) {
        double mine = left_s(run, now_ns);

        time_s += spent_s(run, now_ns);
        worked += run->step - run->first;
        left -= run->step;
        longest = mine > longest ? mine : longest;
    }
    all = time_s / (double)worked * (double)left / runs;
    return all > longest ? all : longest;
}

/* Time left for this run and for all of them, and the speed, which a narrow terminal may cut off.
 */
static void add_pace(const mb_progress *p, char *line, const mb_progress_run *run, int64_t now_ns)
{
    int64_t here = run->step - run->first;

    if (here <= 0 || now_ns <= run->began_ns)
        return;
    if (run->step < run->steps)
        add_time(line, "  left ", left_s(run, now_ns));
    if (p->begun < p->jobs || p->first->next)
        add_time(line, "  all ", all_left_s(p, now_ns));
    add(line, LINE, "  %.0f tokens/s",
        (double)(here * run->tokens_per_step) / spent_s(run, now_ns));
}

static void head(const mb_progress *p, char *line, const mb_progress_run *run)
{
    *line = '\0';
    if (p->jobs > 1)
        add(line, LINE, "[%d/%d] ", run->job, p->jobs);
    add(line, LINE, "%s  %lld/%lld", run->label, (long long)run->step, (long long)run->steps);
}

static void make_line(const mb_progress *p, char *line, const mb_progress_run *run, int64_t now_ns)
{
    head(p, line, run);
    add_losses(line, run);
    add_pace(p, line, run, now_ns);
}

/* ---- writing ------------------------------------------------------------------------------- */

/* In one call, so that nothing else comes in between. */
static void put(mb_progress *p, const char *text)
{
    fwrite(text, 1, strlen(text), p->out);
    fflush(p->out);
}

/* Elsewhere than on a terminal. */
static void put_line(mb_progress *p, const char *line)
{
    char text[LINE + 1];

    snprintf(text, sizeof text, "%s\n", line);
    put(p, text);
}

/* In place: back to the first of the open lines, ABOVE (or NULL) as a line that stays, then a line
   per run, each as much as fits in one row, and the rest of the old ones cleared. */
static void draw(mb_progress *p, const char *above, int64_t now_ns)
{
    char text[SCREEN] = "\r", line[LINE];
    const mb_progress_run *run;
    int lines = 0;

    if (p->lines_open > 1)
        add(text, SCREEN, "\033[%dA", p->lines_open - 1);
    if (above)
        add(text, SCREEN, "%.*s\033[K\n", p->columns - 1, above);
    for (run = p->first; run && lines < LINES; run = run->next, lines++) {
        make_line(p, line, run, now_ns);
        add(text, SCREEN, "%s%.*s", lines ? "\033[K\n" : "", p->columns - 1, line);
    }
    add(text, SCREEN, "\033[J");
    put(p, text);
    p->lines_open = lines;
    p->shown_ns = now_ns;
}

void mb_progress_preparing(mb_progress *p, const char *what, double fraction, int64_t now_ns)
{
    char line[LINE] = "", text[LINE + 8] = "";
    double spent;

    if (p->quiet)
        return;
    if (!p->preparing_ns || fraction < p->prepared)
        p->preparing_ns = p->shown_ns = now_ns;
    p->prepared = fraction;
    spent = (double)(now_ns - p->preparing_ns) * 1e-9;
    add(line, LINE, "preparing data: %s %.0f %%", what, 100 * fraction);
    if (spent > 1 && fraction > 0 && fraction < 1)
        add_time(line, "  left ", spent * (1 - fraction) / fraction);
    if (p->columns) {
        add(text, sizeof text, "\r%.*s\033[K%s", p->columns - 1, line, fraction >= 1 ? "\n" : "");
        put(p, text);
    } else if (now_ns - p->shown_ns >= BETWEEN_LINES_NS) {
        put_line(p, line);
        p->shown_ns = now_ns;
    }
}

/* ---- what happens -------------------------------------------------------------------------- */

void mb_progress_skip(mb_progress *p, int64_t steps)
{
    pthread_mutex_lock(&p->lock);
    p->begun++;
    p->done_steps += steps;
    pthread_mutex_unlock(&p->lock);
}

void mb_progress_begin(mb_progress *p, mb_progress_run *run, const char *label, int64_t first,
                       int64_t steps, int64_t tokens_per_step, int64_t now_ns)
{
    mb_progress_run **end = &p->first;

    *run = (mb_progress_run){ .first = first,
                              .step = first,
                              .steps = steps,
                              .tokens_per_step = tokens_per_step,
                              .began_ns = now_ns };
    snprintf(run->label, sizeof run->label, "%s", label);
    pthread_mutex_lock(&p->lock);
    run->job = ++p->begun;
    while (*end)
        end = &(*end)->next;
    *end = run;
    pthread_mutex_unlock(&p->lock);
}

/* Under the lock. */
static void update(mb_progress_run *run, int64_t step, const char *split, const mb_losses *l)
{
    run->step = step;
    run->split = split;
    run->losses = *l;
}

void mb_progress_step(mb_progress *p, mb_progress_run *run, int64_t step, const mb_losses *l,
                      int64_t now_ns)
{
    pthread_mutex_lock(&p->lock);
    update(run, step, "train", l);
    if (!p->quiet && p->columns && (!p->shown_ns || now_ns - p->shown_ns >= BETWEEN_NS))
        draw(p, NULL, now_ns);
    pthread_mutex_unlock(&p->lock);
}

void mb_progress_evaluated(mb_progress *p, mb_progress_run *run, int64_t step, const mb_losses *l,
                           int64_t now_ns)
{
    char line[LINE];

    pthread_mutex_lock(&p->lock);
    update(run, step, "val", l);
    make_line(p, line, run, now_ns);
    if (!p->quiet && p->columns)
        draw(p, NULL, now_ns);
    else if (!p->quiet)
        put_line(p, line);
    pthread_mutex_unlock(&p->lock);
}

/* A line that stays. */
static void put_above(mb_progress *p, const char *line, int64_t now_ns)
{
    if (!p->quiet && p->columns)
        draw(p, line, now_ns);
    else if (!p->quiet)
        put_line(p, line);
}

void mb_progress_note(mb_progress *p, const mb_progress_run *run, const char *note, int64_t now_ns)
{
    char line[LINE];

    pthread_mutex_lock(&p->lock);
    head(p, line, run);
    add(line, LINE, "  %s", note);
    put_above(p, line, now_ns);
    pthread_mutex_unlock(&p->lock);
}

/* Out of those under way. */
static void unlink_run(mb_progress *p, const mb_progress_run *run)
{
    mb_progress_run **at = &p->first;

    while (*at != run)
        at = &(*at)->next;
    *at = run->next;
}

void mb_progress_end(mb_progress *p, mb_progress_run *run, int64_t step, const char *outcome,
                     int64_t now_ns)
{
    int64_t here = step - run->first;
    char line[LINE];

    pthread_mutex_lock(&p->lock);
    run->step = step;
    unlink_run(p, run);
    p->done_steps += run->steps;
    p->worked_steps += here > 0 ? here : 0;
    p->worked_ns += now_ns - run->began_ns;
    head(p, line, run);
    add(line, LINE, "  %s", outcome);
    if (here > 0)
        add_time(line, " in ", spent_s(run, now_ns));
    put_above(p, line, now_ns);
    pthread_mutex_unlock(&p->lock);
}
