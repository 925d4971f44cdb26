/* RIFF, with the header of 44 bytes that every program reads. */
#include "workloads/wav.h"

#include <math.h>
#include <string.h>

enum { HEADER = 44 };

static void put(unsigned char *to, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (unsigned char)(value >> 8 * i);
}

/* A failed write shows in the commit. */
static void write_header(mb_wav *w)
{
    unsigned char header[HEADER] = "RIFF....WAVEfmt ";
    uint32_t bytes = (uint32_t)w->n * 2;

    put(header + 4, HEADER - 8 + bytes, 4);
    put(header + 16, 16, 4);
    put(header + 20, 1, 2); /* PCM */
    put(header + 22, 1, 2); /* channel */
    put(header + 24, (uint32_t)w->rate, 4);
    put(header + 28, (uint32_t)w->rate * 2, 4);
    put(header + 32, 2, 2);
    put(header + 34, 16, 2);
    memcpy(header + 36, "data", 4);
    put(header + 40, bytes, 4);
    fwrite(header, 1, HEADER, w->file.file);
}

mb_err mb_wav_open(const char *path, int rate, mb_wav *out)
{
    *out = (mb_wav){ .rate = rate };
    MB_TRY(mb_replace_open(path, &out->file));
    write_header(out);
    return MB_OK;
}

mb_err mb_wav_add(mb_wav *w, const double *sample, int64_t n)
{
    const int64_t most = (UINT32_MAX - HEADER) / 2;

    if (n > most - w->n)
        return mb_fail(MB_EINVAL, "%s: more than %lld samples, the most of a WAV file",
                       w->file.path, (long long)most);
    for (int64_t i = 0; i < n; i++) {
        double x = sample ? fmin(1, fmax(-1, sample[i])) : 0;
        unsigned char bytes[2];

        put(bytes, (uint32_t)(int32_t)lrint(x * INT16_MAX), 2);
        fwrite(bytes, 1, 2, w->file.file);
    }
    w->n += n;
    return MB_OK;
}

mb_err mb_wav_commit(mb_wav *w)
{
    rewind(w->file.file);
    write_header(w);
    return mb_replace_commit(&w->file);
}

void mb_wav_abort(mb_wav *w)
{
    mb_replace_abort(&w->file);
}
