/* Documents with speech: how they are found, written, ordered and told apart. */
#include "base/file.h"
#include "base/random.h"
#include "tests/data_tools.h"
#include "workloads/picture.h"
#include "workloads/sound.h"
#include "workloads/stamps.h"
#include "workloads/voice.h"
#include "workloads/workers.h"

#include "workloads/set.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(spoken, .init = data_folder_open, .fini = data_folder_close);

static const mb_data_request request = { .source = "procedural-speech" };

static mb_data *open_data(void)
{
    mb_data *d;

    cr_assert_eq(mb_data_prepare(&request, NULL, NULL), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_data_open(&request, &d), MB_OK, "%s", mb_message());
    return d;
}

Test(spoken, a_set_with_speech_has_three_modalities)
{
    mb_data *d = open_data();

    cr_expect_eq(mb_data_modalities(d), 3);
    cr_expect_eq(mb_data_vocab(d), 320 + 64 + 48 + 6);
    cr_expect_eq(mb_data_section(d, MB_TRAIN, MB_HUMAN), 128);
    cr_expect_eq(mb_data_section(d, MB_TRAIN, MB_SYNTHETIC), 128);
    cr_expect_eq(mb_data_section(d, MB_TRAIN, MB_UNSEEN), 0);
    cr_expect_eq(mb_data_section(d, MB_TEST, MB_UNSEEN), 32);
    cr_expect_gt(mb_data_tokens(d, MB_TRAIN, MB_SPEECH), 5000);
    cr_expect_eq(mb_data_modality(d, d->ids.speech[0], MB_TEXT), MB_SPEECH);
    cr_expect_eq(mb_data_modality(d, d->ids.boa, MB_TEXT), MB_TEXT);
    cr_expect_eq(mb_data_modality(d, d->ids.eoa, MB_IMAGE), MB_SPEECH);
    cr_expect_eq(mb_data_modality(d, d->ids.boi, MB_IMAGE), MB_IMAGE);
    cr_expect_eq(mb_data_verify(&request, NULL), MB_OK, "%s", mb_message());
    mb_data_close(d);
}

/* Text, codes and order are exact; what goes through sines and logarithms is so on one machine. */
Test(spoken, preparing_twice_gives_the_same_bytes)
{
    mb_data *d = open_data();
    char *hash = strdup(mb_data_hash(d));

    mb_data_close(d);
    data_folder_close();
    cr_assert_eq(mkdir(getenv("MOTBENCH_DATA"), 0777), 0);
    d = open_data();
    cr_expect_str_eq(mb_data_hash(d), hash);
    free(hash);
    mb_data_close(d);
}

/* 't', 'i' and 's' for the runs of a document, "tis" say; checks what encloses them. */
static void form_of(const mb_ids *ids, const int32_t *t, int64_t n, char *out)
{
    int inside = 0;

    cr_assert_eq(t[0], ids->bos);
    cr_assert_eq(t[n - 1], ids->eos);
    for (int64_t i = 1; i < n - 1; i++) {
        enum mb_id_kind kind = mb_id_kind(ids, t[i]);

        if (kind == MB_ID_BOI || kind == MB_ID_BOA) {
            cr_assert_eq(inside, 0);
            inside = kind == MB_ID_BOI ? 'i' : 's';
            *out++ = (char)inside;
        } else if (kind == MB_ID_EOI || kind == MB_ID_EOA) {
            cr_assert_eq(inside, kind == MB_ID_EOI ? 'i' : 's');
            cr_assert(mb_id_kind(ids, t[i - 1]) == MB_ID_IMAGE ||
                      mb_id_kind(ids, t[i - 1]) == MB_ID_SPEECH);
            inside = 0;
        } else if (inside) {
            cr_assert_eq(kind, inside == 'i' ? MB_ID_IMAGE : MB_ID_SPEECH);
        } else {
            cr_assert_eq(kind, MB_ID_TEXT);
            if (out[-1] != 't')
                *out++ = 't';
        }
    }
    *out = '\0';
}

