/* Tar archives, read from the beginning to the end and never unpacked: ustar, pax and GNU tar, also
   through gzip and zstd. Reading them needs libarchive; a build without it says so. Not here:
   writing, links, devices, sparse files. */
#ifndef MB_WORKLOADS_TAR_H
#define MB_WORKLOADS_TAR_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MB_TAR_LARGEST = 1 << 28 }; /* bytes of a file inside: more is no item of data */

typedef struct mb_tar mb_tar;

typedef struct mb_tar_entry {
    const char *name; /* valid until the next call */
    int64_t size;     /* bytes */
    int64_t offset;   /* of its header in the unpacked archive */
} mb_tar_entry;

mb_err mb_tar_open(const char *path, mb_tar **out);
void mb_tar_close(mb_tar *t); /* accepts NULL */

/* The next file; *MORE is false behind the last. Folders are passed over. Refused, with the offset:
   a header that is none, what is neither file nor folder, names that lead out of the archive, a
   file larger than MB_TAR_LARGEST, an archive without its end, checksums that are wrong. */
mb_err mb_tar_next(mb_tar *t, mb_tar_entry *entry, bool *more);

/* The content of the entry that was found last, with a NUL behind it; once. The caller frees. */
mb_err mb_tar_read(mb_tar *t, char **out);

#endif
