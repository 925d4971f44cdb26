#include "results/csv.h"

#include <csv.h>
#include <stdlib.h>
#include <string.h>

static void end_field(FILE *out, bool last)
{
    fputs(last ? "\r\n" : ",", out);
}

void mb_csv_header(FILE *out, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        csv_fwrite(out, names[i], strlen(names[i]));
        end_field(out, i + 1 == n);
    }
}

void mb_csv_row(FILE *out, const mb_cell *cells, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (cells[i].type == MB_STRING)
            csv_fwrite(out, cells[i].string, strlen(cells[i].string));
        else
            fputs(cells[i].string, out);
        end_field(out, i + 1 == n);
    }
}

void mb_real_text(double value, char out[MB_REAL_TEXT])
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(out, MB_REAL_TEXT, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            return;
    }
}
