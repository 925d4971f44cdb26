/* What the plainest predictors lose, in closed form: lines that a model should pass. */
#ifndef MB_HARNESS_FLOORS_H
#define MB_HARNESS_FLOORS_H

#include "harness/denoiser.h"
#include "results/store.h"

typedef struct mb_floors {          /* nats a token on the val split; NaN where there is nothing */
    double unigram[MB_MODALITIES];  /* one distribution for all tokens of the modality */
    double position[MB_MODALITIES]; /* one for each place of an image, where marks count as text */
    int64_t n[MB_MODALITIES];       /* tokens of the val split behind it */
    mb_denoisers linear;            /* of images that are patches; their ids have no losses */
} mb_floors;

/* Counts on the train split (evenly taken documents of a large one), with 1 added to each that may
   come. All tokens are predicted but the first of a document, and where images are patches theirs
   and what ends them; MIXTURE says what marks count as (mb_data_modality()) and what is predicted
   of patches. */
mb_err mb_floors_measure(const mb_data *d, const mb_mixture *mixture, mb_floors *out);

/* Measures and stores them as quality of RUN: "unigram loss", "position loss", "linear patch loss",
   "linear image loss". */
mb_err mb_floors_store(mb_store *s, int64_t run, const mb_data *d, const mb_mixture *mixture);

#endif
