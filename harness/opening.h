/* How a document begins that a model is to finish: "BOS prompt", and what begins the answer. */
#ifndef MB_HARNESS_OPENING_H
#define MB_HARNESS_OPENING_H

#include "harness/loaded.h"
#include "workloads/parts.h"

typedef struct mb_opening {
    int32_t *token; /* (n), with room for EXTRA more */
    int64_t n;
    const uint8_t *patch;   /* (patches, S) of a prompt that is an image of patches; borrowed */
    int64_t first, patches; /* the positions of these */
} mb_opening;

/* PROMPT may be NULL: nothing but BOS comes before the answer. Caller frees out->token. */
void mb_opening_make(const mb_loaded *l, int prompt_modality, const mb_segment *prompt,
                     int answer_modality, int64_t extra, mb_opening *out);

#endif