/* With pictures: text, image, speech. Without: thirds of text and speech, speech alone,
   interleaved. */
Test(spoken, documents_have_the_forms_they_should)
{
    mb_data *d = open_data();
    const mb_set_split *s = &d->split[MB_TRAIN];
    int64_t first, n, i = s->section[MB_PAIRS] + s->section[MB_TEXTS];
    int ts = 0, alone = 0, interleaved = 0;

    for (int64_t k = 0; k < s->section[MB_HUMAN] + s->section[MB_SYNTHETIC]; k++, i++) {
        int32_t t[1024];
        char form[1024] = "|";

        cr_assert_eq(mb_set_find(s, i, &first, &n), MB_OK);
        for (int64_t j = 0; j < n; j++)
            t[j] = mb_set_token(d, s, first + j);
        form_of(&d->ids, t, n, form + 1);
        if (k < s->section[MB_HUMAN])
            cr_expect_str_eq(form, "|tis");
        else if (!strcmp(form, "|ts"))
            ts++;
        else if (!strcmp(form, "|s"))
            alone++;
        else if (!strchr(form, 'i'))
            interleaved++;
    }
    cr_expect_eq(ts + alone + interleaved, 128);
    cr_expect(ts > 28 && alone > 25 && interleaved > 25, "%d %d %d", ts, alone, interleaved);
    mb_data_close(d);
}

static mb_stream *open_stream(const mb_data *d, const mb_mixture *m, int64_t len)
{
    mb_stream *s;

    cr_assert_eq(mb_stream_open(d, MB_TRAIN, m, 1, 4, len, &s), MB_OK, "%s", mb_message());
    return s;
}

Test(spoken, triples_come_in_all_six_orders)
{
    static const mb_mixture m = { -1, -1, 0.5, MB_TEXT, 1, 1u << MB_HUMAN, 0, MB_EPSILON };
    static const char *const order[] = { "|tis", "|tsi", "|its", "|ist", "|sti", "|sit" };
    mb_data *d = open_data();
    mb_stream *s = open_stream(d, &m, 256);
    int seen[6] = { 0 }, all = 0;
    mb_batch b;

    while (all < 600) {
        cr_assert_eq(mb_stream_next(s, &b), MB_OK, "%s", mb_message());
        for (int64_t i = 0; i < b.batch * b.len; i++) {
            char form[256] = "|";
            int64_t end = i;

            if (b.token[i] != d->ids.bos)
                continue;
            while (b.token[end] != d->ids.eos)
                end++;
            form_of(&d->ids, b.token + i, end - i + 1, form + 1);
            for (int o = 0; o < 6; o++)
                seen[o] += !strcmp(form, order[o]);
            all++;
        }
    }
    for (int o = 0; o < 6; o++)
        cr_expect(seen[o] > 60 && seen[o] < 140, "%s: %d of %d", order[o], seen[o], all);
    cr_expect_eq(seen[0] + seen[1] + seen[2] + seen[3] + seen[4] + seen[5], all);
    mb_stream_close(s);
    mb_data_close(d);
}

/* Documents of each section in a stream, told by what they hold: spoken ones have BOA. */
static void count_documents(const mb_data *d, const mb_mixture *m, double *spoken, double *others)
{
    /* long: at 256 the gaps take more texts than half speech would have */
    mb_stream *s = open_stream(d, m, 1024);
    mb_batch b;

    *spoken = *others = 0;
    while (*spoken + *others < 4000) {
        bool speech = false;

        cr_assert_eq(mb_stream_next(s, &b), MB_OK, "%s", mb_message());
        for (int64_t i = 0; i < b.batch * b.len; i++) {
            speech = speech || b.token[i] == d->ids.boa;
            if (b.token[i] == d->ids.eos && b.position[i] > 0) {
                *(speech ? spoken : others) += 1;
                speech = false;
            }
        }
    }
    mb_stream_close(s);
}

