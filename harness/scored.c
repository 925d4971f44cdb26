#include "harness/scored.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 4096 }; /* of a pass, about */

static void add(mb_scored *s, int32_t id)
{
    if (id >= 0)
        s->token[s->n++] = id;
}

static void add_segment(mb_scored *s, const mb_segment *segment)
{
    for (int64_t i = 0; i < segment->n; i++)
        add(s, segment->token[i]);
}

void mb_scored_make(const mb_loaded *l, int prompt_modality, const mb_segment *prompt,
                    int answer_modality, const mb_segment *answer, mb_scored *out)
{
    mb_segment_kind before = mb_data_segment_kind(l->data, prompt_modality);
    mb_segment_kind kind = mb_data_segment_kind(l->data, answer_modality);

    *out = (mb_scored){ .token = mb_alloc((size_t)((prompt ? prompt->n : 0) + answer->n + 5) *
                                          sizeof *out->token) };
    add(out, mb_data_bos(l->data));
    if (prompt) {
        add(out, before.begin);
        add_segment(out, prompt);
        if (before.begin >= 0)
            add(out, before.end);
    }
    add(out, kind.begin);
    out->from = out->n;
    add_segment(out, answer);
    if (!kind.exactly)
        add(out, kind.end);
    if (out->n > l->described.settings->len)
        out->n = 0;
}

/* One document a sequence. */
typedef struct pass {
    mb_batch batch;
    int32_t *token;
    uint8_t *modality;
    float *loss;
} pass;

static mb_err score_pass(const mb_loaded *l, mb_scored *list, int64_t n, int64_t len, pass *p)
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
    MB_TRY(mb_batch_from_tokens(p->token, p->modality, n, len, l->described.sizes.vocab,
                                mb_data_bos(l->data), &p->batch));
    MB_TRY(mb_model_losses(l->model, &p->batch, p->loss));
    for (int64_t i = 0; i < n; i++) {
        list[i].nats = 0;
        for (int64_t t = list[i].from; t < list[i].n; t++) /* predicted one position before */
            list[i].nats += p->loss[i * len + t - 1];
    }
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

        err = score_pass(l, list + i, n - i < at_once ? n - i : at_once, len, &p);
        mb_batch_free(&p.batch);
        free(p.token);
        free(p.modality);
        free(p.loss);
    }
    return err;
}

void mb_scored_free(mb_scored *list, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        free(list[i].token);
    free(list);
}
