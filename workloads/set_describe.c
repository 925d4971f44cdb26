/* A set in numbers, for who made it to look at: wrong labels and broken tokenizers show here. */
#include "workloads/set.h"

#include <math.h>
#include <stdlib.h>

/* Bits that a token of this modality has when nothing but the histogram is known. */
static double entropy(const int64_t *histogram, const mb_data *d, int modality)
{
    int64_t n = 0;
    double sum = 0;

    for (int id = 0; id < d->ids.vocab; id++)
        n += mb_data_modality(d, id, MB_TEXT) == modality ? histogram[id] : 0;
    for (int id = 0; id < d->ids.vocab; id++) {
        double share = n > 0 ? (double)histogram[id] / (double)n : 0;

        if (share > 0 && mb_data_modality(d, id, MB_TEXT) == modality)
            sum -= share * log2(share);
    }
    return sum;
}

static mb_err describe_documents(const mb_set_split *s, const char *name, FILE *out)
{
    int64_t section = 0, behind = 0, longest[MB_SECTIONS] = { 0 }, first, n;

    for (int64_t i = 0; i < s->documents; i++) {
        while (i >= behind + s->section[section])
            behind += s->section[section++];
        MB_TRY(mb_set_find(s, i, &first, &n));
        longest[section] = n > longest[section] ? n : longest[section];
    }
    for (int i = 0; i < MB_SECTIONS; i++) {
        if (s->section[i] > 0)
            fprintf(out, "%s: %lld %s, the longest has %lld tokens\n", name,
                    (long long)s->section[i], mb_section_name[i], (long long)longest[i]);
    }
    return MB_OK;
}

static mb_err describe_split(const mb_data *d, const mb_set_split *s, const char *name, FILE *out)
{
    int64_t *histogram = mb_zalloc((size_t)d->ids.vocab, sizeof *histogram);
    mb_err err = describe_documents(s, name, out);

    for (int64_t i = 0; !err && i < s->tokens; i++) {
        int32_t id = mb_set_token(d, s, i);

        if (mb_id_kind(&d->ids, id) == MB_ID_BAD)
            err = mb_fail(MB_ECORRUPT, "%s: offset %lld: id %d has no meaning", s->token_path,
                          (long long)i * d->width, id);
        else
            histogram[id]++;
    }
    for (int m = 0; !err && m < MB_MODALITIES; m++) {
        if (s->modality[m] > 0)
            fprintf(out, "%s: %lld %s tokens, entropy %.2f bits\n", name, (long long)s->modality[m],
                    mb_modality_name[m], entropy(histogram, d, m));
    }
    free(histogram);
    return err;
}

enum { IMAGES = 4096 /* looked at, evenly taken: enough for two digits */ };

/* Mean and deviation of the numbers in patches: 0 and 1 where they were normalised. */
static void describe_patches(const mb_data *d, const mb_set_split *s, const char *name, FILE *out)
{
    int64_t images = s->section[MB_PAIRS], per = (int64_t)d->ids.tokens_per_image * d->ids.patch;
    int64_t step = images / IMAGES + 1, n = 0;
    double sum = 0, square = 0;

    for (int64_t i = 0; i < images; i += step) {
        for (int64_t k = i * per; k < (i + 1) * per; k++, n++) {
            double x = (double)mb_patch_number(&d->ids, s->patch.data, k);

            sum += x;
            square += x * x;
        }
    }
    if (n > 0)
        fprintf(out, "%s: %d patches an image, of %d numbers with mean %.2f and deviation %.2f\n",
                name, d->ids.tokens_per_image, d->ids.patch, sum / (double)n,
                sqrt(fmax(0, square / (double)n - pow(sum / (double)n, 2))));
}

mb_err mb_data_describe(const mb_data *d, FILE *out)
{
    for (int s = 0; s < MB_SPLITS; s++) {
        if (d->split[s].present)
            MB_TRY(describe_split(d, &d->split[s], mb_split_name[s], out));
        if (d->split[s].present && d->ids.patch > 0)
            describe_patches(d, &d->split[s], mb_split_name[s], out);
    }
    return MB_OK;
}
