/* Sound: one channel of samples, from files or synthesis, and what is done to it before it is
   measured. Reading files needs libsndfile; a build without it says so. */
#ifndef MB_WORKLOADS_SOUND_H
#define MB_WORKLOADS_SOUND_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { MB_SOUND_RATE = 16000 }; /* samples a second, of everything that is measured */

typedef struct mb_sound {
    double *sample; /* (n) */
    int64_t n;
    int rate; /* samples a second */
} mb_sound;

/* MB_EMISSING in a build without the libraries that read sounds and pictures and synthesise voices
   (they come together: make MEDIA=0 is a build without). */
mb_err mb_media_check(void);

/* Every format of libsndfile (wav, flac, ogg, opus, mp3); channels are averaged. MB_ECORRUPT for
   what is no sound, has no samples, or ends early. The caller frees with mb_sound_free(). */
mb_err mb_sound_read(const char *path, mb_sound *out);
/* The same of a file in memory; NAME opens messages. */
mb_err mb_sound_decode(const char *name, const void *bytes, size_t size, mb_sound *out);
void mb_sound_free(mb_sound *s); /* accepts a zeroed one */

/* S at MB_SOUND_RATE, by a windowed sinc whose zero crossings are those of the lower rate. */
void mb_sound_resample(const mb_sound *s, mb_sound *out);

/* Cuts off what is 35 dB below the loud parts at both ends, but for a margin of 0.1 s, and brings
   the rest to a root mean square of 1, in place. At MB_SOUND_RATE. Returns how many samples went
   at the beginning. */
int64_t mb_sound_trim(mb_sound *s);

#endif
