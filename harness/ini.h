/* Workload files: libinih, with the place of everything and with sections that have no keys.

   The file is text of lines below 200 characters: [section], key = value, comments from ; or # at
   the start of a line, or from " ;". A value never goes on in the next line. */
#ifndef MB_HARNESS_INI_H
#define MB_HARNESS_INI_H

#include "base/err.h"

/* Called for every section as it opens, with KEY and VALUE NULL, and for every key. PLACE is
   "FILE:LINE". What it fails with ends the reading. */
typedef mb_err mb_ini_each(void *user, const char *place, const char *section, const char *key,
                           const char *value);

mb_err mb_ini_read(const char *path, mb_ini_each *each, void *user);
/* The same of TEXT that was the file NAME when this program was built. */
mb_err mb_ini_read_text(const char *name, const char *text, mb_ini_each *each, void *user);

/* The question a workload or profile asks: its first comment, up to an empty line, as one line.
 * Caller frees.
 */
mb_err mb_ini_question(const char *path, char **question);
char *mb_ini_question_text(const char *text);

#endif
