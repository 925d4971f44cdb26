#include "workloads/slots.h"

#include "base/random.h"
#include "workloads/captions.h"
#include "workloads/procedural.h"
#include "workloads/set.h"

#include <ctype.h>
#include <stdlib.h>

typedef struct kind {       /* of captions */
    const char *sources[4]; /* NULL behind the last */
    mb_slot slot[MB_SLOTS];
    const char *(*word)(int slot, int value, int wording); /* NULL: there are no more */
} kind;

static const char *fashion_word(int slot, int value, int wording)
{
    return wording < MB_WORDINGS ? mb_caption_words((enum mb_caption_slot)slot, value)[wording]
                                 : NULL;
}

static const char *procedural_word(int slot, int value, int wording)
{
    return wording == 0 ? mb_procedural_word((enum mb_procedural_slot)slot, value) : NULL;
}

static const kind kinds[] = {
    { { "fashion", "fashion-patches", "spoken" },
      { { "class", MB_CLASSES, false },
        { "tone", 3, true },
        { "silhouette", 3, true },
        { "pattern", 5, false } },
      fashion_word },
    { { "procedural", "procedural-patches", "procedural-speech" },
      { { "class", 5, false }, { "shade", 3, true }, { "size", 2, true }, { "place", 3, true } },
      procedural_word },
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const kind *kind_of(const mb_data *d)
{
    const char *source = json_string_value(json_object_get(d->json, "source"));

    for (int k = 0; source && k < KINDS; k++)
        for (int s = 0; kinds[k].sources[s]; s++)
            if (!strcmp(kinds[k].sources[s], source))
                return &kinds[k];
    return NULL;
}

mb_slots mb_data_slots(const mb_data *d)
{
    const kind *k = kind_of(d);

    return k ? (mb_slots){ k->slot, MB_SLOTS } : (mb_slots){ 0 };
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || c == '-';
}

/* Whether WORD stands in TEXT, as whole words at its ends. */
static bool says(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
        if ((at == text || !in_word(at[-1]) || !in_word(word[0])) && !in_word(at[n]))
            return true;
    return false;
}

/* The value whose longest word is said: "boot" is part of "ankle boot". */
static int read_slot(const kind *k, int slot, const char *caption)
{
    size_t longest = 0;
    int value = -1;

    for (int v = 0; v < k->slot[slot].values; v++)
        for (int w = 0; k->word(slot, v, w); w++) {
            const char *word = k->word(slot, v, w);

            if (!*word && value < 0 && longest == 0)
                value = v; /* of what need not be said */
            if (*word && strlen(word) > longest && says(caption, word)) {
                longest = strlen(word);
                value = v;
            }
        }
    return value;
}

void mb_slots_read(const mb_data *d, const char *caption, int value[MB_SLOTS])
{
    const kind *k = kind_of(d);

    for (int s = 0; s < MB_SLOTS; s++)
        value[s] = k ? read_slot(k, s, caption) : -1;
}

mb_err mb_slots_count(const mb_data *d, const mb_render *r, enum mb_split split, int64_t *count)
{
    mb_slots slots = mb_data_slots(d);

    for (int64_t i = 0; i < mb_data_section(d, split, MB_PAIRS); i++) {
        int value[MB_SLOTS];
        int64_t at = 0;
        mb_parts p;
        char *text;

        MB_TRY(mb_data_parts(d, split, i, &p));
        text = mb_render_text(r, p.part[MB_TEXT].token, p.part[MB_TEXT].n);
        mb_slots_read(d, text, value);
        for (int s = 0; s < slots.n; s++)
            at = at * (slots.slot[s].values + 1) + value[s] + 1;
        count[at]++;
        free(text);
        mb_parts_free(&p);
    }
    return MB_OK;
}

/* ---- seeing --------------------------------------------------------------------------------- */

/* The middle 28 x 28 pixels, grey. */
static void crop(mb_image_shape shape, const uint8_t *image, uint8_t grey[MB_IMAGE_PIXELS])
{
    int margin = (shape.side - MB_IMAGE_SIDE) / 2;

    for (int i = 0; i < MB_IMAGE_PIXELS; i++) {
        int y = margin + i / MB_IMAGE_SIDE, x = margin + i % MB_IMAGE_SIDE;

        grey[i] = image[(y * shape.side + x) * shape.channels];
    }
}

static bool read_cuts(const mb_data *d, mb_cuts *cuts)
{
    json_t *j = json_object_get(json_object_get(d->json, "parameters"), "caption_cuts");
    json_t *area = json_object_get(j, "area"), *gradient = json_object_get(j, "gradient");

    for (size_t c = 0; c < MB_CLASSES; c++)
        if (json_unpack(json_array_get(area, c), "[ii]", &cuts->area[c][0], &cuts->area[c][1]) ||
            json_unpack(json_array_get(gradient, c), "[ii]", &cuts->gradient[c][0],
                        &cuts->gradient[c][1]))
            return false;
    return !json_unpack(j, "{si si}", "row", &cuts->row, "column", &cuts->column);
}

void mb_slots_see(const mb_data *d, mb_image_shape shape, const uint8_t *image, int label,
                  int value[MB_SLOTS])
{
    const kind *k = kind_of(d);
    uint8_t grey[MB_IMAGE_PIXELS];
    mb_cuts cuts;

    for (int s = 0; s < MB_SLOTS; s++)
        value[s] = -1;
    if (!k || shape.side < MB_IMAGE_SIDE)
        return;
    crop(shape, image, grey);
    if (k->word == procedural_word) {
        mb_procedural_see(grey, &value[MB_SAYS_SHADE], &value[MB_SAYS_SIZE], &value[MB_SAYS_PLACE]);
    } else if (label >= 0 && read_cuts(d, &cuts)) {
        mb_look look = mb_look_measure(grey);
        mb_traits traits = mb_traits_of(&look, label, &cuts);

        value[MB_SAYS_TONE] = (int)traits.tone;
        value[MB_SAYS_SILHOUETTE] = (int)traits.silhouette;
    }
}

/* ---- wordings ------------------------------------------------------------------------------- */

static char *worded(const mb_traits *traits, enum mb_split split, int64_t i, uint64_t wording)
{
    char name[32], text[MB_CAPTION_SIZE];

    snprintf(name, sizeof name, "caption %s", mb_split_name[split]);
    mb_caption(traits, mb_key(1, name, (uint64_t)i, wording), text);
    return mb_format("%s", text);
}

int mb_slots_references(const mb_data *d, enum mb_split split, int64_t i, const char *caption,
                        char *reference[MB_REFERENCES], char **another)
{
    const kind *k = kind_of(d);
    int value[MB_SLOTS], n = 1;
    mb_traits traits;

    reference[0] = mb_format("%s", caption);
    *another = NULL;
    mb_slots_read(d, caption, value);
    if (!k || k->word != fashion_word || value[0] < 0 || value[1] < 0 || value[2] < 0)
        return n;
    traits = (mb_traits){ value[0], (enum mb_tone)value[1], (enum mb_silhouette)value[2],
                          (enum mb_pattern)value[3] };
    for (; n < MB_REFERENCES; n++)
        reference[n] = worded(&traits, split, i, (uint64_t)n);
    *another = worded(&traits, split, i, MB_REFERENCES);
    return n;
}
