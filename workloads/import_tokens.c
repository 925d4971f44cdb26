/* Messages of a part are opened by where its item is, in the caller. */
#include "workloads/import_tokens.h"
#include "workloads/array.h"
#include "workloads/image_tokens.h"
#include "workloads/kmeans.h"
#include "workloads/latents.h"
#include "workloads/picture.h"
#include "workloads/thin.h"
#include "workloads/units.h"
#include "workloads/voice.h"

#include <stdlib.h>
#include <string.h>

/* What is learnt from: enough for k-means (200 k patches) and for the phones of units; texts fill a
   vocabulary long before. */
enum { TEXTS = 1 << 20, TEXT_BYTES = 1 << 24, PICTURES = 4096, SOUNDS = 2000, BYTES = 1 << 26 };
enum {
    PATCHES = 200000,
    ROUNDS = 12,
    SEED = 1,
    DEFAULT_VOCAB = 4096,
    READINGS = 1000,
    READING_LONGEST = 200
};

typedef struct kept {
    size_t size;
    char bytes[];
} kept;

struct mb_import_tokens {
    const mb_import *how;
    int64_t count[MB_PART_KINDS]; /* parts of each kind */
    int64_t codes_per_image;      /* 0: no image yet */
    mb_thin text, picture, sound;
    mb_bpe *bpe;
    uint8_t *centroid; /* (codes, bytes of a patch), or NULL */
    mb_units units;
    mb_ids ids;
    uint16_t *code;     /* (patches) of the last picture, */
    char *picture_path; /* which is this file, or NULL */
    mb_latents latents;
};

static void free_utterances(void *item)
{
    mb_utterances_free(item);
    free(item);
}

mb_import_tokens *mb_import_tokens_new(const mb_import *how)
{
    mb_import_tokens *t = mb_zalloc(1, sizeof *t);

    t->how = how;
    t->latents.patch = how->patch;
    t->text = (mb_thin){ .free_item = free, .most_items = TEXTS, .most_bytes = TEXT_BYTES };
    t->picture = (mb_thin){ .free_item = free, .most_items = PICTURES, .most_bytes = BYTES };
    t->sound = (mb_thin){ .free_item = free_utterances, .most_items = SOUNDS, .most_bytes = BYTES };
    return t;
}

void mb_import_tokens_free(mb_import_tokens *t)
{
    if (!t)
        return;
    mb_thin_free(&t->text);
    mb_thin_free(&t->picture);
    mb_thin_free(&t->sound);
    mb_bpe_free(t->bpe);
    mb_units_free(&t->units);
    mb_latents_free(&t->latents);
    free(t->centroid);
    free(t->code);
    free(t->picture_path);
    free(t);
}

/* ---- parts ----------------------------------------------------------------------------------- */

static mb_image_shape shape_of(const mb_import_tokens *t)
{
    return (mb_image_shape){ t->how->side, 3 };
}

/* The patches of a picture, (patches, 48); the caller frees. */
static mb_err read_picture(const mb_import_tokens *t, const mb_part *part, uint8_t **out)
{
    mb_image_shape shape = shape_of(t);
    uint8_t *image = mb_alloc(mb_image_bytes(shape));
    mb_err err = part->data
                     ? mb_picture_decode(part->path, part->data, part->size, shape.side, image)
                     : mb_picture_read(part->path, shape.side, image);

    *out = NULL;
    if (!err) {
        *out = mb_alloc(mb_image_bytes(shape));
        mb_image_cut(shape, image, *out);
    }
    free(image);
    return err;
}

