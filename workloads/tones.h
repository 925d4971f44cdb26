/* A made-up voice: every letter is a chord of its own, so that speech can be tested without any
   library. */
#ifndef MB_WORKLOADS_TONES_H
#define MB_WORKLOADS_TONES_H

#include "workloads/utterances.h"

/* Sings TEXT, small letters and spaces, a little faster or slower and higher or lower by KEY. The
   caller frees *SOUND and *TIMING; phones are letters. */
void mb_tones_read(const char *text, uint64_t key, mb_sound *sound, mb_timing *timing);

#endif
