/* The verbs that read the database, as functions of parsed options: results go to OUT, errors are
   returned. main.c parses the command line and says which code exits how. */
#ifndef MB_HARNESS_VERBS_H
#define MB_HARNESS_VERBS_H

#include "base/err.h"
#include "harness/table.h"

#include <stdio.h>

/* A thing that a verb takes by name, for `motbench list`. Lists end with a NULL name. */
typedef struct mb_named {
    const char *name, *about;
} mb_named;

typedef struct mb_cmp_options {
    const char *db;
    const char *workload; /* NULL: all */
    const char *baseline; /* NULL: "dense" */
    enum mb_table_format format;
} mb_cmp_options;

/* FLOPs- and time-to-match of every architecture against the baseline, printed and stored.
   MB_EMISSING without finished runs, MB_EINCOMPARABLE when no architecture could be compared; the
   table is printed all the same. */
mb_err mb_verb_cmp(const mb_cmp_options *o, FILE *out);

typedef struct mb_table_options {
    const char *db, *name; /* one of mb_tables */
    const char *workload;  /* NULL: all */
    enum mb_table_format format;
} mb_table_options;

extern const mb_named mb_tables[];
mb_err mb_verb_table(const mb_table_options *o, FILE *out);

typedef struct mb_plot_options {
    const char *db, *name; /* one of mb_plots */
    const char *workload;  /* NULL: the only one there is */
    const char *output;    /* .svg, .png, .pdf or .txt decides the kind */
} mb_plot_options;

extern const mb_named mb_plots[];
mb_err mb_verb_plot(const mb_plot_options *o, FILE *out);

typedef struct mb_db_options {
    const char *db, *action; /* "check" or "export" */
    const char *folder;      /* of an export */
} mb_db_options;

mb_err mb_verb_db(const mb_db_options *o, FILE *out);

#endif
