/* Prepared sets on disk: what the ids mean, how a set is written, how it is read. Private to
   workloads/; data.h is what others see.

   A set is one folder: manifest.json, and for every split SPLIT.tokens.u16 (or .u32, when the
   vocabulary needs it) and SPLIT.documents.u64, the first token of each document and then the count
   of all tokens. Where images are patches, SPLIT.patches.u8 (bytes for -1 .. 1) or .f16 (halves)
   has those of each pair, and the ids between BOI and EOI are all the same: places. Little-endian,
   no headers. The sections of a split (mb_section) follow one another. A folder with a manifest is
   complete: it gets its name only then. */
#ifndef MB_WORKLOADS_SET_H
#define MB_WORKLOADS_SET_H

#include "base/file.h"
#include "workloads/data.h"

#include <jansson.h>
#include <string.h>

enum { MB_SET_FORMAT = 1, MB_LARGEST_PATCH = 1 << 16 };

/* Ids: half-open ranges, and single ids or -1 for none. The single ones may lie inside a range.
   Image ids stand between BOI and EOI alone, speech ids between BOA and EOA (audio). */
typedef struct mb_ids {
    int vocab;
    int text[2], image[2], speech[2];
    int bos, eos, boi, eoi, boa, eoa;
    int tokens_per_image; /* 0: any number */
    int patch;            /* S: numbers of a patch; 0: images are ids */
    bool half;            /* they are halves, not bytes */
} mb_ids;

static inline const char *mb_patch_file(const mb_ids *ids)
{
    return ids->half ? "patches.f16" : "patches.u8";
}
static inline size_t mb_patch_size(const mb_ids *ids) /* bytes */
{
    return (size_t)ids->patch * (ids->half ? sizeof(uint16_t) : 1);
}
/* Number I of what the patches at FROM hold. */
float mb_patch_number(const mb_ids *ids, const uint8_t *from, int64_t i);

/* What kind of token an id is; singles before ranges. */
enum mb_id_kind {
    MB_ID_TEXT,
    MB_ID_IMAGE,
    MB_ID_SPEECH,
    MB_ID_BOS,
    MB_ID_EOS,
    MB_ID_BOI,
    MB_ID_EOI,
    MB_ID_BOA,
    MB_ID_EOA,
    MB_ID_BAD
};
enum mb_id_kind mb_id_kind(const mb_ids *ids, int64_t id);

/* MB_EINVAL with the reason when ranges overlap, leave the vocabulary, ... */
mb_err mb_ids_check(const mb_ids *ids);

/* Text first, then IMAGES codes, then UNITS of speech, then BOS, EOS, BOI, EOI and, when there is
   speech, BOA and EOA. */
mb_ids mb_ids_make(int text, int images, int units, int tokens_per_image);

/* ---- writing --------------------------------------------------------------------------------- */

typedef struct mb_set_writer mb_set_writer;

/* Writes into FOLDER, which exists and is empty. */
mb_set_writer *mb_set_create(const char *folder, const char *name, const char *source);
const char *mb_set_folder(const mb_set_writer *w);
/* Once, before the first split. */
void mb_set_ids(mb_set_writer *w, const mb_ids *ids);
/* Ends the split before it. Splits that never begin are absent from the set. */
mb_err mb_set_begin(mb_set_writer *w, enum mb_split split);
/* A whole document of SECTION, sections in their order; ids are known to be good. */
mb_err mb_set_document(mb_set_writer *w, enum mb_section section, const int32_t *token, int64_t n);
/* Where images are patches: those of N bytes in the split's pairs, in order. */
mb_err mb_set_patches(mb_set_writer *w, const void *bytes, size_t n);
/* Notes for the manifest; VALUE is taken over. */
void mb_set_parameter(mb_set_writer *w, const char *key, json_t *value);
mb_err mb_set_source_file(mb_set_writer *w, const char *path); /* name, size and hash */
/* Where a further file NAME of the set goes (caller frees); once written, it is declared. */
char *mb_set_path(const mb_set_writer *w, const char *name);
mb_err mb_set_file(mb_set_writer *w, const char *name);
/* Writes SIZE bytes as file NAME of the set. */
mb_err mb_set_bytes(mb_set_writer *w, const char *name, const void *bytes, size_t size);
/* Ends the last split and writes the manifest. */
mb_err mb_set_finish(mb_set_writer *w);
void mb_set_writer_free(mb_set_writer *w); /* accepts NULL; leaves the folder as it is */

/* ---- reading --------------------------------------------------------------------------------- */

typedef struct mb_set_split {
    bool present;
    char *token_path, *document_path;
    char *patch_path;
    mb_map token, document, patch;
    int64_t tokens, documents;
    int64_t section[MB_SECTIONS];    /* documents of each */
    int64_t modality[MB_MODALITIES]; /* tokens; specials count as text */
} mb_set_split;

struct mb_data {
    char *folder, *name, *manifest;
    char hash[MB_HASH_SIZE];
    json_t *json; /* the manifest, parsed */
    mb_ids ids;
    int width; /* bytes of a token: 2 or 4 */
    mb_set_split split[MB_SPLITS];
};

/* Opens the set in FOLDER, checking what is cheap: manifest, sizes, ends. */
mb_err mb_set_open(const char *folder, mb_data **out);
/* Everything: every checksum, every id, every document border; one line per file to REPORT, which
   may be NULL. */
mb_err mb_set_verify(const mb_data *d, FILE *report);

/* Document I of a split: its first token and length, checked against the file. */
mb_err mb_set_find(const mb_set_split *s, int64_t i, int64_t *first, int64_t *n);
/* Token I, which must be below the split's count. */
static inline int32_t mb_set_token(const mb_data *d, const mb_set_split *s, int64_t i)
{
    uint16_t narrow;
    uint32_t wide;

    if (d->width == sizeof narrow) {
        memcpy(&narrow, s->token.data + i * 2, sizeof narrow);
        return narrow;
    }
    memcpy(&wide, s->token.data + i * 4, sizeof wide);
    return (int32_t)wide;
}

/* ---- the manifest's checksums ---------------------------------------------------------------- */

/* SHA-256 over all that MANIFEST says but its own "sha256". */
void mb_manifest_hash(const json_t *manifest, char hash[MB_HASH_SIZE]);
/* SHA-256 over names, sizes and hashes of all its files: the hash of the data. */
void mb_manifest_data_hash(const json_t *manifest, char hash[MB_HASH_SIZE]);

#endif
