/* The steps of a run. Between two timed steps nothing is written: samples wait in memory until an
   evaluation or a saved state, whose time is kept apart. */
#include "harness/metadata.h"
#include "harness/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FLAG_DISTURBED = 1, FLAG_WARM_UP = 2 };
enum { ROOM_MAX = 1 << 16 }; /* steps between two writes that samples have room for at first */
#define WAITED_MAX 0.01      /* of a step's wall time; above, the step is flagged as disturbed */

/* ---- batches ------------------------------------------------------------------------------- */

static mb_err next_batches(mb_run *r)
{
    int i, n = r->job->work->settings->accumulate;
    int64_t start = mb_wall_ns();
    mb_batch b;

    for (i = 0; i < n; i++) {
        MB_TRY(mb_stream_next(r->stream, &b));
        if (n == 1)
            r->batches[i] = b;
        else
            mb_batch_copy(&r->batches[i], &b);
    }
    r->overhead_ns[MB_DATA] += mb_wall_ns() - start;
    return MB_OK;
}

/* ---- steps --------------------------------------------------------------------------------- */

void mb_train_record(mb_run *r, const mb_stepped *s, bool warm_up)
{
    mb_cost now = mb_ledger_total(mb_ctx_ledger(r->ctx));
    int64_t wall_ns = s->after.wall_ns - s->before.wall_ns;
    double waited_ns = (double)mb_clock_waited_ns(&r->clock, &s->before, &s->after);
    bool disturbed =
        waited_ns > WAITED_MAX * (double)wall_ns || (r->nvml && mb_nvml_throttled(r->nvml));
    mb_step_row row = {
        .step = r->step,
        .wall_ns = wall_ns,
        .cpu_ns = s->after.cpu_ns - s->before.cpu_ns,
        .tokens = mb_settings_tokens(r->job->work->settings),
        .flops_model = now.model - r->counted.model,
        .flops_useful = now.useful - r->counted.useful,
        .flops_executed = now.executed - r->counted.executed,
        .flagged = warm_up     ? FLAG_WARM_UP
                   : disturbed ? FLAG_DISTURBED
                               : 0,
    };

    r->counted = now;
    r->out->train_ns += wall_ns;
    r->out->trained++;
    mb_samples_step(&r->samples, &row);
    mb_samples_losses(&r->samples, r->step, mb_split_name[MB_TRAIN], &s->losses);
}

static mb_err check_finite(mb_run *r, const mb_losses *l)
{
    int m;

    for (m = 0; m < MB_MODALITIES; m++)
        if (!isfinite(l->sum[m])) {
            r->hopeless = true;
            return mb_fail(MB_EINVAL, "the %s loss of step %lld is not finite", mb_modality_name[m],
                           (long long)r->step);
        }
    if (!isfinite(l->grad_norm)) {
        r->hopeless = true;
        return mb_fail(MB_EINVAL, "the gradient of step %lld is not finite", (long long)r->step);
    }
    return MB_OK;
}

void mb_train_watch(mb_run *r)
{
    int threads = mb_ctx_threads(r->ctx);

    mb_clock_close(&r->clock);
    if (threads == 1 || r->bench->at_once > 1)
        mb_clock_open_team(&r->clock, threads);
    else
        mb_clock_open(&r->clock);
}

mb_err mb_train_step(mb_run *r, mb_stepped *out)
{
    const mb_settings *s = r->job->work->settings;
    mb_optimizer_config how = s->optimizer;
    mb_err err;

    if (!r->same_batches)
        MB_TRY(next_batches(r));
    how.lr = mb_settings_lr(s, r->step);
    if (r->counter)
        mb_counter_start(r->counter);
    out->before = mb_clock_read(&r->clock);
    err = mb_model_step(r->model, r->batches, s->accumulate, &how, r->step, &out->losses);
    out->after = mb_clock_read(&r->clock);
    if (!err) {
        r->tally.routed += out->losses.asked;
        r->tally.dropped += out->losses.dropped;
        r->step++;
    }
    if (r->counter)
        mb_counter_stop(r->counter);
    return err ? err : check_finite(r, &out->losses);
}

/* A step that is recorded also when it diverged: that is to be seen. */
static mb_err train_step(mb_run *r)
{
    int64_t step = r->step;
    bool warm_up = step == r->first;
    mb_stepped stepped;
    mb_err err = mb_train_step(r, &stepped);

    if (r->step == step)
        return err;
    mb_train_record(r, &stepped, warm_up);
    if (warm_up) /* now the backend's threads are there to be watched */
        mb_train_watch(r);
    if (warm_up && *mb_ctx_note(r->ctx))
        mb_progress_note(r->bench->progress, &r->shown, mb_ctx_note(r->ctx), stepped.after.wall_ns);
    mb_progress_step(r->bench->progress, &r->shown, r->step, &stepped.losses,
                     stepped.after.wall_ns);
    return err;
}

/* ---- evaluation and state ------------------------------------------------------------------ */

static mb_err interrupted(void)
{
    return mb_fail(MB_EINTERRUPTED, "interrupted");
}

