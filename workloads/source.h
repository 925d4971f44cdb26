/* Data sources: what knows how to make a prepared set. Private to workloads/.

   A new source is one file that defines an mb_source, one declaration here and one line in the
   table of prepare.c. */
#ifndef MB_WORKLOADS_SOURCE_H
#define MB_WORKLOADS_SOURCE_H

#include "workloads/set.h"

typedef struct mb_progress {
    mb_data_progress *call; /* or NULL */
    void *user;
    double from, to; /* the share of the whole that is being done */
} mb_progress;

void mb_progress_tell(const mb_progress *p, const char *what, double fraction);
/* For a step that is FROM .. TO of what P is for. */
mb_progress mb_progress_share(const mb_progress *p, double from, double to);

typedef struct mb_source {
    const char *name, *about;
    int version;    /* part of the folder's name: raise it whenever the result changes */
    int text_vocab; /* where the request has 0; 0: the source has no tokenizer of its own */
    /* What tells sets of this source apart, as a part of a folder name; caller frees. */
    mb_err (*identify)(const mb_data_request *r, char **out);
    mb_err (*prepare)(const mb_data_request *r, mb_set_writer *w, const mb_progress *p);
} mb_source;

extern const mb_source mb_fashion, mb_fashion_patches, mb_spoken, mb_procedural,
    mb_procedural_patches, mb_procedural_speech, mb_shards, mb_imported;

/* For sources with a tokenizer of their own: "bpe2048", text_vocab being in range. */
mb_err mb_identify_by_vocab(const mb_data_request *r, char **out);

#endif
