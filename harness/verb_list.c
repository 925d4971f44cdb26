/* motbench list: what there is, by kind. */
#include "base/file.h"
#include "harness/command.h"
#include "harness/estimate.h"
#include "harness/event_set.h"
#include "harness/ini.h"
#include "harness/options.h"
#include "harness/settings.h"
#include "harness/verbs.h"
#include "models/kernels/op.h"
#include "profiles/ceilings.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct list_options {
    mb_common common;
    const char *kind, *folder;
} list_options;

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- architectures, backends, tables, plots, settings ---------------------------------------- */

static const mb_table_column named_columns[] = { { .name = "name" }, { .name = "about" } };

static mb_err list_archs(const list_options *o, mb_table **out)
{
    const mb_arch *arch;

    *out = mb_table_new(named_columns, COUNT(named_columns));
    for (arch = mb_archs; arch->name; arch++) {
        mb_table_text(*out, arch->name);
        mb_table_text(*out, arch->about);
    }
    return MB_OK;
}

static mb_err list_named(const mb_named *named, mb_table **out)
{
    *out = mb_table_new(named_columns, COUNT(named_columns));
    for (; named->name; named++) {
        mb_table_text(*out, named->name);
        mb_table_text(*out, named->about);
    }
    return MB_OK;
}

static mb_err list_tables(const list_options *o, mb_table **out)
{
    return list_named(mb_tables, out);
}

static mb_err list_plots(const list_options *o, mb_table **out)
{
    return list_named(mb_plots, out);
}

static mb_err list_profiles(const list_options *o, mb_table **out)
{
    const mb_event_text *t;

    *out = mb_table_new(named_columns, COUNT(named_columns));
    for (t = mb_event_texts; t->name; t++) {
        char *question = mb_ini_question_text(t->text);

        mb_table_text(*out, t->name);
        mb_table_text(*out, question);
        free(question);
    }
    return MB_OK;
}

static mb_err list_backends(const list_options *o, mb_table **out)
{
    static const mb_table_column columns[] = { { .name = "name" } };
    const char *const *name;

    *out = mb_table_new(columns, COUNT(columns));
    for (name = mb_backends(); *name; name++)
        mb_table_text(*out, *name);
    return MB_OK;
}

/* "0 .. 1", "post, pre", "true, false", "text". */
static char *range(const mb_setting *row)
{
    char text[256] = "";
    int i;

    if (row->type == MB_SET_BOOL)
        return mb_format("true, false");
    if (row->type == MB_SET_STRING)
        return mb_format("text");
    if (row->type != MB_SET_ENUM)
        return mb_format("%.9g .. %.9g", row->low, row->high);
    for (i = 0; row->names[i]; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? ", " : "",
                 row->names[i]);
    return mb_format("%s", text);
}

static mb_err list_settings(const list_options *o, mb_table **out)
{
    static const mb_table_column columns[] = { { .name = "section", .once = true },
                                               { .name = "key" },
                                               { .name = "default" },
                                               { .name = "values" },
                                               { .name = "about" } };
    const mb_setting *row;

    *out = mb_table_new(columns, COUNT(columns));
    for (row = mb_setting_table; row->section; row++) {
        char *values = range(row);

        mb_table_text(*out, strcmp(row->section, "arch") ? row->section : "arch NAME");
        mb_table_text(*out, row->key);
        mb_table_text(*out, row->fallback ? row->fallback : "by arch");
        mb_table_text(*out, values);
        mb_table_text(*out, row->doc);
        free(values);
    }
    return MB_OK;
}

/* ---- runs and data --------------------------------------------------------------------------- */

static mb_err list_runs(const list_options *o, mb_table **out)
{
    static const mb_table_column columns[] = { { .name = "run_id", .show = MB_SHOW_PLAIN },
                                               { .name = "uuid" },
                                               { .name = "workload" },
                                               { .name = "arch" },
                                               { .name = "seed", .show = MB_SHOW_PLAIN },
                                               { .name = "backend" },
                                               { .name = "precision" },
                                               { .name = "status" },
                                               { .name = "steps", .show = MB_SHOW_PLAIN },
                                               { .name = "tokens_per_s", .show = MB_SHOW_SI },
                                               { .name = "checkpoint" } };
    mb_rows *rows = NULL;
    mb_store *s;
    mb_err err;

    MB_TRY(mb_store_open(o->common.db, false, &s));
    err = mb_store_query(
        s,
        "SELECT run_id, uuid, workload, arch, seed, backend, precision, status, steps, "
        "tokens_per_s, checkpoint FROM v_run ORDER BY run_id",
        NULL, &rows);
    if (!err) {
        *out = mb_table_new(columns, COUNT(columns));
        mb_table_rows(*out, rows);
    }
    mb_rows_free(rows);
    mb_store_close(s);
    return err;
}

static void add_data(void *user, const mb_data_listing *l)
{
    mb_table *t = user;

    mb_table_text(t, l->name);
    mb_table_text(t, l->state);
    mb_table_integer(t, l->tokens);
    mb_table_text(t, l->about);
    mb_table_text(t, *l->folder ? l->folder : NULL);
}

