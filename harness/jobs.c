/* The list of jobs, and the workers that take one after another from it.

   Workers are threads of this process, not processes: they share the data, the terminal and the
   wish to stop; Ctrl-C, SIGTERM and kill -9 reach all of them at once, and none can outlive the
   rest and keep a lock. What one job changes is its own: the ctx with its buffers, the stream, and
   its worker's handle of the store. */
#include "harness/bench.h"

#include "models/kernels/op.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

const char *const mb_status_name[] = { "not begun",         "ok",     "ok before",
                                       "running elsewhere", "failed", "interrupted" };

/* All that decides the job's numbers, hashed as lines of text. */
static void hash_job(const mb_bench *b, mb_job *job)
{
    size_t n, i, size;
    mb_pair *pairs = mb_settings_pairs(job->work->settings, job->arch, true, &n);
    char *text = NULL;
    FILE *f = open_memstream(&text, &size);

    if (!f)
        abort();
    for (i = 0; i < n; i++)
        fprintf(f, "%s=%s\n", pairs[i].key, pairs[i].value);
    fprintf(f, "workload=%s\nseed=%lld\nbackend=%s\nprecision=%s\nthreads=%d\ndata=%s\n",
            job->work->settings->name, (long long)job->seed, b->backend,
            mb_precision_name[b->precision], b->threads, mb_data_hash(job->work->data));
    if (fclose(f))
        abort();
    mb_hash(text, size, job->hash);
    free(text);
    mb_pairs_free(pairs, n);
}

static size_t count_jobs(const mb_work *works, size_t n)
{
    size_t w, jobs = 0;

    for (w = 0; w < n; w++)
        jobs += (size_t)works[w].settings->seeds.n * (size_t)works[w].settings->archs;
    return jobs;
}

/* The number of threads that the backend takes when asked for ASKED. */
static mb_err find_threads(const mb_bench *b, int asked, int *threads)
{
    mb_ctx *c;

    MB_TRY(mb_ctx_open(b->backend, b->precision, asked, &c));
    *threads = mb_ctx_threads(c);
    mb_ctx_close(c);
    return MB_OK;
}

mb_err mb_jobs_plan(mb_bench *b, const mb_work *works, size_t n)
{
    size_t jobs = count_jobs(works, n);
    int own;

    MB_TRY(find_threads(b, 0, &own));
    b->at_once = b->jobs_asked ? b->jobs_asked : b->threads_asked ? 1 : own;
    if ((size_t)b->at_once > jobs)
        b->at_once = (int)jobs;
    if (!b->threads_asked && b->at_once > 1)
        b->threads_asked = own > b->at_once ? own / b->at_once : 1;
    return find_threads(b, b->threads_asked, &b->threads);
}

size_t mb_jobs_make(const mb_bench *b, const mb_work *works, size_t n, int shard, int shards,
                    mb_job **out)
{
    size_t w, jobs = 0, index = 0;
    int seed, arch;

    *out = mb_zalloc(count_jobs(works, n), sizeof **out);
    for (w = 0; w < n; w++) {
        const mb_settings *s = works[w].settings;

        for (seed = 0; seed < s->seeds.n; seed++) {
            for (arch = 0; arch < s->archs; arch++) {
                mb_job *job = &(*out)[jobs];

                if (index++ % (size_t)shards != (size_t)shard - 1)
                    continue;
                *job = (mb_job){ .work = &works[w],
                                 .arch = &s->arch[arch],
                                 .seed = s->seeds.at[seed] };
                hash_job(b, job);
                jobs++;
            }
        }
    }
    return jobs;
}

/* ---- workers ------------------------------------------------------------------------------- */

typedef struct crew { /* what the workers share; LOCK is for what changes */
    pthread_mutex_t lock;
    const mb_job *jobs;
    mb_outcome *outcomes;
    size_t n, next; /* NEXT is the first job that nobody has taken */
    mb_err err;     /* why no more jobs begin ... */
    char why[1024]; /* ... and its message */
} crew;

typedef struct worker {
    crew *crew;
    mb_bench bench; /* as all have it, with a store of its own */
    pthread_t thread;
} worker;

static bool take_job(crew *c, size_t *job)
{
    bool there;

    pthread_mutex_lock(&c->lock);
    there = !c->err && c->next < c->n;
    if (there)
        *job = c->next++;
    pthread_mutex_unlock(&c->lock);
    return there;
}

/* Of several reasons the first counts, but a wish to stop least. */
static void call_off(crew *c, mb_err err)
{
    pthread_mutex_lock(&c->lock);
    if (!c->err || c->err == MB_EINTERRUPTED) {
        c->err = err;
        snprintf(c->why, sizeof c->why, "%s", mb_message());
    }
    pthread_mutex_unlock(&c->lock);
}

static mb_err work_off(worker *w)
{
    crew *c = w->crew;
    size_t i;

    while (take_job(c, &i)) {
        if (*w->bench.stop)
            return mb_fail(MB_EINTERRUPTED, "interrupted");
        MB_TRY(mb_run_job(&w->bench, &c->jobs[i], &c->outcomes[i]));
    }
    return MB_OK;
}

static void *work(void *argument)
{
    worker *w = argument;
    mb_err err = work_off(w);

    if (err)
        call_off(w->crew, err);
    return NULL;
}

/* The caller's thread is a worker with the caller's store; the others come and go here. */
static mb_err work_together(const mb_bench *b, crew *c, worker *workers, size_t n)
{
    size_t i, started = 1;
    mb_err err = MB_OK;

    for (i = 0; i < n; i++) {
        workers[i] = (worker){ .crew = c, .bench = *b };
        if (i == 0)
            continue;
        workers[i].bench.store = NULL;
        if (!err)
            err = mb_store_open(mb_store_path(b->store), false, &workers[i].bench.store);
    }
    while (!err && started < n &&
           !pthread_create(&workers[started].thread, NULL, work, &workers[started]))
        started++; /* where the system gives no more, there are fewer */
    if (!err)
        work(&workers[0]);
    for (i = 1; i < started; i++)
        pthread_join(workers[i].thread, NULL);
    for (i = 1; i < n; i++)
        mb_store_close(workers[i].bench.store);
    return err;
}

mb_err mb_jobs_run(mb_bench *b, const mb_job *jobs, size_t n, mb_outcome *outcomes)
{
    size_t count = n < 1 ? 1 : n < (size_t)b->at_once ? n : (size_t)b->at_once;
    worker *workers = mb_zalloc(count, sizeof *workers);
    crew c = { .lock = PTHREAD_MUTEX_INITIALIZER, .jobs = jobs, .outcomes = outcomes, .n = n };
    mb_err err;

    memset(outcomes, 0, n * sizeof *outcomes);
    err = work_together(b, &c, workers, count);
    free(workers);
    return err ? err : c.err ? mb_fail(c.err, "%s", c.why) : MB_OK;
}