Test(spoken, speech_has_the_share_that_was_asked_for)
{
    static const double share[] = { 0, 1.0 / 7, 0.5, 1 };
    mb_data *d = open_data();

    for (int i = 0; i < 4; i++) {
        mb_mixture m = { -1, -1, 0.5, MB_TEXT, share[i], 0, 0, MB_EPSILON };
        double spoken, others;

        count_documents(d, &m, &spoken, &others);
        /* one in seven interleaved documents happens to be text alone */
        cr_expect_float_eq(spoken / (spoken + others), share[i], 0.03 + 0.03 * share[i], "%g: %g",
                           share[i], spoken / (spoken + others));
    }
    mb_data_close(d);
}

/* One section at a time covers validation exactly: its losses can be told apart. */
Test(spoken, sections_are_measured_apart_and_add_up)
{
    mb_data *d = open_data();
    int64_t sum = 0, all = 0;

    for (int k = 0; k <= MB_SECTIONS; k++) {
        mb_mixture m = { -1, -1, 0.5, MB_TEXT, 0.5, k < MB_SECTIONS ? 1u << k : 0, 0, MB_EPSILON };
        mb_stream *s;
        mb_batch b;
        mb_err err = mb_stream_open(d, MB_TEST, &m, 1, 2, 256, &s);

        cr_assert_eq(err, MB_OK, "%s", mb_message());
        while (!(err = mb_stream_next(s, &b))) {
            for (int64_t i = 0; i < b.batch * b.len; i++)
                *(k < MB_SECTIONS ? &sum : &all) +=
                    b.target[i] >= 0 && b.target_modality[i] == MB_SPEECH;
        }
        cr_expect_eq(err, MB_EMISSING);
        mb_stream_close(s);
    }
    cr_expect_eq(sum, all);
    cr_expect_eq(all, mb_data_tokens(d, MB_TEST, MB_SPEECH));
    mb_data_close(d);
}

Test(spoken, a_section_that_is_not_there_is_missing)
{
    static const mb_mixture m = { -1, -1, 0.5, MB_TEXT, 0.5, 1u << MB_UNSEEN, 0, MB_EPSILON };
    static const mb_mixture bad = { -1, -1, 0.5, MB_TEXT, 1.5, 0, 0, MB_EPSILON };
    mb_data *d = open_data();
    mb_stream *s;

    cr_expect_eq(mb_stream_open(d, MB_TRAIN, &m, 1, 1, 256, &s), MB_EMISSING);
    cr_expect_eq(mb_stream_open(d, MB_TRAIN, &bad, 1, 1, 256, &s), MB_EINVAL);
    cr_expect_not_null(strstr(mb_message(), "speech_share 1.5"), "%s", mb_message());
    mb_data_close(d);
}

/* ---- stamps ---------------------------------------------------------------------------------- */

static const char kangaroo[] = "A red kangaroo.\nfr.utf8=Un kangourou roux.\nes.utf8= \n"
                               "ru.utf8=Рыжий кенгуру.\nfrx.utf8=no\n";

Test(spoken, stamps_are_pictures_with_a_written_and_spoken_text)
{
    mb_stamps s;

    cr_assert_eq(mb_make_folders(data_path("s/animals")), MB_OK);
    data_write_text("s/animals/a.png", "");
    data_write_text("s/animals/a.txt", kangaroo);
    data_write_text("s/animals/a_desc_fr.ogg", "");
    data_write_text("s/animals/a_desc_es.ogg", ""); /* has no text */
    data_write_text("s/animals/b.png", "");         /* has no description */
    data_write_text("s/animals/c.txt", kangaroo);   /* has no picture */
    data_write_text("s/animals/c_desc_fr.ogg", "");
    data_write_text("s/d.png", "");
    data_write_text("s/d.txt", "a RED kangaroo"); /* the same group, no voice */
    cr_assert_eq(mb_stamps_find(data_path("s"), &s), MB_OK, "%s", mb_message());
    cr_expect_eq(s.pictures, 1u);
    cr_assert_eq(s.clips, 1u);
    cr_expect_str_eq(mb_language[s.clip[0].language], "fr");
    cr_expect_eq(s.text.size, strlen("Un kangourou roux."));
    cr_expect_not_null(strstr(s.clip[0].sound, "animals/a_desc_fr.ogg"));
    mb_stamps_free(&s);
    cr_expect_eq(mb_stamps_find(data_path("nowhere"), &s), MB_EMISSING);
    cr_assert_eq(mb_make_folders(data_path("empty")), MB_OK);
    cr_expect_eq(mb_stamps_find(data_path("empty"), &s), MB_EMISSING);
    cr_expect_not_null(strstr(mb_message(), "no picture with"), "%s", mb_message());
}

