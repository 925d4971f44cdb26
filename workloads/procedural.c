/* Source "procedural": shapes in shades of grey, with captions, and sentences about shapes, all
   from a fixed seed and integer arithmetic. No download, ready in well under a second: what tests
   and CI run on. It is deliberately easy and says nothing about real data.

   "procedural-speech" is the same and captions sung by made-up voices: with a picture where the
   sections of real data have people, without one where they have synthesis. "procedural-patches"
   has images as patches in place of ids. */
#include "workloads/procedural.h"
#include "base/random.h"
#include "workloads/captions.h"
#include "workloads/corpus.h"
#include "workloads/tones.h"

#include <stdlib.h>
#include <string.h>

enum { SEED = 1, CODES = 64, UNITS = 48, SIDE = MB_IMAGE_SIDE };

static const int items[MB_SPLITS] = { 1024, 128, 128 }; /* of each kind */
static const int spoken[MB_SPLITS] = { 128, 32, 32 };   /* with and without a picture */

enum { CIRCLE, SQUARE, TRIANGLE, CROSS, RING, SHAPES };
static const char *const shape_word[SHAPES] = { "circle", "square", "triangle", "cross", "ring" };
static const char *const shade_word[] = { "dark", "grey", "light" };
static const char *const size_word[] = { "small", "large" };
static const char *const place_word[] = { "left", "middle", "right" };

enum { SHADES = 3, SIZES = 2, PLACES = 3 };

const char *mb_procedural_word(enum mb_procedural_slot slot, int i)
{
    return slot == MB_SAYS_SHAPE   ? shape_word[i]
           : slot == MB_SAYS_SHADE ? shade_word[i]
           : slot == MB_SAYS_SIZE  ? size_word[i]
                                   : place_word[i];
}

/* Is (x, y), counted from the middle, inside a shape of radius R? */
static bool inside(int shape, int x, int y, int r)
{
    int d = x * x + y * y;

    switch (shape) {
    case CIRCLE:
        return d <= r * r;
    case SQUARE:
        return abs(x) < r && abs(y) < r;
    case TRIANGLE:
        return y >= -r && y < r && 2 * abs(x) <= y + r;
    case CROSS:
        return (abs(x) <= r / 3 && abs(y) <= r) || (abs(y) <= r / 3 && abs(x) <= r);
    default:
        return d <= r * r && 4 * d > r * r;
    }
}

/* Draws item I of a split and words it. */
static void make_pair(uint64_t key, uint8_t *image, mb_texts *caption)
{
    int shape = (int)mb_below(key, 0, SHAPES), shade = (int)mb_below(key, 1, SHADES);
    int size = (int)mb_below(key, 2, SIZES), place = (int)mb_below(key, 3, PLACES);
    int r = 4 + 3 * size + (int)mb_below(key, 4, 2), level = 70 + 75 * shade;
    int x = 9 + 5 * place, y = 10 + (int)mb_below(key, 5, 9);
    char *text = mb_format("a %s %s %s on the %s", size_word[size], shade_word[shade],
                           shape_word[shape], place_word[place]);

    level += (int)mb_below(key, 6, 24);
    for (int i = 0; i < MB_IMAGE_PIXELS; i++)
        image[i] = inside(shape, i % SIDE - x, i / SIDE - y, r) ? (uint8_t)level : 0;
    mb_texts_add(caption, text, strlen(text));
    free(text);
}

/* Cuts lie in the middle between what make_pair() draws: levels 70 .. 93, 145 .. 168, 220 .. 243;
   heights of about 9 and 15; middles at x = 9, 14, 19. */
void mb_procedural_see(const uint8_t *pixel, int *shade, int *size, int *place)
{
    enum { DRAWN = 35 };
    int64_t sum = 0, count = 0, left = SIDE, right = 0;
    int first = SIDE, last = 0, brightest = 0;

    for (int i = 0; i < MB_IMAGE_PIXELS; i++)
        brightest = pixel[i] > brightest ? pixel[i] : brightest;
    for (int i = 0; i < MB_IMAGE_PIXELS; i++) {
        if (pixel[i] <= DRAWN)
            continue;
        if (2 * pixel[i] > brightest) { /* edges are blurred */
            sum += pixel[i];
            count++;
        }
        first = i / SIDE < first ? i / SIDE : first;
        last = i / SIDE;
        left = i % SIDE < left ? i % SIDE : left;
        right = i % SIDE > right ? i % SIDE : right;
    }
    *shade = count == 0 || sum < 119 * count ? 0 : sum < 194 * count ? 1 : 2;
    *size = last - first + 1 > 12;
    *place = left + right < 23 ? 0 : left + right < 33 ? 1 : 2;
}

