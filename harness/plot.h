/* Figures, for verb_plot.c (which runs the query and gnuplot) and those that say what a figure's
   rows are (plot_NAME.c). */
#ifndef MB_HARNESS_PLOT_H
#define MB_HARNESS_PLOT_H

#include "results/store.h"

#include <stdio.h>

typedef struct mb_figure {
    const char *runs;    /* the view whose workloads can be drawn */
    const char *what;    /* one row of it is, in messages */
    const char *sql;     /* ?1: the workload */
    const char *script;  /* of gnuplot */
    const char *missing; /* what a workload lacks that gives no rows */
    /* What gnuplot reads as data. */
    void (*write_data)(const mb_rows *rows, FILE *out);
    /* Variables of the script, but for data and plain. */
    void (*write_variables)(const mb_rows *rows, const char *workload, FILE *out);
    int (*panels)(const mb_rows *rows); /* side by side */
} mb_figure;

extern const mb_figure mb_figure_curves, mb_figure_roofline;

/* The distinct values of a column in order of appearance. */
typedef struct mb_words {
    const char *word[32];
    int n;
} mb_words;

mb_words mb_plot_distinct(const mb_rows *rows, int column);

/* NAME = 'VALUE', and NAME = 'WORD WORD ...', as gnuplot reads them. */
void mb_plot_string(const char *name, const char *value, FILE *out);
void mb_plot_words(const char *name, const mb_words *w, FILE *out);
void mb_plot_quoted(const char *text, FILE *out); /* 'TEXT' */

#endif
