/* NumPy .npy files, versions 1 to 3, C order, little-endian: u1 u2 u4 i4 i8 f2 f4 f8. */
#ifndef MB_BASE_NPY_H
#define MB_BASE_NPY_H

#include "base/err.h"
#include "base/file.h"

#include <stdint.h>

typedef struct mb_npy {
    mb_map map;
    char kind; /* 'u', 'i' or 'f' */
    int size;  /* bytes of an element */
    int rank;  /* 0 .. 4 */
    int64_t shape[4], count;
    const void
        *data; /* into the map; may be unaligned for its type: use mb_npy_int / mb_npy_float */
} mb_npy;

/* Refuses what is not listed above, a header that lies about the length, and Fortran order, with
   file, offset and reason. */
mb_err mb_npy_open(const char *path, mb_npy *out);
void mb_npy_close(mb_npy *n);                    /* accepts a zeroed one */
int64_t mb_npy_int(const mb_npy *n, int64_t i);  /* integer kinds */
double mb_npy_float(const mb_npy *n, int64_t i); /* any kind */

/* Streams a float32 array: open with the full shape, write the rows, commit (atomic). */
mb_err mb_npy_write_f32(const char *path, const float *data, int rank, const int64_t *shape);

#endif
