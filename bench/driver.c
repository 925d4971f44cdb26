/* The benchmark: runs the sections asked for and reports. See README.md. */
#include "bench/sections.h"

#include "base/file.h"
#include "harness/bench.h"
#include "harness/build.h"

#include <argp.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct options {
    mb_plan plan;
    const char *only; /* sections, "peak,mot"; NULL: all that can be run */
} options;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    options *o = state->input;
    mb_precision precision;

    switch (key) {
    case 's':
        o->only = arg;
        return 0;
    case 'r':
        o->plan.rounds = atoi(arg);
        if (o->plan.rounds < 3 || o->plan.rounds > MB_ROUNDS_MAX)
            argp_error(state, "-r %s: expected 3 to %d", arg, MB_ROUNDS_MAX);
        return 0;
    case 't':
        o->plan.threads = atoi(arg);
        if (o->plan.threads < 1)
            argp_error(state, "-t %s: expected a number from 1", arg);
        return 0;
    case 'o':
        o->plan.folder = arg;
        return 0;
    case 'm':
        o->plan.words = arg;
        return 0;
    case 'b':
        o->plan.base = arg;
        return 0;
    case 'i':
        if (mb_precision_find(arg, &precision))
            argp_error(state, "%s", mb_message());
        o->plan.in = arg;
        return 0;
    case 'p':
        o->plan.python = arg;
        return 0;
    case ARGP_KEY_ARG:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option known[] = {
    { "sections", 's', "NAME,...", 0, "only these (default: all; those below)", 0 },
    { "rounds", 'r', "N", 0, "rounds that count (default 9)", 0 },
    { "threads", 't', "N", 0, "most threads (default: all cores; 1: no rows on several)", 0 },
    { "output", 'o', "FOLDER", 0, "where bench.db and bench.md go (default build/bench)", 0 },
    { "model", 'm', "NAME=VALUE ...", 0,
      "for every model, for a quick look: \"layers=1 batch=2\"; targets are for the full size", 0 },
    { "in", 'i', "PRECISION", 0, "only this one (default: fp32 and bf16)", 0 },
    { "base", 'b', "STEP", 0, "bench/step of another build to compare with", 0 },
    { "peers", 'p', "PYTHON", 0, "a Python that has PyTorch", 0 },
    { 0 },
};

/* Whether NAME is one of the comma-separated LIST. */
static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (!strncmp(at, name, n) && (at[n] == ',' || !at[n]))
            return true;
    }
    return false;
}

static bool possible(const mb_plan *p, const mb_bench_section *s)
{
    return s->when == MB_ALWAYS || (s->when == MB_WITH_BASE ? !!p->base : !!p->python);
}

static mb_err check_sections(const options *o)
{
    size_t found = 0, asked = o->only ? 1 : 0;

    for (const char *at = o->only; at && (at = strchr(at, ',')); at++)
        asked++;
    for (const mb_bench_section *s = mb_bench_sections; s->name; s++) {
        if (!o->only || !listed(o->only, s->name))
            continue;
        found++;
        if (!possible(&o->plan, s))
            return mb_fail(MB_EINVAL, "section %s: needs %s", s->name,
                           s->when == MB_WITH_BASE ? "-b" : "-p");
    }
    return !o->only || found == asked
               ? MB_OK
               : mb_fail(MB_EINVAL, "-s %s: expected names out of --help", o->only);
}

