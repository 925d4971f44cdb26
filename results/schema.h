/* The schema: what makes a database ours, and how an older one becomes current. Private to
   results/ and its tests. */
#ifndef MB_RESULTS_SCHEMA_H
#define MB_RESULTS_SCHEMA_H

#include "results/store.h"

enum { MB_APPLICATION_ID = 0x6d6f7462 }; /* "motb" */

/* STEP[v] takes version v to v + 1 (step[0] makes all tables from nothing); VIEWS makes all
   views. */
typedef struct mb_schema {
    const char *const *step;
    int versions;
    const char *views;
} mb_schema;

extern const mb_schema mb_schema_current;

/* Refuses a database that is not ours or newer than SCHEMA, without writing to it. An empty one is
   what a process leaves that is killed while it creates its database: that is for those who CREATE.
 */
mb_err mb_schema_verify(mb_store *s, const mb_schema *schema, bool create);

/* Brings a verified database to SCHEMA's last version and views. Any number of processes may do so
   at once: each re-reads the version once it holds the write lock. */
mb_err mb_schema_migrate(mb_store *s, const mb_schema *schema);

/* mb_store_open() for another schema than the current one: migrations are tested with it. */
mb_err mb_store_open_as(const char *path, bool create, const mb_schema *schema, mb_store **out);

#endif