/* An utterance of its own, of at least one unit; the caller frees. */
static mb_err read_sound(const mb_part *part, mb_utterances *out)
{
    mb_sound read, sound;
    int64_t trimmed;

    memset(out, 0, sizeof *out);
    if (part->data)
        MB_TRY(mb_sound_decode(part->path, part->data, part->size, &read));
    else
        MB_TRY(mb_sound_read(part->path, &read));
    mb_sound_resample(&read, &sound);
    trimmed = mb_sound_trim(&sound);
    mb_utterances_add(out, &sound, trimmed, NULL);
    mb_sound_free(&sound);
    mb_sound_free(&read);
    if (mb_utterances_units(out, 0) > 0)
        return MB_OK;
    mb_utterances_free(out);
    return mb_fail(MB_ECORRUPT, "%s: shorter than one unit of speech, 45 ms", part->path);
}

/* The bytes of the character that TEXT begins with; 0 when it is not UTF-8 (RFC 3629). */
static size_t character(const unsigned char *text, size_t left)
{
    size_t n = *text < 0x80 ? 1 : *text < 0xc2 ? 0 : *text < 0xe0 ? 2 : *text < 0xf0 ? 3 : 4;

    if (*text > 0xf4 || n > left || n == 0 || *text == 0)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((*text == 0xe0 && text[1] < 0xa0) || (*text == 0xed && text[1] > 0x9f) ||
        (*text == 0xf0 && text[1] < 0x90) || (*text == 0xf4 && text[1] > 0x8f))
        return 0;
    return n;
}

static mb_err check_text(const mb_part *part)
{
    const char *bytes = part->data;
    size_t n;

    if (strspn(bytes, " \t\r\n") == part->size)
        return mb_fail(MB_ECORRUPT, "an empty text");
    for (size_t i = 0; i < part->size; i += n) {
        n = character((const unsigned char *)bytes + i, part->size - i);
        if (!n)
            return mb_fail(MB_ECORRUPT, "text: byte %zu is not UTF-8", i);
    }
    return MB_OK;
}

static mb_err check_ids(const mb_part *part, const char *what, int most, const char *option)
{
    const int32_t *id = part->data;

    if (part->size == 0)
        return mb_fail(MB_ECORRUPT, "%s without ids", what);
    for (size_t i = 0; i < part->size; i++) {
        if (id[i] < 0 || id[i] >= most)
            return mb_fail(MB_ECORRUPT, "%s: id %zu is %d, expected 0 to %d (%s)", what, i, id[i],
                           most - 1, option);
    }
    return MB_OK;
}

/* All images have as many ids: a part of a picture missing is noticed here. */
static mb_err check_part(mb_import_tokens *t, const mb_part *part)
{
    switch (part->kind) {
    case MB_PART_TEXT:
        return check_text(part);
    case MB_PART_CODES:
        MB_TRY(check_ids(part, "image", t->how->codes, "--codes"));
        if (!t->codes_per_image)
            t->codes_per_image = (int64_t)part->size;
        if (t->codes_per_image != (int64_t)part->size)
            return mb_fail(MB_ECORRUPT, "image: %zu ids, expected %lld as in the first image",
                           part->size, (long long)t->codes_per_image);
        return MB_OK;
    case MB_PART_UNITS:
        return check_ids(part, "audio", t->how->units, "--units");
    case MB_PART_LATENT:
        return mb_latents_check(&t->latents, part->data);
    default:
        return MB_OK;
    }
}

/* ---- first pass ------------------------------------------------------------------------------ */

static void keep_text(mb_import_tokens *t, const mb_part *part)
{
    kept *copy;

    if (!mb_thin_wants(&t->text))
        return;
    copy = mb_alloc(sizeof *copy + part->size);
    copy->size = part->size;
    memcpy(copy->bytes, part->data, part->size);
    mb_thin_keep(&t->text, copy, part->size);
}

static mb_err keep_picture(mb_import_tokens *t, const mb_part *part)
{
    uint8_t *patch;

    if (!mb_thin_wants(&t->picture))
        return MB_OK;
    MB_TRY(read_picture(t, part, &patch));
    mb_thin_keep(&t->picture, patch, mb_image_bytes(shape_of(t)));
    return MB_OK;
}

