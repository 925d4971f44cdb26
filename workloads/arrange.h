/* The parts of a document (text, image, speech) in another order. Private to workloads/. */
#ifndef MB_WORKLOADS_ARRANGE_H
#define MB_WORKLOADS_ARRANGE_H

#include "workloads/set.h"

/* Puts the parts of TOKEN (n) in ORDER, one of 0 .. 5; of a document with an image and text, and no
   speech, IMAGE_FIRST decides. A document in which a modality comes twice keeps its own order.
   SCRATCH (n). */
void mb_document_arrange(const mb_ids *ids, int order, bool image_first, int32_t *token,
                         int32_t *scratch, int64_t n);

#endif
