/* A stored run opened again: its checkpoint as a model, and the data it was trained on. */
#ifndef MB_HARNESS_LOADED_H
#define MB_HARNESS_LOADED_H

#include "harness/metadata.h"

typedef struct mb_loaded {
    int64_t run; /* in the store */
    char *arch, *workload, *checkpoint;
    mb_described described;
    mb_data *data;
    mb_ctx *ctx;
    mb_model *model;
} mb_loaded;

/* RUN is a number of `motbench list runs`, or the beginning of a UUID that no other run has.
   THREADS 0: the machine's own choice. The model computes in the precision that it was trained in;
   experts that choose have cuts, learned from the training split. MB_EMISSING for a run without
   weights, and for data that are not prepared; MB_EINCOMPARABLE for data that are not the run's. */
mb_err mb_loaded_open(mb_store *s, const char *run, const char *backend, int threads,
                      mb_loaded *out);
void mb_loaded_close(mb_loaded *l); /* accepts a zeroed one */

#endif