static mb_err keep_sound(mb_import_tokens *t, const mb_part *part)
{
    mb_utterances one, *copy;

    if (!mb_thin_wants(&t->sound))
        return MB_OK;
    MB_TRY(read_sound(part, &one));
    copy = mb_alloc(sizeof *copy);
    *copy = one;
    mb_thin_keep(&t->sound, copy, (size_t)one.frames * MB_CEPSTRA * sizeof *one.frame);
    return MB_OK;
}

mb_err mb_import_tokens_see(mb_import_tokens *t, const mb_item *s, enum mb_split split)
{
    if (s->parts == 0)
        return mb_fail(MB_ECORRUPT, "neither text nor image nor sound");
    for (size_t i = 0; i < s->parts; i++) {
        const mb_part *part = &s->part[i];

        MB_TRY(check_part(t, part));
        t->count[part->kind]++;
        if (split != MB_TRAIN)
            continue;
        if (part->kind == MB_PART_TEXT)
            keep_text(t, part);
        else if (part->kind == MB_PART_PICTURE)
            MB_TRY(keep_picture(t, part));
        else if (part->kind == MB_PART_SOUND)
            MB_TRY(keep_sound(t, part));
        else if (part->kind == MB_PART_LATENT)
            mb_latents_see(&t->latents, part->data);
    }
    if (t->count[MB_PART_PICTURE] && t->count[MB_PART_CODES])
        return mb_fail(MB_EINVAL, "some images are files and some are ids, expected one of both");
    if (t->count[MB_PART_SOUND] && t->count[MB_PART_UNITS])
        return mb_fail(MB_EINVAL, "some sounds are files and some are ids, expected one of both");
    return MB_OK;
}

/* ---- learning -------------------------------------------------------------------------------- */

static mb_err learn_text(mb_import_tokens *t, mb_set_writer *w)
{
    mb_bpe_trainer *trainer = mb_bpe_trainer_open();
    int wanted = t->how->text_vocab ? t->how->text_vocab : DEFAULT_VOCAB;
    char *path = mb_set_path(w, "merges.txt");
    mb_err err;

    for (size_t i = 0; i < t->text.count; i++) {
        const kept *one = t->text.item[i];

        mb_bpe_trainer_add(trainer, one->bytes, one->size);
    }
    t->bpe = mb_bpe_trainer_close(trainer, wanted);
    if (t->how->text_vocab && mb_bpe_vocab(t->bpe) != wanted)
        err = mb_fail(MB_EINVAL, "text_vocab %d: the texts fill only %d symbols", wanted,
                      mb_bpe_vocab(t->bpe));
    else
        err = mb_bpe_save(t->bpe, path);
    if (!err)
        err = mb_set_file(w, "merges.txt");
    free(path);
    return err;
}

static mb_err learn_pictures(mb_import_tokens *t, mb_set_writer *w)
{
    size_t bytes = mb_image_bytes(shape_of(t));
    int size = mb_patch_bytes(shape_of(t));
    int64_t n = (int64_t)t->picture.count * mb_image_patches(shape_of(t));
    uint8_t *all;

    if (t->count[MB_PART_PICTURE] == 0)
        return MB_OK;
    if (n == 0)
        return mb_fail(MB_EINVAL, "no picture in train, expected some as in the other splits");
    all = mb_alloc(t->picture.count * bytes);
    for (size_t i = 0; i < t->picture.count; i++)
        memcpy(all + i * bytes, t->picture.item[i], bytes);
    t->centroid = mb_zalloc((size_t)t->how->codes, (size_t)size);
    t->code = mb_alloc((size_t)mb_image_patches(shape_of(t)) * sizeof *t->code);
    mb_kmeans_fit(all, n, size, t->how->codes, PATCHES, ROUNDS, SEED, t->centroid);
    free(all);
    return mb_set_bytes(w, "codebook.u8", t->centroid, (size_t)t->how->codes * (size_t)size);
}

