/* From sound to units: what each step promises, on sounds whose answer is known. */
#include "base/file.h"
#include "base/random.h"
#include "tests/data_tools.h"
#include "workloads/tones.h"
#include "workloads/units.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TestSuite(speech, .init = data_folder_open, .fini = data_folder_close);

static mb_sound make_sine(double hz, int rate, double seconds, double level)
{
    mb_sound s = { .n = (int64_t)(rate * seconds), .rate = rate };

    s.sample = mb_alloc((size_t)(s.n + 1) * sizeof *s.sample);
    for (int64_t i = 0; i < s.n; i++)
        s.sample[i] = level * sin(2 * M_PI * hz * (double)i / rate);
    return s;
}

/* The normalised squared error against the same tone made at 16 kHz, away from the ends: 1e-6 is
   60 dB. What lies above the new Nyquist frequency goes. */
Test(speech, resampling_keeps_tones_and_drops_what_is_too_high)
{
    static const int rates[] = { 8000, 16000, 22050, 44100, 48000 };

    for (int r = 0; r < 5; r++) {
        mb_sound s = make_sine(1000, rates[r], 0.5, 1), out, high;
        double error = 0, power = 0;

        mb_sound_resample(&s, &out);
        cr_assert_eq(out.rate, MB_SOUND_RATE);
        cr_assert_eq(out.n, s.n * MB_SOUND_RATE / rates[r]);
        for (int64_t i = 1000; i < out.n - 1000; i++) {
            double want = sin(2 * M_PI * 1000 * (double)i / MB_SOUND_RATE);

            error += pow(out.sample[i] - want, 2);
            power += want * want;
        }
        cr_expect_lt(error / power, 1e-5, "%d Hz: %g", rates[r], error / power);
        mb_sound_free(&s);
        mb_sound_free(&out);
        if (rates[r] <= MB_SOUND_RATE)
            continue;
        s = make_sine(rates[r] * 0.45, rates[r], 0.5, 1);
        mb_sound_resample(&s, &high);
        power = 0;
        for (int64_t i = 1000; i < high.n - 1000; i++)
            power += high.sample[i] * high.sample[i];
        cr_expect_lt(power / (double)high.n, 1e-5, "%d Hz", rates[r]);
        mb_sound_free(&s);
        mb_sound_free(&high);
    }
}

/* Half a second of near silence, one of tone, half of near silence. */
Test(speech, trimming_leaves_the_loud_part_and_a_margin)
{
    mb_sound s = make_sine(500, MB_SOUND_RATE, 2, 0.3);
    double square = 0;
    int64_t cut;

    for (int64_t i = 0; i < s.n; i++) {
        if (i < 8000 || i >= 24000)
            s.sample[i] *= 1e-3;
    }
    cut = mb_sound_trim(&s);
    cr_expect_eq(cut, 8000 - 5 * 320, "%lld", (long long)cut);
    cr_expect_eq(s.n, 16000 + 10 * 320, "%lld", (long long)s.n);
    for (int64_t i = 0; i < s.n; i++)
        square += s.sample[i] * s.sample[i];
    cr_expect_float_eq(square / (double)s.n, 1, 1e-9);
    mb_sound_free(&s);
}

/* Silence, single samples and nothing at all survive every step. */
Test(speech, sounds_without_content_are_no_accident)
{
    for (int64_t n = 0; n <= 1000; n += 250) {
        mb_utterances u = { 0 };
        mb_sound s = { .n = n, .rate = MB_SOUND_RATE };
        int64_t trimmed;

        s.sample = mb_zalloc((size_t)n + 1, sizeof *s.sample);
        trimmed = mb_sound_trim(&s);
        cr_expect_eq(trimmed, 0);
        mb_utterances_add(&u, &s, trimmed, NULL);
        cr_expect_eq(u.count, 1u);
        cr_expect_eq(mb_utterances_units(&u, 0), mb_frames_count(n) / 2);
        for (int64_t i = 0; i < u.frames * MB_CEPSTRA; i++)
            cr_expect(isfinite(u.frame[i]));
        mb_utterances_free(&u);
        mb_sound_free(&s);
    }
}

static mb_sound make_noise(int frames)
{
    mb_sound s = { .n = (frames - 1) * MB_FRAME_HOP + MB_FRAME_WINDOW, .rate = MB_SOUND_RATE };

    s.sample = mb_alloc((size_t)s.n * sizeof *s.sample);
    for (int64_t i = 0; i < s.n; i++)
        s.sample[i] = mb_normal(1, (uint64_t)i) * sin((double)i / 300);
    return s;
}

