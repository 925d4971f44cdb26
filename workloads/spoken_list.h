/* Texts with their sound, and perhaps a picture and a language: what documents with speech are
   made of. */
#ifndef MB_WORKLOADS_SPOKEN_LIST_H
#define MB_WORKLOADS_SPOKEN_LIST_H

#include "workloads/array.h"
#include "workloads/document.h"
#include "workloads/units.h"

typedef struct mb_about {
    int image;             /* of the split's further images, or -1 */
    int tag;               /* the text's language, or -1 */
    int voice;             /* the synthetic voice that reads it */
    const char *recording; /* the file where a person does, or NULL; borrowed */
} mb_about;

typedef struct mb_spoken_list {
    mb_texts text;
    mb_about *about; /* (text.count) */
    size_t room;
    mb_utterances sound; /* as many as texts; those without a unit make no document */
} mb_spoken_list;

/* Appends a text; its sound is the caller's to add. */
void mb_spoken_add(mb_spoken_list *l, const char *text, size_t size, mb_about about);
void mb_spoken_free(mb_spoken_list *l); /* the contents; accepts a zeroed one */

/* How documents are drawn and what they refer to. */
typedef struct mb_spoken_write {
    const mb_units *units;
    const uint16_t *image;  /* (images, patches) codes of the split's further images */
    int patches, first_tag; /* id of language 0 */
    uint64_t key;           /* decides the form of each document */
} mb_spoken_write;

/* Longer documents are left out: they are never cut, and a sequence must hold them. */
enum { MB_SPOKEN_LONGEST = 512 };

/* Writes one document for each utterance: with a picture BOS tag text image speech EOS; without, a
   third each of text and speech, speech alone, and text with speech interleaved at words. LEFT_OUT
   counts what was too long. */
mb_err mb_spoken_write_all(const mb_spoken_list *l, const mb_spoken_write *how, mb_document *d,
                           enum mb_section section, mb_set_writer *w, int64_t *left_out);

#endif
