#include "harness/cider.h"

#include "base/file.h"
#include "base/random.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 4, WORDS = 128 /* of a caption: more are not read */ };
#define SIGMA 6.0

typedef struct gram { /* so many words in a row, by their hash */
    uint64_t hash;
    double count; /* in a caption; in all: documents */
} gram;

typedef struct grams {
    gram *gram; /* (n) by hash */
    int64_t n;
} grams;

/* ---- counting ------------------------------------------------------------------------------- */

static int by_hash(const void *a, const void *b)
{
    const gram *x = a, *y = b;

    return (x->hash > y->hash) - (x->hash < y->hash);
}

/* Sorts, and makes one of equal ones. */
static void gather(grams *g)
{
    int64_t n = 0;

    qsort(g->gram, (size_t)g->n, sizeof *g->gram, by_hash);
    for (int64_t i = 0; i < g->n; i++)
        if (n > 0 && g->gram[n - 1].hash == g->gram[i].hash)
            g->gram[n - 1].count += g->gram[i].count;
        else
            g->gram[n++] = g->gram[i];
    g->n = n;
}

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || c == '-';
}

/* Hashes of the words of TEXT; returns how many. */
static int read_words(const char *text, uint64_t word[WORDS])
{
    int n = 0;

    for (const char *at = text; *at && n < WORDS;) {
        uint64_t hash = 0;

        if (!in_word(*at)) {
            at++;
            continue;
        }
        for (; in_word(*at); at++)
            hash = mb_random(hash, (uint64_t)tolower((unsigned char)*at));
        word[n++] = hash;
    }
    return n;
}

/* All runs of N words. */
static grams count_grams(const uint64_t *word, int words, int n)
{
    grams g = { mb_alloc((size_t)(words + 1) * sizeof *g.gram), 0 };

    for (int i = 0; i + n <= words; i++) {
        uint64_t hash = (uint64_t)n;

        for (int k = 0; k < n; k++)
            hash = mb_random(hash, word[i + k]);
        g.gram[g.n++] = (gram){ hash, 1 };
    }
    gather(&g);
    return g;
}

/* How many images have each run of N words in some reference. */
static grams count_documents(const mb_described_image *image, int64_t images, int n)
{
    grams all = { NULL, 0 };
    int64_t room = 0;

    for (int64_t i = 0; i < images; i++)
        room += image[i].references;
    all.gram = mb_alloc((size_t)(room * WORDS + 1) * sizeof *all.gram);
    for (int64_t i = 0; i < images; i++) {
        grams mine = { all.gram + all.n, 0 };

        for (int r = 0; r < image[i].references; r++) {
            uint64_t word[WORDS];
            int words = read_words(image[i].reference[r], word);
            grams g = count_grams(word, words, n);

            memcpy(mine.gram + mine.n, g.gram, (size_t)g.n * sizeof *g.gram);
            mine.n += g.n;
            free(g.gram);
        }
        gather(&mine);
        for (int64_t k = 0; k < mine.n; k++)
            mine.gram[k].count = 1;
        all.n += mine.n;
    }
    gather(&all);
    return all;
}

/* ---- comparing ------------------------------------------------------------------------------ */

/* log(images / documents that have it), of one that none has as if one had. */
static double rarity(const grams *documents, int64_t images, uint64_t hash)
{
    const gram *found =
        bsearch(&(gram){ hash, 0 }, documents->gram, (size_t)documents->n, sizeof *found, by_hash);

    return log((double)images / (found ? found->count : 1));
}

static double norm(const grams *g, const grams *documents, int64_t images)
{
    double sum = 0;

    for (int64_t i = 0; i < g->n; i++) {
        double x = g->gram[i].count * rarity(documents, images, g->gram[i].hash);

        sum += x * x;
    }
    return sqrt(sum);
}

/* The cosine, where no run counts more often than in the reference. */
static double similarity(const grams *mine, const grams *reference, const grams *documents,
                         int64_t images)
{
    double sum = 0, norms = norm(mine, documents, images) * norm(reference, documents, images);

    for (int64_t i = 0, k = 0; i < mine->n && k < reference->n;) {
        const gram *a = &mine->gram[i], *b = &reference->gram[k];

        if (a->hash == b->hash) {
            double rare = rarity(documents, images, a->hash);

            sum += fmin(a->count, b->count) * b->count * rare * rare;
        }
        i += a->hash <= b->hash;
        k += b->hash <= a->hash;
    }
    return norms > 0 ? sum / norms : 0;
}

/* Of runs of N words. */
static double score_image(const mb_described_image *image, const grams *documents, int64_t images,
                          int n)
{
    uint64_t word[WORDS], other[WORDS];
    int words = read_words(image->candidate, word);
    grams mine = count_grams(word, words, n);
    double sum = 0;

    for (int r = 0; r < image->references; r++) {
        int others = read_words(image->reference[r], other);
        grams reference = count_grams(other, others, n);
        double apart = words - others;

        sum += similarity(&mine, &reference, documents, images) *
               exp(-apart * apart / (2 * SIGMA * SIGMA));
        free(reference.gram);
    }
    free(mine.gram);
    return sum / image->references;
}

double mb_cider(const mb_described_image *image, int64_t n)
{
    double sum = 0;

    for (int words = 1; words <= LONGEST; words++) {
        grams documents = count_documents(image, n, words);

        for (int64_t i = 0; i < n; i++)
            sum += score_image(&image[i], &documents, n, words);
        free(documents.gram);
    }
    return 10 * sum / (LONGEST * (double)n);
}
