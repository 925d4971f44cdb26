/* Opening and closing. Writing is in write.c, reading in read.c, the schema in schema.c. */
#include "results/store.h"

#include "base/file.h"
#include "results/schema.h"
#include "results/sql.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BUSY_MS = 10000 };

/* Write-ahead logging lets readers and one writer work at once. Two processes that create one
   database may collide here, where SQLite does not wait by itself. */
static mb_err use_wal(mb_store *s)
{
    const struct timespec pause = { .tv_nsec = 10 * 1000 * 1000 };
    int rc = SQLITE_BUSY;

    for (int i = 0; i < BUSY_MS / 10 && rc == SQLITE_BUSY; i++) {
        if (i)
            nanosleep(&pause, NULL);
        rc = sqlite3_exec(s->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL) & 0xff;
    }
    return rc ? mb_sql_fail(s) : mb_sql_exec(s, "PRAGMA synchronous = NORMAL");
}

static mb_err make_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent;
    mb_err err;

    if (!slash || slash == path)
        return MB_OK;
    parent = mb_format("%.*s", (int)(slash - path), path);
    err = mb_make_folders(parent);
    free(parent);
    return err;
}

static mb_err open_database(mb_store *s, bool create, const mb_schema *schema)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);

    if (sqlite3_open_v2(s->path, &s->db, flags, NULL))
        return mb_sql_fail(s);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    MB_TRY(mb_sql_exec(s, "PRAGMA foreign_keys = ON"));
    MB_TRY(mb_schema_verify(s, schema));
    MB_TRY(use_wal(s));
    return mb_schema_migrate(s, schema);
}

mb_err mb_store_open_as(const char *path, bool create, const mb_schema *schema, mb_store **out)
{
    mb_store *s;
    mb_err err;

    *out = NULL;
    if (create)
        MB_TRY(make_parent(path));
    else if (!mb_exists(path))
        return mb_fail(errno == ENOENT ? MB_EMISSING : MB_EIO, "%s: %s", path, strerror(errno));
    s = mb_zalloc(1, sizeof *s);
    s->path = mb_format("%s", path);
    err = open_database(s, create, schema);
    if (err)
        mb_store_close(s);
    else
        *out = s;
    return err;
}

mb_err mb_store_open(const char *path, bool create, mb_store **out)
{
    return mb_store_open_as(path, create, &mb_schema_current, out);
}

void mb_store_close(mb_store *s)
{
    if (!s)
        return;
    sqlite3_close(s->db);
    free(s->path);
    free(s);
}

const char *mb_store_path(const mb_store *s)
{
    return s->path;
}
