#include "harness/loaded.h"

#include <stdlib.h>
#include <string.h>

enum { CUT_SEQUENCES = 64 }; /* that cuts are learned from */

static mb_err find_run(mb_store *s, const char *run, mb_loaded *out)
{
    static const char sql[] = "SELECT run_id, arch, workload, checkpoint FROM v_run "
                              "WHERE run_id = ?1 OR (length(?1) >= 8 AND uuid LIKE ?1 || '%')";
    const char *const parameters[] = { run, NULL };
    mb_rows *rows;
    mb_err err = MB_OK;

    MB_TRY(mb_store_query(s, sql, parameters, &rows));
    if (rows->n != 1)
        err = mb_fail(MB_EMISSING,
                      "run '%s': expected a run_id or the first 8 letters at least of "
                      "a uuid, as `motbench list runs` shows them",
                      run);
    else if (rows->cell[3].type == MB_NULL)
        err = mb_fail(MB_EMISSING, "run %s has no weights: expected one that is ok",
                      rows->cell[0].string);
    if (!err) {
        out->run = rows->cell[0].integer;
        out->arch = mb_format("%s", rows->cell[1].string);
        out->workload = mb_format("%s", rows->cell[2].string);
        out->checkpoint = mb_format("%s", rows->cell[3].string);
    }
    mb_rows_free(rows);
    return err;
}

static mb_err open_data(mb_loaded *l)
{
    mb_data_request request = mb_settings_data(l->described.settings);
    char *hash;
    mb_err err = MB_OK;

    MB_TRY(mb_data_open(&request, &l->data));
    MB_TRY(mb_checkpoint_metadata(l->checkpoint, "data.hash", &hash));
    if (!hash || strcmp(hash, mb_data_hash(l->data)))
        err = mb_fail(MB_EINCOMPARABLE, "%s: not the data that run %lld was trained on",
                      mb_data_folder(l->data), (long long)l->run);
    free(hash);
    return err;
}

static mb_err open_model(mb_loaded *l, const char *backend, int threads)
{
    const mb_described *d = &l->described;
    mb_model_config config = mb_settings_model(d->settings, &d->settings->arch[0], d->sizes);

    config.batch = 0; /* nothing is trained: no room for that */
    MB_TRY(mb_ctx_open(backend, d->precision, threads, &l->ctx));
    MB_TRY(mb_model_open(l->ctx, d->settings->arch[0].arch, &config, 0, &l->model));
    return mb_checkpoint_load(l->checkpoint, l->model);
}

static mb_err learn_cuts(mb_loaded *l)
{
    const mb_settings *s = l->described.settings;
    mb_stream *stream;
    mb_batch batch;
    mb_err err;

    MB_TRY(mb_stream_open(l->data, MB_TRAIN, &s->mixture, 0, CUT_SEQUENCES, s->len, &stream));
    err = mb_stream_next(stream, &batch);
    if (!err)
        err = mb_model_learn_cuts(l->model, &batch);
    mb_stream_close(stream);
    return err;
}

mb_err mb_loaded_open(mb_store *s, const char *run, const char *backend, int threads,
                      mb_loaded *out)
{
    mb_err err;

    *out = (mb_loaded){ 0 };
    err = find_run(s, run, out);
    if (!err)
        err = mb_metadata_read(out->checkpoint, &out->described);
    if (!err)
        err = open_data(out);
    if (!err)
        err = open_model(out, backend, threads);
    if (!err)
        err = learn_cuts(out);
    if (err)
        mb_loaded_close(out);
    return err;
}

void mb_loaded_close(mb_loaded *l)
{
    mb_model_close(l->model);
    mb_ctx_close(l->ctx);
    mb_data_close(l->data);
    mb_described_free(&l->described);
    free(l->arch);
    free(l->workload);
    free(l->checkpoint);
    *l = (mb_loaded){ 0 };
}
