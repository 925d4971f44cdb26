/* Source "spoken": all of "fashion", and speech. Real: Tux Paint's stamps, pictures with a
   description written and spoken by people in eight languages. For volume: Fashion-MNIST captions
   read by two synthetic voices, and in the test split by a third that training never hears.

   Not comparable with large speech corpora: one person a language, and what a synthetic voice says
   is nearly a function of its text. Hence the sections of a split. */
#include "base/random.h"
#include "workloads/fashion.h"
#include "workloads/fetch.h"
#include "workloads/picture.h"
#include "workloads/spoken_sound.h"
#include "workloads/stamps.h"
#include "workloads/voice.h"

#include <stdlib.h>
#include <string.h>

enum { SEED = 1, CODES = 512, UNITS = 256, SIDE = 32, UNSEEN = 1000 };

static const size_t readings[MB_SPLITS] = { 20000, 2000, 2000 };

/* ---- stamps ---------------------------------------------------------------------------------- */

/* Reads the pictures of a split behind its captioned images; PLACE (pictures) gets their numbers.
 */
static mb_err add_pictures(mb_corpus *c, enum mb_split split, const mb_stamps *stamps, int *place)
{
    struct mb_corpus_split *s = &c->split[split];
    size_t bytes = mb_image_bytes(c->shape), n = s->caption.count + stamps->pictures;
    mb_err err = MB_OK;
    uint8_t *all = mb_alloc(n * bytes + 1);

    memcpy(all, s->image, s->caption.count * bytes);
    free(s->image);
    s->image = all;
    for (size_t i = 0; !err && i < stamps->pictures; i++) {
        if (stamps->is_val[i] != (split == MB_VAL))
            continue;
        place[i] = (int)s->further;
        err = mb_picture_read(stamps->picture[i], SIDE,
                              all + (s->caption.count + s->further++) * bytes);
    }
    return err;
}

static void add_clips(mb_corpus *c, const mb_stamps *stamps, const int *place)
{
    const mb_texts *t = &stamps->text;

    for (size_t i = 0; i < stamps->clips; i++) {
        const mb_clip *clip = &stamps->clip[i];
        enum mb_split split = stamps->is_val[clip->picture] ? MB_VAL : MB_TRAIN;

        mb_spoken_add(&c->split[split].human, t->bytes + t->start[clip->text],
                      t->start[clip->text + 1] - t->start[clip->text],
                      (mb_about){ .image = place[clip->picture],
                                  .tag = clip->language,
                                  .recording = clip->sound });
    }
}

static mb_err add_hash(const char *path, mb_texts *all)
{
    char hash[MB_HASH_SIZE];

    MB_TRY(mb_hash_file(path, hash));
    mb_texts_add(all, hash, MB_HASH_SIZE - 1);
    return MB_OK;
}

/* One hash for thousands of files: the hash of theirs. */
static mb_err describe_stamps(const mb_stamps *stamps, mb_set_writer *w)
{
    char hash[MB_HASH_SIZE];
    mb_texts all = { 0 };
    mb_err err = MB_OK;

    for (size_t i = 0; !err && i < stamps->pictures; i++)
        err = add_hash(stamps->picture[i], &all);
    for (size_t i = 0; !err && i < stamps->clips; i++)
        err = add_hash(stamps->clip[i].sound, &all);
    mb_hash(all.bytes, all.size, hash);
    mb_set_parameter(w, "stamps",
                     json_pack("{sI sI ss}", "pictures", (json_int_t)stamps->pictures, "recordings",
                               (json_int_t)stamps->clips, "sha256", hash));
    mb_texts_free(&all);
    return err;
}

static mb_err use_stamps(mb_corpus *c, const mb_stamps *stamps, mb_set_writer *w,
                         const mb_progress *p)
{
    int *place = mb_zalloc(stamps->pictures, sizeof *place);
    mb_err err = describe_stamps(stamps, w);

    mb_progress_tell(p, "reading pictures", 0);
    if (!err)
        err = add_pictures(c, MB_TRAIN, stamps, place);
    if (!err)
        err = add_pictures(c, MB_VAL, stamps, place);
    if (!err)
        add_clips(c, stamps, place);
    free(place);
    for (int s = MB_TRAIN; !err && s <= MB_VAL; s++)
        err = mb_spoken_sound(&c->split[s].human, p, "decoding and measuring human speech");
    return err;
}

