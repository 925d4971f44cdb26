#include "harness/saved.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

char *mb_saved_folder(const char *database)
{
    size_t n = strlen(database);

    if (n > 3 && !strcmp(database + n - 3, ".db"))
        n -= 3;
    return mb_format("%.*s.checkpoints", (int)n, database);
}

static void forget(mb_saved *s)
{
    free(s->weights);
    free(s->state);
    free(s->lock);
    *s = (mb_saved){ .fd = -1 };
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
    if (!err && flock(out->fd, LOCK_EX | LOCK_NB)) {
        *busy = errno == EWOULDBLOCK;
        if (!*busy)
            err = mb_fail(MB_EIO, "%s: %s", out->lock, strerror(errno));
        close(out->fd);
        out->fd = -1;
    }
    if (err || *busy)
        forget(out);
    return err;
}

void mb_saved_close(mb_saved *s)
{
    if (!s->lock)
        return;
    unlink(s->lock);
    close(s->fd);
    forget(s);
}

mb_err mb_saved_remove_state(const mb_saved *s)
{
    if (unlink(s->state) && errno != ENOENT)
        return mb_fail(MB_EIO, "%s: %s", s->state, strerror(errno));
    return MB_OK;
}
