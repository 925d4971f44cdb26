/* Captions of Fashion-MNIST images: the class and what integer measurements of the pixels show.

   Only what survives image tokens is said: tone and silhouette always; "plain" or "patterned" for
   the extreme 15 % of the gradient in a class; bands and lines for the top 6 % of a direction's
   score, among clothes with a trunk. The measurements are pure functions of the pixels, so that
   decoded or generated images can be measured again and held against the words. Decoding keeps tone
   and silhouette (of test images 0.93 and 0.92 agree); it flattens gradients, so that the patterns
   of decoded images want cuts of their own. */
#ifndef MB_WORKLOADS_CAPTIONS_H
#define MB_WORKLOADS_CAPTIONS_H

#include <stddef.h>
#include <stdint.h>

enum { MB_CLASSES = 10, MB_IMAGE_SIDE = 28, MB_IMAGE_PIXELS = 784, MB_CAPTION_SIZE = 128 };

/* An image (28, 28) measured; foreground is what is brighter than 24. */
typedef struct mb_look {
    int area;     /* foreground pixels */
    int tone;     /* their mean, 0 .. 255 */
    int gradient; /* mean difference of neighbours inside the foreground, in 1/16 */
    int row,
        column; /* how much rows (columns) differ from their neighbours: stripes across (down) */
} mb_look;

mb_look mb_look_measure(const uint8_t *pixel);

/* Where words begin, from all training images. */
typedef struct mb_cuts {
    int area[MB_CLASSES][2];     /* lower and upper quartile */
    int gradient[MB_CLASSES][2]; /* 15 % and 85 % */
    int row, column;             /* 94 %, of clothes with a trunk */
} mb_cuts;

mb_cuts mb_cuts_fit(const mb_look *look, const uint8_t *label, size_t n);

enum mb_tone { MB_DARK, MB_GREY, MB_LIGHT };
enum mb_silhouette { MB_SLIM, MB_REGULAR, MB_FULL };
enum mb_pattern { MB_UNSAID, MB_PLAIN, MB_PATTERNED, MB_STRIPES_ACROSS, MB_STRIPES_DOWN };

/* What a caption says. */
typedef struct mb_traits {
    int label; /* class, 0 .. 9 */
    enum mb_tone tone;
    enum mb_silhouette silhouette;
    enum mb_pattern pattern;
} mb_traits;

mb_traits mb_traits_of(const mb_look *look, int label, const mb_cuts *cuts);

/* Words the traits; carrier phrase and synonyms are drawn from KEY, which callers make with
   mb_key(seed, "caption SPLIT", index, k): caption k of an image never depends on order. Writes at
   most MB_CAPTION_SIZE bytes with the NUL; returns the length. */
size_t mb_caption(const mb_traits *traits, uint64_t key, char out[MB_CAPTION_SIZE]);

/* The words (MB_WORDINGS of them) for value I of a slot: class, tone, silhouette, pattern. Empty
   words say nothing. */
enum mb_caption_slot { MB_SAYS_CLASS, MB_SAYS_TONE, MB_SAYS_SILHOUETTE, MB_SAYS_PATTERN };
enum { MB_WORDINGS = 3 };
const char *const *mb_caption_words(enum mb_caption_slot slot, int i);

#endif
