#include "harness/samples.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUES_PER_STEP = MB_MODALITIES + 5 };

static void *larger(void *old, size_t n, size_t *max, size_t size)
{
    void *fresh;

    if (n < *max)
        return old;
    fresh = mb_alloc(2 * *max * size);
    memcpy(fresh, old, n * size);
    free(old);
    *max *= 2;
    return fresh;
}

void mb_samples_open(mb_samples *s, size_t steps)
{
    *s = (mb_samples){ .max_steps = steps + 1, .max_values = (steps + 1) * VALUES_PER_STEP };
    s->steps = mb_alloc(s->max_steps * sizeof *s->steps);
    s->values = mb_alloc(s->max_values * sizeof *s->values);
}

void mb_samples_close(mb_samples *s)
{
    free(s->steps);
    free(s->values);
    memset(s, 0, sizeof *s);
}

void mb_samples_step(mb_samples *s, const mb_step_row *row)
{
    s->steps = larger(s->steps, s->n_steps, &s->max_steps, sizeof *s->steps);
    s->steps[s->n_steps++] = *row;
}

static void add(mb_samples *s, int64_t step, const char *split, const char *modality,
                const char *metric, double value, int64_t n)
{
    s->values = larger(s->values, s->n_values, &s->max_values, sizeof *s->values);
    s->values[s->n_values++] = (mb_value_row){ step, split, modality, metric, value, n };
}

void mb_samples_losses(mb_samples *s, int64_t step, const char *split, const mb_losses *l)
{
    int64_t n = 0;
    int m;

    for (m = 0; m < MB_MODALITIES; m++) {
        if (l->n[m])
            add(s, step, split, mb_modality_name[m], "loss", l->sum[m] / (double)l->n[m], l->n[m]);
        n += l->n[m];
    }
    if (n)
        add(s, step, split, "all", "loss", mb_losses_mean(l), n);
    if (!strcmp(split, mb_split_name[MB_TRAIN]))
        add(s, step, split, "all", "grad_norm", l->grad_norm, n);
    if (l->asked) {
        add(s, step, split, "all", "dropped", (double)l->dropped / (double)l->asked, l->asked);
        add(s, step, split, "all", "balance", l->balance, l->asked);
        add(s, step, split, "all", "router_z", l->router_z, l->asked);
    }
}

mb_err mb_samples_flush(mb_samples *s, mb_store *store, int64_t run)
{
    MB_TRY(mb_store_samples(store, run, s->steps, s->n_steps, s->values, s->n_values));
    s->n_steps = s->n_values = 0;
    return MB_OK;
}
