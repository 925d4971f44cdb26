/* Units as sound: what is heard is what the units say, as far as units can tell. */
#include "base/file.h"
#include "base/random.h"
#include "tests/data_tools.h"
#include "workloads/fourier.h"
#include "workloads/parts.h"
#include "workloads/set.h"
#include "workloads/speaker.h"
#include "workloads/wav.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(speaker, .init = data_folder_open, .fini = data_folder_close);

/* The first spoken document's units, as they are stored, from 0. */
static uint16_t *some_units(const mb_data *d, int64_t i, int64_t *n)
{
    int64_t at = mb_data_section_start(d, MB_VAL, MB_HUMAN) + i;
    uint16_t *unit;
    mb_parts p;

    cr_assert_eq(mb_data_parts(d, MB_VAL, at, &p), MB_OK, "%s", mb_message());
    *n = p.part[MB_SPEECH].n;
    unit = mb_alloc((size_t)*n * sizeof *unit);
    for (int64_t k = 0; k < *n; k++)
        unit[k] = (uint16_t)(p.part[MB_SPEECH].token[k] - d->ids.speech[0]);
    mb_parts_free(&p);
    return unit;
}

/* How many of N units are heard again in what is said, at their place. */
static int64_t heard_again(const mb_units *units, const uint16_t *unit, const mb_sound *s)
{
    mb_utterances u = { 0 };
    uint16_t *again;
    int64_t n, same = 0;

    mb_utterances_add(&u, s, 0, NULL);
    n = mb_utterances_units(&u, 0);
    again = mb_units_assign(units, &u);
    for (int64_t i = 0; i < n; i++)
        same += again[i] == unit[i];
    free(again);
    mb_utterances_free(&u);
    return same;
}

/* Of 48 units; by chance one in 48 would be. */
Test(speaker, what_is_said_has_the_units_that_it_was_made_of)
{
    mb_data *d = data_open("procedural-speech");
    int k = d->ids.speech[1] - d->ids.speech[0];
    int64_t same = 0, all = 0, n;
    mb_speaker *s;
    mb_units units;

    cr_assert_eq(mb_speaker_open(mb_data_folder(d), k, &s), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_units_read(mb_data_folder(d), k, &units), MB_OK, "%s", mb_message());
    for (int64_t i = 0; i < 10; i++) {
        uint16_t *unit = some_units(d, i, &n);
        mb_sound sound;

        mb_speaker_say(s, unit, n, &sound);
        cr_expect_eq(sound.n, n * MB_SOUND_RATE / 25);
        same += heard_again(&units, unit, &sound);
        all += n;
        mb_sound_free(&sound);
        free(unit);
    }
    cr_expect_gt((double)same / (double)all, 0.5, "%lld of %lld", (long long)same, (long long)all);
    mb_units_free(&units);
    mb_speaker_close(s);
    mb_data_close(d);
}

Test(speaker, the_same_units_are_the_same_sound_between_minus_1_and_1)
{
    mb_data *d = data_open("procedural-speech");
    mb_sound a, b, none;
    double power = 0;
    int64_t n;
    uint16_t *unit = some_units(d, 0, &n);
    mb_speaker *s;

    cr_assert_eq(mb_speaker_open(mb_data_folder(d), d->ids.speech[1] - d->ids.speech[0], &s), MB_OK,
                 "%s", mb_message());
    mb_speaker_say(s, unit, n, &a);
    mb_speaker_say(s, unit, n, &b);
    mb_speaker_say(s, unit, 0, &none);
    cr_expect_eq(none.n, 0);
    cr_assert_eq(a.n, b.n);
    cr_expect_arr_eq(a.sample, b.sample, (size_t)a.n * sizeof *a.sample);
    for (int64_t i = 0; i < a.n; i++) {
        cr_assert(fabs(a.sample[i]) <= 1);
        power += a.sample[i] * a.sample[i] / (double)a.n;
    }
    cr_expect_float_eq(sqrt(power), 0.08, 0.01);
    mb_sound_free(&a);
    mb_sound_free(&b);
    mb_sound_free(&none);
    free(unit);
    mb_speaker_close(s);
    mb_data_close(d);
}

Test(speaker, files_of_other_units_are_refused)
{
    mb_data *d = data_open("procedural-speech");
    int k = d->ids.speech[1] - d->ids.speech[0];
    char *path = mb_format("%s/lda.f64", mb_data_folder(d));
    mb_speaker *s;

    cr_expect_eq(mb_speaker_open(mb_data_folder(d), k + 1, &s), MB_ECORRUPT);
    cr_expect(strstr(mb_message(), "units.u8: ") && !s, "%s", mb_message());
    cr_assert_eq(truncate(path, 100), 0);
    cr_expect_eq(mb_speaker_open(mb_data_folder(d), k, &s), MB_ECORRUPT);
    cr_expect(strstr(mb_message(), "lda.f64: 100 bytes found, expected 22568"), "%s", mb_message());
    free(path);
    mb_data_close(d);
}

