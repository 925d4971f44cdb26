/* One file of the user's own token ids: .npy, llm.c's .bin with its header, or a bare .bin. */
#ifndef MB_WORKLOADS_SHARD_FILE_H
#define MB_WORKLOADS_SHARD_FILE_H

#include "base/npy.h"

typedef struct mb_shard_file {
    const char *path; /* borrowed */
    mb_map map;
    mb_npy npy;           /* open when the file is one */
    int width;            /* bytes of an id */
    int64_t start, count; /* byte of the first id; ids */
} mb_shard_file;

/* BARE: bytes of an id (2, 4) in a .bin without header, or 0 when the user did not say. Refuses
   unknown magics and versions, counts that do not fit the size, and half ids, with the offset. */
mb_err mb_shard_file_open(const char *path, int bare, mb_shard_file *out);
void mb_shard_file_close(mb_shard_file *f); /* accepts a zeroed one */

int64_t mb_shard_file_id(const mb_shard_file *f, int64_t i);
int64_t mb_shard_file_offset(const mb_shard_file *f, int64_t i); /* byte in the file */

#endif
