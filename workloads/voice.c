#include "workloads/voice.h"
#include "base/file.h"

#include <flite/flite.h>
#include <stdlib.h>
#include <string.h>

const char *const mb_voice_name[MB_VOICES] = { "kal16", "slt", "rms", "awb" };

/* flite's headers do not declare them */
cst_voice *register_cmu_us_kal16(const char *folder);
cst_voice *register_cmu_us_slt(const char *folder);
cst_voice *register_cmu_us_rms(const char *folder);
cst_voice *register_cmu_us_awb(const char *folder);

static const cst_voice *find_voice(enum mb_voice voice)
{
    static cst_voice *(*const open[MB_VOICES])(const char *) = {
        register_cmu_us_kal16, register_cmu_us_slt, register_cmu_us_rms, register_cmu_us_awb
    };
    static cst_voice *opened[MB_VOICES];

    if (!opened[voice]) {
        flite_init();
        opened[voice] = open[voice](NULL);
    }
    return opened[voice];
}

/* The phones of American English in flite's order, so that a number means the same in all voices.
 */
static uint8_t phone_number(const char *name)
{
    static const char *const phones[] = { "pau", "aa", "ae", "ah", "ao", "aw", "ax", "axr", "ay",
                                          "b",   "ch", "d",  "dh", "eh", "er", "ey", "f",   "g",
                                          "hh",  "ih", "iy", "jh", "k",  "l",  "m",  "n",   "ng",
                                          "ow",  "oy", "p",  "r",  "s",  "sh", "t",  "th",  "uh",
                                          "uw",  "v",  "w",  "y",  "z",  "zh" };

    for (size_t i = 0; i < sizeof phones / sizeof *phones; i++) {
        if (!strcmp(name, phones[i]))
            return (uint8_t)i;
    }
    return MB_PHONE_UNKNOWN;
}

static int count_items(const cst_item *i)
{
    int n = 0;

    for (; i; i = item_next(i))
        n++;
    return n;
}

static void take_phones(cst_utterance *u, mb_timing *t)
{
    const cst_item *i = relation_head(utt_relation(u, "Segment"));

    t->phones = count_items(i);
    t->phone = mb_alloc((size_t)t->phones + 1);
    t->phone_end = mb_alloc((size_t)(t->phones + 1) * sizeof *t->phone_end);
    for (int p = 0; i; i = item_next(i), p++) {
        t->phone[p] = phone_number(item_feat_string(i, "name"));
        t->phone_end[p] = item_feat_float(i, "end");
    }
}

/* A token of the text may be read as several words ("t-shirt"); its end is that of the last. */
static void take_words(cst_utterance *u, mb_timing *t)
{
    const cst_item *i = relation_head(utt_relation(u, "Token"));
    double end = 0;

    t->words = count_items(i);
    t->word_end = mb_alloc((size_t)(t->words + 1) * sizeof *t->word_end);
    for (int w = 0; i; i = item_next(i), w++) {
        const cst_item *word = item_last_daughter(i);

        if (word)
            end = ffeature_float(word, "R:SylStructure.daughtern.daughtern.R:Segment.end");
        t->word_end[w] = end;
    }
}

mb_err mb_voice_read(enum mb_voice voice, const char *text, mb_sound *sound, mb_timing *timing)
{
    const cst_wave *wave;
    cst_utterance *u;

    memset(sound, 0, sizeof *sound);
    memset(timing, 0, sizeof *timing);
    srand(1);
    u = flite_synth_text(text, (cst_voice *)find_voice(voice));
    wave = u ? utt_wave(u) : NULL;
    if (!wave || wave->num_samples < 1 || wave->sample_rate != MB_SOUND_RATE) {
        if (u)
            delete_utterance(u);
        return mb_fail(MB_EINVAL, "flite, voice %s: cannot read \"%s\"", mb_voice_name[voice],
                       text);
    }
    *sound = (mb_sound){ .n = wave->num_samples, .rate = wave->sample_rate };
    sound->sample = mb_alloc((size_t)sound->n * sizeof *sound->sample);
    for (int64_t i = 0; i < sound->n; i++)
        sound->sample[i] = wave->samples[i] / 32768.0;
    take_phones(u, timing);
    take_words(u, timing);
    delete_utterance(u);
    return MB_OK;
}
