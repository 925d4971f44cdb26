/* Utterances in memory: frames, the phone that each belongs to where that is known, and where words
   end; and the files that keep them while a set is prepared. */
#ifndef MB_WORKLOADS_UTTERANCES_H
#define MB_WORKLOADS_UTTERANCES_H

#include "workloads/frames.h"

#include <stddef.h>

enum { MB_PHONE_UNKNOWN = 255, MB_FRAMES_PER_UNIT = 2 };

typedef struct mb_utterances {
    size_t count;
    int64_t frames, words;            /* of all */
    int64_t *frame_start, *word_end0; /* (count + 1) first frame, first word end of each */
    float *frame;                     /* (frames, MB_CEPSTRA) */
    uint8_t *phone;                   /* (frames) */
    int32_t *word_end;                /* (words) in units from the utterance's beginning */
    size_t count_room, frame_room, word_room;
} mb_utterances;

/* What synthesis knows about a sound; times in seconds. */
typedef struct mb_timing {
    int phones, words;
    double *phone_end, *word_end;
    uint8_t *phone; /* (phones) */
} mb_timing;
void mb_timing_free(mb_timing *t); /* the contents; accepts a zeroed one */

/* Measures S, at MB_SOUND_RATE, that lost TRIMMED samples at its beginning, and appends it. TIMING,
   which knows the untrimmed sound, may be NULL. */
void mb_utterances_add(mb_utterances *u, const mb_sound *s, int64_t trimmed,
                       const mb_timing *timing);
/* Appends an utterance without frames. */
void mb_utterances_skip(mb_utterances *u);
/* Appends all of OTHER. */
void mb_utterances_append(mb_utterances *u, const mb_utterances *other);
/* Units of utterance I: one for every two frames, 25 a second. */
int64_t mb_utterances_units(const mb_utterances *u, size_t i);
void mb_utterances_free(mb_utterances *u); /* the contents; accepts a zeroed one */

/* The whole list as a file; loading appends. MB_ECORRUPT for a file that is not one. */
mb_err mb_utterances_save(const mb_utterances *u, const char *path);
mb_err mb_utterances_load(mb_utterances *u, const char *path);

#endif
