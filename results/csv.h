/* CSV as RFC 4180 has it: text is quoted, numbers are not, NULL is an empty field. */
#ifndef MB_RESULTS_CSV_H
#define MB_RESULTS_CSV_H

#include "results/store.h"

#include <stdio.h>

void mb_csv_header(FILE *out, const char *const *names, size_t n);
void mb_csv_row(FILE *out, const mb_cell *cells, size_t n);

/* A double as the shortest decimal text that reads back as the same double. */
enum { MB_REAL_TEXT = 32 };
void mb_real_text(double value, char out[MB_REAL_TEXT]);

#endif
