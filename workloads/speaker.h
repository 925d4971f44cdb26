/* Units of speech as sound again, roughly: one voice, of which the units know the phones, but
   neither pitch nor who speaks. Private to workloads/. */
#ifndef MB_WORKLOADS_SPEAKER_H
#define MB_WORKLOADS_SPEAKER_H

#include "workloads/units.h"

typedef struct mb_speaker mb_speaker;

/* Of the units in a set's FOLDER. MB_ECORRUPT for files that are not those of K units. */
mb_err mb_speaker_open(const char *folder, int k, mb_speaker **out);
void mb_speaker_close(mb_speaker *s); /* accepts NULL */

/* 40 ms for each of UNIT (n), which are below k; between -1 and 1, equally loud whatever is said.
   The caller frees *OUT with mb_sound_free(). */
void mb_speaker_say(const mb_speaker *s, const uint16_t *unit, int64_t n, mb_sound *out);

#endif
