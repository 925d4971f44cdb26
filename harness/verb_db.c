/* `motbench db check|export`. */
#include "base/file.h"
#include "harness/verbs.h"

#include <string.h>

static mb_err check(mb_store *s, FILE *out)
{
    MB_TRY(mb_store_check(s, out));
    fprintf(out, "%s: ok\n", mb_store_path(s));
    return MB_OK;
}

static mb_err export(mb_store *s, const char *folder, FILE *out)
{
    if (!folder)
        return mb_fail(MB_EUSAGE, "db export: expected a folder to write into");
    MB_TRY(mb_store_export(s, folder));
    fprintf(out, "%s: every view is now a CSV file in %s\n", mb_store_path(s), folder);
    return MB_OK;
}

mb_err mb_verb_db(const mb_db_options *o, FILE *out)
{
    bool is_check = !strcmp(o->action, "check");
    mb_store *s;
    mb_err err;

    if (!is_check && strcmp(o->action, "export"))
        return mb_fail(MB_EUSAGE, "db: unknown action \"%s\": expected check or export", o->action);
    err = mb_store_open(o->db, false, &s);
    if (is_check && err == MB_EMISSING && mb_exists(o->db)) { /* killed before its first run */
        fprintf(out, "%s: ok, and empty\n", o->db);
        return MB_OK;
    }
    MB_TRY(err);
    err = is_check ? check(s, out) : export(s, o->folder, out);
    mb_store_close(s);
    return err;
}
