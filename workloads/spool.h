/* Documents on their way into a set: they come in any order, of any split and section, and leave in
   the order that a set has. They wait in files without a name, so that memory stays small whatever
   comes, and nothing is left behind. Here is also noticed what comes twice. */
#ifndef MB_WORKLOADS_SPOOL_H
#define MB_WORKLOADS_SPOOL_H

#include "workloads/document.h"

typedef struct mb_spool mb_spool;

/* Files will lie in FOLDER. */
mb_spool *mb_spool_open(const char *folder);
void mb_spool_close(mb_spool *s); /* accepts NULL */

/* Copies D, which is as mb_document_end() would write it but for EOS. WHERE it is from opens
   messages; ID, or NULL, must be its own. */
mb_err mb_spool_add(mb_spool *s, enum mb_split split, enum mb_section section, mb_document *d,
                    const char *where, const char *id);

/* Writes every document into W, whose ids are set. Refused: two documents of one id; a split
   without documents, but for test; a document of one split that another has, too, unless DROP:
   then the training split goes without it (and so does test, of what val has). *DROPPED: how many.
 */
mb_err mb_spool_write(mb_spool *s, mb_set_writer *w, bool drop, int64_t *dropped);

#endif
