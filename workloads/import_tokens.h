/* From items to documents: text, image and speech tokenizers that learn from an even sample of
   the training split, then are applied to everything. Ids that the user's own tokenizers made are
   taken as they are. */
#ifndef MB_WORKLOADS_IMPORT_TOKENS_H
#define MB_WORKLOADS_IMPORT_TOKENS_H

#include "workloads/document.h"
#include "workloads/item.h"
#include "workloads/source.h"

typedef struct mb_import_tokens mb_import_tokens;

mb_import_tokens *mb_import_tokens_new(const mb_import *how); /* borrows it */
void mb_import_tokens_free(mb_import_tokens *t);              /* accepts NULL */

/* First pass: looks at every item. */
mb_err mb_import_tokens_see(mb_import_tokens *t, const mb_item *s, enum mb_split split);
/* Between: learns; writes the tokenizers' files, parameters and ids into the set. */
mb_err mb_import_tokens_learn(mb_import_tokens *t, mb_set_writer *w, const mb_progress *p);
/* Second pass: D, without EOS, is S in tokens. */
mb_err mb_import_tokens_apply(mb_import_tokens *t, const mb_item *s, mb_document *d,
                              enum mb_section *section);

#endif
