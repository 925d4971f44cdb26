/* Sounds, pictures, voices and archives of a build without the libraries for them: none. */
#include "workloads/picture.h"
#include "workloads/sound.h"
#include "workloads/tar.h"
#include "workloads/voice.h"

#include <string.h>

const char *const mb_voice_name[MB_VOICES] = { "kal16", "slt", "rms", "awb" };

mb_err mb_media_check(void)
{
    return mb_fail(
        MB_EMISSING,
        "built without libsndfile, libpng, libjpeg, flite and libarchive: install libsndfile1-dev, "
        "libpng-dev, libjpeg62-turbo-dev, flite1-dev and libarchive-dev, and make again");
}

mb_err mb_sound_read(const char *path, mb_sound *out)
{
    memset(out, 0, sizeof *out);
    return mb_media_check();
}

mb_err mb_sound_decode(const char *name, const void *bytes, size_t size, mb_sound *out)
{
    memset(out, 0, sizeof *out);
    return mb_media_check();
}

mb_err mb_picture_read(const char *path, int side, uint8_t *out)
{
    return mb_media_check();
}

mb_err mb_picture_decode(const char *name, const void *bytes, size_t size, int side, uint8_t *out)
{
    return mb_media_check();
}

mb_err mb_picture_write(const char *path, const uint8_t *pixel, int width, int height, int channels)
{
    return mb_media_check();
}

mb_err mb_voice_read(enum mb_voice voice, const char *text, mb_sound *sound, mb_timing *timing)
{
    memset(sound, 0, sizeof *sound);
    memset(timing, 0, sizeof *timing);
    return mb_media_check();
}

mb_err mb_tar_open(const char *path, mb_tar **out)
{
    *out = NULL;
    return mb_media_check();
}

/* No archive was opened. */
void mb_tar_close(mb_tar *t)
{
}

mb_err mb_tar_next(mb_tar *t, mb_tar_entry *entry, bool *more)
{
    *more = false;
    return mb_media_check();
}

mb_err mb_tar_read(mb_tar *t, char **out)
{
    *out = NULL;
    return mb_media_check();
}