static void add_facts(mb_report *r, const char *words, bool gpu)
{
    char text[384], when[32];
    double load[3] = { NAN, NAN, NAN };
    time_t now = time(NULL);

    strftime(when, sizeof when, "%Y-%m-%d %H:%M UTC", gmtime(&now));
    mb_report_fact(r, "date", when);
    mb_report_fact(r, "commit", MB_COMMIT);
    mb_report_fact(r, "compiler", MB_COMPILER);
    mb_report_fact(r, "cflags", MB_CFLAGS);
    mb_table_note(r->table, "%s; motbench %s, %s, %s.", when, MB_COMMIT, MB_COMPILER, MB_CFLAGS);
    mb_facts_device(gpu ? "cuda" : "cpu", text, sizeof text);
    mb_report_fact(r, "device", text);
    mb_table_note(r->table, "%s.", text);
    mb_products_about(text, sizeof text);
    mb_report_fact(r, "products", text);
    if (*words)
        mb_table_note(r->table, "A quick look, not the sizes of the targets: %s.", words);
    mb_report_fact(r, "words for every model", words);
    getloadavg(load, 3);
    snprintf(text, sizeof text, "%.1f %.1f %.1f", load[0], load[1], load[2]);
    mb_report_fact(r, "load at the start", text);
    mb_table_note(r->table, "Load at the start, over 1, 5, 15 min: %s.", text);
}

/* Which precisions can be measured, and what bf16 means here. */
static void find_precisions(mb_plan *p)
{
    for (int i = 0; mb_precision_name[i]; i++) {
        mb_ctx *c;

        if (p->in && strcmp(p->in, mb_precision_name[i]))
            continue;
        p->has[i] = mb_ctx_open("cpu", (mb_precision)i, 1, &c) == MB_OK;
        if (!p->has[i])
            mb_table_note(p->report.table, "Not measured: %s.", mb_message());
        mb_ctx_close(c);
    }
    if (p->has[MB_BF16])
        mb_table_note(p->report.table,
                      "bf16: our products round their operands and compute in fp32 units, whose "
                      "peak is the peak here; this processor has %s instructions for bf16.",
                      __builtin_cpu_supports("avx512bf16") ? "unused" : "no");
}

static mb_err run(options *o)
{
    mb_plan *p = &o->plan;
    mb_err err = MB_OK, closed;

    MB_TRY(check_sections(o));
    MB_TRY(mb_report_open(p->folder, !*p->words, &p->report));
    add_facts(&p->report, p->words, o->only && listed(o->only, "gpu"));
    find_precisions(p);
    for (const mb_bench_section *s = mb_bench_sections; !err && s->name; s++) {
        bool asked = o->only ? listed(o->only, s->name) : s->when != MB_WHEN_ASKED;

        if (!asked || !possible(p, s))
            continue;
        fprintf(stderr, "%s: %s\n", s->name, s->about);
        err = s->run(p);
        if (err)
            mb_fail_in(err, "section %s", s->name);
    }
    if (err)
        mb_table_note(p->report.table, "Ended early: %s", mb_message());
    closed = mb_report_close(&p->report, p->folder);
    return err ? err : closed;
}

/* Our other programs lie beside this one, motbench one folder up. */
static mb_err find_programs(mb_plan *p)
{
    char self[512];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    if (n < 0)
        return mb_fail(MB_EIO, "/proc/self/exe: cannot be read");
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    p->step = mb_format("%s/step", self);
    p->synthetic = mb_format("%s/synthetic", self);
    p->motbench = mb_format("%s/../motbench", self);
    return MB_OK;
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        .options = known,
        .parser = parse,
        .doc = "Measures training steps side by side.\v"
               "Sections: peak products mot experts growth memory overhead cmp base peers gpu "
               "(base needs -b, peers and gpu -p; gpu runs only when named).",
    };
    options o = { .plan = { .rounds = 9, .folder = "build/bench", .words = "" } };
    mb_err err;

    o.plan.threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    argp_err_exit_status = 64;
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    signal(SIGPIPE, SIG_IGN); /* a worker that ends is an error like any other */
    err = find_programs(&o.plan);
    if (!err)
        err = run(&o);
    if (err)
        fprintf(stderr, "bench: %s\n", mb_message());
    free((char *)o.plan.step);
    free((char *)o.plan.synthetic);
    free((char *)o.plan.motbench);
    return err != MB_OK;
}
