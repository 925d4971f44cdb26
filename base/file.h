/* Files: read-only maps, atomic replacement, hashes, folders. */
#ifndef MB_BASE_FILE_H
#define MB_BASE_FILE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A whole file, mapped read-only. */
typedef struct mb_map {
    const unsigned char *data; /* NULL when the file is empty */
    size_t size;               /* bytes */
} mb_map;

mb_err mb_map_open(const char *path, mb_map *out);
void mb_map_close(mb_map *map); /* accepts a zeroed map */

/* A file being replaced: written beside PATH, renamed over it by mb_replace_commit(), which also
   flushes it to disk. Until then PATH is as it was; mb_replace_abort() leaves no trace. Folders,
   devices and pipes are refused. */
typedef struct mb_replace {
    FILE *file;
    char *path, *temporary;
} mb_replace;

mb_err mb_replace_open(const char *path, mb_replace *out);
mb_err mb_replace_commit(mb_replace *r); /* closes and frees, also on failure (disk full, ...) */
void mb_replace_abort(mb_replace *r);    /* accepts a zeroed or already committed one */

/* Creates PATH and its parents, like mkdir -p. */
mb_err mb_make_folders(const char *path);

bool mb_exists(const char *path);
bool mb_is_folder(const char *path);

/* printf into a fresh string that the caller frees; aborts when memory is gone. */
__attribute__((format(printf, 1, 2))) char *mb_format(const char *format, ...);

enum { MB_HASH_SIZE = 65 }; /* SHA-256 in lower-case hex and its NUL */
void mb_hash(const void *data, size_t size, char out[MB_HASH_SIZE]);
mb_err mb_hash_file(const char *path, char out[MB_HASH_SIZE]);

/* malloc and calloc for what is small next to the data: abort with a message when memory is gone.
 */
void *mb_alloc(size_t size);
void *mb_zalloc(size_t count, size_t size);

/* Whether this machine's memory could hold BYTES. To be asked before what is large is allocated:
   the system promises more than it has, and ends the process when it cannot keep that. */
bool mb_memory_holds(double bytes);

#endif
