/* Opening and closing. Writing is in write.c, reading in read.c, the schema in schema.c. */
#include "results/store.h"

#include "base/file.h"
#include "results/schema.h"
#include "results/sql.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

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

static mb_err connect(mb_store *s, const char *name, int flags)
{
    if (sqlite3_open_v2(name, &s->db, flags | SQLITE_OPEN_NOMUTEX, NULL))
        return mb_sql_fail(s);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    return mb_sql_exec(s, "PRAGMA foreign_keys = ON");
}

/* Whether the file and its folder, where SQLite keeps its log, may be written. */
static bool is_writable(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent = slash ? mb_format("%.*s", (int)(slash - path) + 1, path) : mb_format(".");
    bool writable = !access(path, W_OK) && !access(parent, W_OK);

    free(parent);
    return writable;
}

/* Whether the write-ahead log holds what the file does not. */
static bool has_log(const char *path)
{
    char *log = mb_format("%s-wal", path);
    struct stat st;
    bool has = !stat(log, &st) && st.st_size > 0;

    free(log);
    return has;
}

/* Even to read, a database with a write-ahead log needs that log and its index, so SQLite refuses
   one beside which it can make no file. Declared immutable it needs neither; that is only true
   while nobody has a log open. */
static mb_err connect_immutable(mb_store *s)
{
    char *uri = mb_alloc(3 * strlen(s->path) + sizeof "file:?immutable=1"), *p;
    mb_err err;

    p = stpcpy(uri, "file:");
    for (const char *c = s->path; *c; c++)
        p += sprintf(p, isalnum((unsigned char)*c) || strchr("/._-", *c) ? "%c" : "%%%02X",
                     (unsigned char)*c);
    strcpy(p, "?immutable=1");
    err = connect(s, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
    free(uri);
    return err;
}

static mb_err open_database(mb_store *s, bool create, const mb_schema *schema)
{
    if (!create && !is_writable(s->path) && !has_log(s->path))
        MB_TRY(connect_immutable(s));
    else
        MB_TRY(connect(s, s->path, SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0)));
    MB_TRY(mb_schema_verify(s, schema, create));
    s->read_only = sqlite3_db_readonly(s->db, "main") == 1;
    if (!s->read_only)
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

bool mb_store_read_only(const mb_store *s)
{
    return s->read_only;
}

const char *mb_store_path(const mb_store *s)
{
    return s->path;
}
