/* motbench score: the logits of a checkpoint for any tokens. The model is rebuilt from the
   checkpoint's metadata alone, so that others can check us without our data. */
#include "base/file.h"
#include "base/npy.h"
#include "harness/command.h"
#include "harness/metadata.h"
#include "harness/options.h"
#include "models/model.h"

#include <stdlib.h>
#include <string.h>

typedef struct score_options {
    const char *checkpoint, *tokens, *modality, *output, *backend;
} score_options;

enum { TOKENS = 256, MODALITY, BACKEND };

static error_t parse(int key, char *arg, struct argp_state *state)
{
    score_options *o = state->input;

    switch (key) {
    case TOKENS:
        o->tokens = arg;
        break;
    case MODALITY:
        o->modality = arg;
        break;
    case BACKEND:
        o->backend = mb_parse_backend(state, arg);
        break;
    case 'o':
        o->output = arg;
        break;
    case ARGP_KEY_ARG:
        if (o->checkpoint)
            argp_error(state, "one argument too many: '%s'", arg);
        o->checkpoint = arg;
        break;
    case ARGP_KEY_END:
        if (!o->checkpoint || !o->tokens || !o->output)
            argp_error(state, "expected CHECKPOINT, --tokens and -o");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

typedef struct scoring { /* everything that is open */
    mb_described described;
    int64_t batch, len; /* B, T */
    int32_t *token;     /* (B, T) */
    uint8_t *modality;  /* (B, T) */
    mb_batch input;
    mb_ctx *ctx;
    mb_model *model;
    float *logits; /* (B, T, V) */
} scoring;

/* ---- reading ------------------------------------------------------------------------------- */

/* A (B, T) array of whole numbers from 0 to BELOW - 1, as PUT takes them. */
static mb_err read_grid(const char *path, const mb_npy *n, int below, const char *what,
                        void (*put)(scoring *s, int64_t i, int value), scoring *s)
{
    int64_t i;

    if (n->kind == 'f')
        return mb_fail(MB_EINVAL, "%s: an array of floats, expected integers", path);
    if (n->rank != 2)
        return mb_fail(MB_EINVAL, "%s: %d dimensions, expected (sequences, tokens)", path, n->rank);
    for (i = 0; i < n->count; i++) {
        int64_t value = mb_npy_int(n, i);

        if (value < 0 || value >= below)
            return mb_fail(MB_EINVAL,
                           "%s: element (%lld, %lld) is %lld, expected a %s from 0 to %d", path,
                           (long long)(i / n->shape[1]), (long long)(i % n->shape[1]),
                           (long long)value, what, below - 1);
        put(s, i, (int)value);
    }
    return MB_OK;
}

static void put_token(scoring *s, int64_t i, int value)
{
    s->token[i] = value;
    s->modality[i] = s->described.modality[value];
}

static void put_modality(scoring *s, int64_t i, int value)
{
    s->modality[i] = (uint8_t)value;
}

static mb_err take_tokens(const char *path, const mb_npy *n, scoring *s)
{
    if (n->rank == 2 && (n->shape[0] < 1 || n->shape[1] < 1))
        return mb_fail(MB_EINVAL, "%s: no tokens, expected (sequences, tokens)", path);
    s->token = mb_alloc((size_t)n->count * sizeof *s->token);
    s->modality = mb_alloc((size_t)n->count);
    MB_TRY(read_grid(path, n, s->described.sizes.vocab, "token", put_token, s));
    s->batch = n->shape[0];
    s->len = n->shape[1];
    return MB_OK;
}

static mb_err take_modality(const char *path, const mb_npy *n, scoring *s)
{
    if (n->rank == 2 && (n->shape[0] != s->batch || n->shape[1] != s->len))
        return mb_fail(
            MB_EINVAL, "%s: %lld x %lld modalities, expected %lld x %lld as of the tokens", path,
            (long long)n->shape[0], (long long)n->shape[1], (long long)s->batch, (long long)s->len);
    return read_grid(path, n, s->described.sizes.modalities, "modality", put_modality, s);
}

static mb_err read_npy(const char *path, mb_err (*take)(const char *, const mb_npy *, scoring *),
                       scoring *s)
{
    mb_npy n;
    mb_err err;

    MB_TRY(mb_npy_open(path, &n));
    err = take(path, &n, s);
    mb_npy_close(&n);
    return err;
}

/* ---- scoring ------------------------------------------------------------------------------- */

static mb_err open_model(const score_options *o, scoring *s)
{
    const mb_described *d = &s->described;
    mb_model_config config = mb_settings_model(d->settings, &d->settings->arch[0], d->sizes);

    config.batch = s->batch;
    config.len = s->len;
    if (!strcmp(o->backend, "null"))
        return mb_fail(MB_EUSAGE, "backend 'null' computes nothing, expected cpu or ref");
    MB_TRY(mb_ctx_open(o->backend, d->precision, 0, &s->ctx));
    MB_TRY(mb_model_open(s->ctx, d->settings->arch[0].arch, &config, 0, &s->model));
    return mb_checkpoint_load(o->checkpoint, s->model);
}

static mb_err score(const score_options *o, scoring *s)
{
    int64_t shape[3];

    MB_TRY(mb_metadata_read(o->checkpoint, &s->described));
    MB_TRY(read_npy(o->tokens, take_tokens, s));
    if (o->modality)
        MB_TRY(read_npy(o->modality, take_modality, s));
    MB_TRY(mb_batch_from_tokens(s->token, s->modality, s->batch, s->len, s->described.sizes.vocab,
                                s->described.bos, &s->input));
    MB_TRY(open_model(o, s));
    shape[0] = s->batch;
    shape[1] = s->len;
    shape[2] = mb_model_settings(s->model)->vocab;
    s->logits = malloc((size_t)(shape[0] * shape[1] * shape[2]) * sizeof *s->logits);
    if (!s->logits)
        return mb_fail(MB_ENOMEM, "no memory for logits of %lld x %lld tokens", (long long)s->batch,
                       (long long)s->len);
    MB_TRY(mb_model_logits(s->model, &s->input, s->logits));
    return mb_npy_write_f32(o->output, s->logits, 3, shape);
}

mb_err mb_command_score(int argc, char **argv)
{
    static const struct argp_option options[] = {
        { "tokens", TOKENS, "FILE.npy", 0, "Token ids, integers of shape (B, T)", 0 },
        { "modality", MODALITY, "FILE.npy", 0,
          "Modality of every token, (B, T); default: that of its id", 0 },
        { "output", 'o', "FILE.npy", 0, "Where to write the logits, float32 of shape (B, T, V)",
          0 },
        { "backend", BACKEND, "NAME", 0, "cpu (default) or ref", 0 },
        { 0 },
    };
    static const struct argp argp = {
        options,
        parse,
        "CHECKPOINT",
        "Writes the logits of a checkpoint for any tokens."
        "\vA sequence may hold several documents; each begins with the BOS token (data.bos in the "
        "checkpoint's metadata) and sees nothing before it. Computes in the precision that the "
        "checkpoint was trained in.",
        NULL,
        NULL,
        NULL,
    };
    score_options o = { .backend = "cpu" };
    scoring s = { 0 };
    mb_err err;

    argp_parse(&argp, argc, argv, 0, NULL, &o);
    err = score(&o, &s);
    free(s.logits);
    mb_model_close(s.model);
    mb_ctx_close(s.ctx);
    mb_batch_free(&s.input);
    free(s.token);
    free(s.modality);
    mb_described_free(&s.described);
    return err;
}
