/* Data sets: prepared once from their sources, then read as packed batches.

   A prepared set is one folder under mb_data_home(), in one internal format whatever the source:
   manifest.json (sources, parameters, checksums, counts), and per split tokens.u16 or .u32 with
   documents.u64 (first token of each document, and the end), perhaps patches.u8 or .f16. */
#ifndef MB_WORKLOADS_DATA_H
#define MB_WORKLOADS_DATA_H

#include "base/batch.h"
#include "base/diffusion.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum mb_split { MB_TRAIN, MB_VAL, MB_TEST, MB_SPLITS };
extern const char *const mb_split_name[MB_SPLITS]; /* "train", "val", "test" */

/* Kinds of documents; those of a split are stored in this order. Documents with speech are told
   apart by who speaks, since a synthetic voice is nearly a function of its text: their losses mean
   different things. */
enum mb_section {
    MB_PAIRS,     /* with an image, without speech */
    MB_TEXTS,     /* text alone */
    MB_HUMAN,     /* spoken by people */
    MB_SYNTHETIC, /* spoken by voices that the training split has, too */
    MB_UNSEEN,    /* spoken by a synthetic voice that it does not have */
    MB_SECTIONS
};
extern const char *const mb_section_name[MB_SECTIONS]; /* "pairs", "texts", "human", ... */

/* How the user's own data become a set; all strings borrowed. Formats are those of
   mb_import_format_name(). A document goes to the split that its file, or the data themselves, say;
   else one in HOLD_OUT goes to val, all of one picture, chapter, ... together. */
typedef struct mb_import {
    const char *format;
    const char *const *file[MB_SPLITS]; /* each ends with NULL, or is NULL */
    const char *root;   /* folder that pictures and sounds are named relative to; NULL: their file's
                         */
    int hold_out;       /* 2 or more */
    int text_vocab;     /* 0: as many as the texts fill, at most 4096 */
    int side;           /* of the square that pictures are made, pixels; a multiple of 4 */
    int patch;          /* side of the squares that latents are cut into */
    bool channels_last; /* latents are (N, H, H, C), not (N, C, H, H) */
    int codes, units;   /* ids of images and of speech */
    bool synthetic;     /* speech is by synthetic voices, not by people */
    bool drop; /* leave out of train what val or test has as well, instead of refusing it */
} mb_import;

/* "jsonl", "wds", ...; NULL behind the last. ABOUT, unless NULL: what it is. */
const char *mb_import_format_name(int i, const char **about);

/* What to prepare or open; all strings borrowed. Two equal requests name the same folder. */
typedef struct mb_data_request {
    const char *source; /* a name of the table in prepare.c, "fashion", ..., or an imported set */
    int text_vocab;     /* BPE size; 0: what the source has for a default */
    const char *path;   /* shards: the folder or modality map of the user's own data */
    /* Where the sources lie, or NULL: look, then download. */
    const char *fashion_dir, *wordnet_dir, *stamps_dir;
    const mb_import *import; /* how the imported set is made; NULL: it is there already */
} mb_data_request;

/* Whether there is a source or an imported set of this name; MB_EMISSING says what there is. */
mb_err mb_data_known(const char *source);
/* What a text_vocab of 0 stands for; 0: the set has the one it was made with. */
int mb_data_text_vocab(const char *source);

/* $MOTBENCH_DATA, else $XDG_CACHE_HOME/motbench, else ~/.cache/motbench. Caller frees. */
char *mb_data_home(void);

/* Called now and then while preparing: what is being done, and how far (0..1). */
typedef void mb_data_progress(void *user, const char *what, double fraction);

/* Imports a set called NAME, of which there must be none. When something is wrong nothing is left.
 */
mb_err mb_data_import(const char *name, const mb_import *import, mb_data_progress *progress,
                      void *user);

/* Makes the set unless it is there and complete. Safe against interruption and against a second
   process doing the same. */
mb_err mb_data_prepare(const mb_data_request *request, mb_data_progress *progress, void *user);

typedef struct mb_data mb_data; /* an open prepared set */

/* MB_EMISSING, with the command that helps, when the set is not prepared. */
mb_err mb_data_open(const mb_data_request *request, mb_data **out);
void mb_data_close(mb_data *d); /* accepts NULL */

int mb_data_vocab(const mb_data *d);      /* V: text + image (+ speech) + specials */
int mb_data_modalities(const mb_data *d); /* M: 1 with text alone, 2 with images, 3 with speech */
int mb_data_patch(const mb_data *d);      /* S: numbers of an image's patch; 0: images are ids */
/* Numbers of patches lie in -LIMIT .. LIMIT: of pixels 1; of latents, of variance 1, nearly all. */
double mb_data_patch_limit(const mb_data *d);
const char *mb_data_name(const mb_data *d);
const char *mb_data_hash(const mb_data *d); /* SHA-256 over the contents of all prepared files */
const char *mb_data_folder(const mb_data *d);
int64_t mb_data_tokens(const mb_data *d, enum mb_split split, int modality); /* specials: text */
int64_t mb_data_documents(const mb_data *d, enum mb_split split);
int64_t mb_data_section(const mb_data *d, enum mb_split split,
                        enum mb_section section); /* documents */
