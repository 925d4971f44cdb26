#include "results/schema.h"

#include "base/file.h"
#include "results/sql.h"

#include <stdlib.h>
#include <string.h>

static const char tables[] =
#include "results/schema.sql.inc"
    ;
static const char profiles[] =
#include "results/migration-2.sql.inc"
    ;
static const char flags[] =
#include "results/migration-3.sql.inc"
    ;
static const char memory[] =
#include "results/migration-4.sql.inc"
    ;
static const char kernels[] =
#include "results/migration-5.sql.inc"
    ;
static const char quality[] =
#include "results/migration-6.sql.inc"
    ;
static const char views[] =
#include "results/views.sql.inc"
    ;
static const char *const steps[] = { tables, profiles, flags, memory, kernels, quality };

const mb_schema mb_schema_current = { steps, sizeof steps / sizeof *steps, views };

static mb_err read_version(mb_store *s, int64_t *version)
{
    return mb_sql_integer(s, version, 0, "PRAGMA user_version", "");
}

mb_err mb_schema_verify(mb_store *s, const mb_schema *schema, bool create)
{
    int64_t id, version, objects;

    MB_TRY(mb_sql_integer(s, &objects, 0, "SELECT count(*) FROM sqlite_master", ""));
    MB_TRY(mb_sql_integer(s, &id, 0, "PRAGMA application_id", ""));
    MB_TRY(read_version(s, &version));
    if (id == 0 && objects == 0 && version == 0)
        return create ? MB_OK : mb_fail(MB_EMISSING, "%s: an empty database: no run yet", s->path);
    if (id != MB_APPLICATION_ID)
        return mb_fail(MB_ECORRUPT,
                       "%s: not a motbench database: application_id is 0x%08llx, expected 0x%08x",
                       s->path, (unsigned long long)(uint32_t)id, MB_APPLICATION_ID);
    if (version > schema->versions)
        return mb_fail(MB_EINVAL,
                       "%s: schema version %lld is newer than this program's %d: use a newer "
                       "motbench",
                       s->path, (long long)version, schema->versions);
    return MB_OK;
}

/* Whether the views in the database were made from this very text. */
static mb_err views_current(mb_store *s, const char *hash, bool *current)
{
    int64_t n;

    MB_TRY(mb_sql_integer(s, &n, 0, "SELECT count(*) FROM meta WHERE key = 'views' AND value = ?1",
                          "t", hash));
    *current = n == 1;
    return MB_OK;
}

static mb_err drop_views(mb_store *s)
{
    mb_rows *names;
    mb_err err =
        mb_store_query(s, "SELECT name FROM sqlite_master WHERE type = 'view'", NULL, &names);

    for (size_t i = 0; !err && i < names->n; i++) {
        char *sql = mb_format("DROP VIEW \"%s\"", names->cell[i].string);

        err = mb_sql_exec(s, sql);
        free(sql);
    }
    mb_rows_free(names);
    return err;
}

static mb_err replace_views(mb_store *s, const mb_schema *schema, const char *hash)
{
    MB_TRY(drop_views(s));
    MB_TRY(mb_sql_exec(s, schema->views));
    return mb_sql_run(s, "INSERT OR REPLACE INTO meta (key, value) VALUES ('views', ?1)", "t",
                      hash);
}

/* In a write transaction, so that what is read here stays true. */
static mb_err migrate_locked(mb_store *s, const mb_schema *schema, const char *hash)
{
    int64_t version;
    bool current;
    char pragma[96];

    MB_TRY(read_version(s, &version));
    if (version < schema->versions) /* views may name what a step changes */
        MB_TRY(drop_views(s));
    for (int64_t v = version; v < schema->versions; v++)
        MB_TRY(mb_sql_exec(s, schema->step[v]));
    if (version < schema->versions) {
        snprintf(pragma, sizeof pragma, "PRAGMA application_id = %d; PRAGMA user_version = %d",
                 MB_APPLICATION_ID, schema->versions);
        MB_TRY(mb_sql_exec(s, pragma));
    }
    MB_TRY(views_current(s, hash, &current));
    return current ? MB_OK : replace_views(s, schema, hash);
}

mb_err mb_schema_migrate(mb_store *s, const mb_schema *schema)
{
    char hash[MB_HASH_SIZE];
    int64_t version;
    bool current = false;

    mb_hash(schema->views, strlen(schema->views), hash);
    MB_TRY(read_version(s, &version));
    if (version == schema->versions)
        MB_TRY(views_current(s, hash, &current));
    if (current)
        return MB_OK;
    if (s->read_only)
        return mb_fail(MB_EIO,
                       "%s: of another motbench (schema version %lld, here %d), and not writable: "
                       "make a copy of it",
                       s->path, (long long)version, schema->versions);
    MB_TRY(mb_sql_begin(s));
    return mb_sql_end(s, migrate_locked(s, schema, hash));
}
