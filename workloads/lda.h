/* Linear discriminant analysis of seven stacked frames: the projection in which phones lie apart.
   It stands in for self-supervised features: a closed form, no training loop. (Haeb-Umbach & Ney,
   ICASSP 1992.) */
#ifndef MB_WORKLOADS_LDA_H
#define MB_WORKLOADS_LDA_H

#include "workloads/utterances.h"

enum { MB_LDA_STACK = 7, MB_LDA_IN = MB_LDA_STACK * MB_CEPSTRA, MB_LDA_OUT = 30 };

typedef struct mb_lda {
    double mean[MB_LDA_IN];
    double axis[MB_LDA_OUT][MB_LDA_IN]; /* the variance within a phone is 1 along each */
} mb_lda;

/* Fits to the frames of U whose phone is known, in every STEP-th utterance; MB_EINVAL when there
   are fewer than two phones. */
mb_err mb_lda_fit(const mb_utterances *u, size_t step, mb_lda *out);

/* OUT (n, MB_LDA_OUT): frames of utterance I, stacked and projected. */
void mb_lda_project(const mb_lda *l, const mb_utterances *u, size_t i, double *out);

#endif
