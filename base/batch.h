/* A batch: B packed sequences of T tokens. Plain data, the one thing that data sources hand to
   models.

   Sequences hold whole documents one after another. Position and attention restart at every
   document: a query at position p of its sequence sees positions lo[p] .. hi[p] of the same
   sequence, inclusive. For autoregressive data hi[p] == p and lo[p] is the first position of p's
   document.

   Images may stand in a sequence as patches: rows of S numbers behind some noise (base/diffusion.h)
   in place of ids, which have no target; what is to be predicted there is as many numbers. Every
   patch of an image sees all of it. */
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
    /* Images as patches; with a patch of 0 there are none and the rest is NULL. */
    int patch;      /* S */
    int32_t *noise; /* step that the patch here is at, 1 .. MB_NOISE_STEPS; 0: a clean one, of which
                       nothing is predicted; -1: no patch here */
    float *noisy;   /* (B, T, S): the patch behind its noise; nothing where there is none */
    float *wanted;  /* (B, T, S): the prediction that would be right, of patches with noise */
} mb_batch;

/* Zeroed arrays of B x L positions, with patches of PATCH numbers unless that is 0; caller frees
   with mb_batch_free(). */
void mb_batch_make(int64_t batch, int64_t len, int patch, mb_batch *out);
/* Room for patches of PATCH numbers in a batch without; none is anywhere yet. Ids that are targets
   become text, since no loss of an image is an id's there. */
void mb_batch_hold_patches(mb_batch *b, int patch);
void mb_batch_copy(mb_batch *to, const mb_batch *from); /* of the same sizes */
void mb_batch_free(mb_batch *b);

#endif
