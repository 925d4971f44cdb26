/* The figure roofline: operations under the ceilings of their machine, a panel for each
   architecture. */
#include "harness/plot.h"

#include "base/file.h"
#include "models/kernels/ledger.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char sql[] =
#include "plots/roofline.sql.inc"
    ;
static const char script[] =
#include "plots/roofline.gp.inc"
    ;

/* Columns of roofline.sql. */
enum { ARCH, PART, PASS, LABEL, INTENSITY, RATE, PERCENT, MOVED, FMA, PRODUCT, TRIAD, CONDITION };

/* The script's number of a part: the order of its legend. */
static int part_number(const char *part)
{
    static const mb_part order[] = { MB_ATTENTION, MB_FEED_FORWARD, MB_ROUTER,
                                     MB_HEAD,      MB_EMBED,        MB_OPTIMIZER };
    int i;

    for (i = 0; i < MB_PARTS && strcmp(part, mb_part_name[order[i]]); i++)
        ;
    return i + 1;
}

static int pass_number(const char *pass)
{
    int i;

    for (i = 0; i < MB_PASSES && strcmp(pass, mb_pass_name[i]); i++)
        ;
    return i + 1;
}

static const mb_cell *row(const mb_rows *rows, size_t i)
{
    return rows->cell + i * rows->columns;
}

/* Labels of operations above 2 %, as far as there is room: rows come by their share, and a label is
   about a decade and a half wide and an eighth high. */
static bool is_labelled(const mb_rows *rows, size_t i)
{
    const mb_cell *r = row(rows, i), *other;
    bool room = r[PERCENT].real >= 2;
    size_t k;

    for (k = i; room && k-- > 0 && !strcmp(row(rows, k)[ARCH].string, r[ARCH].string);) {
        other = row(rows, k);
        room = fabs(log10(other[INTENSITY].real / r[INTENSITY].real)) > 1.5 ||
               fabs(log10(other[RATE].real / r[RATE].real)) > 0.125;
    }
    return room;
}

static void write_data(const mb_rows *rows, FILE *out)
{
    size_t i;

    for (i = 0; i < rows->n; i++) {
        const mb_cell *r = row(rows, i);

        if (i && strcmp(r[ARCH].string, row(rows, i - 1)[ARCH].string))
            fputs("\n\n", out);
        fprintf(out, "%s %s %s %d %d ", r[INTENSITY].string, r[RATE].string, r[PERCENT].string,
                part_number(r[PART].string), pass_number(r[PASS].string));
        if (is_labelled(rows, i))
            fprintf(out, "\"%s %.0f%%\"\n", r[LABEL].string, r[PERCENT].real);
        else
            fputs("\"\"\n", out);
    }
}

/* NAME = 'NUMBER ...', one for each architecture. */
static void write_numbers(const mb_rows *rows, const char *name, int column, FILE *out)
{
    const char *arch = "";
    size_t i;

    fprintf(out, "%s = '", name);
    for (i = 0; i < rows->n; i++)
        if (strcmp(arch, row(rows, i)[ARCH].string)) {
            const mb_cell *cell = &row(rows, i)[column];

            fprintf(out, "%s ", cell->type == MB_NULL ? "NaN" : cell->string);
            arch = row(rows, i)[ARCH].string;
        }
    fputs("'\n", out);
}

static void write_variables(const mb_rows *rows, const char *workload, FILE *out)
{
    mb_words archs = mb_plot_distinct(rows, ARCH);
    char *headline =
        mb_format("%s: operations of a training step (%s)", workload, rows->cell[CONDITION].string);

    mb_plot_string("headline", headline, out);
    mb_plot_words("archs", &archs, out);
    write_numbers(rows, "moved", MOVED, out);
    write_numbers(rows, "fma", FMA, out);
    write_numbers(rows, "product", PRODUCT, out);
    write_numbers(rows, "triad", TRIAD, out);
    free(headline);
}

static int panels(const mb_rows *rows)
{
    return mb_plot_distinct(rows, ARCH).n;
}

const mb_figure mb_figure_roofline = {
    .runs = "v_profile",
    .what = "profile (motbench profile)",
    .sql = sql,
    .script = script,
    .missing = "operations with arithmetic",
    .write_data = write_data,
    .write_variables = write_variables,
    .panels = panels,
};
