/* WordNet 3.0's dictionary files as lines "lemma: gloss". */
#ifndef MB_WORKLOADS_WORDNET_H
#define MB_WORKLOADS_WORDNET_H

#include "base/err.h"
#include "workloads/array.h"

/* Reads one data file: synsets to TRAIN, or to VAL where sha256(LETTER + offset), as a number, is a
   multiple of 50. Every line must begin with its own offset in the file, so that a damaged file is
   noticed; there must be COUNT synsets (0: any number). */
mb_err mb_wordnet_read(const char *path, char letter, long count, mb_texts *train, mb_texts *val);

/* All four files of FOLDER (data.noun, data.verb, data.adj, data.adv), with the counts of 3.0. */
mb_err mb_wordnet_read_all(const char *folder, mb_texts *train, mb_texts *val);

/* The files' names, for checksums; NULL at the end. */
extern const char *const mb_wordnet_files[];

#endif
