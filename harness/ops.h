/* Operations of a run: the ledger's entries summed over its training steps, also across a resume.

   The ledger also sees evaluations; whoever trains adds it here before and clears it after. */
#ifndef MB_HARNESS_OPS_H
#define MB_HARNESS_OPS_H

#include "models/kernels/ledger.h"
#include "results/store.h"

#include <stdbool.h>

typedef struct mb_op_name {
    char op[32], part[16], pass[8];
} mb_op_name;

typedef struct mb_ops {
    mb_op_row *rows; /* their strings point into names */
    mb_op_name **names;
    size_t n, max;
} mb_ops;

void mb_ops_close(mb_ops *o); /* accepts a zeroed one */
/* Adds every entry to the row of its key; its wall time only when TRACED. */
void mb_ops_add(mb_ops *o, const mb_ledger *l, bool traced);
/* One line a row, for the metadata of a saved state. Caller frees. */
char *mb_ops_text(const mb_ops *o);
/* Adds what mb_ops_text() wrote; MB_ECORRUPT when it is not that. */
mb_err mb_ops_read(mb_ops *o, const char *text);

#endif
