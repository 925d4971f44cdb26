/* A corpus: captioned images and texts in memory, and the one way from there to a prepared set:
   BPE and k-means on the training split, then tokens. */
#ifndef MB_WORKLOADS_CORPUS_H
#define MB_WORKLOADS_CORPUS_H

#include "workloads/array.h"
#include "workloads/source.h"

typedef struct mb_corpus {
    struct mb_corpus_split {
        uint8_t *image; /* (caption.count, 28, 28) */
        mb_texts caption, text;
    } split[MB_SPLITS];
    int text_vocab; /* symbols of the BPE */
    int codes;      /* image ids: centroids */
} mb_corpus;

/* Writes ids, all splits, merges.txt (the BPE, see bpe.h) and codebook.u8 (centroids (K, 16)).
   Refuses a text_vocab that the texts cannot fill. */
mb_err mb_corpus_write(const mb_corpus *c, mb_set_writer *w, const mb_progress *p);
void mb_corpus_free(mb_corpus *c); /* the contents; accepts a zeroed one */

#endif
