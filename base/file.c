#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

mb_err mb_map_open(const char *path, mb_map *out)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* which a pipe would wait for */
    mb_err err = MB_OK;

    memset(out, 0, sizeof *out);
    if (fd < 0)
        return mb_fail(errno == ENOENT ? MB_EMISSING : MB_EIO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st)) {
        err = mb_fail(MB_EIO, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        err = mb_fail(MB_EINVAL, "%s: not a regular file", path);
    } else if (st.st_size > 0) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);

        if (data == MAP_FAILED) {
            err = mb_fail(MB_EIO, "%s: %s", path, strerror(errno));
        } else {
            out->data = data;
            out->size = (size_t)st.st_size;
        }
    }
    close(fd);
    return err;
}

void mb_map_close(mb_map *map)
{
    if (map->data)
        munmap((void *)map->data, map->size);
    memset(map, 0, sizeof *map);
}

mb_err mb_replace_open(const char *path, mb_replace *out)
{
    struct stat st;
    int fd;

    memset(out, 0, sizeof *out);
    if (!stat(path, &st) && !S_ISREG(st.st_mode)) /* a device would be lost to the rename */
        return mb_fail(MB_EINVAL, "%s: not a regular file, expected one or a new name", path);
    out->path = mb_format("%s", path);
    out->temporary = mb_format("%s.%ld.tmp", path, (long)getpid());
    fd = open(out->temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd >= 0)
        out->file = fdopen(fd, "w+b");
    if (!out->file) {
        mb_err err = mb_fail(MB_EIO, "%s: %s", out->temporary, strerror(errno));

        if (fd >= 0)
            close(fd);
        mb_replace_abort(out);
        return err;
    }
    return MB_OK;
}

mb_err mb_replace_commit(mb_replace *r)
{
    mb_err err = MB_OK;
    bool bad = ferror(r->file) || fflush(r->file) || fsync(fileno(r->file));

    if (fclose(r->file) || bad)
        err = mb_fail(MB_EIO, "%s: %s", r->temporary, strerror(errno ? errno : EIO));
    r->file = NULL;
    if (!err && rename(r->temporary, r->path))
        err = mb_fail(MB_EIO, "%s: %s", r->path, strerror(errno));
    if (!err) {
        free(r->temporary);
        r->temporary = NULL; /* nothing left to remove */
    }
    mb_replace_abort(r);
    return err;
}

void mb_replace_abort(mb_replace *r)
{
    if (r->file)
        fclose(r->file);
    if (r->temporary)
        unlink(r->temporary);
    free(r->temporary);
    free(r->path);
    memset(r, 0, sizeof *r);
}

mb_err mb_make_folders(const char *path)
{
    char *copy = mb_format("%s", path), *slash = copy;
    mb_err err = MB_OK;

    while (!err && slash) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = '\0';
        if (*copy && mkdir(copy, 0777) && errno != EEXIST)
            err = mb_fail(MB_EIO, "%s: %s", copy, strerror(errno));
        if (slash)
            *slash = '/';
    }
    free(copy);
    return err;
}

bool mb_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool mb_is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *mb_format(const char *format, ...)
{
    va_list args;
    char *out = NULL;
    int n;

    va_start(args, format);
    n = vasprintf(&out, format, args);
    va_end(args);
    if (n < 0) {
        fputs("motbench: out of memory\n", stderr);
        abort();
    }
    return out;
}

void mb_hash(const void *data, size_t size, char out[MB_HASH_SIZE])
{
    SHA256Data(data, size, out);
}

mb_err mb_hash_file(const char *path, char out[MB_HASH_SIZE])
{
    mb_map map;

    MB_TRY(mb_map_open(path, &map));
    mb_hash(map.data ? map.data : (const void *)"", map.size, out);
    mb_map_close(&map);
    return MB_OK;
}

void *mb_alloc(size_t size)
{
    void *p = malloc(size ? size : 1);

    if (!p) {
        fprintf(stderr, "motbench: out of memory (%zu bytes)\n", size);
        abort();
    }
    return p;
}

void *mb_zalloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);

    if (!p) {
        fprintf(stderr, "motbench: out of memory (%zu x %zu bytes)\n", count, size);
        abort();
    }
    return p;
}

bool mb_memory_holds(double bytes)
{
    return bytes <= (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}
