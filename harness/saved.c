#include "harness/saved.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

char *mb_saved_beside(const char *database, const char *what)
{
    size_t n = strlen(database);

    if (n > 3 && !strcmp(database + n - 3, ".db"))
        n -= 3;
    return mb_format("%.*s.%s", (int)n, database, what);
}

char *mb_saved_folder(const char *database)
{
    return mb_saved_beside(database, "checkpoints");
}

static void forget(mb_saved *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->weights);
    free(s->state);
    free(s->lock);
    *s = (mb_saved){ .fd = -1 };
}

/* Half-written files of a process that was killed: the lock is ours, so nobody writes them. */
static void remove_leftovers(const char *folder, const char *uuid)
{
    char *pattern = mb_format("%s/%s*.tmp", folder, uuid);
    glob_t found;
    size_t i;

    if (!glob(pattern, 0, NULL, &found)) {
        for (i = 0; i < found.gl_pathc; i++)
            unlink(found.gl_pathv[i]);
        globfree(&found);
    }
    free(pattern);
}

/* Whether the file at PATH is the one open as FD: it may have been removed meanwhile. */
static bool is_same_file(int fd, const char *path)
{
    struct stat a, b;

    return !fstat(fd, &a) && !stat(path, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Takes the lock of an opened file; *busy when it is another's. */
static mb_err take_lock(mb_saved *s, bool *busy)
{
    if (flock(s->fd, LOCK_EX | LOCK_NB)) {
        *busy = errno == EWOULDBLOCK;
        return *busy ? MB_OK : mb_fail(MB_EIO, "%s: %s", s->lock, strerror(errno));
    }
    *busy = !is_same_file(s->fd, s->lock); /* its run ended just now */
    return MB_OK;
}

mb_err mb_saved_open(const char *folder, const char *uuid, mb_saved *out, bool *busy)
{
    mb_err err = mb_make_folders(folder);

    *busy = false;
    *out = (mb_saved){ .weights = mb_format("%s/%s.safetensors", folder, uuid),
                       .state = mb_format("%s/%s.state.safetensors", folder, uuid),
                       .lock = mb_format("%s/%s.lock", folder, uuid),
                       .fd = -1 };
    if (!err) {
        out->fd = open(out->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (out->fd < 0)
            err = mb_fail(MB_EIO, "%s: %s", out->lock, strerror(errno));
    }
    if (!err)
        err = take_lock(out, busy);
    if (!err && !*busy)
        remove_leftovers(folder, uuid);
    else
        forget(out);
    return err;
}

void mb_saved_tidy(const char *folder)
{
    char *pattern = mb_format("%s/*.lock", folder);
    glob_t found;
    size_t i;

    if (!glob(pattern, 0, NULL, &found)) {
        for (i = 0; i < found.gl_pathc; i++) {
            const char *name = strrchr(found.gl_pathv[i], '/') + 1;
            char *uuid = mb_format("%.*s", (int)(strlen(name) - strlen(".lock")), name);
            mb_saved s;
            bool busy;

            if (!mb_saved_open(folder, uuid, &s, &busy) && !busy)
                mb_saved_close(&s); /* opening has removed the rest */
            free(uuid);
        }
        globfree(&found);
    }
    free(pattern);
}

void mb_saved_close(mb_saved *s)
{
    if (!s->lock)
        return;
    unlink(s->lock);
    forget(s);
}

mb_err mb_saved_remove_state(const mb_saved *s)
{
    if (unlink(s->state) && errno != ENOENT)
        return mb_fail(MB_EIO, "%s: %s", s->state, strerror(errno));
    return MB_OK;
}
