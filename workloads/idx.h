/* gzip-compressed IDX files of unsigned bytes, as MNIST and its relatives come in. */
#ifndef MB_WORKLOADS_IDX_H
#define MB_WORKLOADS_IDX_H

#include "base/err.h"

#include <stdint.h>

typedef struct mb_idx {
    int rank; /* 1 .. 4 */
    int64_t shape[4];
    uint8_t *data; /* row-major */
} mb_idx;

/* Refuses other element types, truncated files and trailing bytes, with the offset (in the
   uncompressed data). Free with free(out->data). */
mb_err mb_idx_read(const char *path, mb_idx *out);

#endif
