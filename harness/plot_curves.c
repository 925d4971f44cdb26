/* The figure curves: losses along training, a panel for each modality. */
#include "harness/plot.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

static const char sql[] =
#include "plots/curves.sql.inc"
    ;
static const char script[] =
#include "plots/curves.gp.inc"
    ;

/* Columns of curves.sql. */
enum { MODALITY, ARCH, SEED, FLOPS, SECONDS, LOSS, CONDITION, PLAIN, BETTER, SQUARED };

/* The lines of one modality and architecture: those of seeds, or those of their mean. */
static void write_block(const mb_rows *rows, const char *modality, const char *arch, bool mean,
                        FILE *out)
{
    const char *seed = NULL;

    for (size_t i = 0; i < rows->n; i++) {
        const mb_cell *r = rows->cell + i * rows->columns;

        if (strcmp(r[MODALITY].string, modality) || strcmp(r[ARCH].string, arch) ||
            (r[SEED].type == MB_NULL) != mean)
            continue;
        if (seed && strcmp(seed, r[SEED].string))
            fputs("\n", out); /* another line */
        seed = r[SEED].string;
        fprintf(out, "%s %s %s\n", r[FLOPS].string,
                r[SECONDS].type == MB_NULL ? "NaN" : r[SECONDS].string, r[LOSS].string);
    }
    fputs(seed ? "\n\n" : "NaN NaN NaN\n\n\n", out);
}

static void write_data(const mb_rows *rows, FILE *out)
{
    mb_words modalities = mb_plot_distinct(rows, MODALITY), archs = mb_plot_distinct(rows, ARCH);

    for (int m = 0; m < modalities.n; m++)
        for (int a = 0; a < archs.n; a++) {
            write_block(rows, modalities.word[m], archs.word[a], false, out);
            write_block(rows, modalities.word[m], archs.word[a], true, out);
        }
}

static void write_times(const mb_rows *rows, FILE *out)
{
    double longest = 0;

    for (size_t i = 0; i < rows->n; i++)
        if (rows->cell[i * rows->columns + SECONDS].real > longest)
            longest = rows->cell[i * rows->columns + SECONDS].real;
    fprintf(out, "rows = %d\n", longest > 0 ? 2 : 1); /* NULL is 0 */
    if (longest < 300)
        fputs("seconds = 1.0\nunit = 's'\n", out);
    else if (longest < 5 * 3600)
        fputs("seconds = 60.0\nunit = 'min'\n", out);
    else
        fputs("seconds = 3600.0\nunit = 'h'\n", out);
}

/* NAME = the values of COLUMN by modality, "NaN" where there is none. */
static void write_column(const char *name, const mb_rows *rows, const mb_words *modalities,
                         int column, FILE *out)
{
    fprintf(out, "%s = '", name);
    for (int m = 0; m < modalities->n; m++) {
        const char *value = "NaN";

        for (size_t i = 0; i < rows->n; i++) {
            const mb_cell *r = rows->cell + i * rows->columns;

            if (!strcmp(r[MODALITY].string, modalities->word[m]) && r[column].type != MB_NULL)
                value = r[column].string;
        }
        fprintf(out, "%s%s", m ? " " : "", value);
    }
    fputs("'\n", out);
}

static void write_variables(const mb_rows *rows, const char *workload, FILE *out)
{
    mb_words modalities = mb_plot_distinct(rows, MODALITY), archs = mb_plot_distinct(rows, ARCH),
             seeds = mb_plot_distinct(rows, SEED);
    char *headline = mb_format("%s: validation loss by modality (%s, %d %s)", workload,
                               rows->cell[CONDITION].string, seeds.n,
                               seeds.n == 1 ? "seed" : "seeds; bold: their mean");

    fprintf(out, "seeds = %d\n", seeds.n);
    mb_plot_string("headline", headline, out);
    mb_plot_words("archs", &archs, out);
    mb_plot_words("modalities", &modalities, out);
    write_column("plain_losses", rows, &modalities, PLAIN, out);
    write_column("better_losses", rows, &modalities, BETTER, out);
    write_column("squared", rows, &modalities, SQUARED, out);
    write_times(rows, out);
    free(headline);
}

static int panels(const mb_rows *rows)
{
    return mb_plot_distinct(rows, MODALITY).n;
}

const mb_figure mb_figure_curves = {
    .runs = "v_latest",
    .what = "finished run",
    .sql = sql,
    .script = script,
    .missing = "validation losses",
    .write_data = write_data,
    .write_variables = write_variables,
    .panels = panels,
};
