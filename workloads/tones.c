#include "workloads/tones.h"
#include "base/file.h"
#include "base/random.h"

#include <math.h>
#include <string.h>

enum { SPACE = 26, SLOWEST = MB_SOUND_RATE / 16 };

static void add_chord(mb_sound *s, int letter, int64_t n, double pitch)
{
    double low = pitch * (300 + 60 * (letter % 9)), high = pitch * (1200 + 350 * (letter / 9));

    for (int64_t i = 0; i < n; i++, s->n++) {
        double t = (double)i / MB_SOUND_RATE, fade = sin(M_PI * (double)i / (double)n);

        s->sample[s->n] =
            letter == SPACE ? 0 : 0.3 * fade * (sin(2 * M_PI * low * t) + sin(2 * M_PI * high * t));
    }
}

void mb_tones_read(const char *text, uint64_t key, mb_sound *sound, mb_timing *timing)
{
    size_t size = strlen(text);
    double pitch = 0.9 + 0.2 * mb_uniform(key, 0);
    int64_t length = SLOWEST - (int64_t)mb_below(key, 1, SLOWEST / 3);

    *sound = (mb_sound){ .rate = MB_SOUND_RATE };
    sound->sample = mb_alloc((size + 1) * (size_t)length * sizeof *sound->sample);
    *timing = (mb_timing){ .phone = mb_alloc(size + 1),
                           .phone_end = mb_alloc((size + 1) * sizeof *timing->phone_end),
                           .word_end = mb_alloc((size + 1) * sizeof *timing->word_end) };
    for (size_t i = 0; i < size; i++) {
        int letter = text[i] >= 'a' && text[i] <= 'z' ? text[i] - 'a' : SPACE;

        add_chord(sound, letter, length, pitch);
        timing->phone[timing->phones] = (uint8_t)letter;
        timing->phone_end[timing->phones++] = (double)sound->n / MB_SOUND_RATE;
        if (letter != SPACE && (i + 1 == size || text[i + 1] == ' '))
            timing->word_end[timing->words++] = (double)sound->n / MB_SOUND_RATE;
    }
}