/* Letters, not bytes: Cyrillic has two of these each. */
Test(spoken, a_reading_must_have_a_plausible_speed)
{
    static const char text[] = "Рыжий кенгуру.";

    cr_expect(mb_stamps_plausible(text, strlen(text), 1.0));
    cr_expect(mb_stamps_plausible(text, strlen(text), 14 / 4.0));
    cr_expect(!mb_stamps_plausible(text, strlen(text), 14 / 3.9));
    cr_expect(!mb_stamps_plausible(text, strlen(text), 14 / 41.0));
    cr_expect(!mb_stamps_plausible(text, strlen(text), 0));
    cr_expect(!mb_stamps_plausible(text, strlen(text), NAN));
}

/* ---- files and voices ------------------------------------------------------------------------ */

/* True in a build without the libraries, whose message is then the right one. */
static bool is_without(mb_err err, const char *package)
{
    if (err != MB_EMISSING || !strstr(mb_message(), "built without"))
        return false;
    cr_expect_not_null(strstr(mb_message(), package), "%s", mb_message());
    return true;
}

static void put32(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> 8 * i);
}

/* A WAV file of N samples (a ramp) on two channels, the second silent. */
static size_t make_wav(unsigned char *out, uint32_t n)
{
    memcpy(out, "RIFF----WAVEfmt \20\0\0\0\1\0\2\0----____\4\0\20\0data----", 44);
    put32(out + 4, 36 + 4 * n);
    put32(out + 24, 16000);
    put32(out + 28, 64000);
    put32(out + 40, 4 * n);
    for (uint32_t i = 0; i < n; i++)
        put32(out + 44 + 4 * i, i * 64 & 0x7fff);
    return 44 + 4 * n;
}

Test(spoken, sound_files_are_read_or_refused)
{
    unsigned char bytes[44 + 4 * 500];
    size_t size = make_wav(bytes, 500);
    mb_sound s;
    mb_err err = mb_sound_read(data_write("a.wav", bytes, size), &s);

    if (is_without(err, "libsndfile1-dev"))
        cr_skip_test("built without libsndfile");
    cr_assert_eq(err, MB_OK, "%s", mb_message());
    cr_expect(s.n == 500 && s.rate == 16000);
    cr_expect_float_eq(s.sample[100], 6400 / 32768.0 / 2, 1e-9, "the mean of both channels");
    mb_sound_free(&s);
    cr_expect_eq(mb_sound_read(data_path("none.wav"), &s), MB_EMISSING);
    for (size_t cut = 0; cut < 44; cut++) {
        cr_expect_eq(mb_sound_read(data_write("cut.wav", bytes, cut), &s), MB_ECORRUPT, "%zu", cut);
        cr_expect_not_null(strstr(mb_message(), "cut.wav"), "%s", mb_message());
    }
    cr_expect_eq(mb_sound_read(data_write("empty.wav", bytes, make_wav(bytes, 0)), &s),
                 MB_ECORRUPT);
}

/* 2 x 1 pixels: red, and a green of which nothing shows. */
static const unsigned char png[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44,
    0x52, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x01, 0x08, 0x06, 0x00, 0x00, 0x00, 0xf4,
    0x22, 0x7f, 0x8a, 0x00, 0x00, 0x00, 0x0f, 0x49, 0x44, 0x41, 0x54, 0x78, 0xda, 0x63, 0xf8,
    0xcf, 0xc0, 0xf0, 0x1f, 0x08, 0x19, 0x00, 0x0f, 0xf9, 0x02, 0xfe, 0x94, 0x3c, 0x3d, 0xb3,
    0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82
};

