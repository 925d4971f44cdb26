/* Synthetic voices: flite (Black & Lenzo 2001) reads a text and says when each phone and word ends.
   A build without flite says so. */
#ifndef MB_WORKLOADS_VOICE_H
#define MB_WORKLOADS_VOICE_H

#include "workloads/utterances.h"

enum mb_voice { MB_KAL16, MB_SLT, MB_RMS, MB_AWB, MB_VOICES };
extern const char *const mb_voice_name[MB_VOICES];

/* Reads TEXT aloud. Words are those between spaces. The same text gives the same samples whatever
   was read before. Not for threads: statistical voices draw their noise from rand(). The caller
   frees *SOUND and *TIMING. */
mb_err mb_voice_read(enum mb_voice voice, const char *text, mb_sound *sound, mb_timing *timing);

#endif
