#include "harness/scored.h"

#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 4096 }; /* of a pass, about */

void mb_scored_make(const mb_loaded *l, int prompt_modality, const mb_segment *prompt,
                    int answer_modality, const mb_segment *answer, uint64_t key, mb_scored *out)
{
    mb_segment_kind kind = mb_data_segment_kind(l->data, answer_modality);
    mb_opening o;

    mb_opening_make(l, prompt_modality, prompt, answer_modality, answer->n + 1, &o);
    *out = (mb_scored){ .token = o.token,
                        .n = o.n + answer->n,
                        .from = o.n,
                        .patch = o.patch,
                        .first = o.first,
                        .patches = o.patches,
                        .key = key };
    memcpy(out->token + o.n, answer->token, (size_t)answer->n * sizeof *out->token);
    if (answer->patch) {
        out->patch = answer->patch;
        out->first = o.n;
        out->patches = answer->n;
    }
    if (!kind.exactly)
        out->token[out->n++] = kind.end;
    if (out->n > l->described.settings->len)
        out->n = 0;
}

static bool is_behind_noise(const mb_scored *s)
{
    return s->patch && s->first == s->from;
}

/* One document a sequence. */
typedef struct pass {
    mb_batch batch;
    int32_t *token;
    uint8_t *modality;
    float *loss;
} pass;

static mb_err open_pass(const mb_loaded *l, const mb_scored *list, int64_t n, int64_t len, pass *p)
{
    int64_t rows = n * len;

    p->token = mb_alloc((size_t)rows * sizeof *p->token);
    p->modality = mb_alloc((size_t)rows);
    p->loss = mb_alloc((size_t)rows * sizeof *p->loss);
    for (int64_t i = 0; i < rows; i++) {
        const mb_scored *s = &list[i / len];

        p->token[i] = i % len < s->n ? s->token[i % len] : mb_data_bos(l->data);
        p->modality[i] = l->described.modality[p->token[i]];
    }
    return mb_batch_from_tokens(p->token, p->modality, n, len, l->described.sizes.vocab,
                                mb_data_bos(l->data), &p->batch);
}

static void close_pass(pass *p)
{
    mb_batch_free(&p->batch);
    free(p->token);
    free(p->modality);
    free(p->loss);
}

/* Step K of a document: one of each quarter, say, of all steps. */
static int32_t step_of(const mb_scored *s, int k)
{
    enum { EACH = MB_NOISE_STEPS / MB_SCORED_STEPS };

    return 1 + k * EACH + (int32_t)mb_below(mb_key(s->key, "step", 0, 0), (uint64_t)k, EACH);
}

static void show_images(const mb_loaded *l, const mb_scored *list, int64_t n, int k, pass *p)
{
    for (int64_t i = 0; i < n; i++) {
        const mb_scored *s = &list[i];
        mb_noising how = { .key = mb_key(s->key, "noise", (uint64_t)k, 0),
                           .prediction = l->described.settings->mixture.prediction };

        if (is_behind_noise(s))
            how.step = step_of(s, k);
        if (s->patch && s->n > 0)
            mb_batch_place_image(&p->batch, i * p->batch.len + s->first, s->patches, l->data,
                                 s->patch, &how);
    }
}

/* Adds to the losses of N documents a share of what they are with noise K. */
static mb_err score_pass(const mb_loaded *l, mb_scored *list, int64_t n, int k, double share,
                         pass *p)
{
    int64_t len = p->batch.len;

    if (p->batch.patch > 0)
        show_images(l, list, n, k, p);
    MB_TRY(mb_model_losses(l->model, &p->batch, p->loss));
    for (int64_t i = 0; i < n; i++) {
        int64_t before = is_behind_noise(&list[i]) ? 0 : 1; /* ids are predicted from there */

        for (int64_t t = list[i].from; t < list[i].n; t++)
            list[i].loss += share * p->loss[i * len + t - before];
    }
    return MB_OK;
}

/* N documents of one direction: either all or none are looked at behind noise. */
static mb_err score(const mb_loaded *l, mb_scored *list, int64_t n, int64_t len, pass *p)
{
    int patch = l->described.sizes.patch, steps = 1;

    for (int64_t i = 0; i < n; i++) {
        list[i].loss = 0;
        if (is_behind_noise(&list[i]))
            steps = MB_SCORED_STEPS;
    }
    MB_TRY(open_pass(l, list, n, len, p));
    if (patch > 0)
        mb_batch_hold_patches(&p->batch, patch);
    for (int k = 0; k < steps; k++)
        MB_TRY(score_pass(l, list, n, k, 1.0 / steps, p));
    return MB_OK;
}

mb_err mb_scored_all(const mb_loaded *l, mb_scored *list, int64_t n)
{
    int64_t len = 1, at_once;
    mb_err err = MB_OK;

    for (int64_t i = 0; i < n; i++)
        len = list[i].n > len ? list[i].n : len;
    at_once = ROWS / len + 1;
    for (int64_t i = 0; !err && i < n; i += at_once) {
        pass p = { 0 };

        err = score(l, list + i, n - i < at_once ? n - i : at_once, len, &p);
        close_pass(&p);
    }
    return err;
}

void mb_scored_free(mb_scored *list, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        free(list[i].token);
    free(list);
}
