/* Sound files through libsndfile. */
#include "base/file.h"
#include "workloads/sound.h"

#include <errno.h>
#include <math.h>
#include <sndfile.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 3600 /* seconds: more is no utterance and would not fit memory */ };

static mb_err read_samples(const char *path, SNDFILE *f, const SF_INFO *info, mb_sound *out)
{
    double *all = mb_alloc((size_t)(info->frames * info->channels) * sizeof *all);
    sf_count_t got = sf_readf_double(f, all, info->frames);

    if (got != info->frames) {
        free(all);
        return mb_fail(MB_ECORRUPT, "%s: %lld samples found, %lld expected", path, (long long)got,
                       (long long)info->frames);
    }
    out->n = info->frames;
    out->rate = info->samplerate;
    out->sample = all;
    for (int64_t i = 0; i < out->n; i++) { /* in place: what is read lies ahead */
        double sum = 0;

        for (int c = 0; c < info->channels; c++)
            sum += all[i * info->channels + c];
        all[i] = sum / info->channels;
        if (!isfinite(all[i])) {
            mb_sound_free(out);
            return mb_fail(MB_ECORRUPT, "%s: sample %lld is not finite", path, (long long)i);
        }
    }
    return MB_OK;
}

mb_err mb_media_check(void)
{
    return MB_OK;
}

mb_err mb_sound_read(const char *path, mb_sound *out)
{
    SF_INFO info = { 0 };
    SNDFILE *f;
    mb_err err;

    memset(out, 0, sizeof *out);
    if (!mb_exists(path))
        return mb_fail(MB_EMISSING, "%s: %s", path, strerror(ENOENT));
    f = sf_open(path, SFM_READ, &info);
    if (!f)
        return mb_fail(MB_ECORRUPT, "%s: %s", path, sf_strerror(NULL));
    if (info.frames < 1 || info.samplerate < 1000 || info.samplerate > 768000 ||
        info.channels < 1 || info.frames / info.samplerate > LONGEST)
        err = mb_fail(MB_ECORRUPT,
                      "%s: %lld samples at %d Hz: expected at least one and at most %d s", path,
                      (long long)info.frames, info.samplerate, LONGEST);
    else
        err = read_samples(path, f, &info, out);
    sf_close(f);
    return err;
}
