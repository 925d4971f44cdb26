/* What was generated, as files to look at. */
#ifndef MB_HARNESS_GALLERY_H
#define MB_HARNESS_GALLERY_H

#include "harness/generate.h"

/* Writes into FOLDER, which is made, each file atomically: PROMPT-ANSWER.txt with the prompts, the
   documents' own answers and the model's, and where images occur and the set can show them
   PROMPT-ANSWER.png, a grid in the order of the text: prompts, or pairs of an answer of the
   document and the model's. Speech is written as units. *images says whether there is a grid. */
mb_err mb_gallery_write(const char *folder, const mb_loaded *l, const mb_generate_plan *plan,
                        const mb_generated *g, bool *images);

#endif