static void make_text(uint64_t key, mb_texts *list)
{
    static const char *const relation[] = { "above", "below", "beside", "inside", "near" };
    static const char *const verb[] = { "is", "stands", "rests", "was seen" };
    char *text = mb_format("the %s %s %s the %s %s", shade_word[mb_below(key, 0, SHADES)],
                           shape_word[mb_below(key, 1, SHAPES)], verb[mb_below(key, 2, 4)],
                           relation[mb_below(key, 3, 5)], shape_word[mb_below(key, 4, SHAPES)]);

    if (mb_below(key, 5, 2)) {
        char *more = mb_format("%s, and the %s is %s", text, shape_word[mb_below(key, 6, SHAPES)],
                               size_word[mb_below(key, 7, SIZES)]);

        free(text);
        text = more;
    }
    mb_texts_add(list, text, strlen(text));
    free(text);
}

static void make_split(mb_corpus *c, enum mb_split s)
{
    struct mb_corpus_split *split = &c->split[s];

    split->image = mb_alloc((size_t)(items[s] + spoken[s]) * MB_IMAGE_PIXELS);
    for (int i = 0; i < items[s]; i++) {
        make_pair(mb_key(SEED, "procedural pair", (uint64_t)s, (uint64_t)i),
                  split->image + i * MB_IMAGE_PIXELS, &split->caption);
        make_text(mb_key(SEED, "procedural text", (uint64_t)s, (uint64_t)i), &split->text);
    }
}

/* Says caption I of LIST by a voice of its own. */
static void sing(mb_spoken_list *to, const mb_texts *list, size_t i, int image, uint64_t key)
{
    char *text =
        mb_format("%.*s", (int)(list->start[i + 1] - list->start[i]), list->bytes + list->start[i]);
    mb_sound sound;
    mb_timing timing;
    int64_t trimmed;

    mb_spoken_add(to, text, strlen(text), (mb_about){ .image = image, .tag = -1 });
    mb_tones_read(text, key, &sound, &timing);
    trimmed = mb_sound_trim(&sound);
    mb_utterances_add(&to->sound, &sound, trimmed, &timing);
    mb_sound_free(&sound);
    mb_timing_free(&timing);
    free(text);
}

static void add_speech(mb_corpus *c, enum mb_split s)
{
    struct mb_corpus_split *split = &c->split[s];
    mb_texts caption = { 0 };

    for (int i = 0; i < spoken[s]; i++) {
        uint64_t key = mb_key(SEED, "procedural triple", (uint64_t)s, (uint64_t)i);

        make_pair(key, split->image + (items[s] + i) * MB_IMAGE_PIXELS, &caption);
        sing(&split->human, &caption, (size_t)i, i, mb_key(key, "person", 0, 0));
        sing(&split->synthetic, &split->caption, (size_t)i, -1, mb_key(key, "voice", 0, 0));
        if (s == MB_TEST)
            sing(&split->unseen, &split->caption, (size_t)i, -1,
                 mb_key(key, "another voice", 0, 0));
    }
    split->further = (size_t)spoken[s];
    mb_texts_free(&caption);
}

static mb_err prepare_kind(const mb_data_request *r, int codes, int units, mb_set_writer *w,
                           const mb_progress *p)
{
    mb_corpus c = {
        .text_vocab = r->text_vocab, .codes = codes, .units = units, .shape = { SIDE, 1 }
    };
    mb_err err;

    for (int s = 0; s < MB_SPLITS; s++) {
        make_split(&c, s);
        if (units)
            add_speech(&c, s);
    }
    mb_set_parameter(w, "text_vocab", json_integer(r->text_vocab));
    mb_set_parameter(w, "image_codes", json_integer(codes));
    if (units)
        mb_set_parameter(w, "speech_units", json_integer(units));
    mb_set_parameter(w, "seed", json_integer(SEED));
    err = mb_corpus_write(&c, w, p);
    mb_corpus_free(&c);
    return err;
}

static mb_err prepare(const mb_data_request *r, mb_set_writer *w, const mb_progress *p)
{
    return prepare_kind(r, CODES, 0, w, p);
}

static mb_err prepare_speech(const mb_data_request *r, mb_set_writer *w, const mb_progress *p)
{
    return prepare_kind(r, CODES, UNITS, w, p);
}

static mb_err prepare_patches(const mb_data_request *r, mb_set_writer *w, const mb_progress *p)
{
    return prepare_kind(r, 0, 0, w, p);
}

const mb_source mb_procedural = {
    .name = "procedural",
    .about = "shapes in shades of grey with captions, and sentences; made up, no download",
    .version = 1,
    .text_vocab = 320,
    .identify = mb_identify_by_vocab,
    .prepare = prepare,
};

const mb_source mb_procedural_speech = {
    .name = "procedural-speech",
    .about = "procedural with captions sung by made-up voices; no download",
    .version = 1,
    .text_vocab = 320,
    .identify = mb_identify_by_vocab,
    .prepare = prepare_speech,
};

const mb_source mb_procedural_patches = {
    .name = "procedural-patches",
    .about = "procedural with images as patches of pixels in place of ids; no download",
    .version = 1,
    .text_vocab = 320,
    .identify = mb_identify_by_vocab,
    .prepare = prepare_patches,
};
