#include "workloads/captions.h"
#include "base/file.h"
#include "base/random.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = MB_IMAGE_SIDE, FOREGROUND = 24, DARK_BELOW = 110, LIGHT_FROM = 185 };

static int mean16(int64_t sum, int64_t count)
{
    return count ? (int)(16 * sum / count) : 0;
}

/* Mean over neighbours, to the right and below, of which both are foreground. */
static int measure_gradient(const uint8_t *pixel)
{
    int64_t sum = 0, count = 0;

    for (int i = 0; i < MB_IMAGE_PIXELS; i++) {
        const int next[2] = { i % SIDE + 1 < SIDE ? i + 1 : i, i / SIDE + 1 < SIDE ? i + SIDE : i };

        for (int n = 0; n < 2; n++) {
            if (next[n] != i && pixel[i] > FOREGROUND && pixel[next[n]] > FOREGROUND) {
                sum += abs(pixel[i] - pixel[next[n]]);
                count++;
            }
        }
    }
    return mean16(sum, count);
}

/* Means of lines BEGIN .. END across the trunk (rows: STEP = SIDE, ALONG = 1), and how much each
   bends away from its neighbours' mean: a shade that grows evenly does not count, stripes do.
   Squared over GRADIENT, since a print bends a little everywhere, while stripes have hardly any
   other gradient. */
static int measure_stripes(const uint8_t *pixel, int step, int along, int begin, int end,
                           int gradient)
{
    enum { FIRST = 9, LAST = 19, FEWEST = 6 };
    int mean[SIDE], count[SIDE], bends = 0, sum = 0;

    for (int line = begin; line < end; line++) {
        mean[line] = count[line] = 0;
        for (int i = FIRST; i < LAST; i++) {
            int value = pixel[line * step + i * along];

            mean[line] += value > FOREGROUND ? value : 0;
            count[line] += value > FOREGROUND;
        }
        mean[line] = mean16(mean[line], count[line]);
    }
    for (int line = begin + 1; line + 1 < end; line++) {
        if (count[line - 1] >= 8 && count[line] >= 8 && count[line + 1] >= 8) {
            sum += abs(2 * mean[line] - mean[line - 1] - mean[line + 1]) / 2;
            bends++;
        }
    }
    if (bends < FEWEST)
        return 0;
    return (sum / bends) * (sum / bends) / (gradient + 16);
}

mb_look mb_look_measure(const uint8_t *pixel)
{
    mb_look look = { 0 };
    int64_t sum = 0;

    for (int i = 0; i < MB_IMAGE_PIXELS; i++) {
        look.area += pixel[i] > FOREGROUND;
        sum += pixel[i] > FOREGROUND ? pixel[i] : 0;
    }
    look.tone = mean16(sum, look.area) / 16;
    look.gradient = measure_gradient(pixel);
    look.row = measure_stripes(pixel, SIDE, 1, 5, 24, look.gradient);
    look.column = measure_stripes(pixel, 1, SIDE, 8, 20, look.gradient);
    return look;
}

static int compare(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;

    return (x > y) - (x < y);
}

/* The value that PERCENT of the N values lie below; sorts them. */
static int quantile(int *value, size_t n, size_t percent)
{
    if (n == 0)
        return 0;
    qsort(value, n, sizeof *value, compare);
    return value[n * percent / 100];
}

/* Shoes, bags and trousers bend by their shape alone: only what has a trunk can be called striped.
 */
static bool has_trunk(int label)
{
    static const bool trunk[MB_CLASSES] = { 1, 0, 1, 1, 1, 0, 1, 0, 0, 0 };

    return trunk[label];
}

/* Gathers the scores at FIELD of mb_look of all that has LABEL (ANY: a trunk); returns how many. */
enum { ANY = -1 };
static size_t gather(const mb_look *look, const uint8_t *label, size_t n, int want, size_t field,
                     int *value)
{
    size_t members = 0;

    for (size_t i = 0; i < n; i++) {
        if (want == ANY ? has_trunk(label[i]) : label[i] == want)
            memcpy(&value[members++], (const char *)&look[i] + field, sizeof *value);
    }
    return members;
}

