/* Images that the user's own encoder has turned into numbers, such as the latents of a VAE: brought
   to mean 0 and variance 1 in each channel over the training split, and cut into patches of halves.
   Private to workloads/. */
#ifndef MB_WORKLOADS_LATENTS_H
#define MB_WORKLOADS_LATENTS_H

#include "workloads/item.h"
#include "workloads/set.h"

typedef struct mb_latents {
    int patch;                /* side of a patch */
    int side, channels;       /* of every image; 0: none was seen yet */
    int64_t count;            /* numbers of a channel in train */
    double *mean, *deviation; /* (channels); until learnt, the sum of squared distances from MEAN */
    uint16_t *half;           /* (patches, patch, patch, channels) of the last image cut */
} mb_latents;

void mb_latents_free(mb_latents *t); /* the contents; accepts a zeroed one */

/* MB_ECORRUPT when L has another shape than the first one, cannot be cut, or has a number that is
   not finite: its place is said. */
mb_err mb_latents_check(mb_latents *t, const mb_latent *l);
/* Counts a checked one of the training split. */
void mb_latents_see(mb_latents *t, const mb_latent *l);
/* Then what is kept of the statistics; MB_EINVAL when a channel is the same everywhere. */
mb_err mb_latents_learn(mb_latents *t, mb_set_writer *w);

int mb_latents_per_image(const mb_latents *t); /* patches */
int mb_latents_patch(const mb_latents *t);     /* S: numbers of a patch */
/* The patches of a checked one, in rows; valid until the next call. */
const uint16_t *mb_latents_cut(mb_latents *t, const mb_latent *l);

/* What the manifest of a set says of its latents; side 0: it has none. */
mb_err mb_latents_open(const mb_data *d, mb_latents *out);
/* An image that the set has, PATCH (patches, S), as the user's encoder made it: OUT (channels,
   side, side). */
void mb_latents_join(const mb_latents *t, const mb_ids *ids, const uint8_t *patch, float *out);

#endif