static mb_err list_data(const list_options *o, mb_table **out)
{
    static const mb_table_column columns[] = { { .name = "name" },
                                               { .name = "state" },
                                               { .name = "tokens", .show = MB_SHOW_SI },
                                               { .name = "about" },
                                               { .name = "folder" } };

    *out = mb_table_new(columns, COUNT(columns));
    return mb_data_list(add_data, *out);
}

/* ---- workloads ------------------------------------------------------------------------------- */

static void add_archs(mb_table *t, const mb_settings *s)
{
    char text[256] = "";
    int i;

    for (i = 0; i < s->archs; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? ", " : "",
                 s->arch[i].arch->name);
    mb_table_text(t, text);
}

static mb_err add_workload(mb_table *t, const char *path, double peak)
{
    mb_settings *s = mb_settings_new();
    char *question = NULL;
    mb_estimate e = { 0 };
    mb_err err = mb_settings_load(s, path);

    if (!err)
        err = mb_settings_check(s);
    if (!err)
        err = mb_ini_question(path, &question);
    if (!err)
        err = mb_estimate_make(s, &e);
    if (!err) {
        mb_table_text(t, path);
        add_archs(t, s);
        mb_table_integer(t, s->seeds.n);
        mb_table_integer(t, s->steps);
        mb_table_integer(t, s->steps * mb_settings_tokens(s));
        mb_table_real(t, e.parameters);
        mb_table_real(t, e.flops);
        mb_table_real(t, mb_estimate_seconds(s, &e, peak));
        mb_table_text(t, question);
    }
    free(question);
    mb_settings_free(s);
    return err;
}

static mb_err list_workloads(const list_options *o, mb_table **out)
{
    static const mb_table_column columns[] = {
        { .name = "workload" },
        { .name = "archs" },
        { .name = "seeds", .show = MB_SHOW_PLAIN },
        { .name = "steps", .show = MB_SHOW_PLAIN },
        { .name = "tokens", .show = MB_SHOW_SI },
        { .name = "parameters", .show = MB_SHOW_SI },
        { .name = "flops", .show = MB_SHOW_SI },
        { .name = "seconds", .title = "time", .show = MB_SHOW_SECONDS },
        { .name = "question" }
    };
    char *pattern = mb_format("%s/*.ini", o->folder);
    glob_t found = { 0 };
    int threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    double peak;
    mb_err err = mb_ceiling_fma(threads, &peak);
    size_t i;

    *out = mb_table_new(columns, COUNT(columns));
    if (!err && glob(pattern, 0, NULL, &found))
        err = mb_fail(MB_EMISSING, "%s: no workload there", pattern);
    for (i = 0; !err && i < found.gl_pathc; i++)
        err = add_workload(*out, found.gl_pathv[i], peak);
    mb_table_note(
        *out,
        "Tokens of one run; parameters of the largest architecture; FLOPs and time of all "
        "runs, the time estimated for the cpu backend and %d threads, which reach %.0f "
        "GFLOP/s in registers just now. \"-\": not known before the data is prepared.",
        threads, peak * 1e-9);
    globfree(&found);
    free(pattern);
    return err;
}

/* ---- the verb -------------------------------------------------------------------------------- */

static const struct kind {
    const char *name;
    mb_err (*list)(const list_options *o, mb_table **out);
} kinds[] = {
    { "archs", list_archs },   { "workloads", list_workloads }, { "data", list_data },
    { "tables", list_tables }, { "plots", list_plots },         { "profiles", list_profiles },
    { "runs", list_runs },     { "settings", list_settings },   { "backends", list_backends },
};
#define KINDS "archs|workloads|profiles|data|tables|plots|runs|settings|backends"

static const struct kind *find_kind(const char *name)
{
    size_t i;

    for (i = 0; name && i < COUNT(kinds); i++)
        if (!strcmp(kinds[i].name, name))
            return &kinds[i];
    return NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    list_options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->child_inputs[1] = &o->common;
        break;
    case 'w':
        o->folder = arg;
        break;
    case ARGP_KEY_ARG:
        if (o->kind || !find_kind(arg))
            argp_error(state, "'%s': expected one of " KINDS, arg);
        o->kind = arg;
        break;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "expected one of " KINDS);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static mb_err print_list(const struct kind *kind, const list_options *o)
{
    mb_table *t = NULL;
    mb_err err = kind->list(o, &t);

    if (!err)
        err = mb_table_print(t, o->common.format, stdout);
    mb_table_free(t);
    return err;
}

mb_err mb_list_data(enum mb_table_format format)
{
    return print_list(find_kind("data"), &(list_options){ .common.format = format });
}

mb_err mb_command_list(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "workloads", 'w', "FOLDER", 0, "Where workload files lie (default: workloads)", 0 },
        { 0 },
    };
    static const struct argp_child children[] = { { &mb_db_argp, 0, NULL, 0 },
                                                  { &mb_format_argp, 0, NULL, 0 },
                                                  { 0 } };
    static const struct argp argp = { options,  parse, KINDS, "Prints what there is.",
                                      children, NULL,  NULL };
    list_options o = { .folder = "workloads" };

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    return print_list(find_kind(o.kind), &o);
}
