/* Tar through libarchive, which gets its bytes from zlib: libarchive's own gzip does not look at
   the checksum, and zlib reads what is not compressed, too. */
#include "workloads/tar.h"
#include "base/file.h"
#include "workloads/array.h"
#include "workloads/inside.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { BLOCK = 512 };

struct mb_tar {
    gzFile file;
    struct archive *archive;
    char *path;
    int64_t size; /* of the entry, bytes */
    bool ended;   /* nothing comes any more */
    bool zeros;   /* whether the file, as far as it was read, ends in a block of zeros */
    char block[1 << 16];
};

/* With the offset of the entry; once libarchive has given up, with how far it came, if at all. */
static mb_err refuse(const mb_tar *t, const char *reason)
{
    int64_t offset = archive_read_header_position(t->archive);

    if (offset < 0)
        offset = archive_filter_bytes(t->archive, 0);
    return mb_fail(MB_ECORRUPT, "%s: offset %lld: %s", t->path, offset < 0 ? 0 : (long long)offset,
                   reason);
}

/* Zlib's reason, if it has one, since libarchive's is only what came of that. */
static mb_err pass_on(const mb_tar *t)
{
    int code;
    const char *why = gzerror(t->file, &code);

    if (code == Z_OK)
        why = archive_error_string(t->archive);
    else if (!strncmp(why, t->path, strlen(t->path)))
        why += strlen(t->path) + strlen(": ");
    return refuse(t, why);
}

static la_ssize_t read_block(struct archive *a, void *user, const void **block)
{
    static const char zeros[BLOCK];
    mb_tar *t = user;
    int code, n = gzread(t->file, t->block, sizeof t->block);

    *block = t->block;
    if (n > 0)
        t->zeros = n % BLOCK == 0 && !memcmp(t->block + n - BLOCK, zeros, BLOCK);
    gzerror(t->file, &code);
    return code == Z_OK ? n : -1;
}

mb_err mb_tar_open(const char *path, mb_tar **out)
{
    mb_map map;
    mb_tar *t;
    mb_err err = MB_OK;

    *out = NULL;
    MB_TRY(mb_map_open(path, &map)); /* for its messages, and since folders open as well */
    mb_map_close(&map);
    t = mb_zalloc(1, sizeof *t);
    t->path = mb_format("%s", path);
    t->archive = archive_read_new();
    t->file = gzopen(path, "rb");
    if (!t->archive || !t->file)
        err = mb_fail(MB_EIO, "%s: %s", path, strerror(errno));
    else if (archive_read_support_format_tar(t->archive) ||
             archive_read_support_filter_zstd(t->archive) ||
             archive_read_open(t->archive, t, NULL, read_block, NULL))
        err = pass_on(t);
    if (err)
        mb_tar_close(t);
    else
        *out = t;
    return err;
}

void mb_tar_close(mb_tar *t)
{
    if (!t)
        return;
    archive_read_free(t->archive);
    if (t->file)
        gzclose(t->file);
    free(t->path);
    free(t);
}

/* Reads the rest, so that zlib compares its checksum. To libarchive the end of the file is as good
   as the end mark, which it enters as bytes behind the last header; so it does a global header,
   hence the zeros. What zstd packed does not show them, but cannot be cut unnoticed. */
static mb_err check_end(mb_tar *t)
{
    const void *block;
    la_ssize_t n;

    do
        n = read_block(t->archive, t, &block);
    while (n > 0);
    if (n < 0)
        return pass_on(t);
    if (archive_filter_bytes(t->archive, 0) == archive_read_header_position(t->archive) ||
        (!t->zeros && archive_filter_count(t->archive) == 1))
        return refuse(t, "the archive ends without its end mark: is it truncated?");
    t->ended = true;
    return MB_OK;
}

/* A file (*FILE), or a folder; refuses all else. */
static mb_err check_entry(mb_tar *t, struct archive_entry *e, bool *file)
{
    const char *name = archive_entry_pathname(e);

    *file = archive_entry_filetype(e) == AE_IFREG;
    t->size = archive_entry_size(e);
    if (!*file && archive_entry_filetype(e) != AE_IFDIR)
        return refuse(t, "neither a file nor a folder: links and devices are refused");
    if (!name || !mb_is_inside(name))
        return refuse(t, "a name that is absolute, leads upwards or is not printable");
    if (t->size > MB_TAR_LARGEST)
        return mb_fail(MB_ECORRUPT, "%s: offset %lld: %s: %lld bytes, expected at most %d", t->path,
                       (long long)archive_read_header_position(t->archive), name,
                       (long long)t->size, MB_TAR_LARGEST);
    return MB_OK;
}

mb_err mb_tar_next(mb_tar *t, mb_tar_entry *entry, bool *more)
{
    struct archive_entry *e;
    bool file = false;

    *more = false;
    if (t->ended)
        return MB_OK;
    while (!file) {
        int got = archive_read_next_header(t->archive, &e);

        if (got == ARCHIVE_EOF)
            return check_end(t);
        /* A name that is not of this locale stays as it is; any other warning is an error. */
        if (got != ARCHIVE_OK && (got != ARCHIVE_WARN || archive_errno(t->archive) != EILSEQ))
            return pass_on(t);
        MB_TRY(check_entry(t, e, &file));
    }
    *entry = (mb_tar_entry){ archive_entry_pathname(e), t->size,
                             archive_read_header_position(t->archive) };
    *more = true;
    return MB_OK;
}

/* Block by block: a size that lies cannot ask for more memory than the archive has bytes. */
mb_err mb_tar_read(mb_tar *t, char **out)
{
    char *all = mb_alloc(1);
    const void *block;
    size_t have = 0, n;
    int64_t at;
    int got;

    *out = NULL;
    while ((got = archive_read_data_block(t->archive, &block, &n, &at)) == ARCHIVE_OK &&
           at == (int64_t)have) {
        all = mb_resize(all, have + n + 1, 1);
        memcpy(all + have, block, n);
        have += n;
    }
    if (got == ARCHIVE_EOF && have == (size_t)t->size) {
        all[have] = '\0';
        *out = all;
        return MB_OK;
    }
    free(all);
    return got < 0 ? pass_on(t) : refuse(t, "a file with holes: sparse files are refused");
}
