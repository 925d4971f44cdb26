/* Documents put together and scored: how likely a model thinks one part is, given what is before
   it. Of an image of patches it is asked instead how well it sees the image behind noise. */
#ifndef MB_HARNESS_SCORED_H
#define MB_HARNESS_SCORED_H

#include "harness/opening.h"

enum { MB_SCORED_STEPS = 4 }; /* of noise, that each image is looked at behind */

typedef struct mb_scored {
    int32_t *token;  /* (n) "BOS prompt answer"; n = 0: it does not fit into a sequence */
    int64_t n, from; /* tokens from .. n-1 are scored: the answer, with its end unless all answers
                        are equally long */
    const uint8_t *patch;   /* (patches, S) of the image among them, if it is patches; borrowed */
    int64_t first, patches; /* its positions; first == from: it is the answer */
    uint64_t key;           /* of the noise */
    double loss; /* once scored: sum of -log p of what is scored, of patches that of their mean
                    squared errors, as a mean over MB_SCORED_STEPS steps of noise */
} mb_scored;

/* PROMPT may be NULL: nothing but BOS comes before the answer. An answer of patches lies behind the
   noise that KEY draws, which so can be the same after different prompts; a prompt of patches
   behind none. Caller frees out->token. */
void mb_scored_make(const mb_loaded *l, int prompt_modality, const mb_segment *prompt,
                    int answer_modality, const mb_segment *answer, uint64_t key, mb_scored *out);
/* Scores all N, many at once. */
mb_err mb_scored_all(const mb_loaded *l, mb_scored *list, int64_t n);
void mb_scored_free(mb_scored *list, int64_t n); /* the list, too */

#endif
