/* Documents put together and scored: how likely a model thinks one part is, given what is before
 * it.
 */
#ifndef MB_HARNESS_SCORED_H
#define MB_HARNESS_SCORED_H

#include "harness/loaded.h"
#include "workloads/parts.h"

typedef struct mb_scored {
    int32_t *token;  /* (n) "BOS prompt answer"; n = 0: it does not fit into a sequence */
    int64_t n, from; /* tokens from .. n-1 are scored: the answer, with its end unless all answers
                        are equally long */
    double nats;     /* sum of -log p of these, once scored */
} mb_scored;

/* PROMPT may be NULL: nothing but BOS comes before the answer. Caller frees out->token. */
void mb_scored_make(const mb_loaded *l, int prompt_modality, const mb_segment *prompt,
                    int answer_modality, const mb_segment *answer, mb_scored *out);
/* Scores all N, many at once. */
mb_err mb_scored_all(const mb_loaded *l, mb_scored *list, int64_t n);
void mb_scored_free(mb_scored *list, int64_t n); /* the list, too */

#endif
