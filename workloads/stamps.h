/* Tux Paint's stamps: pictures with a description, written and spoken by volunteers in several
   languages, one person each. */
#ifndef MB_WORKLOADS_STAMPS_H
#define MB_WORKLOADS_STAMPS_H

#include "workloads/array.h"

#include "base/err.h"

#include <stdbool.h>

enum { MB_LANGUAGES = 8 };
extern const char *const mb_language[MB_LANGUAGES]; /* "fr", "ru", ... */

/* A description in one language, and where its sound is. */
typedef struct mb_clip {
    int picture, language;
    size_t text; /* number of a text */
    char *sound; /* path */
} mb_clip;

typedef struct mb_stamps {
    char **picture; /* (pictures) paths */
    bool *is_val;   /* (pictures) by the English description, so that no group is split */
    size_t pictures, picture_room, val_room;
    mb_clip *clip; /* (clips) by picture, then language */
    size_t clips, clip_room;
    mb_texts text;
} mb_stamps;

/* Everything in FOLDER and below, in the order of paths, that has a PNG picture, an English
   description, and one in some language both written and spoken. */
mb_err mb_stamps_find(const char *folder, mb_stamps *out);
void mb_stamps_free(mb_stamps *s); /* the contents; accepts a zeroed one */

/* Whether a reading of TEXT that lasts SECONDS can be what it says: 4 to 40 letters a second and at
   most 12 s. Two languages read long texts shortened. */
bool mb_stamps_plausible(const char *text, size_t size, double seconds);

#endif
