/* What a worker trains: one model on one batch, both from words of the form "width=256". */
#ifndef MB_BENCH_TASK_H
#define MB_BENCH_TASK_H

#include "models/model.h"

typedef struct mb_task {
    char arch[32], backend[16], precision[8], recompute[8];
    char mix[32];     /* per cent of each modality, "50,50" */
    char export[256]; /* a folder for weights and batch, for peers; "": none */
    int width, layers, heads, batch, len, vocab, experts, threads;
} mb_task;

/* Fills *out from N words; what is not given keeps a default. Refuses unknown names and numbers
   that make no model. */
mb_err mb_task_read(mb_task *out, char **words, int n);

mb_err mb_task_model(const mb_task *t, mb_ctx *c, mb_model **out);
mb_optimizer_config mb_task_optimizer(void);

/* One document per sequence, in it one run of tokens per modality as long as the mix says, each
   with its own share of the vocabulary; tokens are drawn. Freed by mb_task_free_batch(). */
mb_batch mb_task_batch(const mb_task *t);
void mb_task_free_batch(mb_batch *b);

/* Writes weights.safetensors and batch.i32 (tokens, then modalities, each (B, L) int32) into the
   task's export folder, which exists. */
mb_err mb_task_export(const mb_task *t, mb_model *m, const mb_batch *b);

#endif
