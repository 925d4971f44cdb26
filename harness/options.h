/* Options that several verbs share, as children for their argp parsers. A wrong command line ends
   the program with exit code 64, as argp does. */
#ifndef MB_HARNESS_OPTIONS_H
#define MB_HARNESS_OPTIONS_H

#include "harness/table.h"
#include "models/diffuse.h"

#include <argp.h>

typedef struct mb_common {
    const char *db; /* the database: --db, else $MOTBENCH_DB, else results/motbench.db */
    enum mb_table_format format;
} mb_common;

enum { MB_ASKED_MAX = 64 };
typedef struct mb_asked {           /* how a workload is to be run */
    const char *archs, *seeds;      /* lists; NULL: as the workload says */
    const char *sets[MB_ASKED_MAX]; /* "section.key=value" */
    int n_sets;
    const char *backend;
    mb_precision precision;
    int threads; /* 0: the machine's own choice */
} mb_asked;

/* -a, -s, -S, --backend, --precision, --threads; the input is a mb_asked, whose defaults it sets.
 */
extern const struct argp mb_asked_argp;

/* The input of both is a mb_common; they set its defaults too. */
extern const struct argp mb_db_argp;     /* --db FILE */
extern const struct argp mb_format_argp; /* --format human|csv|json|md */

/* --sampler, --sampler-steps, --guidance; the input is a mb_diffuse, whose defaults it sets. */
extern const struct argp mb_sampler_argp;

/* Appends TEXT to LIST of MB_ASKED_MAX; too many WHAT end the program. */
void mb_parse_append(const struct argp_state *state, const char **list, int *n, const char *text,
                     const char *what);
/* A whole number from 1 to MAX; anything else ends the program. */
int mb_parse_count(const struct argp_state *state, const char *option, const char *text, int max);

/* A number from LOW to HIGH; anything else ends the program. */
double mb_parse_number(const struct argp_state *state, const char *option, const char *text,
                       double low, double high);

/* The backend that is called TEXT; any other name ends the program. */
const char *mb_parse_backend(const struct argp_state *state, const char *text);

#endif
