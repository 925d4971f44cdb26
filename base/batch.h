/* A batch: B packed sequences of T tokens. Plain data, the one thing that data sources hand to
   models.

   Sequences hold whole documents one after another. Position and attention restart at every
   document: a query at position p of its sequence sees positions lo[p] .. hi[p] of the same
   sequence, inclusive. For autoregressive data hi[p] == p and lo[p] is the first position of p's
   document. */
#ifndef MB_BASE_BATCH_H
#define MB_BASE_BATCH_H

#include <stdint.h>

/* Modality ids, everywhere the same; there may be more than those that have a name. */
enum { MB_TEXT, MB_IMAGE, MB_SPEECH, MB_MODALITIES = 8 };

/* "text", "image", "speech", "modality3" ... "modality7". */
extern const char *const mb_modality_name[MB_MODALITIES];

typedef struct mb_batch {
    int64_t batch, len; /* B, T; all arrays are (B, T) */
    int32_t *token;     /* input token ids */
    int32_t *target;    /* id to predict at this position; -1: none (document ends, padding) */
    uint8_t *modality;  /* of the input token: decides the route */
    uint8_t *target_modality; /* of the target: decides whose loss it is */
    int32_t *position;        /* within the document, from 0: the RoPE angle */
    int32_t *lo, *hi;         /* span of positions that this query sees */
} mb_batch;

#endif
