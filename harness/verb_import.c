/* motbench data import: the user's own data become a set with a name, which workloads then use as
   `data = NAME`. */
#include "harness/command.h"
#include "harness/options.h"
#include "harness/progress.h"
#include "profiles/clock.h"

#include "workloads/data.h"

#include <stdlib.h>
#include <string.h>

enum { FILES_MAX = 4096, IDS_MAX = 65536, VOCAB_MAX = 32768, SIDE_MAX = 256, PATCH_MAX = 64 };
enum { HOLD_OUT = 1, SIDE, CODES, UNITS, PATCH, CHANNELS_LAST, TEXT_VOCAB };
enum { SYNTHETIC = TEXT_VOCAB + 1, DROP, ROOT, VAL, TEST, FROM };

typedef struct import_options {
    const char *name;
    mb_import import;
    const char *file[MB_SPLITS][FILES_MAX + 1];
    int files[MB_SPLITS];
} import_options;

static void add_file(const struct argp_state *state, enum mb_split split, const char *path)
{
    import_options *o = state->input;

    if (o->files[split] == FILES_MAX)
        argp_error(state, "more than %d files", FILES_MAX);
    o->file[split][o->files[split]++] = path;
    o->import.file[split] = o->file[split];
}

static void check(const struct argp_state *state, const import_options *o)
{
    const char *format;
    int i = 0;

    if (!o->name || !o->files[MB_TRAIN])
        argp_error(state, "expected NAME and at least one FILE");
    if (!o->import.format)
        argp_error(state, "expected --from FORMAT");
    while ((format = mb_import_format_name(i, NULL)) && strcmp(format, o->import.format))
        i++;
    if (!format)
        argp_error(state, "--from %s: expected a format that --help lists", o->import.format);
    if (o->import.side % 4)
        argp_error(state, "--side %d: expected a multiple of 4", o->import.side);
    if (o->import.hold_out < 2)
        argp_error(state, "--hold-out %d: expected at least 2", o->import.hold_out);
    if (o->import.text_vocab && o->import.text_vocab < 256)
        argp_error(state, "--text-vocab %d: expected at least 256, one id a byte",
                   o->import.text_vocab);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    import_options *o = state->input;

    switch (key) {
    case FROM:
        o->import.format = arg;
        break;
    case VAL:
        add_file(state, MB_VAL, arg);
        break;
    case TEST:
        add_file(state, MB_TEST, arg);
        break;
    case ROOT:
        o->import.root = arg;
        break;
    case HOLD_OUT:
        o->import.hold_out = mb_parse_count(state, "hold-out", arg, 1 << 30);
        break;
    case SIDE:
        o->import.side = mb_parse_count(state, "side", arg, SIDE_MAX);
        break;
    case CODES:
        o->import.codes = mb_parse_count(state, "codes", arg, IDS_MAX);
        break;
    case UNITS:
        o->import.units = mb_parse_count(state, "units", arg, IDS_MAX);
        break;
    case PATCH:
        o->import.patch = mb_parse_count(state, "patch", arg, PATCH_MAX);
        break;
    case CHANNELS_LAST:
        o->import.channels_last = true;
        break;
    case TEXT_VOCAB:
        o->import.text_vocab = mb_parse_count(state, "text-vocab", arg, VOCAB_MAX);
        break;
    case SYNTHETIC:
        o->import.synthetic = true;
        break;
    case DROP:
        o->import.drop = true;
        break;
    case ARGP_KEY_ARG:
        if (o->name)
            add_file(state, MB_TRAIN, arg);
        else
            o->name = arg;
        break;
    case ARGP_KEY_END:
        check(state, o);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static void show(void *user, const char *what, double fraction)
{
    mb_progress_preparing(user, what, fraction, mb_wall_ns());
}

static mb_err import(const import_options *o)
{
    mb_data_request request = { .source = o->name };
    mb_progress progress;
    mb_data *d;
    mb_err err;

    mb_progress_open(&progress, stderr, mb_progress_columns(stderr), false, 0, 0);
    MB_TRY(mb_data_import(o->name, &o->import, show, &progress));
    MB_TRY(mb_data_open(&request, &d));
    err = mb_data_describe(d, stdout);
    printf("%s is imported into %s: use it as data = %s\n", o->name, mb_data_folder(d), o->name);
    mb_data_close(d);
    return err;
}

/* The formats, in the help's own layout. */
static char *list_formats(int key, const char *text, void *input)
{
    char *out = NULL;
    const char *about, *name;
    size_t size;
    FILE *f;

    if (key != ARGP_KEY_HELP_POST_DOC || !(f = open_memstream(&out, &size)))
        return (char *)text;
    fputs("Formats:\n", f);
    for (int i = 0; (name = mb_import_format_name(i, &about)); i++)
        fprintf(f, "  %-12s %s\n", name, about);
    fclose(f);
    return out;
}

mb_err mb_command_import(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "from", FROM, "FORMAT", 0, "What the files are, see below", 0 },
        { "val", VAL, "FILE", 0, "A file for the validation split; may be repeated", 0 },
        { "test", TEST, "FILE", 0, "The same for the test split", 0 },
        { "hold-out", HOLD_OUT, "N", 0,
          "Without --val, one document in N goes to the validation split (20)", 0 },
        { "root", ROOT, "FOLDER", 0,
          "jsonl, coco: what names of files are relative to (the folder of FILE)", 0 },
        { "text-vocab", TEXT_VOCAB, "N", 0,
          "Size of the text vocabulary (as many as the texts fill, up to 4096)", 0 },
        { "side", SIDE, "N", 0, "Pictures are made squares of N pixels (32)", 0 },
        { "codes", CODES, "N", 0, "Ids of images (512)", 0 },
        { "units", UNITS, "N", 0, "Ids of speech (256)", 0 },
        { "patch", PATCH, "N", 0, "Latents are cut into patches of N x N positions (2)", 0 },
        { "channels-last", CHANNELS_LAST, NULL, 0, "Latents are (N, H, H, C), not (N, C, H, H)",
          0 },
        { "synthetic", SYNTHETIC, NULL, 0, "Speech is by synthetic voices, not by people", 0 },
        { "drop-overlap", DROP, NULL, 0,
          "Leave out of train what val or test has as well, instead of refusing it", 0 },
        { 0 },
    };
    static const struct argp argp = {
        options,
        parse,
        "NAME FILE...",
        "Makes a data set NAME from your own files; workloads use it as `data = NAME`.\v",
        NULL,
        list_formats,
        NULL,
    };
    import_options *o = calloc(1, sizeof *o);
    mb_err err;

    if (!o)
        return mb_fail(MB_ENOMEM, "out of memory");
    o->import = (mb_import){ .hold_out = 20, .side = 32, .codes = 512, .units = 256, .patch = 2 };
    argp_parse(&argp, argc, argv, 0, NULL, o);
    err = import(o);
    free(o);
    return err;
}
