/* Sound files to listen to: WAV, one channel of 16 bits, written piece by piece. */
#ifndef MB_WORKLOADS_WAV_H
#define MB_WORKLOADS_WAV_H

#include "base/file.h"

#include <stdint.h>

typedef struct mb_wav {
    mb_replace file;
    int rate; /* samples a second */
    int64_t n;
} mb_wav;

mb_err mb_wav_open(const char *path, int rate, mb_wav *out);
/* N samples of -1 .. 1, what is beyond is cut off; NULL: of silence. MB_EINVAL once they are more
   than a WAV file can count. */
mb_err mb_wav_add(mb_wav *w, const double *sample, int64_t n);
/* Then the file is there, or not at all. */
mb_err mb_wav_commit(mb_wav *w);
void mb_wav_abort(mb_wav *w); /* accepts a zeroed or already committed one */

#endif
