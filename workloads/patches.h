/* Images of a set that stand in a batch as patches behind noise (base/diffusion.h). Private to
   workloads/. */
#ifndef MB_WORKLOADS_PATCHES_H
#define MB_WORKLOADS_PATCHES_H

#include "workloads/set.h"

/* Document of N ids, placed at positions TO .. of B: its image, which PATCH holds
   (tokens_per_image, S), gets the step and noise that KEY draws, and no id that belongs to it is a
   target. MB_ECORRUPT unless the document has just one image of that many patches. */
mb_err mb_patches_place(const mb_ids *ids, const uint8_t *patch, uint64_t key,
                        enum mb_prediction prediction, mb_batch *b, int64_t to, int64_t n);

/* Where the patches of pair I of a split begin. */
const uint8_t *mb_patches_of(const mb_data *d, const mb_set_split *s, int64_t i);

#endif
