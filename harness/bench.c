/* Opening what an invocation needs: settings, data, the store; and letting go of it. */
#include "harness/bench.h"

#include "harness/saved.h"

#include <stdlib.h>

static mb_err load_settings(const mb_asked *asked, const char *path, mb_settings *s)
{
    int i;

    MB_TRY(mb_settings_load(s, path));
    for (i = 0; i < asked->n_sets; i++)
        MB_TRY(mb_settings_override(s, asked->sets[i]));
    if (asked->archs)
        MB_TRY(mb_settings_select(s, "-a", asked->archs));
    if (asked->seeds)
        MB_TRY(mb_settings_seeds(s, "-s", asked->seeds));
    return mb_settings_check(s);
}

static void show_preparing(void *user, const char *what, double fraction)
{
    mb_progress_preparing(user, what, fraction);
}

static mb_err open_work(const mb_asked *asked, const char *path, mb_progress *progress,
                        mb_work *work)
{
    mb_data_request request;

    work->settings = mb_settings_new();
    MB_TRY(load_settings(asked, path, work->settings));
    request = mb_settings_data(work->settings);
    MB_TRY(mb_data_prepare(&request, show_preparing, progress));
    return mb_data_open(&request, &work->data);
}

/* The number of threads that the backend takes, which is part of what a job is. */
static mb_err find_threads(mb_bench *b)
{
    mb_ctx *c;

    MB_TRY(mb_ctx_open(b->backend, b->threads_asked, &c));
    b->threads = mb_ctx_threads(c);
    mb_ctx_close(c);
    return MB_OK;
}

static mb_err open_store(mb_bench *b, const char *path, mb_work *works, int n)
{
    int i;

    MB_TRY(mb_store_open(path, true, &b->store));
    MB_TRY(mb_facts_machine(b->store, &b->machine));
    MB_TRY(mb_facts_build(b->store, &b->build));
    for (i = 0; i < n; i++)
        MB_TRY(mb_facts_dataset(b->store, works[i].data, &works[i].dataset));
    mb_facts_device(b->device, sizeof b->device);
    b->folder = mb_saved_folder(path);
    return MB_OK;
}

mb_err mb_bench_open(mb_bench *b, const mb_asked *asked, const char *db, const char *const *paths,
                     int n, mb_work *works)
{
    int i;

    b->backend = asked->backend;
    b->precision = asked->precision;
    b->threads_asked = asked->threads;
    MB_TRY(find_threads(b));
    for (i = 0; i < n; i++)
        MB_TRY(open_work(asked, paths[i], &b->progress, &works[i]));
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