/* What a voice can read of a text: its words in small letters. Returns how many letters. */
static int plain_words(const kept *from, char out[READING_LONGEST + 1])
{
    int letters = 0, n = 0;

    for (size_t i = 0; i < from->size && n < READING_LONGEST; i++) {
        char c = from->bytes[i];

        c = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
        if (c >= 'a' && c <= 'z') {
            out[n++] = c;
            letters++;
        } else if (n > 0 && out[n - 1] != ' ') {
            out[n++] = ' ';
        }
    }
    out[n] = '\0';
    return letters;
}

/* Texts read aloud: the phones that the units are made to tell apart are those of the voices. */
static mb_err read_aloud(const mb_import_tokens *t, mb_utterances *out)
{
    size_t step = t->text.count / READINGS + 1;
    char words[READING_LONGEST + 1];

    for (size_t i = 0, n = 0; i < t->text.count; i += step) {
        mb_sound sound;
        mb_timing timing;
        int64_t trimmed;

        if (plain_words(t->text.item[i], words) < 4)
            continue;
        MB_TRY(mb_voice_read(n++ % 5 == 4 ? MB_SLT : MB_KAL16, words, &sound, &timing));
        trimmed = mb_sound_trim(&sound);
        mb_utterances_add(out, &sound, trimmed, &timing);
        mb_sound_free(&sound);
        mb_timing_free(&timing);
    }
    return out->count ? MB_OK
                      : mb_fail(MB_EINVAL, "sounds need texts in train: units of speech are learnt "
                                           "from the texts read aloud, in Latin letters");
}

static mb_err learn_sounds(mb_import_tokens *t, mb_set_writer *w)
{
    mb_utterances labelled = { 0 }, human = { 0 };
    mb_err err;

    if (t->count[MB_PART_SOUND] == 0)
        return MB_OK;
    if (t->sound.count == 0)
        return mb_fail(MB_EINVAL, "no sound in train, expected some as in the other splits");
    for (size_t i = 0; i < t->sound.count; i++)
        mb_utterances_append(&human, t->sound.item[i]);
    err = read_aloud(t, &labelled);
    if (!err)
        err = mb_units_fit(&labelled, &human, t->how->units, &t->units);
    if (!err)
        err = mb_units_write(&t->units, w);
    mb_utterances_free(&human);
    mb_utterances_free(&labelled);
    return err;
}

static mb_err learn_latents(mb_import_tokens *t, mb_set_writer *w)
{
    return t->count[MB_PART_LATENT] ? mb_latents_learn(&t->latents, w) : MB_OK;
}

static void set_ids(mb_import_tokens *t, mb_set_writer *w)
{
    bool pictures = t->count[MB_PART_PICTURE] > 0, codes = t->count[MB_PART_CODES] > 0;
    bool speech = t->count[MB_PART_SOUND] + t->count[MB_PART_UNITS] > 0;
    bool latents = t->count[MB_PART_LATENT] > 0;
    int images = pictures || codes ? t->how->codes : latents;
    int per = pictures  ? mb_image_patches(shape_of(t))
              : latents ? mb_latents_per_image(&t->latents)
                        : (int)t->codes_per_image;

    t->ids = mb_ids_make(mb_bpe_vocab(t->bpe), images, speech ? t->how->units : 0, per);
    t->ids.half = latents;
    t->ids.patch = latents ? mb_latents_patch(&t->latents) : 0;
    mb_set_ids(w, &t->ids);
    mb_set_parameter(w, "text_vocab", json_integer(mb_bpe_vocab(t->bpe)));
    if (pictures || codes)
        mb_set_parameter(w, "image_codes", json_integer(t->how->codes));
    if (pictures) {
        mb_set_parameter(w, "image_side", json_integer(t->how->side));
        mb_set_parameter(w, "image_channels", json_integer(shape_of(t).channels));
    }
    if (speech)
        mb_set_parameter(w, "speech_units", json_integer(t->how->units));
}