/* The first cepstrum is the sum of forty logarithms; equal ones are white noise with emphasis,
   which makes it fall towards 8 kHz once that is taken back. */
Test(speaker, a_spectrum_has_the_level_and_the_slope_that_cepstra_say)
{
    double cepstra[MB_CEPSTRA] = { 0 }, quiet[MB_FRAME_BINS], loud[MB_FRAME_BINS];

    mb_frames_spectrum(cepstra, quiet);
    cepstra[0] = 40 * log(2.0);
    mb_frames_spectrum(cepstra, loud);
    for (int b = 0; b < MB_FRAME_BINS; b++) {
        cr_expect_float_eq(loud[b] / quiet[b], 2, 1e-9, "bin %d", b);
        cr_expect(b == 0 || quiet[b] < quiet[b - 1], "bin %d", b);
    }
    cepstra[0] = 0;
    cepstra[1] = 10; /* a falling half wave over the triangles */
    mb_frames_spectrum(cepstra, loud);
    cr_expect(loud[10] > quiet[10] && loud[250] < quiet[250]);
}

Test(speaker, the_fourier_transform_goes_back)
{
    double re[MB_FOURIER_POINTS], im[MB_FOURIER_POINTS] = { 0 };

    for (int i = 0; i < MB_FOURIER_POINTS; i++)
        re[i] = cos(2 * M_PI * 5 * i / MB_FOURIER_POINTS);
    mb_fourier(re, im);
    cr_expect_float_eq(re[5], MB_FOURIER_POINTS / 2.0, 1e-9);
    cr_expect_float_eq(re[6], 0, 1e-9);
    mb_fourier(im, re);
    cr_expect_float_eq(re[1], MB_FOURIER_POINTS * cos(2 * M_PI * 5 / MB_FOURIER_POINTS), 1e-9);
}

/* ---- files ----------------------------------------------------------------------------------- */

Test(wav, what_is_written_is_read)
{
    const double sample[] = { 0, 0.5, -0.5, 1, -1, 7, -7 };
    mb_sound s;
    mb_wav w;

    if (mb_media_check())
        cr_skip_test("%s", mb_message());
    data_folder_open();
    cr_assert_eq(mb_wav_open(data_path("a.wav"), 16000, &w), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_wav_add(&w, sample, 7), MB_OK);
    cr_assert_eq(mb_wav_add(&w, NULL, 3), MB_OK);
    cr_assert_eq(mb_wav_commit(&w), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_sound_read(data_path("a.wav"), &s), MB_OK, "%s", mb_message());
    cr_assert(s.n == 10 && s.rate == 16000);
    for (int i = 0; i < 10; i++)
        cr_expect_float_eq(s.sample[i], i < 7 ? fmax(-1, fmin(1, sample[i])) : 0, 1e-4, "%d", i);
    mb_sound_free(&s);
    data_folder_close();
}

Test(wav, the_header_is_as_the_format_has_it)
{
    static const unsigned char want[] = "RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0"
                                        "\x80\x3e\0\0\x02\0\x10\0data\x04\0\0\0\0\0\x01\x80";
    const double sample[] = { 0, -1 };
    mb_map map;
    mb_wav w;

    data_folder_open();
    cr_assert_eq(mb_wav_open(data_path("a.wav"), 8000, &w), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_wav_add(&w, sample, 2), MB_OK);
    cr_assert_eq(mb_wav_commit(&w), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_map_open(data_path("a.wav"), &map), MB_OK, "%s", mb_message());
    cr_expect_eq(map.size, 48);
    cr_expect_arr_eq(map.data, want, 48);
    mb_map_close(&map);
    data_folder_close();
}

Test(wav, more_than_a_file_can_count_is_refused)
{
    mb_wav w;

    data_folder_open();
    cr_assert_eq(mb_wav_open(data_path("a.wav"), 8000, &w), MB_OK, "%s", mb_message());
    cr_expect_eq(mb_wav_add(&w, NULL, INT64_C(1) << 31), MB_EINVAL);
    cr_expect(strstr(mb_message(), "a.wav: more than 2147483625 samples"), "%s", mb_message());
    mb_wav_abort(&w);
    cr_expect_not(mb_exists(data_path("a.wav")));
    data_folder_close();
}
