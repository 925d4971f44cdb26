#include "tests/store_fixture.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64];

static void remove_folder(void)
{
    char *command = mb_format("/bin/rm -rf '%s'", folder);

    if (system(command))
        fprintf(stderr, "%s is left behind\n", folder);
    free(command);
}

static pid_t maker; /* forked children run the exit handler too */

static void remove_own(void)
{
    if (getpid() == maker)
        remove_folder();
}

const char *fixture_folder(void)
{
    if (!*folder) {
        snprintf(folder, sizeof folder, "/tmp/motbench-test-XXXXXX");
        cr_assert_not_null(mkdtemp(folder));
        maker = getpid();
        atexit(remove_own);
    }
    return folder;
}

const char *fixture_path(const char *name)
{
    static char path[4][256];
    static int next;
    char *out = path[next++ % 4];

    snprintf(out, sizeof path[0], "%s/%s", fixture_folder(), name);
    return out;
}

mb_store *fixture_store(void)
{
    mb_store *s;

    cr_assert_eq(mb_store_open(fixture_path("t.db"), true, &s), MB_OK, "%s", mb_message());
    return s;
}

static int64_t facts(mb_store *s, const char *kind, const mb_pair *pairs, size_t n)
{
    int64_t id;

    cr_assert_eq(mb_store_facts(s, kind, pairs, n, &id), MB_OK, "%s", mb_message());
    return id;
}

static fixture_run completed(const fixture_run *r)
{
    fixture_run f = *r;

    f.workload = f.workload ? f.workload : "w";
    f.arch = f.arch ? f.arch : "dense";
    f.seed = f.seed ? f.seed : 1;
    f.steps = f.steps ? f.steps : 100;
    f.step_ns = f.step_ns ? f.step_ns : 1000000;
    f.flops = f.flops ? f.flops : 1000;
    f.status = f.status ? f.status : "ok";
    f.width = f.width ? f.width : "64";
    f.machine = f.machine ? f.machine : "m";
    f.hash = f.hash ? f.hash : "h";
    f.speed = f.speed > 0 ? f.speed : 1;
    f.floor = f.floor > 0 ? f.floor : 2;
    f.planned = f.planned ? f.planned : f.steps;
    f.backend = f.backend ? f.backend : "cpu";
    f.precision = f.precision ? f.precision : "fp32";
    return f;
}

static int64_t begin(mb_store *s, const fixture_run *f)
{
    static int made;
    mb_pair settings[] = { { "model.width", f->width }, { "arch.name", f->arch } };
    char uuid[64], job[160];
    mb_run_row row = { .uuid = uuid,
                       .workload = f->workload,
                       .arch = f->arch,
                       .job = job,
                       .backend = f->backend,
                       .precision = f->precision,
                       .device = "cpu0",
                       .seed = f->seed,
                       .params_total = 1000,
                       .params_active = 900,
                       .steps = f->planned,
                       .pid = getpid() };
    int64_t run;

    snprintf(uuid, sizeof uuid, "%d-%d", (int)getpid(), made++);
    snprintf(job, sizeof job, "%s/%s/%lld", f->workload, f->arch, (long long)f->seed);
    row.machine = facts(s, "machine", (mb_pair[]){ { "cpu", f->machine } }, 1);
    row.build = facts(s, "build", (mb_pair[]){ { "commit", "c" } }, 1);
    row.dataset = facts(s, "dataset", (mb_pair[]){ { "hash", f->hash } }, 1);
    row.settings = facts(s, "settings", settings, 2);
    cr_assert_eq(mb_store_run_begin(s, &row, &run), MB_OK, "%s", mb_message());
    return run;
}

static size_t add_values(const fixture_run *f, int64_t step, mb_value_row *out)
{
    static const char *const modality[] = { "all", "text", "image" };
    double loss = f->floor + 3 * exp(-3 * f->speed * (double)step / (double)f->steps);
    size_t n = 0;

    for (int m = 0; m < 3; m++) {
        double value = loss + (m == 2 ? 0.5 : 0);

        if (step)
            out[n++] = (mb_value_row){ step, "train", modality[m], "loss", value, 64 };
        if (step % 10 == 0)
            out[n++] = (mb_value_row){ step, "val", modality[m], "loss", value, 640 };
    }
    return n;
}

int64_t fixture_add(mb_store *s, const fixture_run *r)
{
    fixture_run f = completed(r);
    int64_t run = begin(s, &f);
    mb_step_row *steps = mb_alloc((size_t)f.steps * sizeof *steps);
    mb_value_row *values = mb_alloc((size_t)(6 * f.steps + 6) * sizeof *values);
    size_t n_values = add_values(&f, 0, values);

    for (int64_t i = 1; i <= f.steps; i++) {
        steps[i - 1] = (mb_step_row){ .step = i,
                                      .wall_ns = f.step_ns,
                                      .cpu_ns = f.step_ns,
                                      .tokens = 64,
                                      .flops_model = (uint64_t)f.flops,
                                      .flops_useful = (uint64_t)f.flops,
                                      .flops_executed = (uint64_t)f.flops + 1,
                                      .flagged = i == 1 ? 2 : 0 };
        n_values += add_values(&f, i, values + n_values);
    }
    if (f.no_values)
        n_values = 0;
    cr_assert_eq(mb_store_samples(s, run, steps, (size_t)f.steps, values, n_values), MB_OK, "%s",
                 mb_message());
    cr_assert_eq(mb_store_run_event(s, run, f.status, NULL, NULL), MB_OK, "%s", mb_message());
    free(steps);
    free(values);
    return run;
}

const char *fixture_ask(mb_store *s, const char *sql)
{
    static char text[512];
    mb_rows *rows;

    cr_assert_eq(mb_store_query(s, sql, NULL, &rows), MB_OK, "%s", mb_message());
    snprintf(text, sizeof text, "%s", rows->n ? rows->cell[0].string : "(no row)");
    mb_rows_free(rows);
    return text;
}

char *fixture_printed(mb_err (*print)(const void *options, FILE *out), const void *options,
                      mb_err *err)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    *err = print(options, out);
    fclose(out);
    return text;
}
