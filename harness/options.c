#include "harness/options.h"

#include <stdlib.h>
#include <string.h>

static error_t parse_db(int key, char *arg, struct argp_state *state)
{
    mb_common *common = state->input;
    const char *named = getenv("MOTBENCH_DB");

    if (key == ARGP_KEY_INIT)
        common->db = named && *named ? named : "results/motbench.db";
    else if (key == 'd')
        common->db = arg;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static error_t parse_format(int key, char *arg, struct argp_state *state)
{
    mb_common *common = state->input;
    int i;

    if (key == ARGP_KEY_INIT)
        return 0; /* human is 0 */
    if (key != 'f')
        return ARGP_ERR_UNKNOWN;
    for (i = 0; mb_table_format_name[i]; i++) {
        if (!strcmp(mb_table_format_name[i], arg)) {
            common->format = (enum mb_table_format)i;
            return 0;
        }
    }
    argp_error(state, "--format %s: expected human, csv, json or md", arg);
    return 0;
}

static const struct argp_option db_options[] = {
    { "db", 'd', "FILE", 0, "The database (default: $MOTBENCH_DB, else results/motbench.db)", 0 },
    { 0 },
};
static const struct argp_option format_options[] = {
    { "format", 'f', "FORMAT", 0, "human (default), csv, json or md", 0 },
    { 0 },
};
const struct argp mb_db_argp = { db_options, parse_db, 0, 0, 0, 0, 0 };
const struct argp mb_format_argp = { format_options, parse_format, 0, 0, 0, 0, 0 };

int mb_parse_count(const struct argp_state *state, const char *option, const char *text, int max)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (end == text || *end || value < 1 || value > max)
        argp_error(state, "%s %s: expected a whole number from 1 to %d", option, text, max);
    return (int)value;
}

double mb_parse_number(const struct argp_state *state, const char *option, const char *text,
                       double low, double high)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || !(value >= low && value <= high))
        argp_error(state, "%s %s: expected a number from %g to %g", option, text, low, high);
    return value;
}

void mb_parse_append(const struct argp_state *state, const char **list, int *n, const char *text,
                     const char *what)
{
    if (*n == MB_ASKED_MAX)
        argp_error(state, "more than %d %s", MB_ASKED_MAX, what);
    list[(*n)++] = text;
}

const char *mb_parse_backend(const struct argp_state *state, const char *text)
{
    const char *const *name = mb_backends();

    while (*name && strcmp(*name, text))
        name++;
    if (!*name)
        argp_error(state, "--backend %s: expected one of motbench list backends", text);
    return *name;
}

/* ---- how a workload is to be run ----------------------------------------------------------- */

enum { BACKEND = 256, PRECISION, THREADS, FAST, SAMPLER, SAMPLER_STEPS, GUIDANCE };

static const struct argp_option asked_options[] = {
    { "arch", 'a', "ARCH,...", 0, "These architectures, in this order", 0 },
    { "seed", 's', "SEED,...", 0, "These seeds", 0 },
    { "set", 'S', "section.key=value", 0,
      "Set a setting of every workload (motbench list settings)", 0 },
    { "backend", BACKEND, "NAME", 0, "cpu (default), cuda, ref or null", 0 },
    { "precision", PRECISION, "NAME", 0, "fp32 (default) or bf16", 0 },
    { "threads", THREADS, "N", 0,
      "Threads that each job computes with, which decide its last bits (default: the cores, shared "
      "out among the jobs side by side)",
      0 },
    { "fast", FAST, NULL, 0,
      "On a GPU, take what is fastest though bits differ from run to run (gpu.attention=fast)", 0 },
    { 0 },
};

static error_t parse_asked(int key, char *arg, struct argp_state *state)
{
    mb_asked *a = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        *a = (mb_asked){ .backend = "cpu", .precision = MB_FP32 };
        break;
    case 'a':
        a->archs = arg;
        break;
    case 's':
        a->seeds = arg;
        break;
    case 'S':
        mb_parse_append(state, a->sets, &a->n_sets, arg, "settings");
        break;
    case FAST:
        mb_parse_append(state, a->sets, &a->n_sets, "gpu.attention=fast", "settings");
        break;
    case BACKEND:
        a->backend = mb_parse_backend(state, arg);
        break;
    case PRECISION:
        if (mb_precision_find(arg, &a->precision))
            argp_error(state, "%s", mb_message());
        break;
    case THREADS:
        a->threads = mb_parse_count(state, "--threads", arg, 1024);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp mb_asked_argp = { asked_options, parse_asked, 0, 0, 0, 0, 0 };

/* ---- how images come out of noise ----------------------------------------------------------- */

static const struct argp_option sampler_options[] = {
    { "sampler", SAMPLER, "NAME", 0, "Of images that are patches: ddim (default) or ddpm", 0 },
    { "sampler-steps", SAMPLER_STEPS, "N", 0, "Its steps (default: 25)", 0 },
    { "guidance", GUIDANCE, "W", 0,
      "Weight of the caption: 1 (default) follows it, 0 does not look at it, more exaggerates", 0 },
    { 0 },
};

static error_t parse_sampler(int key, char *arg, struct argp_state *state)
{
    mb_diffuse *how = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        *how = (mb_diffuse){ .steps = 25, .guidance = 1 };
        break;
    case SAMPLER:
        if (strcmp(arg, "ddim") && strcmp(arg, "ddpm"))
            argp_error(state, "--sampler %s: expected ddim or ddpm", arg);
        how->eta = !strcmp(arg, "ddpm");
        break;
    case SAMPLER_STEPS:
        how->steps = mb_parse_count(state, "--sampler-steps", arg, MB_NOISE_STEPS);
        break;
    case GUIDANCE:
        how->guidance = mb_parse_number(state, "--guidance", arg, -100, 100);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

const struct argp mb_sampler_argp = { sampler_options, parse_sampler, 0, 0, 0, 0, 0 };