/* The same batches of the validation split every time: its stream begins anew. */
static mb_err evaluate_batches(mb_run *r, mb_stream *stream, mb_losses *l)
{
    int64_t i, n = r->job->work->settings->eval_batches;
    mb_batch batch;
    mb_err err;

    for (i = 0; i < n; i++) {
        if (*r->bench->stop)
            return interrupted();
        err = mb_stream_next(stream, &batch);
        if (err == MB_EMISSING && i > 0) /* a small split: all of it */
            return MB_OK;
        if (err)
            return mb_fail_in(err, "evaluation");
        MB_TRY(mb_model_evaluate(r->model, &batch, l));
    }
    return MB_OK;
}

/* Measures the losses on documents of SECTIONS, as in mb_mixture, under the name SPLIT. */
static mb_err evaluate_sections(mb_run *r, unsigned sections, const char *split, mb_losses *l)
{
    const mb_settings *s = r->job->work->settings;
    mb_mixture mixture = s->mixture;
    mb_stream *stream;
    mb_err err;

    mixture.sections = sections;
    MB_TRY(mb_stream_open(r->job->work->data, MB_VAL, &mixture, 0, s->batch, s->len, &stream));
    err = evaluate_batches(r, stream, l);
    mb_stream_close(stream);
    if (!err)
        mb_samples_losses(&r->samples, r->step, split, l);
    return err;
}

/* Human and synthetic speech apart, beside "val", which has both. */
static mb_err evaluate_voices(mb_run *r)
{
    static const char *const split[MB_SECTIONS] = {
        [MB_HUMAN] = "val-human", [MB_SYNTHETIC] = "val-synthetic"
    };

    for (int i = MB_HUMAN; i <= MB_SYNTHETIC; i++) {
        mb_losses losses = { 0 };

        if (r->job->work->settings->mixture.speech_share > 0 &&
            mb_data_section(r->job->work->data, MB_VAL, (enum mb_section)i) > 0)
            MB_TRY(evaluate_sections(r, 1u << i, split[i], &losses));
    }
    return MB_OK;
}

static mb_err evaluate(mb_run *r)
{
    int64_t start = mb_wall_ns(), end;
    mb_losses losses = { 0 };

    MB_TRY(evaluate_sections(r, 0, mb_split_name[MB_VAL], &losses));
    MB_TRY(evaluate_voices(r));
    r->out->val = losses;
    end = mb_wall_ns();
    r->overhead_ns[MB_EVALUATING] += end - start;
    mb_progress_evaluated(r->bench->progress, &r->shown, r->step, &losses, end);
    return mb_samples_flush(&r->samples, r->bench->store, r->id);
}

mb_err mb_train_save(mb_run *r)
{
    int64_t start = mb_wall_ns();
    mb_ledger *ledger = mb_ctx_ledger(r->ctx);
    char **metadata, *ops;
    mb_err err;

    MB_TRY(mb_samples_flush(&r->samples, r->bench->store, r->id));
    mb_ops_add(&r->ops, ledger, false);
    mb_ledger_clear(ledger);
    r->counted = (mb_cost){ 0 };
    ops = mb_ops_text(&r->ops);
    metadata = mb_metadata_new(r->job, r->bench->precision, r->uuid, ops);
    err =
        mb_checkpoint_save_state(r->saved.state, r->model, r->step, (const char *const *)metadata);
    mb_metadata_free(metadata);
    free(ops);
    r->overhead_ns[MB_SAVING] += mb_wall_ns() - start;
    return err;
}

/* ---- the loop ------------------------------------------------------------------------------ */

mb_err mb_train_open(mb_run *r)
{
    const mb_settings *s = r->job->work->settings;
    int64_t waiting = s->eval_every < s->steps ? s->eval_every : s->steps;

    mb_samples_open(&r->samples, (size_t)(waiting < ROOM_MAX ? waiting : ROOM_MAX));
    r->batches = mb_zalloc((size_t)s->accumulate, sizeof *r->batches);
    r->copies = s->accumulate > 1 ? s->accumulate : 0;
    for (int i = 0; i < r->copies; i++)
        mb_batch_make(s->batch, s->len, mb_data_patch(r->job->work->data), &r->batches[i]);
    MB_TRY(mb_stream_open(r->job->work->data, MB_TRAIN, &s->mixture, (uint64_t)r->job->seed,
                          s->batch, s->len, &r->stream));
    return mb_stream_skip(r->stream, r->step * s->accumulate);
}

static bool due(const mb_run *r, int64_t every)
{
    return r->step % every == 0 || r->step == r->job->work->settings->steps;
}

mb_err mb_train(mb_run *r)
{
    const mb_settings *s = r->job->work->settings;

    r->first = r->step;
    mb_train_watch(r);
    if (r->step > 0 && due(r, s->eval_every)) /* it may have ended before its evaluation did */
        MB_TRY(evaluate(r));
    while (r->step < s->steps) {
        MB_TRY(train_step(r));
        if (*r->bench->stop)
            return interrupted();
        if (due(r, s->eval_every))
            MB_TRY(evaluate(r));
        if (due(r, s->checkpoint_every))
            MB_TRY(mb_train_save(r));
    }
    return MB_OK;
}
