/* Sound files through libsndfile. */
#include "base/file.h"
#include "workloads/array.h"
#include "workloads/sound.h"

#include <math.h>
#include <sndfile.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 600 /* seconds: more is no utterance */, BLOCK = 4096 /* frames */ };
enum { FASTEST = 192000 /* samples a second */, CHANNELS = 64 };

/* ---- a file in memory, as libsndfile sees it ------------------------------------------------- */

typedef struct memory {
    const unsigned char *bytes;
    sf_count_t size, at;
} memory;

static sf_count_t get_size(void *user)
{
    const memory *m = user;

    return m->size;
}

static sf_count_t seek(sf_count_t offset, int whence, void *user)
{
    memory *m = user;
    sf_count_t from = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? m->at : m->size;

    if (offset < -from || offset > m->size - from)
        return -1;
    return m->at = from + offset;
}

static sf_count_t get(void *to, sf_count_t count, void *user)
{
    memory *m = user;

    count = count < m->size - m->at ? count : m->size - m->at;
    if (count > 0)
        memcpy(to, m->bytes + m->at, (size_t)count);
    m->at += count;
    return count;
}

static sf_count_t tell(void *user)
{
    const memory *m = user;

    return m->at;
}

/* ---- samples --------------------------------------------------------------------------------- */

static mb_err add_block(const char *name, const double *block, int64_t n, int channels,
                        mb_sound *out)
{
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;

        for (int c = 0; c < channels; c++)
            sum += block[i * channels + c];
        out->sample[out->n] = sum / channels;
        if (!isfinite(out->sample[out->n]))
            return mb_fail(MB_ECORRUPT, "%s: sample %lld is not finite", name, (long long)out->n);
        out->n++;
    }
    return MB_OK;
}

/* Block by block: what a header promises costs no memory until it is there. */
static mb_err read_samples(const char *name, SNDFILE *f, const SF_INFO *info, mb_sound *out)
{
    double *block = mb_alloc((size_t)(BLOCK * info->channels) * sizeof *block);
    mb_err err = MB_OK;
    sf_count_t got = 1;

    while (!err && got > 0 && out->n < info->frames) {
        got = sf_readf_double(f, block, BLOCK);
        got = got < info->frames - out->n ? got : info->frames - out->n;
        out->sample = mb_resize(out->sample, (size_t)(out->n + got + 1), sizeof *out->sample);
        err = add_block(name, block, got, info->channels, out);
    }
    free(block);
    if (!err && out->n != info->frames)
        err = mb_fail(MB_ECORRUPT, "%s: %lld samples found, %lld expected", name, (long long)out->n,
                      (long long)info->frames);
    if (err)
        mb_sound_free(out);
    return err;
}

mb_err mb_media_check(void)
{
    return MB_OK;
}

mb_err mb_sound_decode(const char *name, const void *bytes, size_t size, mb_sound *out)
{
    SF_VIRTUAL_IO io = { .get_filelen = get_size, .seek = seek, .read = get, .tell = tell };
    memory m = { bytes, (sf_count_t)size, 0 };
    SF_INFO info = { 0 };
    SNDFILE *f;
    mb_err err;

    memset(out, 0, sizeof *out);
    f = sf_open_virtual(&io, SFM_READ, &info, &m);
    if (!f)
        return mb_fail(MB_ECORRUPT, "%s: no sound: %s", name, sf_strerror(NULL));
    out->rate = info.samplerate;
    if (info.frames < 1 || info.samplerate < 1000 || info.samplerate > FASTEST ||
        info.channels < 1 || info.channels > CHANNELS || info.frames / info.samplerate > LONGEST)
        err = mb_fail(MB_ECORRUPT,
                      "%s: %lld samples at %d Hz in %d channels: expected at least one, at most "
                      "%d s, and at most %d channels",
                      name, (long long)info.frames, info.samplerate, info.channels, LONGEST,
                      CHANNELS);
    else
        err = read_samples(name, f, &info, out);
    sf_close(f);
    return err;
}

mb_err mb_sound_read(const char *path, mb_sound *out)
{
    mb_map map;
    mb_err err;

    memset(out, 0, sizeof *out);
    MB_TRY(mb_map_open(path, &map));
    err = mb_sound_decode(path, map.data, map.size, out);
    mb_map_close(&map);
    return err;
}
