/* Makes a database of made-up runs, to time what reads one.

       synthetic DB RUNS STEPS

   RUNS runs of STEPS steps each: five workloads, four architectures, as many seeds as that takes.
   Every step has its row and three training losses, every hundredth three validation losses, as
   the runner would have written. */
#include "base/file.h"
#include "base/random.h"
#include "results/store.h"

#include <math.h>
#include <stdlib.h>

enum { WORKLOADS = 5, ARCHS = 4, KINDS = 3, EVERY = 100 };

static const char *const archs[ARCHS] = { "dense", "switch", "moe-ec", "mot" };
static const char *const kinds[KINDS] = { "all", "text", "image" };

typedef struct rows {
    mb_step_row *step;
    mb_value_row *value;
    size_t values;
} rows;

static void add_losses(rows *r, uint64_t key, int64_t step, int64_t steps, double speed,
                       const char *split)
{
    for (int k = 0; k < KINDS; k++) {
        double noise = 0.02 * mb_normal(key, (uint64_t)(step * KINDS + k));
        double loss = 2 + 3 * exp(-3 * speed * (double)step / (double)steps) + noise;

        r->value[r->values++] = (mb_value_row){ step, split, kinds[k], "loss", loss, 2048 };
    }
}

static mb_err fill(mb_store *s, int64_t run, int index, int64_t steps, rows *r)
{
    uint64_t train = mb_key(1, "train", (uint64_t)index, 0), val = mb_key(1, "val", 1, train);
    double speed = 1 + 0.3 * (index % ARCHS);

    r->values = 0;
    for (int64_t i = 1; i <= steps; i++) {
        r->step[i - 1] = (mb_step_row){ .step = i,
                                        .wall_ns = 4000000 + (int64_t)mb_below(train, i, 100000),
                                        .cpu_ns = 4000000,
                                        .tokens = 2048,
                                        .flops_model = 400000000,
                                        .flops_useful = 400000000,
                                        .flops_executed = 420000000,
                                        .flagged = i <= 10 ? 2 : 0 };
        add_losses(r, train, i, steps, speed, "train");
        if (i % EVERY == 0)
            add_losses(r, val, i, steps, speed, "val");
    }
    return mb_store_samples(s, run, r->step, (size_t)steps, r->value, r->values);
}

static mb_err add_run(mb_store *s, int index, int64_t steps, rows *r)
{
    char *workload = mb_format("w%d", index / ARCHS % WORKLOADS), *job = mb_format("%d", index);
    mb_run_row row = { .uuid = job,
                       .workload = workload,
                       .arch = archs[index % ARCHS],
                       .backend = "cpu",
                       .precision = "fp32",
                       .device = "none",
                       .job = job,
                       .seed = index / (ARCHS * WORKLOADS) + 1,
                       .params_total = 1000000,
                       .params_active = 1000000,
                       .steps = steps };
    const mb_pair fact = { "made_by", "bench/synthetic" };
    int64_t run;
    mb_err err = mb_store_facts(s, "machine", &fact, 1, &row.machine);

    if (!err)
        err = mb_store_facts(s, "build", &fact, 1, &row.build);
    if (!err)
        err = mb_store_facts(s, "dataset", &fact, 1, &row.dataset);
    if (!err)
        err = mb_store_facts(s, "settings", &fact, 1, &row.settings);
    if (!err)
        err = mb_store_run_begin(s, &row, &run);
    if (!err)
        err = fill(s, run, index, steps, r);
    if (!err)
        err = mb_store_run_event(s, run, "ok", NULL, NULL);
    free(workload);
    free(job);
    return err;
}

static mb_err make(const char *path, int runs, int64_t steps)
{
    size_t n = (size_t)steps;
    rows r = { .step = mb_alloc(n * sizeof *r.step),
               .value = mb_alloc((n + n / EVERY) * KINDS * sizeof *r.value) };
    mb_store *s;
    mb_err err = mb_store_open(path, true, &s);

    for (int i = 0; !err && i < runs; i++)
        err = add_run(s, i, steps, &r);
    mb_store_close(s);
    free(r.step);
    free(r.value);
    return err;
}

int main(int argc, char **argv)
{
    int runs = argc == 4 ? atoi(argv[2]) : 0, steps = argc == 4 ? atoi(argv[3]) : 0;

    if (runs < 1 || steps < 1) {
        fprintf(stderr, "usage: synthetic DB RUNS STEPS\n");
        return 64;
    }
    if (make(argv[1], runs, steps)) {
        fprintf(stderr, "synthetic: %s\n", mb_message());
        return 1;
    }
    return 0;
}
