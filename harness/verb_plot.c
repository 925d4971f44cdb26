/* `motbench plot NAME -o FILE`: a figure is a query and a gnuplot script of the same name in
   plots/. gnuplot runs as a child, on files in a temporary folder; FILE is replaced only when it
   has succeeded. */
#include "harness/plot.h"
#include "harness/verbs.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

const mb_named mb_plots[] = {
    { "curves", "validation loss against FLOPs and time, by modality, of every architecture" },
    { "roofline", "what the operations of a step reach, under what the machine can do" },
    { 0 },
};
static const mb_figure *const figures[] = { &mb_figure_curves, &mb_figure_roofline };

/* ---- kinds of files ------------------------------------------------------------------------ */

typedef struct kind {
    const char *extension, *terminal; /* terminal: with the width for %d */
    int width;                        /* of a column of panels */
    bool plain;
} kind;

static const kind kinds[] = {
    { ".svg", "svg noenhanced size %d,760 dynamic background rgb 'white' font 'DejaVu Sans,11'",
      560, false },
    { ".png",
      "pngcairo noenhanced size %d,1140 background rgb 'white' font 'DejaVu Sans,11' fontscale 1.4 "
      "linewidth 1.5 pointscale 1.5",
      840, false },
    { ".pdf", "pdfcairo noenhanced size %dcm,19cm font 'DejaVu Sans,11'", 14, false },
    { ".txt", "dumb noenhanced size %d,48 mono", 64, true },
};

static mb_err find_kind(const char *path, const kind **out)
{
    const char *dot = strrchr(path, '.');

    *out = NULL;
    for (size_t i = 0; dot && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(dot, kinds[i].extension)) {
            *out = &kinds[i];
            return MB_OK;
        }
    return mb_fail(MB_EUSAGE, "%s: expected a name that ends in .svg, .png, .pdf or .txt", path);
}

/* ---- what gnuplot gets --------------------------------------------------------------------- */

mb_words mb_plot_distinct(const mb_rows *rows, int column)
{
    mb_words w = { .n = 0 };

    for (size_t i = 0; i < rows->n; i++) {
        const char *text = rows->cell[i * rows->columns + (size_t)column].string;
        int k = 0;

        while (k < w.n && strcmp(w.word[k], text))
            k++;
        if (k == w.n && *text && w.n < (int)(sizeof w.word / sizeof *w.word))
            w.word[w.n++] = text;
    }
    return w;
}

/* A gnuplot string: in single quotes only the single quote is special. */
void mb_plot_quoted(const char *text, FILE *out)
{
    fputc('\'', out);
    for (; *text; text++)
        fputs(*text == '\'' ? "''" : (char[]){ *text < ' ' && *text > 0 ? ' ' : *text, 0 }, out);
    fputc('\'', out);
}

void mb_plot_string(const char *name, const char *value, FILE *out)
{
    fprintf(out, "%s = ", name);
    mb_plot_quoted(value, out);
    fputs("\n", out);
}

void mb_plot_words(const char *name, const mb_words *w, FILE *out)
{
    char *list = mb_format("%s", "");

    for (int i = 0; i < w->n; i++) {
        char *more = mb_format("%s%s%s", list, i ? " " : "", w->word[i]);

        free(list);
        list = more;
    }
    mb_plot_string(name, list, out);
    free(list);
}

static void write_script(const mb_figure *figure, const mb_rows *rows, const char *workload,
                         const kind *k, const char *folder, const char *picture, FILE *out)
{
    int panels = figure->panels(rows);
    char *data = mb_format("%s/data", folder);

    fputs("set terminal ", out);
    fprintf(out, k->terminal, /* one panel alone is wider: the headline must fit */
            panels == 1 ? k->width * 3 / 2 : k->width * panels);
    fputs("\nset output ", out);
    mb_plot_quoted(picture, out);
    fprintf(out, "\nplain = %d\n", k->plain);
    mb_plot_string("data", data, out);
    figure->write_variables(rows, workload, out);
    fputs(figure->script, out);
    free(data);
}

/* ---- running it ---------------------------------------------------------------------------- */

static mb_err write_file(const char *path, FILE **out)
{
    *out = fopen(path, "wb");
    return *out ? MB_OK : mb_fail(MB_EIO, "%s: %s", path, strerror(errno));
}

static mb_err close_file(const char *path, FILE *f)
{
    bool bad = ferror(f);

    return fclose(f) || bad ? mb_fail(MB_EIO, "%s: %s", path, strerror(errno)) : MB_OK;
}

static mb_err write_inputs(const mb_figure *figure, const mb_rows *rows, const char *workload,
                           const kind *k, const char *folder, const char *picture)
{
    char *data = mb_format("%s/data", folder), *script = mb_format("%s/script", folder);
    FILE *f;
    mb_err err = write_file(data, &f);

    if (!err) {
        figure->write_data(rows, f);
        err = close_file(data, f);
    }
    if (!err)
        err = write_file(script, &f);
    if (!err) {
        write_script(figure, rows, workload, k, folder, picture, f);
        err = close_file(script, f);
    }
    free(data);
    free(script);
    return err;
}

/* The first line that gnuplot complained with; it shows the command and a caret before that. */
static void complaint(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "rb");
    char line[256];

    snprintf(out, size, "it said nothing");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (strstr(line, "line ") || strstr(line, "annot"))
            snprintf(out, size, "%s", line);
    }
    if (f)
        fclose(f);
}

