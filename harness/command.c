/* The command lines of the verbs that read the database: cmp, table, plot, db. */
#include "harness/command.h"

#include "harness/options.h"
#include "harness/verbs.h"

#include <string.h>

typedef struct words { /* what these verbs are told besides the shared options */
    mb_common common;
    const char *baseline, *workload, *output;
    const char *word;   /* the argument that is no option; NULL: none yet */
    const char *wanted; /* what that is; NULL: there must be none */
    int shared;         /* number of shared options' parsers */
} words;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    words *w = state->input;
    int i;

    switch (key) {
    case ARGP_KEY_INIT:
        for (i = 0; i < w->shared; i++)
            state->child_inputs[i] = &w->common;
        break;
    case 'b':
        w->baseline = arg;
        break;
    case 'w':
        w->workload = arg;
        break;
    case 'o':
        w->output = arg;
        break;
    case ARGP_KEY_ARG:
        if (!w->wanted || w->word)
            argp_error(state, "one argument too many: '%s'", arg);
        w->word = arg;
        break;
    case ARGP_KEY_END:
        if (w->wanted && !w->word)
            argp_error(state, "expected %s", w->wanted);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

#define WORKLOAD_OPTION                                                                            \
    {                                                                                              \
        "workload", 'w', "NAME", 0, "Only runs of this workload", 0                                \
    }

static const struct argp_child db_and_format[] = { { &mb_db_argp, 0, NULL, 0 },
                                                   { &mb_format_argp, 0, NULL, 0 },
                                                   { 0 } };
static const struct argp_child db_alone[] = { { &mb_db_argp, 0, NULL, 0 }, { 0 } };

mb_err mb_command_cmp(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "baseline", 'b', "ARCH", 0, "What the others are compared with (default: dense)", 0 },
        WORKLOAD_OPTION,
        { 0 },
    };
    static const struct argp argp = {
        options,
        parse,
        NULL,
        "Per architecture and modality: the last validation loss, and how many of the baseline's "
        "FLOPs and of its training time were needed for the baseline's losses.",
        db_and_format,
        NULL,
        NULL,
    };
    words w = { .shared = 2 };

    argp_parse(&argp, argc, argv, 0, NULL, &w);
    return mb_verb_cmp(&(mb_cmp_options){ .db = w.common.db,
                                          .workload = w.workload,
                                          .baseline = w.baseline,
                                          .format = w.common.format },
                       stdout);
}

mb_err mb_command_table(int argc, char **argv)
{
    static const struct argp_option options[] = { WORKLOAD_OPTION, { 0 } };
    static const struct argp argp = {
        options,       parse, "NAME", "Prints the table NAME (motbench list tables).",
        db_and_format, NULL,  NULL,
    };
    words w = { .shared = 2, .wanted = "the name of a table" };

    argp_parse(&argp, argc, argv, 0, NULL, &w);
    return mb_verb_table(
        &(mb_table_options){
            .db = w.common.db, .name = w.word, .workload = w.workload, .format = w.common.format },
        stdout);
}

mb_err mb_command_plot(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "output", 'o', "FILE", 0, "Where to: .svg, .png, .pdf or .txt", 0 },
        WORKLOAD_OPTION,
        { 0 },
    };
    static const struct argp argp = {
        options,  parse, "NAME", "Draws the figure NAME (motbench list plots).",
        db_alone, NULL,  NULL,
    };
    words w = { .shared = 1, .wanted = "the name of a figure" };

    argp_parse(&argp, argc, argv, 0, NULL, &w);
    return mb_verb_plot(
        &(mb_plot_options){
            .db = w.common.db, .name = w.word, .workload = w.workload, .output = w.output },
        stdout);
}

mb_err mb_command_db(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "output", 'o', "FOLDER", 0, "export: where to (default: export)", 0 },
        { 0 },
    };
    static const struct argp argp = {
        options,  parse, "check|export", "Checks the database, or writes every view as a CSV file.",
        db_alone, NULL,  NULL,
    };
    words w = { .shared = 1, .wanted = "check or export", .output = "export" };

    argp_parse(&argp, argc, argv, 0, NULL, &w);
    return mb_verb_db(&(mb_db_options){ .db = w.common.db, .action = w.word, .folder = w.output },
                      stdout);
}