Test(speech, frames_are_normalised_and_do_not_depend_on_the_level)
{
    float all[6 * MB_CEPSTRA], louder[6 * MB_CEPSTRA];
    mb_sound s = make_noise(6);

    cr_assert_eq(mb_frames_count(s.n), 6);
    cr_assert_eq(mb_frames_count(s.n - 1), 5);
    mb_frames_measure(&s, all);
    for (int64_t i = 0; i < s.n; i++)
        s.sample[i] *= 4;
    mb_frames_measure(&s, louder);
    for (int c = 0; c < MB_CEPSTRA; c++) {
        double sum = 0, square = 0;

        for (int f = 0; f < 6; f++) {
            double x = all[f * MB_CEPSTRA + c];

            cr_expect_float_eq(x, louder[f * MB_CEPSTRA + c], 1e-3);
            sum += x;
            square += x * x;
        }
        cr_expect_float_eq(sum, 0, 1e-4);
        cr_expect_float_eq(square / 6, 1, 1e-2);
    }
    mb_sound_free(&s);
}

/* Frames share a transform in pairs. One hop later the pairs are others, and each coefficient must
   be the same but for the mean and scale of its utterance. */
Test(speech, frames_do_not_see_each_other)
{
    float all[7 * MB_CEPSTRA], later[6 * MB_CEPSTRA];
    mb_sound s = make_noise(7), shifted = { s.sample + MB_FRAME_HOP, s.n - MB_FRAME_HOP, s.rate };

    mb_frames_measure(&s, all);
    mb_frames_measure(&shifted, later);
    for (int c = 0; c < MB_CEPSTRA; c++) {
        const float *a = all + MB_CEPSTRA + c, *b = later + c;
        int last = 5 * MB_CEPSTRA;

        for (int f = 1; f < 5; f++) {
            int at = f * MB_CEPSTRA;

            cr_expect_float_eq((a[at] - a[0]) * (b[last] - b[0]), (b[at] - b[0]) * (a[last] - a[0]),
                               1e-4, "coefficient %d", c);
        }
    }
    mb_sound_free(&s);
}

static void sing(mb_utterances *u, const char *text, uint64_t key)
{
    mb_sound sound;
    mb_timing timing;
    int64_t trimmed;

    mb_tones_read(text, key, &sound, &timing);
    trimmed = mb_sound_trim(&sound);
    mb_utterances_add(u, &sound, trimmed, &timing);
    mb_sound_free(&sound);
    mb_timing_free(&timing);
}

Test(speech, words_end_where_they_end)
{
    mb_utterances u = { 0 };
    int64_t units;

    sing(&u, "abcdefgh ij klmnopqrstuv", 1);
    units = mb_utterances_units(&u, 0);
    cr_assert_eq(u.words, 3);
    cr_expect_eq(u.word_end[2], units);
    cr_expect_float_eq((double)u.word_end[0] / (double)units, 8.0 / 24, 0.05);
    cr_expect_float_eq((double)u.word_end[1] / (double)units, 11.0 / 24, 0.05);
    mb_utterances_free(&u);
}

Test(speech, utterances_are_the_same_after_a_file)
{
    mb_utterances u = { 0 }, back = { 0 };
    const char *path = data_path("u");

    sing(&u, "one two", 1);
    mb_utterances_skip(&u);
    sing(&u, "three", 2);
    cr_assert_eq(mb_utterances_save(&u, path), MB_OK, "%s", mb_message());
    for (size_t time = 0; time < 2; time++)
        cr_assert_eq(mb_utterances_load(&back, path), MB_OK, "%s", mb_message());
    cr_assert_eq(back.count, 6u);
    cr_assert_eq(back.frames, 2 * u.frames);
    cr_expect_eq(mb_utterances_units(&back, 1), 0);
    for (size_t i = 0; i < 6; i++) {
        size_t j = i % 3;
        int64_t n = u.frame_start[j + 1] - u.frame_start[j];

        cr_assert_eq(back.frame_start[i + 1] - back.frame_start[i], n);
        cr_expect_eq(memcmp(back.frame + back.frame_start[i] * MB_CEPSTRA,
                            u.frame + u.frame_start[j] * MB_CEPSTRA,
                            (size_t)n * MB_CEPSTRA * sizeof(float)),
                     0);
        cr_expect_eq(
            memcmp(back.phone + back.frame_start[i], u.phone + u.frame_start[j], (size_t)n), 0);
    }
    cr_expect_eq(back.word_end[3], u.word_end[0]);
    mb_utterances_free(&u);
    mb_utterances_free(&back);
}

