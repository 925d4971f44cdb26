/* motbench data: lists, prepares and verifies data sets. A set is named as in a workload, by its
   source and settings, or by a workload file. Importing has its own command line (verb_import.c).
 */
#include "harness/command.h"
#include "harness/options.h"
#include "harness/progress.h"
#include "harness/settings.h"

#include "base/file.h"
#include "profiles/clock.h"

#include <string.h>

enum { SETS_MAX = 16 };

typedef struct data_options {
    mb_common common;
    const char *action, *set, *sets[SETS_MAX];
    int n_sets;
} data_options;

static mb_err list(const data_options *o);
static mb_err prepare(const data_options *o);
static mb_err verify(const data_options *o);

static const struct action {
    const char *name;
    bool of_set;
    mb_err (*run)(const data_options *o);
} actions[] = { { "list", false, list }, { "prepare", true, prepare }, { "verify", true, verify } };

static const struct action *find_action(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof actions / sizeof *actions; i++)
        if (!strcmp(actions[i].name, name))
            return &actions[i];
    return NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    data_options *o = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        break;
    case 'S':
        if (o->n_sets == SETS_MAX)
            argp_error(state, "more than %d settings", SETS_MAX);
        o->sets[o->n_sets++] = arg;
        break;
    case ARGP_KEY_ARG:
        if (!o->action && find_action(arg))
            o->action = arg;
        else if (o->action && !o->set && find_action(o->action)->of_set)
            o->set = arg;
        else
            argp_error(state, "'%s' was not expected", arg);
        break;
    case ARGP_KEY_END:
        if (!o->action || (find_action(o->action)->of_set && !o->set))
            argp_error(state, "expected list, prepare SET, verify SET or import NAME");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- the set that is meant ------------------------------------------------------------------- */

static mb_err read_set(const data_options *o, mb_settings *s)
{
    size_t n = strlen(o->set);
    mb_arch_settings *a;
    int i;

    if (n > 4 && !strcmp(o->set + n - 4, ".ini"))
        MB_TRY(mb_settings_load(s, o->set));
    else
        MB_TRY(mb_settings_set(s, "data", false, "workload", "data", o->set));
    for (i = 0; i < o->n_sets; i++)
        MB_TRY(mb_settings_override(s, o->sets[i]));
    MB_TRY(mb_settings_arch(s, "data", "dense", &a)); /* a workload needs one, its data does not */
    MB_TRY(mb_settings_check(s));
    return mb_settings_find_data(s);
}

static void show(void *user, const char *what, double fraction)
{
    mb_progress_preparing(user, what, fraction, mb_wall_ns());
}

static mb_err prepare_set(const mb_data_request *request, const data_options *o)
{
    mb_progress progress;
    mb_data *d;

    mb_progress_open(&progress, stderr, mb_progress_columns(stderr), false, 0, 0);
    MB_TRY(mb_data_prepare(request, show, &progress));
    MB_TRY(mb_data_open(request, &d));
    printf("%s is prepared in %s\n", mb_data_name(d), mb_data_folder(d));
    mb_data_close(d);
    return MB_OK;
}

static mb_err with_set(const data_options *o,
                       mb_err (*act)(const mb_data_request *request, const data_options *o))
{
    mb_settings *s = mb_settings_new();
    mb_err err = read_set(o, s);
    mb_data_request request = mb_settings_data(s);

    if (!err)
        err = act(&request, o);
    mb_settings_free(s);
    return err;
}

static mb_err prepare(const data_options *o)
{
    return with_set(o, prepare_set);
}

static mb_err verify_set(const mb_data_request *request, const data_options *o)
{
    mb_data *d;
    mb_err err;

    MB_TRY(mb_data_verify(request, stdout));
    MB_TRY(mb_data_open(request, &d));
    err = mb_data_describe(d, stdout);
    mb_data_close(d);
    return err;
}

static mb_err verify(const data_options *o)
{
    return with_set(o, verify_set);
}

static mb_err list(const data_options *o)
{
    return mb_list_data(o->common.format);
}

/* The command line of what goes on behind "data". */
static mb_err run_import(int argc, char **argv)
{
    argv[1] = (char *)"motbench data import"; /* for argp's messages */
    return mb_command_import(argc - 1, argv + 1);
}

mb_err mb_command_data(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "set", 'S', "section.key=value", 0, "A setting of the set (workload.text_vocab=2048)",
          0 },
        { 0 },
    };
    static const struct argp_child children[] = { { &mb_format_argp, 0, NULL, 0 }, { 0 } };
    static const struct argp argp = {
        options,
        parse,
        "list\nprepare SET\nverify SET\nimport NAME --from FORMAT FILE...",
        "Lists, prepares and verifies data sets, and imports your own."
        "\vSET is a name of `motbench list data`, shards, the NAME of an imported set, or a "
        "workload file. `motbench data import --help` tells of importing.",
        children,
        NULL,
        NULL,
    };
    data_options o = { 0 };

    if (argc > 1 && !strcmp(argv[1], "import"))
        return run_import(argc, argv);
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    return find_action(o.action)->run(&o);
}
