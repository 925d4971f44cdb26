/* The list of jobs and the loop over it. */
#include "harness/bench.h"

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
            job->work->settings->name, (long long)job->seed, b->backend, b->precision, b->threads,
            mb_data_hash(job->work->data));
    if (fclose(f))
        abort();
    mb_hash(text, size, job->hash);
    free(text);
    mb_pairs_free(pairs, n);
}

size_t mb_jobs_make(const mb_bench *b, const mb_work *works, size_t n, int shard, int shards,
                    mb_job **out)
{
    size_t w, jobs = 0, index = 0;
    int seed, arch;

    for (w = 0; w < n; w++)
        jobs += (size_t)works[w].settings->seeds.n * (size_t)works[w].settings->archs;
    *out = mb_zalloc(jobs, sizeof **out);
    jobs = 0;
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

mb_err mb_jobs_run(mb_bench *b, const mb_job *jobs, size_t n, mb_outcome *outcomes)
{
    size_t i;

    memset(outcomes, 0, n * sizeof *outcomes);
    for (i = 0; i < n; i++) {
        if (*b->stop)
            return mb_fail(MB_EINTERRUPTED, "interrupted");
        MB_TRY(mb_run_job(b, &jobs[i], &outcomes[i]));
    }
    return MB_OK;
}
