#include "harness/progress.h"

#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LINE = 256, BETWEEN_NS = 100000000 /* ten updates a second are enough to read */ };

void mb_progress_open(mb_progress *p, FILE *out, int columns, bool quiet, int jobs,
                      int64_t all_steps)
{
    *p = (mb_progress){
        .out = out, .columns = columns, .quiet = quiet, .jobs = jobs, .all_steps = all_steps
    };
}

int mb_progress_columns(FILE *f)
{
    struct winsize size = { 0 };

    if (!isatty(fileno(f)))
        return 0;
    return ioctl(fileno(f), TIOCGWINSZ, &size) || !size.ws_col ? 80 : size.ws_col;
}

void mb_progress_skip(mb_progress *p, int64_t steps)
{
    p->job++;
    p->done_steps += steps;
}

void mb_progress_begin(mb_progress *p, const char *label, int64_t first, int64_t steps,
                       int64_t tokens_per_step, int64_t now_ns)
{
    snprintf(p->label, sizeof p->label, "%s", label);
    p->job++;
    p->first = first;
    p->steps = steps;
    p->tokens_per_step = tokens_per_step;
    p->began_ns = now_ns;
    p->shown_ns = 0;
}

static void add(char *line, const char *format, ...)
{
    size_t used = strlen(line);
    va_list args;

    va_start(args, format);
    vsnprintf(line + used, LINE - used, format, args);
    va_end(args);
}

static void add_losses(char *line, const char *split, const mb_losses *l)
{
    int m;

    add(line, "  %s", split);
    for (m = 0; m < MB_MODALITIES; m++)
        if (l->n[m])
            add(line, " %s %.3f", mb_modality_name[m], l->sum[m] / (double)l->n[m]);
}

static void add_time(char *line, const char *what, double seconds)
{
    long s = (long)(seconds + 0.5);

    if (s >= 3600)
        add(line, "%s%ld:%02ld:%02ld", what, s / 3600, s / 60 % 60, s % 60);
    else
        add(line, "%s%ld:%02ld", what, s / 60, s % 60);
}

/* Time left for this run and for all that is to come, and the speed, which a narrow terminal may
   cut off. */
static void add_pace(const mb_progress *p, char *line, int64_t step, int64_t now_ns)
{
    double run_s = (double)(now_ns - p->began_ns) * 1e-9, all_s = run_s + p->worked_ns * 1e-9;
    int64_t here = step - p->first, worked = here + p->worked_steps;

    if (here <= 0 || run_s <= 0)
        return;
    if (step < p->steps)
        add_time(line, "  left ", run_s / (double)here * (double)(p->steps - step));
    if (p->job < p->jobs)
        add_time(line, "  all ",
                 all_s / (double)worked * (double)(p->all_steps - p->done_steps - step));
    add(line, "  %.0f tokens/s", (double)(here * p->tokens_per_step) / run_s);
}

static void head(const mb_progress *p, char *line, int64_t step)
{
    *line = '\0';
    if (p->jobs > 1)
        add(line, "[%d/%d] ", p->job, p->jobs);
    add(line, "%s  %lld/%lld", p->label, (long long)step, (long long)p->steps);
}

/* In place on a terminal: back to the start, as much of the line as fits in one row, and the rest
   of the old one cleared. */
static void show(mb_progress *p, const char *line, bool finish)
{
    if (p->columns)
        fprintf(p->out, "\r%.*s\033[K%s", p->columns - 1, line, finish ? "\n" : "");
    else
        fprintf(p->out, "%s\n", line);
    p->line_open = p->columns && !finish;
    fflush(p->out);
}

static void clear(mb_progress *p)
{
    if (p->line_open)
        fputs("\r\033[K", p->out);
    p->line_open = false;
}

void mb_progress_step(mb_progress *p, int64_t step, const mb_losses *l, int64_t now_ns)
{
    char line[LINE];

    if (p->quiet || !p->columns || (p->shown_ns && now_ns - p->shown_ns < BETWEEN_NS))
        return;
    p->shown_ns = now_ns;
    head(p, line, step);
    add_losses(line, "train", l);
    add_pace(p, line, step, now_ns);
    show(p, line, false);
}

void mb_progress_evaluated(mb_progress *p, int64_t step, const mb_losses *l, int64_t now_ns)
{
    char line[LINE];

    if (p->quiet)
        return;
    p->shown_ns = now_ns;
    head(p, line, step);
    add_losses(line, "val", l);
    add_pace(p, line, step, now_ns);
    show(p, line, false);
}

void mb_progress_end(mb_progress *p, int64_t step, const char *outcome, int64_t now_ns)
{
    char line[LINE];
    int64_t here = step - p->first;

    p->done_steps += p->steps;
    p->worked_steps += here > 0 ? here : 0;
    p->worked_ns += now_ns - p->began_ns;
    if (p->quiet)
        return;
    head(p, line, step);
    add(line, "  %s", outcome);
    if (here > 0)
        add_time(line, " in ", (double)(now_ns - p->began_ns) * 1e-9);
    show(p, line, true);
}

void mb_progress_note(mb_progress *p, const char *format, ...)
{
    va_list args;

    clear(p);
    va_start(args, format);
    vfprintf(p->out, format, args);
    va_end(args);
    fputc('\n', p->out);
    fflush(p->out);
}

void mb_progress_preparing(mb_progress *p, const char *what, double fraction)
{
    char line[LINE] = "";

    if (p->quiet || !p->columns)
        return;
    add(line, "preparing data: %s %.0f %%", what, 100 * fraction);
    show(p, line, fraction >= 1);
}
