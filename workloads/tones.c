#include "workloads/tones.h"
#include "base/file.h"
#include "base/random.h"

#include <math.h>
#include <string.h>

enum { SPACE = 26, SLOWEST = MB_SOUND_RATE / 16 };

/* A sine of STEP radians a sample from 0 on, by sin(x + d) = 2 cos(d) sin(x) - sin(x - d). */
typedef struct sine {
    double now, last, twice_cosine;
} sine;

static sine sine_make(double step)
{
    return (sine){ 0, -sin(step), 2 * cos(step) };
}

static double sine_next(sine *s)
{
    double now = s->now;

    s->now = s->twice_cosine * now - s->last;
    s->last = now;
    return now;
}

static void add_chord(mb_sound *s, int letter, int64_t n, double pitch)
{
    const double turn = 2 * M_PI * pitch / MB_SOUND_RATE;
    sine low = sine_make(turn * (300 + 60 * (letter % 9)));
    sine high = sine_make(turn * (1200 + 350 * (letter / 9)));
    sine fade = sine_make(M_PI / (double)n);

    for (int64_t i = 0; i < n; i++) {
        double chord = sine_next(&low) + sine_next(&high);

        s->sample[s->n++] = letter == SPACE ? 0 : 0.3 * sine_next(&fade) * chord;
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
