/* A corpus: captioned images, texts and spoken texts in memory, and the one way from there to a
   prepared set: BPE, k-means and speech units on the training split, then tokens. */
#ifndef MB_WORKLOADS_CORPUS_H
#define MB_WORKLOADS_CORPUS_H

#include "workloads/array.h"
#include "workloads/image_tokens.h"
#include "workloads/source.h"
#include "workloads/spoken_list.h"

typedef struct mb_corpus {
    struct mb_corpus_split {
        uint8_t *image; /* (caption.count + further, side, side, channels) */
        size_t further; /* images behind those with a caption: spoken texts refer to them */
        mb_texts caption, text;
        mb_spoken_list human, synthetic, unseen;
    } split[MB_SPLITS];
    mb_image_shape shape;
    int text_vocab; /* symbols of the BPE */
    int tags;       /* languages of spoken texts: ids behind those of the BPE */
    int codes;      /* image ids: centroids; 0: images stay patches */
    int units;      /* speech ids: centroids; 0: nothing is spoken */
} mb_corpus;

/* Writes ids, all splits, merges.txt (the BPE, see bpe.h), codebook.u8 (centroids, (K, 16 *
   channels)) unless images stay patches, and, when something is spoken, the files of
   mb_units_write(). Refuses a text_vocab that the texts cannot fill. */
mb_err mb_corpus_write(const mb_corpus *c, mb_set_writer *w, const mb_progress *p);
void mb_corpus_free(mb_corpus *c); /* the contents; accepts a zeroed one */

#endif
