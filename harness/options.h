/* Options that several verbs share, as children for their argp parsers. A wrong command line ends
   the program with exit code 64, as argp does. */
#ifndef MB_HARNESS_OPTIONS_H
#define MB_HARNESS_OPTIONS_H

#include "harness/table.h"

#include <argp.h>

typedef struct mb_common {
    const char *db; /* the database: --db, else $MOTBENCH_DB, else results/motbench.db */
    enum mb_table_format format;
} mb_common;

/* The input of both is a mb_common; they set its defaults too. */
extern const struct argp mb_db_argp;     /* --db FILE */
extern const struct argp mb_format_argp; /* --format human|csv|json|md */

/* A whole number from 1 to MAX; anything else ends the program. */
int mb_parse_count(const struct argp_state *state, const char *option, const char *text, int max);

#endif
