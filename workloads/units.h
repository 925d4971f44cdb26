/* Speech as tokens: 25 units a second, each the nearest centroid of two frames after LDA. */
#ifndef MB_WORKLOADS_UNITS_H
#define MB_WORKLOADS_UNITS_H

#include "workloads/lda.h"
#include "workloads/set.h"

typedef struct mb_units {
    mb_lda lda;
    int k;
    uint8_t *centroid; /* (k, MB_LDA_OUT) */
} mb_units;

/* Fits the projection to the phones of LABELLED and K centroids to the points of both lists,
   with as many of either as there are of HUMAN (all of LABELLED when that has none). */
mb_err mb_units_fit(const mb_utterances *labelled, const mb_utterances *human, int k,
                    mb_units *out);
void mb_units_free(mb_units *u); /* the contents; accepts a zeroed one */

/* The units of all utterances, one after another, as utterance I has mb_utterances_units(u, I) of
   them. The caller frees. */
uint16_t *mb_units_assign(const mb_units *units, const mb_utterances *u);

/* units.u8 (centroids) and lda.f64 (mean, then axes) as files of the set. */
mb_err mb_units_write(const mb_units *u, mb_set_writer *w);
/* The same K units from the set in FOLDER. */
mb_err mb_units_read(const char *folder, int k, mb_units *out);
/* What a byte of a centroid stands for. */
double mb_units_value(uint8_t byte);

#endif
