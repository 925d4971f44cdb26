/* The metadata of our checkpoints: every setting as "section.key" (those of the architecture as
   "arch.key"), and what else it takes to rebuild the model and to feed it:

     run.uuid run.workload run.seed       where it comes from
     run.precision                        what it was trained in
     data.name data.hash                  the data set
     data.vocab data.modalities           V, M
     data.patch data.bos                  S, 0 when images are ids; the id that begins a document
     data.routes                          "text 0-2051, image 2052-2563, ...": the modality of ids
     ops                                  of saved states: operations so far (harness/ops.h) */
#ifndef MB_HARNESS_METADATA_H
#define MB_HARNESS_METADATA_H

#include "harness/bench.h"

/* "key", "value", ..., NULL; OPS may be NULL. Freed with mb_metadata_free(). */
char **mb_metadata_new(const mb_job *job, mb_precision precision, const char *uuid,
                       const char *ops);
void mb_metadata_free(char **metadata);

typedef struct mb_described { /* a model as its checkpoint describes it */
    mb_settings *settings;    /* with one architecture */
    mb_precision precision;
    mb_data_sizes sizes;
    int bos;
    uint8_t *modality; /* (V) of every id */
} mb_described;

mb_err mb_metadata_read(const char *path, mb_described *out);
void mb_described_free(mb_described *d); /* accepts a zeroed one */

#endif