mb_err mb_import_tokens_learn(mb_import_tokens *t, mb_set_writer *w, const mb_progress *p)
{
    mb_progress_tell(p, "learning the text tokenizer", 0);
    MB_TRY(learn_text(t, w));
    mb_progress_tell(p, "learning the image tokenizer", 0.3);
    MB_TRY(learn_pictures(t, w));
    mb_progress_tell(p, "learning the speech tokenizer", 0.6);
    MB_TRY(learn_sounds(t, w));
    MB_TRY(learn_latents(t, w));
    set_ids(t, w);
    mb_thin_free(&t->text);
    mb_thin_free(&t->picture);
    mb_thin_free(&t->sound);
    return MB_OK;
}

/* ---- second pass ----------------------------------------------------------------------------- */

/* Captions of one picture follow one another: its codes are kept. */
static mb_err find_codes(mb_import_tokens *t, const mb_part *part)
{
    uint8_t *patch;

    if (!part->data && t->picture_path && !strcmp(part->path, t->picture_path))
        return MB_OK;
    free(t->picture_path);
    t->picture_path = NULL;
    MB_TRY(read_picture(t, part, &patch));
    mb_kmeans_assign(patch, mb_image_patches(shape_of(t)), mb_patch_bytes(shape_of(t)), t->centroid,
                     t->how->codes, t->code);
    free(patch);
    if (!part->data)
        t->picture_path = mb_format("%s", part->path);
    return MB_OK;
}

static mb_err put_sound(mb_import_tokens *t, const mb_part *part, mb_document *d)
{
    mb_utterances one;
    uint16_t *unit;

    MB_TRY(read_sound(part, &one));
    unit = mb_units_assign(&t->units, &one);
    mb_document_speech(d, unit, mb_utterances_units(&one, 0));
    free(unit);
    mb_utterances_free(&one);
    return MB_OK;
}

/* The user's own ids, which are below 65536. */
static void put_ids(const mb_part *part, mb_document *d)
{
    uint16_t *narrow = mb_alloc(part->size * sizeof *narrow);

    for (size_t i = 0; i < part->size; i++)
        narrow[i] = (uint16_t)((const int32_t *)part->data)[i];
    if (part->kind == MB_PART_CODES)
        mb_document_image(d, narrow, (int64_t)part->size);
    else
        mb_document_speech(d, narrow, (int64_t)part->size);
    free(narrow);
}

static mb_err put_part(mb_import_tokens *t, const mb_part *part, mb_document *d)
{
    MB_TRY(check_part(t, part)); /* again: files may change between the passes */
    switch (part->kind) {
    case MB_PART_TEXT:
        mb_document_text(d, part->data, part->size);
        return MB_OK;
    case MB_PART_PICTURE:
        MB_TRY(find_codes(t, part));
        mb_document_image(d, t->code, mb_image_patches(shape_of(t)));
        return MB_OK;
    case MB_PART_SOUND:
        return put_sound(t, part, d);
    case MB_PART_LATENT:
        mb_document_patches(d, mb_latents_cut(&t->latents, part->data));
        return MB_OK;
    default:
        put_ids(part, d);
        return MB_OK;
    }
}

mb_err mb_import_tokens_apply(mb_import_tokens *t, const mb_item *s, mb_document *d,
                              enum mb_section *section)
{
    d->ids = &t->ids;
    d->bpe = t->bpe;
    *section = MB_TEXTS;
    mb_document_begin(d);
    for (size_t i = 0; i < s->parts; i++) {
        enum mb_part_kind kind = s->part[i].kind;

        MB_TRY(put_part(t, &s->part[i], d));
        if (kind == MB_PART_SOUND || kind == MB_PART_UNITS)
            *section = t->how->synthetic ? MB_SYNTHETIC : MB_HUMAN;
        else if (kind != MB_PART_TEXT && *section == MB_TEXTS)
            *section = MB_PAIRS;
    }
    return MB_OK;
}