static mb_err run_gnuplot(const char *folder)
{
    char *script = mb_format("%s/script", folder), *said = mb_format("%s/said", folder), line[256];
    char *const argv[] = { (char *)"gnuplot", script, NULL };
    posix_spawn_file_actions_t files;
    int status = 0, bad;
    pid_t pid;
    mb_err err = MB_OK;

    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, 2, said, O_WRONLY | O_CREAT, 0600);
    bad = posix_spawnp(&pid, "gnuplot", &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (bad) {
        err = mb_fail(MB_EMISSING, "gnuplot: %s; install the package gnuplot-nox", strerror(bad));
    } else {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        complaint(said, line, sizeof line);
        if (!WIFEXITED(status) || WEXITSTATUS(status))
            err = mb_fail(MB_EIO, "gnuplot failed: %s", line);
    }
    free(script);
    free(said);
    return err;
}

static void remove_folder(const char *folder)
{
    static const char *const names[] = { "data", "script", "said" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = mb_format("%s/%s", folder, names[i]);

        unlink(path);
        free(path);
    }
    rmdir(folder);
}

/* gnuplot writes into the file that is to replace PATH, by its temporary name. */
static mb_err draw(const mb_figure *figure, const mb_rows *rows, const char *workload,
                   const kind *k, const char *path)
{
    const char *parent = getenv("TMPDIR");
    char *folder = mb_format("%s/motbench-plot-XXXXXX", parent && *parent ? parent : "/tmp");
    mb_replace picture = { 0 };
    mb_err err = MB_OK;

    if (!mkdtemp(folder)) {
        err = mb_fail(MB_EIO, "%s: %s", folder, strerror(errno));
        free(folder);
        return err;
    }
    err = mb_replace_open(path, &picture);
    if (!err)
        err = write_inputs(figure, rows, workload, k, folder, picture.temporary);
    if (!err)
        err = run_gnuplot(folder);
    if (!err && (fseek(picture.file, 0, SEEK_END) || ftell(picture.file) <= 0))
        err = mb_fail(MB_EIO, "%s: gnuplot wrote nothing", path);
    if (err)
        mb_replace_abort(&picture);
    else
        err = mb_replace_commit(&picture);
    remove_folder(folder);
    free(folder);
    return err;
}

/* ---- the verb ------------------------------------------------------------------------------ */

/* The workload to draw, which must have finished runs; caller frees. */
static mb_err choose_workload(mb_store *s, const mb_figure *figure, const char *wanted, char **out)
{
    const char *const parameters[] = { wanted ? wanted : "", NULL };
    char *sql = mb_format("SELECT count(*), min(workload), group_concat(workload, ', ') FROM "
                          "(SELECT DISTINCT workload FROM %s "
                          "WHERE ?1 = '' OR workload = ?1 ORDER BY workload)",
                          figure->runs);
    mb_rows *rows;
    mb_err err = mb_store_query(s, sql, parameters, &rows);

    *out = NULL;
    free(sql);
    if (err)
        return err;
    if (rows->cell[0].integer == 0)
        err = mb_fail(MB_EMISSING, "%s: nothing to plot: no %s%s%s", mb_store_path(s), figure->what,
                      wanted ? " of workload " : "", wanted ? wanted : "");
    else if (rows->cell[0].integer > 1)
        err = mb_fail(MB_EINVAL, "%s: which workload is to be plotted? There are: %s",
                      mb_store_path(s), rows->cell[2].string);
    else
        *out = mb_format("%s", rows->cell[1].string);
    mb_rows_free(rows);
    return err;
}

static mb_err plot(mb_store *s, const mb_figure *figure, const mb_plot_options *o, const kind *k)
{
    const char *parameters[2] = { NULL };
    char *workload;
    mb_rows *rows = NULL;
    mb_err err;

    MB_TRY(choose_workload(s, figure, o->workload, &workload));
    parameters[0] = workload;
    err = mb_store_query(s, figure->sql, parameters, &rows);
    if (!err && rows->n == 0)
        err = mb_fail(MB_EMISSING, "%s: nothing to plot: workload %s has no %s", o->db, workload,
                      figure->missing);
    if (!err)
        err = draw(figure, rows, workload, k, o->output);
    mb_rows_free(rows);
    free(workload);
    return err;
}

/* The figure called NAME. */
static mb_err find_figure(const char *name, const mb_figure **out)
{
    size_t i;

    *out = NULL;
    for (i = 0; mb_plots[i].name; i++)
        if (!strcmp(name, mb_plots[i].name)) {
            *out = figures[i];
            return MB_OK;
        }
    return mb_fail(MB_EUSAGE, "no plot is called \"%s\": motbench list plots", name);
}

mb_err mb_verb_plot(const mb_plot_options *o, FILE *out)
{
    const mb_figure *figure;
    const kind *k;
    mb_store *s;
    mb_err err;

    MB_TRY(find_figure(o->name, &figure));
    if (!o->output)
        return mb_fail(MB_EUSAGE, "plot %s: expected a file to write (-o)", o->name);
    MB_TRY(find_kind(o->output, &k));
    MB_TRY(mb_store_open(o->db, false, &s));
    err = plot(s, figure, o, k);
    mb_store_close(s);
    if (!err)
        fprintf(out, "%s\n", o->output);
    return err;
}