mb_cuts mb_cuts_fit(const mb_look *look, const uint8_t *label, size_t n)
{
    mb_cuts cuts;
    int *value = mb_alloc(n * sizeof *value);
    size_t m;

    for (int c = 0; c < MB_CLASSES; c++) {
        m = gather(look, label, n, c, offsetof(mb_look, area), value);
        cuts.area[c][0] = quantile(value, m, 25);
        cuts.area[c][1] = quantile(value, m, 75);
        m = gather(look, label, n, c, offsetof(mb_look, gradient), value);
        cuts.gradient[c][0] = quantile(value, m, 15);
        cuts.gradient[c][1] = quantile(value, m, 85);
    }
    m = gather(look, label, n, ANY, offsetof(mb_look, row), value);
    cuts.row = quantile(value, m, 94);
    m = gather(look, label, n, ANY, offsetof(mb_look, column), value);
    cuts.column = quantile(value, m, 94);
    free(value);
    return cuts;
}

static enum mb_pattern pattern_of(const mb_look *look, int label, const mb_cuts *cuts)
{
    if (has_trunk(label) && look->row >= cuts->row)
        return MB_STRIPES_ACROSS;
    if (has_trunk(label) && look->column >= cuts->column)
        return MB_STRIPES_DOWN;
    if (look->gradient < cuts->gradient[label][0])
        return MB_PLAIN;
    return look->gradient >= cuts->gradient[label][1] ? MB_PATTERNED : MB_UNSAID;
}

mb_traits mb_traits_of(const mb_look *look, int label, const mb_cuts *cuts)
{
    const int *area = cuts->area[label];

    return (mb_traits){
        .label = label,
        .tone = look->tone < DARK_BELOW   ? MB_DARK
                : look->tone < LIGHT_FROM ? MB_GREY
                                          : MB_LIGHT,
        .silhouette = look->area < area[0]   ? MB_SLIM
                      : look->area < area[1] ? MB_REGULAR
                                             : MB_FULL,
        .pattern = pattern_of(look, label, cuts),
    };
}

static const char *const class_word[MB_CLASSES][MB_WORDINGS] = {
    { "t-shirt", "tee", "top" },
    { "pair of trousers", "pair of pants", "pair of slacks" },
    { "pullover", "sweater", "jumper" },
    { "dress", "gown", "frock" },
    { "coat", "overcoat", "jacket" },
    { "sandal", "open sandal", "open shoe" },
    { "shirt", "blouse", "buttoned shirt" },
    { "sneaker", "trainer", "running shoe" },
    { "bag", "handbag", "purse" },
    { "ankle boot", "boot", "short boot" },
};
static const char *const tone_word[][MB_WORDINGS] = {
    { "dark", "black", "dark-coloured" },
    { "grey", "mid-grey", "medium-toned" },
    { "light", "pale", "bright" },
};
static const char *const silhouette_word[][MB_WORDINGS] = {
    { "slim", "narrow", "small" },
    { "regular", "average", "normal" },
    { "full", "wide", "large" },
};
static const char *const pattern_word[][MB_WORDINGS] = {
    { "", "", "" },
    { ", plain", " in a plain look", " without a pattern" },
    { ", patterned", " with a busy pattern", " with a print" },
    { " with bands across", ", striped across", " with horizontal bands" },
    { " with lines down the front", ", striped lengthwise", " with vertical lines" },
};
static const char *const carrier[][2] = {
    { "", "" },          { "a photo of ", "" },         { "this is ", "." },
    { "here is ", "." }, { "", ", as in a catalogue" },
};

const char *const *mb_caption_words(enum mb_caption_slot slot, int i)
{
    return slot == MB_SAYS_CLASS        ? class_word[i]
           : slot == MB_SAYS_TONE       ? tone_word[i]
           : slot == MB_SAYS_SILHOUETTE ? silhouette_word[i]
                                        : pattern_word[i];
}

size_t mb_caption(const mb_traits *traits, uint64_t key, char out[MB_CAPTION_SIZE])
{
    const char *const *frame = carrier[mb_below(key, 0, sizeof carrier / sizeof *carrier)];
    const char *shape = silhouette_word[traits->silhouette][mb_below(key, 1, MB_WORDINGS)];
    const char *tone = tone_word[traits->tone][mb_below(key, 2, MB_WORDINGS)];
    const char *what = class_word[traits->label][mb_below(key, 3, MB_WORDINGS)];
    const char *pattern = pattern_word[traits->pattern][mb_below(key, 4, MB_WORDINGS)];
    int n = snprintf(out, MB_CAPTION_SIZE, "%sa %s %s %s%s%s", frame[0], shape, tone, what, pattern,
                     frame[1]);

    assert(n > 0 && n < MB_CAPTION_SIZE);
    return (size_t)n;
}
