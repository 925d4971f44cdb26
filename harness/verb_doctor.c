/* motbench doctor: what works on this machine, and why not. Reports and never fails hard: a machine
   without something is a finding, not an error. */
#include "base/file.h"
#include "harness/bench.h"
#include "harness/command.h"
#include "harness/options.h"
#include "models/kernels/op.h"
#include "profiles/clock.h"
#include "profiles/counter.h"
#include "profiles/gpu.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const mb_table_column columns[] = { { .name = "what" },
                                           { .name = "state" },
                                           { .name = "detail" } };

/* Takes DETAIL. */
static void add(mb_table *t, const char *what, bool works, char *detail)
{
    mb_table_text(t, what);
    mb_table_text(t, works ? "ok" : "no");
    mb_table_text(t, detail);
    free(detail);
}

static void check_machine(mb_table *t)
{
    char device[128], products[128];

    mb_facts_device("cpu", device, sizeof device);
    add(t, "processor", true, mb_format("%s", device));
    mb_products_about(products, sizeof products);
    add(t, "matrix products", true, mb_format("%s", products));
}

static void check_backends(mb_table *t)
{
    const char *const *name;
    int p;

    for (name = mb_backends(); *name; name++)
        for (p = MB_FP32; mb_precision_name[p]; p++) {
            char *what = mb_format("backend %s, %s", *name, mb_precision_name[p]);
            mb_ctx *c;

            if (mb_ctx_open(*name, (mb_precision)p, 0, &c))
                add(t, what, false, mb_format("%s", mb_message()));
            else
                add(t, what, true, mb_format("threads: %d", mb_ctx_threads(c)));
            mb_ctx_close(c);
            free(what);
        }
}

static void add_gpu(void *user, const char *what, bool works, const char *detail)
{
    add(user, what, works, mb_format("%s", detail));
}

/* The smallest and the largest of some steps of the clock, which no measurement can resolve. */
static void check_clock(mb_table *t)
{
    int64_t least = INT64_MAX, most = 0;
    mb_clock clock;
    int i;

    mb_clock_open(&clock);
    for (i = 0; i < 10000; i++) {
        int64_t before = mb_wall_ns(), step = mb_wall_ns() - before;

        least = step < least ? step : least;
        most = step > most ? step : most;
    }
    add(t, "clock", true,
        mb_format("reading it takes %" PRId64 " ns, at worst %" PRId64 " us of 10000 readings",
                  least, most / 1000));
    add(t, "run-queue delay", clock.threads > 0,
        mb_format("%s", clock.threads > 0 ? "readable: disturbed steps are flagged"
                                          : "/proc/self/task/*/schedstat is not readable: "
                                            "disturbed steps are not flagged"));
    mb_clock_close(&clock);
}

/* One event for each kind of counts, probed as a profile would. */
static void check_counters(mb_table *t)
{
    static const mb_event events[] = { { "clock", "wall", "ns" },
                                       { "rusage", "minor_faults", "faults" },
                                       { "papi", "perf::TASK-CLOCK", "ns" },
                                       { "papi", "PAPI_TOT_INS", "instructions" },
                                       { "papi", "PAPI_FP_OPS", "FLOP" },
                                       { "sde", "flops_model", "FLOP" },
                                       { "cupti", "dram__bytes_read.sum", "B" },
                                       { "nvml", "energy", "J" } };
    enum { EVENTS = sizeof events / sizeof *events };
    mb_ledger *ledger = mb_ledger_new();
    mb_tally nothing = { .ledger = ledger };
    mb_counter *c;
    const mb_counted *counted;
    size_t n, i;

    add(t, "PAPI", mb_papi_works(), mb_format("%s", mb_papi_about()));
    mb_sde_publish(&nothing);
    mb_counter_open(events, EVENTS, 1, &c);
    counted = mb_counter_read(c, &n);
    for (i = 0; i < n; i++) {
        const mb_event *e = &counted[i].event;
        char *what = mb_format("counts of %s", e->source);

        add(t, what, counted[i].status == MB_COUNT_OK,
            mb_format("%s: %s", e->name, mb_count_status_name[counted[i].status]));
        free(what);
    }
    mb_counter_close(c);
    mb_sde_publish(NULL);
    mb_ledger_free(ledger);
}

static void add_data(void *user, const mb_data_listing *l)
{
    char *what = mb_format("data %s", l->name);
    bool prepared = !strcmp(l->state, "prepared");

    add(user, what, prepared,
        prepared ? mb_format("%s", l->folder)
                 : mb_format("%s; motbench run prepares it, or motbench data prepare %s", l->state,
                             l->name));
    free(what);
}

static void check_data(mb_table *t)
{
    char *home = mb_data_home();

    if (mb_data_list(add_data, t))
        add(t, "data", false, mb_format("%s: %s", home, mb_message()));
    free(home);
}

/* Whether a program is in one of the folders of $PATH. */
static bool has_program(const char *name)
{
    char *path = mb_format("%s", getenv("PATH") ? getenv("PATH") : ""), *rest = path, *folder;
    bool found = false;

    while (!found && (folder = strsep(&rest, ":"))) {
        char *file = mb_format("%s/%s", *folder ? folder : ".", name);

        found = access(file, X_OK) == 0;
        free(file);
    }
    free(path);
    return found;
}

static void check_programs(mb_table *t)
{
    bool gnuplot = has_program("gnuplot");

    add(t, "gnuplot", gnuplot,
        mb_format("%s", gnuplot ? "motbench plot works"
                                : "for motbench plot: apt-get install gnuplot-nox"));
}

static void check_database(mb_table *t, const char *path)
{
    mb_rows *rows = NULL;
    mb_store *s = NULL;

    if (!mb_exists(path))
        add(t, "database", true, mb_format("%s: not there yet, motbench run makes it", path));
    else if (mb_store_open(path, false, &s) ||
             mb_store_query(s,
                            "SELECT count(*), (SELECT user_version FROM pragma_user_version) "
                            "FROM v_run",
                            NULL, &rows))
        add(t, "database", false, mb_format("%s", mb_message()));
    else
        add(t, "database", true,
            mb_format("%s: schema %s, %s runs", path, rows->cell[1].string, rows->cell[0].string));
    mb_rows_free(rows);
    mb_store_close(s);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    mb_common *common = state->input;

    if (key == ARGP_KEY_INIT)
        state->child_inputs[0] = state->child_inputs[1] = common;
    else if (key == ARGP_KEY_ARG)
        argp_error(state, "one argument too many: '%s'", arg);
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

mb_err mb_command_doctor(int argc, char **argv)
{
    static const struct argp_child children[] = { { &mb_db_argp, 0, NULL, 0 },
                                                  { &mb_format_argp, 0, NULL, 0 },
                                                  { 0 } };
    static const struct argp argp = {
        NULL, parse, NULL, "Says what works on this machine, and why not.", children, NULL, NULL,
    };
    mb_common common = { 0 };
    mb_table *t;
    mb_err err;

    argp_parse(&argp, argc, argv, 0, NULL, &common);
    t = mb_table_new(columns, sizeof columns / sizeof *columns);
    check_machine(t);
    check_backends(t);
    mb_gpu_check(add_gpu, t);
    check_clock(t);
    check_counters(t);
    check_data(t);
    check_programs(t);
    check_database(t, common.db);
    err = mb_table_print(t, common.format, stdout);
    mb_table_free(t);
    return err;
}