/* The modality that an id routes to. What begins and ends an image or speech goes to the modality
   that it encloses, or to text when BOUNDARY is MB_TEXT. */
int mb_data_modality(const mb_data *d, int32_t token, int boundary);
/* Compares every file with its checksum in the manifest, and names the first that differs; REPORT,
   unless NULL, gets a line for each. The user's own shards have no checksums. */
mb_err mb_data_checksums(const mb_data *d, FILE *report);
/* The manifest's text, for the store. */
const char *mb_data_manifest(const mb_data *d);

/* Checksums, and that every id and document of the set makes sense. */
mb_err mb_data_verify(const mb_data_request *request, FILE *report);

/* What the splits of a set hold: documents, their longest, tokens of each modality and the entropy
   of their histogram. */
mb_err mb_data_describe(const mb_data *d, FILE *out);

/* Every known source and each prepared folder, one at a time; returns false at the end. */
typedef struct mb_data_listing {
    char name[64], state[64]; /* "prepared", "not prepared", "incomplete" */
    char about[160], folder[512];
    int64_t tokens;
} mb_data_listing;
mb_err mb_data_list(void (*each)(void *user, const mb_data_listing *l), void *user);

/* ---- streams: documents drawn, ordered and packed into batches ------------------------------- */

typedef struct mb_mixture {
    double pair_weight, text_weight; /* how often a document is an image-caption pair, a text; < 0:
                                        in proportion to the tokens there are */
    double image_first;              /* share of pairs with the image before the caption */
    int boundary;                    /* see mb_data_modality() */
    double speech_share; /* how many of the documents are spoken ones: 1/7 is 1 to 6 others */
    unsigned sections;   /* a set of 1 << mb_section to draw from; 0: all. {human}, say, in a stream
                          of   its own measures human speech apart */
    /* where images are patches: */
    double
        drop_caption; /* share of training's pairs, of those with the caption first, without it */
    enum mb_prediction prediction;
} mb_mixture;

typedef struct mb_stream mb_stream;

/* Batches of B x L tokens. Train: every epoch a keyed permutation of each section; the order
   depends on seed, mixture and L alone, never on the architecture. Val and test: a fixed order,
   keyed by 0, one pass, no matter the seed. The parts of a document with speech (image, text,
   speech) come in any order, each as likely; those of a pair as image_first says. Images that are
   patches lie behind keyed noise: another one every epoch, in val and test always the same. */
mb_err mb_stream_open(const mb_data *d, enum mb_split split, const mb_mixture *mixture,
                      uint64_t seed, int64_t batch, int64_t len, mb_stream **out);
void mb_stream_close(mb_stream *s); /* accepts NULL */
/* The next batch; its arrays belong to the stream and are overwritten by the next call. MB_EMISSING
   at the end of a val or test split. */
mb_err mb_stream_next(mb_stream *s, mb_batch *out);
/* Goes on as if N batches had been taken. */
mb_err mb_stream_skip(mb_stream *s, int64_t n);
double mb_stream_epochs(const mb_stream *s); /* passes over the largest section so far */

/* One batch around the caller's own tokens (B, L): documents are found by BOS as in packed data;
   MODALITY (B, L), or NULL when all is text. Targets are the next tokens. Caller frees with
   mb_batch_free(). Ids out of range are refused. */
mb_err mb_batch_from_tokens(const int32_t *token, const uint8_t *modality, int64_t batch,
                            int64_t len, int vocab, int bos, mb_batch *out);
/* How an image lies behind noise: KEY draws it; at step 0 there is none. */
typedef struct mb_noising {
    int32_t step;
    uint64_t key;
    enum mb_prediction prediction;
} mb_noising;

/* Makes positions TO .. of B, which holds patches, the N patches of an image, each of which sees
   all of it: PATCH (n, S), as D keeps them. They have no target, nor has what begins them. */
void mb_batch_place_image(mb_batch *b, int64_t to, int64_t n, const mb_data *d,
                          const uint8_t *patch, const mb_noising *how);

/* Patches as a set keeps them: the bytes of one; N numbers of some, and back, to the nearest that
   can be kept. */
size_t mb_data_patch_bytes(const mb_data *d);
void mb_data_patches_read(const mb_data *d, const uint8_t *patch, int64_t n, float *number);
void mb_data_patches_write(const mb_data *d, const float *number, int64_t n, uint8_t *patch);

int mb_data_bos(const mb_data *d); /* -1: documents have none (shards without bos) */

#endif
