/* The .safetensors format: an 8-byte little-endian header length, a JSON header with shape, dtype
   and offsets of every tensor and a string map "__metadata__", then the data.

   Files are untrusted: every offset, length, name and dtype is checked before use. */
#ifndef MB_MODELS_SAFETENSORS_H
#define MB_MODELS_SAFETENSORS_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct mb_st_tensor {
    const char *name;
    const char *dtype; /* "F32", "F64", "I32", "I64", "U8", "BF16" */
    int rank;
    int64_t shape[4];
    const void *data; /* reading: into the map, little-endian; may be unaligned: use memcpy */
    size_t size;      /* bytes */
} mb_st_tensor;

typedef struct mb_safetensors mb_safetensors; /* an open file, mapped */

mb_err mb_safetensors_open(const char *path, mb_safetensors **out);
void mb_safetensors_close(mb_safetensors *s); /* accepts NULL */
size_t mb_safetensors_count(const mb_safetensors *s);
const mb_st_tensor *mb_safetensors_at(const mb_safetensors *s, size_t i); /* in file order */
const mb_st_tensor *mb_safetensors_find(const mb_safetensors *s, const char *name); /* or NULL */
const char *mb_safetensors_metadata(const mb_safetensors *s, const char *key);      /* or NULL */

/* Replaces PATH atomically, wider elements first, so that every tensor is aligned. METADATA: "key",
   "value", ..., NULL (or NULL). */
mb_err mb_safetensors_write(const char *path, const mb_st_tensor *tensors, size_t n,
                            const char *const *metadata);

#endif
