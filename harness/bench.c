/* Opening what an invocation needs: settings, data, the store; and letting go of it. */
#include "harness/bench.h"

#include "harness/saved.h"
#include "profiles/clock.h"

#include <stdlib.h>
#include <string.h>

static mb_err apply(const mb_asked *asked, mb_settings *s)
{
    mb_err err = MB_OK;
    int i;

    for (i = 0; !err && i < asked->n_sets; i++)
        err = mb_settings_override(s, asked->sets[i]);
    if (!err && asked->archs)
        err = mb_settings_select(s, "-a", asked->archs);
    if (!err && asked->seeds)
        err = mb_settings_seeds(s, "-s", asked->seeds);
    return err ? MB_EUSAGE : MB_OK;
}

static mb_err load_settings(const mb_asked *asked, const char *path, mb_settings *s)
{
    MB_TRY(mb_settings_load(s, path));
    MB_TRY(apply(asked, s));
    MB_TRY(mb_settings_check(s));
    return mb_settings_find_data(s);
}

static void show_preparing(void *user, const char *what, double fraction)
{
    mb_progress_preparing(user, what, fraction, mb_wall_ns());
}

static mb_err load_works(const mb_asked *asked, const char *const *paths, int n, mb_work *works)
{
    int i;

    for (i = 0; i < n; i++) {
        works[i].settings = mb_settings_new();
        MB_TRY(load_settings(asked, paths[i], works[i].settings));
    }
    return MB_OK;
}

/* What only the data can find wrong with the settings, before anything runs. */
static mb_err check_streams(const mb_work *w)
{
    const mb_settings *s = w->settings;

    for (enum mb_split split = MB_TRAIN; split <= MB_VAL; split++) {
        mb_stream *stream;
        mb_err err = mb_stream_open(w->data, split, &s->mixture, 0, s->batch, s->len, &stream);

        mb_stream_close(stream);
        if (err)
            return mb_fail_in(
                err, "%s: key '%s'",
                mb_settings_place(s, NULL, "workload", err == MB_EINVAL ? "seq_len" : "data"),
                err == MB_EINVAL ? "seq_len" : "data");
    }
    return MB_OK;
}

/* Messages about data that cannot be had begin with the key that asks for them. */
static mb_err open_set(mb_progress *progress, const mb_settings *s, mb_data **out)
{
    mb_data_request request = mb_settings_data(s);
    const char *key = *s->path ? "path" : "data";
    mb_err err = mb_data_prepare(&request, show_preparing, progress);

    if (!err)
        err = mb_data_open(&request, out);
    return err && err != MB_EINTERRUPTED
               ? mb_fail_in(err, "%s: key '%s'", mb_settings_place(s, NULL, "workload", key), key)
               : err;
}

static mb_err open_data(mb_progress *progress, mb_work *works, int n)
{
    int i;

    for (i = 0; i < n; i++) {
        MB_TRY(open_set(progress, works[i].settings, &works[i].data));
        MB_TRY(mb_data_checksums(works[i].data, NULL)); /* a run is recorded with them */
        MB_TRY(mb_settings_fit(works[i].settings, works[i].data));
        MB_TRY(check_streams(&works[i]));
    }
    return MB_OK;
}

/* The device and how a run shares the processor, which decides its times as much. */
static void describe_device(mb_bench *b)
{
    char device[320];

    mb_facts_device(b->backend, device, sizeof device);
    snprintf(b->device, sizeof b->device, "%s, %d thread%s", device, b->threads,
             b->threads > 1 ? "s" : "");
    if (b->at_once > 1)
        snprintf(b->device + strlen(b->device), sizeof b->device - strlen(b->device),
                 " a job, %d jobs side by side", b->at_once);
}

static mb_err open_store(mb_bench *b, const char *path, mb_work *works, int n)
{
    int i;

    MB_TRY(mb_store_open(path, true, &b->store));
    MB_TRY(mb_facts_machine(b->store, &b->machine));
    MB_TRY(mb_facts_build(b->store, &b->build));
    for (i = 0; i < n; i++)
        MB_TRY(mb_facts_dataset(b->store, works[i].data, &works[i].dataset));
    describe_device(b);
    b->folder = mb_saved_folder(path);
    mb_saved_tidy(b->folder);
    return MB_OK;
}

mb_err mb_bench_open(mb_bench *b, const mb_asked *asked, const char *db, const char *const *paths,
                     int n, mb_work *works)
{
    b->backend = asked->backend;
    b->precision = asked->precision;
    b->threads_asked = asked->threads;
    MB_TRY(load_works(asked, paths, n, works));
    MB_TRY(mb_jobs_plan(b, works, (size_t)n));
    MB_TRY(open_data(b->progress, works, n));
    return open_store(b, db, works, n);
}

void mb_bench_close(mb_bench *b, mb_work *works, int n)
{
    int i;

    for (i = 0; i < n; i++) {
        mb_data_close(works[i].data);
        mb_settings_free(works[i].settings);
    }
    free(b->folder);
    mb_store_close(b->store);
}
