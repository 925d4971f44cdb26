/* One token from a prediction. */
#ifndef MB_MODELS_SAMPLE_H
#define MB_MODELS_SAMPLE_H

#include <stdint.h>

typedef struct mb_sampling {
    double temperature; /* divides logits; 0: the most likely token, the lowest id of equals */
    double top_p;       /* draws from the fewest tokens that together are at least this likely */
} mb_sampling;

/* The ids that may come: first .. past-1, and OTHER (-1: none). */
typedef struct mb_allowed {
    int first, past, other;
} mb_allowed;

/* Draws number I of KEY from LOGIT (V) among ALLOWED, of which there is one at least. */
int32_t mb_sample(const float *logit, mb_allowed allowed, const mb_sampling *how, uint64_t key,
                  uint64_t i);

#endif
