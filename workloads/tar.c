/* POSIX.1-2001 (pax) with GNU's 'L' and base-256 sizes. zlib reads what is not compressed, too. */
#include "workloads/tar.h"
#include "base/file.h"
#include "workloads/array.h"
#include "workloads/inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { BLOCK = 512, LARGEST_HEADER = 1 << 20, STEP = 1 << 20 };

/* Where fields of a header lie, and their sizes. */
enum {
    NAME_SIZE = 100,
    SIZE_AT = 124,
    NUMBER_SIZE = 12,
    SUM_AT = 148,
    SUM_SIZE = 8,
    TYPE_AT = 156,
    MAGIC_AT = 257,
    PREFIX_AT = 345,
    PREFIX_SIZE = 155
};

struct mb_tar {
    gzFile file;
    char *path;
    int64_t at;        /* bytes of the archive read so far */
    int64_t left, pad; /* of the entry's content, and behind it */
    int64_t header;    /* where the entry begins */
    char *name;
    char *long_name;   /* of the next entry, or NULL */
    int64_t long_size; /* likewise, or -1 */
};

mb_err mb_tar_open(const char *path, mb_tar **out)
{
    mb_map map;
    mb_tar *t;

    *out = NULL;
    MB_TRY(mb_map_open(path, &map)); /* for its messages, and since folders open as well */
    mb_map_close(&map);
    t = mb_zalloc(1, sizeof *t);
    t->path = mb_format("%s", path);
    t->long_size = -1;
    t->file = gzopen(path, "rb");
    if (!t->file) {
        mb_tar_close(t);
        return mb_fail(MB_EIO, "%s: %s", path, strerror(errno));
    }
    *out = t;
    return MB_OK;
}

void mb_tar_close(mb_tar *t)
{
    if (!t)
        return;
    if (t->file)
        gzclose(t->file);
    free(t->path);
    free(t->name);
    free(t->long_name);
    free(t);
}

static mb_err refuse(const mb_tar *t, int64_t offset, const char *reason)
{
    return mb_fail(MB_ECORRUPT, "%s: offset %lld: %s", t->path, (long long)offset, reason);
}

/* SIZE bytes, or what is left of the archive: *GOT. */
static mb_err read_some(mb_tar *t, void *to, size_t size, size_t *got)
{
    int n = gzread(t->file, to, (unsigned)size), code = Z_OK;
    const char *why = gzerror(t->file, &code);

    *got = n < 0 ? 0 : (size_t)n;
    t->at += (int64_t)*got;
    if (n < 0 || code == Z_BUF_ERROR)
        return mb_fail(MB_ECORRUPT, "%s: offset %lld: %s", t->path, (long long)t->at, why);
    return MB_OK;
}

static mb_err read_all(mb_tar *t, void *to, size_t size)
{
    size_t got;

    MB_TRY(read_some(t, to, size, &got));
    return got == size ? MB_OK : refuse(t, t->at, "the archive ends within a file");
}

static mb_err skip(mb_tar *t, int64_t bytes)
{
    char block[16 * BLOCK];

    while (bytes > 0) {
        size_t n = bytes < (int64_t)sizeof block ? (size_t)bytes : sizeof block;

        MB_TRY(read_all(t, block, n));
        bytes -= (int64_t)n;
    }
    return MB_OK;
}

/* ---- headers --------------------------------------------------------------------------------- */

/* A number in octal, or in base 256 when the first bit is set; -1 when it is neither. */
static int64_t number(const unsigned char *field, int size)
{
    int64_t value = 0;
    int i = 0;

    if (field[0] & 0x80) {
        for (i = 1; i < size - 8; i++) {
            if (field[i])
                return -1;
        }
        for (; i < size; i++)
            value = value << 8 | field[i];
        return value;
    }
    while (i < size && field[i] == ' ')
        i++;
    for (; i < size && field[i] >= '0' && field[i] <= '7'; i++)
        value = value << 3 | (field[i] - '0');
    return i < size && field[i] != '\0' && field[i] != ' ' ? -1 : value;
}

static bool is_zero(const unsigned char *block)
{
    for (int i = 0; i < BLOCK; i++) {
        if (block[i])
            return false;
    }
    return true;
}

static bool has_right_sum(const unsigned char *block)
{
    int64_t sum = 0;

    for (int i = 0; i < BLOCK; i++)
        sum += i >= SUM_AT && i < SUM_AT + SUM_SIZE ? ' ' : block[i];
    return sum == number(block + SUM_AT, SUM_SIZE);
}

/* The content of an entry that says something about the next one. */
static mb_err read_note(mb_tar *t, char **out)
{
    if (t->left > LARGEST_HEADER)
        return refuse(t, t->header, "a header of more than 1 MiB");
    return mb_tar_read(t, out);
}

