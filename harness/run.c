/* The life of a run: begun or taken up again, trained, ended; and every way in which it can end. */
#include "harness/run.h"

#include "harness/floors.h"
#include "harness/metadata.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static const char *const overhead_name[MB_OVERHEADS] = { "open", "data", "evaluate", "checkpoint" };

/* A random (version 4) UUID. */
void mb_run_uuid(mb_run *r)
{
    unsigned char b[16];

    if (getrandom(b, sizeof b, 0) != sizeof b)
        abort();
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    snprintf(r->uuid, sizeof r->uuid,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

static char *label(const mb_job *job)
{
    return mb_format("%s %s seed %lld", job->work->settings->name, job->arch->arch->name,
                     (long long)job->seed);
}

/* ---- beginning ----------------------------------------------------------------------------- */

/* Whether a run that is there and not running can go on here: one curve comes from one build on one
   machine; and what failed without leaving a state would do so again. */
static bool can_go_on(const mb_run *r, const mb_found_run *found)
{
    return found->machine == r->bench->machine && found->build == r->bench->build &&
           (strcmp(found->status, "failed") || mb_exists(r->saved.state));
}

/* Looks at the newest run of this job. Leaves *go false when there is nothing to do; takes its lock
   and r->id when it is to go on. */
static mb_err take_up(mb_run *r, bool *go)
{
    mb_found_run found;
    bool busy = false;

    *go = false;
    MB_TRY(mb_store_find_job(r->bench->store, r->job->hash, &found));
    if (found.run)
        MB_TRY(mb_saved_open(r->bench->folder, found.uuid, &r->saved, &busy));
    if (found.run && !busy) /* again, now that nobody else can change it */
        MB_TRY(mb_store_find_job(r->bench->store, r->job->hash, &found));
    if (found.run && !strcmp(found.status, "ok")) {
        r->out->status = MB_WAS_DONE;
        r->out->step = found.steps_done;
        /* a run may be killed between being "ok" and tidying up */
        return busy ? MB_OK : mb_saved_remove_state(&r->saved);
    }
    if (busy) {
        r->out->status = MB_BUSY;
        return MB_OK;
    }
    *go = true;
    if (found.run && can_go_on(r, &found)) {
        r->id = found.run;
        r->resumed = true;
        snprintf(r->uuid, sizeof r->uuid, "%s", found.uuid);
    }
    return MB_OK;
}

/* Somebody who tidies up may hold a new run's lock for a moment: then under another name. */
static mb_err open_fresh(mb_run *r)
{
    bool busy = true;
    mb_err err = MB_OK;

    mb_saved_close(&r->saved); /* of a run that cannot go on */
    while (!err && busy) {
        mb_run_uuid(r);
        err = mb_saved_open(r->bench->folder, r->uuid, &r->saved, &busy);
    }
    return err;
}

mb_err mb_run_open(mb_run *r)
{
    const mb_work *work = r->job->work;
    mb_model_config config =
        mb_settings_model(work->settings, r->job->arch, mb_settings_sizes(work->data));

    MB_TRY(mb_ctx_open(r->bench->backend, r->bench->precision, r->bench->threads_asked, &r->ctx));
    (void)mb_nvml_open(&r->nvml); /* no GPU, or none in use: nothing to watch */
    return mb_model_open(r->ctx, r->job->arch->arch, &config, (uint64_t)r->job->seed, &r->model);
}

mb_err mb_run_begin(mb_run *r, const char *purpose, int64_t steps)
{
    const mb_bench *b = r->bench;
    const mb_settings *s = r->job->work->settings;
    mb_run_row row = { .uuid = r->uuid,
                       .workload = s->name,
                       .arch = r->job->arch->arch->name,
                       .backend = b->backend,
                       .precision = mb_precision_name[b->precision],
                       .device = b->device,
                       .job = r->job->hash,
                       .seed = r->job->seed,
                       .machine = b->machine,
                       .build = b->build,
                       .dataset = r->job->work->dataset,
                       .steps = steps,
                       .pid = getpid(),
                       .purpose = purpose };
    size_t n;
    mb_pair *pairs;
    mb_err err;

    row.params_total = r->model ? (int64_t)mb_model_params_total(r->model) : 0;
    row.params_active = r->model ? (int64_t)mb_model_params_active(r->model) : 0;
    pairs = mb_settings_pairs(s, r->job->arch, false, &n);
    err = mb_store_facts(b->store, "settings", pairs, n, &row.settings);
    mb_pairs_free(pairs, n);
    return err ? err : mb_store_run_begin(b->store, &row, &r->id);
}

/* Without a saved state the run begins again at step 0, and repeats what it has recorded. */
static mb_err restore(mb_run *r)
{
    char *ops;
    mb_err err;

    if (!mb_exists(r->saved.state))
        return MB_OK;
    MB_TRY(mb_checkpoint_load_state(r->saved.state, r->model, &r->step));
    if (r->step > r->job->work->settings->steps)
        return mb_fail(MB_ECORRUPT, "%s: step %lld, expected at most %lld", r->saved.state,
                       (long long)r->step, (long long)r->job->work->settings->steps);
    MB_TRY(mb_checkpoint_metadata(r->saved.state, "ops", &ops));
    err = mb_ops_read(&r->ops, ops ? ops : "");
    free(ops);
    return err ? mb_fail_in(err, "%s", r->saved.state) : MB_OK;
}

/* ---- ending -------------------------------------------------------------------------------- */

mb_err mb_run_memory(mb_run *r)
{
    mb_memory said;

    if (!r->model)
        return MB_OK;
    said = mb_model_memory(r->model);
    return mb_store_memory(r->bench->store, r->id, (int64_t)mb_model_held(r->model),
                           (int64_t)mb_memory_total(&said));
}

static mb_err record_overheads(mb_run *r)
{
    int i;

    for (i = 0; i < MB_OVERHEADS; i++)
        MB_TRY(mb_store_overhead(r->bench->store, r->id, overhead_name[i], r->overhead_ns[i]));
    return mb_run_memory(r);
}

/* The operations, once: a run may be killed between writing them and being "ok". */
static mb_err record_ops(mb_run *r)
{
    char id[24];
    mb_rows *rows;
    bool there;

    snprintf(id, sizeof id, "%lld", (long long)r->id);
    MB_TRY(mb_store_query(r->bench->store, "SELECT 1 FROM v_op WHERE run_id = ?1 LIMIT 1",
                          (const char *const[]){ id, NULL }, &rows));
    there = rows->n > 0;
    mb_rows_free(rows);
    if (there)
        return MB_OK;
    mb_ops_add(&r->ops, mb_ctx_ledger(r->ctx), false);
    return mb_store_ops(r->bench->store, r->id, r->ops.rows, r->ops.n);
}

static mb_err finish(mb_run *r)
{
    char **metadata = mb_metadata_new(r->job, r->bench->precision, r->uuid, NULL);
    int64_t start = mb_wall_ns();
    mb_err err = mb_checkpoint_save(r->saved.weights, r->model, (const char *const *)metadata);

    r->overhead_ns[MB_SAVING] += mb_wall_ns() - start;
    mb_metadata_free(metadata);
    if (err)
        return err;
    MB_TRY(mb_samples_flush(&r->samples, r->bench->store, r->id));
    MB_TRY(record_ops(r));
    MB_TRY(record_overheads(r));
    MB_TRY(mb_floors_store(r->bench->store, r->id, r->job->work->data,
                           &r->job->work->settings->mixture));
    MB_TRY(mb_store_run_event(r->bench->store, r->id, "ok", NULL, r->saved.weights));
    r->out->status = MB_DONE;
    return mb_saved_remove_state(&r->saved);
}

static mb_err stop(mb_run *r)
{
    r->out->status = MB_STOPPED;
    MB_TRY(mb_train_save(r));
    MB_TRY(record_overheads(r));
    MB_TRY(mb_store_run_event(r->bench->store, r->id, "interrupted", NULL, NULL));
    return mb_fail(MB_EINTERRUPTED, "interrupted");
}

/* ERR befell this run alone, unless even that cannot be recorded. What it measured is kept. */
static mb_err fail(mb_run *r, mb_err err)
{
    r->out->status = MB_FAILED;
    snprintf(r->out->detail, sizeof r->out->detail, "%s", mb_message());
    if (!mb_samples_flush(&r->samples, r->bench->store, r->id))
        record_overheads(r); /* the event below tells whether the store still works */
    if (mb_store_run_event(r->bench->store, r->id, "failed", r->out->detail, NULL))
        return mb_fail(err, "%s", r->out->detail);
    return r->hopeless ? mb_saved_remove_state(&r->saved) : MB_OK;
}

static mb_err end(mb_run *r, mb_err err)
{
    char *outcome;

    if (!err)
        err = finish(r);
    if (err == MB_EINTERRUPTED)
        err = stop(r);
    if (err && err != MB_EINTERRUPTED)
        err = fail(r, err);
    r->out->step = r->step;
    outcome = mb_format("%s%s%s", mb_status_name[r->out->status], *r->out->detail ? ": " : "",
                        r->out->detail);
    mb_progress_end(r->bench->progress, &r->shown, r->step, outcome, mb_wall_ns());
    free(outcome);
    return err;
}

void mb_run_close(mb_run *r)
{
    mb_stream_close(r->stream);
    mb_model_close(r->model);
    mb_ctx_close(r->ctx);
    mb_clock_close(&r->clock);
    mb_nvml_close(r->nvml);
    mb_samples_close(&r->samples);
    mb_ops_close(&r->ops);
    mb_saved_close(&r->saved);
    for (int i = 0; i < r->copies; i++)
        mb_batch_free(&r->batches[i]);
    free(r->batches);
}

/* ---- the whole ----------------------------------------------------------------------------- */

static mb_err run(mb_run *r)
{
    const mb_settings *s = r->job->work->settings;
    int64_t start = mb_wall_ns();
    char *name, detail[512];
    mb_err err = mb_run_open(r), recorded;

    snprintf(detail, sizeof detail, "%s", err ? mb_message() : "");
    recorded = r->resumed ? mb_store_run_event(r->bench->store, r->id, "running", "resumed", NULL)
                          : mb_run_begin(r, "train", s->steps); /* also of what cannot be opened: it
                                                                   is to be seen */
    if (recorded)
        return recorded;
    if (err)
        mb_fail(err, "%s", detail);
    else if (r->resumed)
        err = restore(r);
    if (!err)
        err = mb_train_open(r);
    name = label(r->job);
    r->overhead_ns[MB_OPENING] = mb_wall_ns() - start;
    mb_progress_begin(r->bench->progress, &r->shown, name, r->step, s->steps, mb_settings_tokens(s),
                      mb_wall_ns());
    free(name);
    return end(r, err ? err : mb_train(r));
}

mb_err mb_run_job(mb_bench *b, const mb_job *job, mb_outcome *out)
{
    mb_run r = { .bench = b, .job = job, .out = out };
    bool go = true;
    mb_err err = MB_OK;

    *out = (mb_outcome){ 0 };
    if (b->resume)
        err = take_up(&r, &go);
    if (!err && go && !r.resumed)
        err = open_fresh(&r);
    if (!err && go)
        err = run(&r);
    else if (!err)
        mb_progress_skip(b->progress, job->work->settings->steps);
    mb_run_close(&r);
    return err;
}