Test(spoken, pictures_lie_on_white_in_a_square)
{
    uint8_t out[4 * 4 * 3];
    mb_err err = mb_picture_read(data_write("a.png", png, sizeof png), 4, out);

    if (is_without(err, "libpng-dev"))
        cr_skip_test("built without libpng");
    cr_assert_eq(err, MB_OK, "%s", mb_message());
    cr_expect(out[0] == 255 && out[1] == 255 && out[2] == 255, "the margin is white");
    cr_expect(out[4 * 3] == 255 && out[4 * 3 + 1] == 0 && out[4 * 3 + 2] == 0, "red");
    cr_expect(out[7 * 3] == 255 && out[7 * 3 + 1] == 255 && out[7 * 3 + 2] == 255, "transparent");
    for (size_t cut = 0; cut < 45; cut++)
        cr_expect_eq(mb_picture_read(data_write("cut.png", png, cut), 4, out), MB_ECORRUPT, "%zu",
                     cut);
    cr_expect_eq(mb_picture_read(data_path("none.png"), 4, out), MB_EMISSING);
}

Test(spoken, a_voice_says_the_same_whatever_it_said_before)
{
    mb_sound one, two, other;
    mb_timing t1, t2, t3;
    mb_err err = mb_voice_read(MB_KAL16, "a dark, slim t-shirt", &one, &t1);

    if (is_without(err, "flite1-dev"))
        cr_skip_test("built without flite");
    cr_assert_eq(err, MB_OK, "%s", mb_message());
    cr_expect_eq(t1.words, 4);
    cr_expect_lt(t1.word_end[0], t1.word_end[1]);
    cr_expect_gt(t1.phones, 12);
    cr_assert_eq(mb_voice_read(MB_SLT, "a boot", &two, &t2), MB_OK);
    cr_assert_eq(mb_voice_read(MB_SLT, "a boot", &other, &t3), MB_OK);
    cr_expect(two.n == other.n && !memcmp(two.sample, other.sample, (size_t)two.n * 8));
    cr_expect(two.rate == MB_SOUND_RATE && t2.words == 2);
    mb_sound_free(&one);
    mb_sound_free(&two);
    mb_sound_free(&other);
    mb_timing_free(&t1);
    mb_timing_free(&t2);
    mb_timing_free(&t3);
}

/* ---- workers --------------------------------------------------------------------------------- */

static mb_err touch(void *user, int64_t i)
{
    char *path = mb_format("%s/%lld", (const char *)user, (long long)i);
    FILE *f = i == 3 && !strcmp(user, data_path("bad")) ? NULL : fopen(path, "w");
    mb_err err = f ? MB_OK : mb_fail(MB_EIO, "job %lld cannot", (long long)i);

    if (f)
        fclose(f);
    free(path);
    return err;
}

Test(spoken, workers_do_every_job_or_say_which_failed)
{
    mb_progress p = { 0 };

    cr_assert_eq(mb_make_folders(data_path("good")), MB_OK);
    cr_assert_eq(mb_make_folders(data_path("bad")), MB_OK);
    cr_assert_eq(mb_workers_run(7, touch, (void *)data_path("good"), &p, "testing"), MB_OK, "%s",
                 mb_message());
    for (int i = 0; i < 7; i++) {
        char *path = mb_format("%s/%d", data_path("good"), i);

        cr_expect(mb_exists(path));
        free(path);
    }
    cr_expect_eq(mb_workers_run(50, touch, (void *)data_path("bad"), &p, "testing"), MB_EIO);
    cr_expect_str_eq(mb_message(), "job 3 cannot");
    cr_expect(!mb_exists(data_path("bad/49")), "a failure ends the rest");
}
