/* Speech as frames: 13 mel-frequency cepstral coefficients every 20 ms, each with mean 0 and
   variance 1 over the utterance, so that loudness and channel go. */
#ifndef MB_WORKLOADS_FRAMES_H
#define MB_WORKLOADS_FRAMES_H

#include "workloads/sound.h"

enum { MB_FRAME_HOP = 320, MB_FRAME_WINDOW = 400 }; /* samples at MB_SOUND_RATE */
enum { MB_CEPSTRA = 13, MB_FRAME_BINS = 257 /* of a spectrum, 0 to 8000 Hz */ };

int64_t mb_frames_count(int64_t samples);

/* FRAME (mb_frames_count(s->n), 13) of a trimmed sound at MB_SOUND_RATE. */
void mb_frames_measure(const mb_sound *s, float *frame);

/* Backwards, roughly: POWER (MB_FRAME_BINS) of the sound, a sample's variance when that is white,
   whose frame had CEPSTRA (13) before it was normalised. Thirteen leave a smooth envelope. */
void mb_frames_spectrum(const double *cepstra, double *power);

#endif
