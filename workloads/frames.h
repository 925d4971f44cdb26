/* Speech as frames: 13 mel-frequency cepstral coefficients every 20 ms, each with mean 0 and
   variance 1 over the utterance, so that loudness and channel go. */
#ifndef MB_WORKLOADS_FRAMES_H
#define MB_WORKLOADS_FRAMES_H

#include "workloads/sound.h"

enum { MB_FRAME_HOP = 320, MB_FRAME_WINDOW = 400 }; /* samples at MB_SOUND_RATE */
enum { MB_CEPSTRA = 13 };

int64_t mb_frames_count(int64_t samples);

/* FRAME (mb_frames_count(s->n), 13) of a trimmed sound at MB_SOUND_RATE. */
void mb_frames_measure(const mb_sound *s, float *frame);

#endif