static mb_err read_stamps(const mb_data_request *r, mb_corpus *c, mb_set_writer *w,
                          const mb_progress *p)
{
    mb_stamps stamps = { 0 };
    char *folder = NULL;
    mb_err err =
        mb_fetch("tuxpaint-stamps-default", "usr/share/tuxpaint/stamps", r->stamps_dir, p, &folder);

    if (!err)
        err = mb_stamps_find(folder, &stamps);
    if (!err)
        err = use_stamps(c, &stamps, w, p);
    mb_stamps_free(&stamps);
    free(folder);
    return err;
}

/* ---- readings -------------------------------------------------------------------------------- */

/* N captions of a split, drawn without repetition, four of five for the first voice. */
static void draw_readings(mb_spoken_list *to, enum mb_split split, const mb_texts *caption,
                          size_t n, enum mb_voice voice, enum mb_voice fifth)
{
    uint64_t key = mb_key(SEED, "captions to read", (uint64_t)split, 0);

    for (size_t i = 0; i < n && i < caption->count; i++) {
        size_t at = mb_permute(key, caption->count, i);
        mb_about about = { .image = -1, .tag = -1, .voice = (int)(i % 5 == 4 ? fifth : voice) };

        mb_spoken_add(to, caption->bytes + caption->start[at],
                      caption->start[at + 1] - caption->start[at], about);
    }
}

static mb_err add_readings(mb_corpus *c, const mb_progress *p)
{
    static const double until[] = { 0.8, 0.86, 0.92, 1 };
    struct mb_corpus_split *s = c->split, *test = &c->split[MB_TEST];
    mb_spoken_list *list[] = { &s[MB_TRAIN].synthetic, &s[MB_VAL].synthetic, &test->synthetic,
                               &test->unseen };

    for (int i = 0; i < MB_SPLITS; i++)
        draw_readings(list[i], i, &s[i].caption, readings[i], MB_KAL16, MB_SLT);
    /* the same captions as of the test split's known voices: only the voice differs */
    draw_readings(&test->unseen, MB_TEST, &test->caption, UNSEEN, MB_AWB, MB_AWB);
    for (int i = 0; i < 4; i++) {
        mb_progress step = mb_progress_share(p, i ? until[i - 1] : 0, until[i]);

        MB_TRY(mb_spoken_sound(list[i], &step, "reading captions aloud"));
    }
    return MB_OK;
}

/* ---- the source ------------------------------------------------------------------------------ */

static void note_parameters(const mb_corpus *c, mb_set_writer *w)
{
    json_t *languages = json_array(), *voices = json_array();

    for (int l = 0; l < MB_LANGUAGES; l++)
        json_array_append_new(languages, json_string(mb_language[l]));
    for (int v = 0; v < MB_VOICES; v++)
        json_array_append_new(voices, json_string(mb_voice_name[v]));
    mb_set_parameter(w, "text_vocab", json_integer(c->text_vocab));
    mb_set_parameter(w, "languages", languages);
    mb_set_parameter(w, "image_codes", json_integer(c->codes));
    mb_set_parameter(w, "image_side", json_integer(SIDE));
    mb_set_parameter(w, "image_channels", json_integer(c->shape.channels));
    mb_set_parameter(w, "speech_units", json_integer(c->units));
    mb_set_parameter(w, "seed", json_integer(SEED));
}

static mb_err prepare(const mb_data_request *r, mb_set_writer *w, const mb_progress *p)
{
    mb_corpus c = { .text_vocab = r->text_vocab,
                    .tags = MB_LANGUAGES,
                    .codes = CODES,
                    .units = UNITS,
                    .shape = { SIDE, 3 } };
    mb_progress step = mb_progress_share(p, 0, 0.05);
    mb_err err;

    MB_TRY(mb_media_check()); /* before anything is downloaded */
    note_parameters(&c, w);
    err = mb_fashion_read(r, &c, w, &step);
    step = mb_progress_share(p, 0.05, 0.15);
    if (!err)
        err = read_stamps(r, &c, w, &step);
    step = mb_progress_share(p, 0.15, 0.8);
    if (!err)
        err = add_readings(&c, &step);
    step = mb_progress_share(p, 0.8, 1);
    if (!err)
        err = mb_corpus_write(&c, w, &step);
    mb_corpus_free(&c);
    return err;
}

const mb_source mb_spoken = {
    .name = "spoken",
    .about = "fashion, pictures with human voices, captions read aloud (Debian packages, 200 MB)",
    .version = 1,
    .text_vocab = 4096,
    .identify = mb_identify_by_vocab,
    .prepare = prepare,
};