/* Records "LENGTH KEY=VALUE\n", of which "path" and "size" matter. */
static mb_err read_pax(mb_tar *t)
{
    size_t size = (size_t)t->left;
    char *text, *at, *end;

    MB_TRY(read_note(t, &text));
    for (at = text; at < text + size; at = end) {
        char *key, *value;
        long length = strtol(at, &key, 10);
        bool fits = length > 0 && length <= text + size - at && *key == ' ';

        end = at + (fits ? length : 0);
        value = fits ? memchr(key, '=', (size_t)(end - key)) : NULL;
        if (!value || end[-1] != '\n')
            return free(text), refuse(t, t->header, "a pax header that is none");
        end[-1] = '\0';
        if (!strncmp(key, " path=", 6)) {
            free(t->long_name);
            t->long_name = mb_format("%s", value + 1);
        } else if (!strncmp(key, " size=", 6)) {
            t->long_size = strtoll(value + 1, NULL, 10);
        }
    }
    free(text);
    return MB_OK;
}

static mb_err read_long_name(mb_tar *t)
{
    free(t->long_name);
    t->long_name = NULL;
    return read_note(t, &t->long_name);
}

static void take_name(mb_tar *t, const unsigned char *block)
{
    const char *text = (const char *)block, *prefix = text + PREFIX_AT;

    free(t->name);
    if (t->long_name)
        t->name = t->long_name;
    else if (!memcmp(block + MAGIC_AT, "ustar\0", 6) && *prefix)
        t->name = mb_format("%.*s/%.*s", PREFIX_SIZE, prefix, NAME_SIZE, text);
    else
        t->name = mb_format("%.*s", NAME_SIZE, text);
    t->long_name = NULL;
    if (t->long_size >= 0)
        t->left = t->long_size;
    t->long_size = -1;
}

/* A file (*FILE), or a folder; refuses all else. */
static mb_err check_entry(mb_tar *t, char type, bool *file)
{
    *file = type == '0' || type == '\0' || type == '7';
    if (!*file && type != '5')
        return refuse(t, t->header, "neither a file nor a folder: links and devices are refused");
    if (!mb_is_inside(t->name))
        return refuse(t, t->header, "a name that is absolute, leads upwards or is not printable");
    if (t->left > MB_TAR_LARGEST)
        return mb_fail(MB_ECORRUPT, "%s: offset %lld: %s: %lld bytes, expected at most %d", t->path,
                       (long long)t->header, t->name, (long long)t->left, MB_TAR_LARGEST);
    return MB_OK;
}

/* Reads a header that is not of zeros; *FILE when a file's content follows. */
static mb_err read_header(mb_tar *t, const unsigned char *block, bool *file)
{
    char type = (char)block[TYPE_AT];

    *file = false;
    if (!has_right_sum(block))
        return refuse(t, t->header, "no tar header: its checksum is wrong");
    t->left = number(block + SIZE_AT, NUMBER_SIZE);
    if (t->left < 0)
        return refuse(t, t->header, "a size that is no number");
    t->pad = -t->left & (BLOCK - 1);
    switch (type) {
    case 'x':
        return read_pax(t);
    case 'L':
        return read_long_name(t);
    case 'g': /* about all that follows: nothing that matters here */
    case 'K':
        return MB_OK;
    default:
        take_name(t, block);
        t->pad = -t->left & (BLOCK - 1);
        return check_entry(t, type, file);
    }
}

mb_err mb_tar_next(mb_tar *t, mb_tar_entry *entry, bool *more)
{
    unsigned char block[BLOCK];
    bool file = false;
    size_t got;

    *more = false;
    while (!file) {
        MB_TRY(skip(t, t->left + t->pad));
        t->left = t->pad = 0;
        t->header = t->at;
        MB_TRY(read_some(t, block, sizeof block, &got));
        if (got < sizeof block)
            return refuse(t, t->at, "the archive ends without its end mark: is it truncated?");
        if (is_zero(block))
            return MB_OK;
        MB_TRY(read_header(t, block, &file));
    }
    *entry = (mb_tar_entry){ t->name, t->left, t->header };
    *more = true;
    return MB_OK;
}

/* In steps, so that a size that lies cannot ask for more memory than the archive has bytes. */
mb_err mb_tar_read(mb_tar *t, char **out)
{
    size_t size = (size_t)t->left, have = 0;
    char *all = mb_alloc(size < STEP ? size + 1 : STEP + 1);
    mb_err err = MB_OK;

    *out = NULL;
    while (!err && have < size) {
        size_t n = size - have < STEP ? size - have : STEP;

        if (have > 0)
            all = mb_resize(all, have + n + 1, 1);
        err = read_all(t, all + have, n);
        have += n;
    }
    t->left = 0;
    if (err) {
        free(all);
        return err;
    }
    all[size] = '\0';
    *out = all;
    return MB_OK;
}
