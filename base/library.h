/* Libraries that a machine may lack, opened while running: one binary serves machines with and
   without a GPU.

   A library is looked for by the loader first (already loaded, $LD_LIBRARY_PATH, ldconfig), then in
   the folders where CUDA's are when nobody told the loader: $CUDA_HOME, /usr/local/cuda*, and
   nvidia/ of the site-packages of each python3 on $PATH, and of what that is a link to. */
#ifndef MB_BASE_LIBRARY_H
#define MB_BASE_LIBRARY_H

#include "base/err.h"

typedef struct mb_library {
    void *handle;     /* NULL: not open */
    const char *name; /* the one of the names that was found */
} mb_library;

/* The first of NAMES (sonames, best first, ends with NULL; borrowed) that opens. MB_EMISSING says
   which names were looked for and where; of one that is there and does not open, why. */
mb_err mb_library_open(const char *const *names, mb_library *out);
void mb_library_close(mb_library *l); /* accepts a zeroed one */

typedef struct mb_symbol {
    const char *name;
    void *pointer; /* the address of the function pointer that is to have it */
} mb_symbol;

/* Sets every pointer of SYMBOLS, which end with a NULL name; MB_EMISSING names the first that the
   library lacks: another version than expected. */
mb_err mb_library_symbols(const mb_library *l, const mb_symbol *symbols);

/* The file that a library was opened from; caller frees. */
char *mb_library_path(const mb_library *l);

#endif
