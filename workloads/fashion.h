/* Fashion-MNIST with captions and WordNet glosses, for sources that contain them. */
#ifndef MB_WORKLOADS_FASHION_H
#define MB_WORKLOADS_FASHION_H

#include "workloads/corpus.h"

/* Fills images, captions and texts of all splits, finding the files or downloading them. Images get
   the corpus's shape: a black margin, and every channel the same grey. */
mb_err mb_fashion_read(const mb_data_request *r, mb_corpus *c, mb_set_writer *w,
                       const mb_progress *p);

#endif
