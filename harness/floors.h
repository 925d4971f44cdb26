/* What the plainest predictors lose, in closed form from counts: lines that a model should pass. */
#ifndef MB_HARNESS_FLOORS_H
#define MB_HARNESS_FLOORS_H

#include "results/store.h"
#include "workloads/data.h"

typedef struct mb_floors {          /* nats a token on the val split; NaN where there is nothing */
    double unigram[MB_MODALITIES];  /* one distribution for all tokens of the modality */
    double position[MB_MODALITIES]; /* one for each place of an image, where marks count as text */
    int64_t n[MB_MODALITIES];       /* tokens of the val split behind it */
} mb_floors;

/* Counts on the train split (evenly taken documents of a large one), with 1 added to each that may
   come. All tokens but the first of a document are predicted; BOUNDARY as in mb_data_modality(). */
mb_err mb_floors_measure(const mb_data *d, int boundary, mb_floors *out);

/* Measures and stores them as quality of RUN: "unigram loss", "position loss". */
mb_err mb_floors_store(mb_store *s, int64_t run, const mb_data *d, int boundary);

#endif
