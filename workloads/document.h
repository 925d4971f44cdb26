/* A document being put together: BOS, then text, images and speech, then EOS. */
#ifndef MB_WORKLOADS_DOCUMENT_H
#define MB_WORKLOADS_DOCUMENT_H

#include "workloads/bpe.h"
#include "workloads/set.h"

typedef struct mb_document {
    const mb_ids *ids;
    const mb_bpe *bpe;
    int32_t *token; /* (n) */
    int64_t n;
    size_t room;
    const void *patch; /* (patch_bytes) its image where images are patches; borrowed */
    size_t patch_bytes;
} mb_document;

/* Begins afresh with BOS, without patches; ids and bpe are set by the caller once. */
void mb_document_begin(mb_document *d);
void mb_document_add(mb_document *d, int32_t id);
void mb_document_text(mb_document *d, const char *text, size_t size);
/* BOI, N codes, EOI. */
void mb_document_image(mb_document *d, const uint16_t *code, int64_t n);
/* BOI, tokens_per_image places, EOI; the patches at PATCH are borrowed until the document is
   written. */
void mb_document_patches(mb_document *d, const void *patch);
/* BOA, N units, EOA. */
void mb_document_speech(mb_document *d, const uint16_t *unit, int64_t n);
/* Adds EOS and writes it into the set. */
mb_err mb_document_end(mb_document *d, enum mb_section section, mb_set_writer *w);
void mb_document_free(mb_document *d); /* what it allocated */

#endif
