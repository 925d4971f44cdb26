#include "workloads/arrange.h"

/* A text, an image with BOI and EOI, or speech with BOA and EOA, inside a document. */
typedef struct segment {
    int modality;
    int64_t first, n;
} segment;

enum { SEGMENTS = MB_MODALITIES };

/* The segments between BOS and EOS; 0 when a modality comes twice, as in interleaved documents,
   whose order is their own. */
static int find_segments(const mb_ids *ids, const int32_t *t, int64_t n, segment out[SEGMENTS])
{
    int64_t i = t[0] == ids->bos, end = n - (t[n - 1] == ids->eos);
    bool seen[MB_MODALITIES] = { false };
    int count = 0;

    for (; i < end; i += out[count - 1].n) {
        int m = t[i] == ids->boi ? MB_IMAGE : t[i] == ids->boa ? MB_SPEECH : MB_TEXT;
        int32_t last = m == MB_IMAGE ? ids->eoi : ids->eoa;
        int64_t to = i + 1;

        if (seen[m])
            return 0;
        seen[m] = true;
        if (m == MB_TEXT) {
            while (to < end && t[to] != ids->boi && t[to] != ids->boa)
                to++;
        } else {
            while (to < end && t[to - 1] != last)
                to++;
        }
        out[count++] = (segment){ m, i, to - i };
    }
    return count;
}

void mb_document_arrange(const mb_ids *ids, int order, bool image_first, int32_t *token,
                         int32_t *scratch, int64_t n)
{
    static const int orders[6][SEGMENTS] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                             { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    static const int orders_of_two[2][SEGMENTS] = { { 0, 1 }, { 1, 0 } };
    segment list[SEGMENTS];
    int count = find_segments(ids, token, n, list);
    const int *which = orders[order];
    int64_t to, begin;

    if (count < 2)
        return;
    begin = to = list[0].first;
    if (count == 2) {
        bool turn = order % 2;

        if (list[0].modality != MB_SPEECH && list[1].modality != MB_SPEECH)
            turn = image_first != (list[0].modality == MB_IMAGE);
        which = orders_of_two[turn];
    }
    for (int i = 0; i < count; i++) {
        const segment *from = &list[which[i]];

        memcpy(scratch + to, token + from->first, (size_t)from->n * sizeof *scratch);
        to += from->n;
    }
    memcpy(token + begin, scratch + begin, (size_t)(to - begin) * sizeof *scratch);
}
