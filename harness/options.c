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