/* Cut anywhere, or with counts that lie. */
Test(speech, damaged_utterances_are_refused)
{
    mb_utterances u = { 0 }, back = { 0 };
    const char *path = data_path("u");
    unsigned char bytes[1 << 16];
    size_t size;
    FILE *f;

    sing(&u, "ab", 1);
    cr_assert_eq(mb_utterances_save(&u, path), MB_OK);
    f = fopen(path, "rb");
    size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    for (size_t cut = 0; cut < size; cut += cut < 64 ? 1 : 97) {
        cr_expect_eq(mb_utterances_load(&back, data_write("cut", bytes, cut)), MB_ECORRUPT);
        cr_expect_not_null(strstr(mb_message(), "cut: "), "%s", mb_message());
    }
    for (size_t at = 0; at < 48; at++) { /* the header, the first borders */
        bytes[at] ^= 0x80;
        cr_expect_eq(mb_utterances_load(&back, data_write("lie", bytes, size)), MB_ECORRUPT, "%zu",
                     at);
        bytes[at] ^= 0x80;
    }
    cr_expect_eq(back.count, 0u);
    mb_utterances_free(&u);
    mb_utterances_free(&back);
}

/* Two classes that differ along one input alone, under noise that is larger along others. */
Test(speech, lda_finds_the_direction_that_tells_phones_apart)
{
    enum { FRAMES = 4000 };
    mb_utterances u = { .count = 1, .frames = FRAMES };
    double *out = mb_alloc(FRAMES * MB_LDA_OUT * sizeof *out), mean[2] = { 0 }, within = 0;
    mb_lda l;

    u.frame_start = (int64_t[]){ 0, FRAMES };
    u.frame = mb_alloc(FRAMES * MB_CEPSTRA * sizeof *u.frame);
    u.phone = mb_alloc(FRAMES);
    for (int f = 0; f < FRAMES; f++) {
        u.phone[f] = (uint8_t)(f / 20 % 2);
        for (int c = 0; c < MB_CEPSTRA; c++)
            u.frame[f * MB_CEPSTRA + c] =
                (float)(mb_normal(7, (uint64_t)(f * MB_CEPSTRA + c)) * (c == 5 ? 0.2 : 3) +
                        (c == 5 ? u.phone[f] : 0));
    }
    cr_assert_eq(mb_lda_fit(&u, 1, &l), MB_OK, "%s", mb_message());
    mb_lda_project(&l, &u, 0, out);
    for (int f = 0; f < FRAMES; f++)
        mean[u.phone[f]] += out[f * MB_LDA_OUT] / (FRAMES / 2);
    for (int f = 0; f < FRAMES; f++)
        within += pow(out[f * MB_LDA_OUT] - mean[u.phone[f]], 2) / FRAMES;
    cr_expect_gt(fabs(mean[1] - mean[0]), 5);
    cr_expect_float_eq(within, 1, 0.02, "%g", within);
    memset(u.phone, 3, FRAMES);
    cr_expect_eq(mb_lda_fit(&u, 1, &l), MB_EINVAL);
    free(out);
    free(u.frame);
    free(u.phone);
}

/* The same text by two voices has mostly the same units; another text has not. */
Test(speech, units_tell_what_is_said)
{
    mb_utterances u = { 0 }, none = { 0 };
    mb_units units;
    uint16_t *code;
    int64_t start[4] = { 0 }, same = 0, other = 0, n = 0;
    char text[33] = "";

    for (uint64_t i = 0; i < 120; i++) {
        for (int c = 0; c < 32; c++)
            text[c] = c % 6 == 5 ? ' ' : (char)('a' + mb_below(i, (uint64_t)c, 26));
        sing(&u, text, i);
    }
    cr_assert_eq(mb_units_fit(&u, &none, 32, &units), MB_OK, "%s", mb_message());
    mb_utterances_free(&u);
    sing(&u, "the quick brown fox jumps", 1000);
    sing(&u, "the quick brown fox jumps", 1000);
    sing(&u, "over a lazy dog in a box of", 1000);
    code = mb_units_assign(&units, &u);
    for (int i = 0; i < 3; i++)
        start[i + 1] = start[i] + mb_utterances_units(&u, (size_t)i);
    for (int64_t i = 0; i < start[1] && i < start[3] - start[2]; i++, n++) {
        cr_assert_lt(code[i], 32);
        same += code[i] == code[start[1] + i];
        other += code[i] == code[start[2] + i];
    }
    cr_expect_eq(same, n);
    cr_expect_lt(other, n / 2);
    free(code);
    mb_units_free(&units);
    mb_utterances_free(&u);
}
