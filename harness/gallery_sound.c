/* The speech of samples as one sound file. Units know neither pitch nor speaker
   (workloads/speaker.c says how they sound), so documents' own recordings are heard as their units,
   too: what differs between the two is what the model did. */
#include "harness/gallery.h"

#include "base/file.h"
#include "workloads/wav.h"

static const double pause_s = 0.4, gap_s = 1; /* between two of a sample, and between samples */

static mb_err add_silence(mb_wav *w, double seconds)
{
    return mb_wav_add(w, NULL, (int64_t)(seconds * MB_SOUND_RATE));
}

static mb_err add_speech(mb_wav *w, const mb_render *r, const int32_t *token, int64_t n)
{
    mb_sound sound;
    mb_err err;

    mb_render_speech(r, token, n, &sound);
    err = mb_wav_add(w, sound.sample, sound.n);
    mb_sound_free(&sound);
    return err;
}

static mb_err add_sample(mb_wav *w, const mb_render *r, const mb_loaded *l,
                         const mb_generate_plan *plan, const mb_sampled *s)
{
    mb_parts p;
    mb_err err;

    MB_TRY(mb_data_parts(l->data, plan->split, s->document, &p));
    err = add_speech(w, r, p.part[MB_SPEECH].token, p.part[MB_SPEECH].n);
    if (!err && plan->direction.answer == MB_SPEECH) {
        err = add_silence(w, pause_s);
        if (!err)
            err = add_speech(w, r, s->answer, s->n);
    }
    mb_parts_free(&p);
    return err ? err : add_silence(w, gap_s);
}

mb_err mb_gallery_speak(const char *path, const mb_render *r, const mb_loaded *l,
                        const mb_generate_plan *plan, const mb_generated *g, double *heard_s)
{
    mb_wav w;
    mb_err err = mb_wav_open(path, MB_SOUND_RATE, &w);

    for (int64_t i = 0; !err && i < g->n; i++) {
        heard_s[i] = (double)w.n / w.rate;
        err = add_sample(&w, r, l, plan, &g->sample[i]);
    }
    if (err)
        mb_wav_abort(&w);
    return err ? err : mb_wav_commit(&w);
}
