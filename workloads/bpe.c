/* Symbols, files, encoding and decoding; bpe_train.c chooses the joins. */
#include "workloads/bpe.h"
#include "base/file.h"
#include "workloads/bpe_symbols.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct mb_bpe {
    int vocab, room;
    int32_t (*join)[2];                    /* of symbol id: [id - 256] */
    unsigned char (*text)[MB_BPE_LONGEST]; /* of every symbol */
    unsigned char *size;
    int32_t *slot; /* hash of a pair -> the symbol that joins it, or -1 */
    size_t mask;
};

mb_bpe *mb_bpe_new(int room)
{
    mb_bpe *b = mb_zalloc(1, sizeof *b);
    size_t slots = 1024;

    while (slots < 2 * (size_t)room)
        slots *= 2;
    b->vocab = MB_BPE_BYTES;
    b->room = room;
    b->join = mb_zalloc((size_t)(room - MB_BPE_BYTES), sizeof *b->join);
    b->text = mb_zalloc((size_t)room, sizeof *b->text);
    b->size = mb_zalloc((size_t)room, 1);
    b->slot = mb_alloc(slots * sizeof *b->slot);
    b->mask = slots - 1;
    memset(b->slot, 0xff, slots * sizeof *b->slot);
    for (int i = 0; i < MB_BPE_BYTES; i++) {
        b->text[i][0] = (unsigned char)i;
        b->size[i] = 1;
    }
    return b;
}

void mb_bpe_free(mb_bpe *b)
{
    if (!b)
        return;
    free(b->join);
    free(b->text);
    free(b->size);
    free(b->slot);
    free(b);
}

/* Where the pair is, or the empty slot where it would go. */
static size_t find_slot(const mb_bpe *b, int32_t left, int32_t right)
{
    uint64_t hash = ((uint64_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    size_t at = (size_t)(hash >> 32) & b->mask;

    while (b->slot[at] >= 0) {
        const int32_t *join = b->join[b->slot[at] - MB_BPE_BYTES];

        if (join[0] == left && join[1] == right)
            break;
        at = (at + 1) & b->mask;
    }
    return at;
}

bool mb_bpe_join(mb_bpe *b, int32_t left, int32_t right)
{
    size_t size = (size_t)b->size[left] + b->size[right], at = find_slot(b, left, right);

    assert(b->vocab < b->room);
    if (size > MB_BPE_LONGEST || b->slot[at] >= 0)
        return false;
    b->join[b->vocab - MB_BPE_BYTES][0] = left;
    b->join[b->vocab - MB_BPE_BYTES][1] = right;
    memcpy(b->text[b->vocab], b->text[left], b->size[left]);
    memcpy(b->text[b->vocab] + b->size[left], b->text[right], b->size[right]);
    b->size[b->vocab] = (unsigned char)size;
    b->slot[at] = b->vocab++;
    return true;
}

int mb_bpe_vocab(const mb_bpe *b)
{
    return b->vocab;
}

const char *mb_bpe_bytes(const mb_bpe *b, int32_t id, size_t *size)
{
    assert(id >= 0 && id < b->vocab);
    *size = b->size[id];
    return (const char *)b->text[id];
}

enum kind { SPACE, LETTER, DIGIT, SIGN };

/* Not isalpha(): chunks must not depend on the locale. Bytes of UTF-8 sequences are letters. */
static enum kind kind_of(unsigned char c)
{
    if (c == ' ' || (c >= '\t' && c <= '\r'))
        return SPACE;
    if (c >= '0' && c <= '9')
        return DIGIT;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 128)
        return LETTER;
    return SIGN;
}

size_t mb_bpe_chunk(const unsigned char *text, size_t size)
{
    size_t n = text[0] == ' ' && size > 1 ? 1 : 0; /* a space goes with what follows it */
    enum kind kind = kind_of(text[n]);

    if (size > MB_BPE_LONGEST)
        size = MB_BPE_LONGEST;
    while (n < size && kind_of(text[n]) == kind)
        n++;
    if (kind == SPACE && n > 1 && n < size && text[n - 1] == ' ')
        n--;
    return n;
}

/* Joins in place, always the pair that was learnt first; returns the new count. */
static int encode_chunk(const mb_bpe *b, int32_t *id, int n)
{
    for (;;) {
        int32_t first = INT32_MAX;
        int kept = 0;

        for (int i = 0; i + 1 < n; i++) {
            int32_t join = b->slot[find_slot(b, id[i], id[i + 1])];

            if (join >= 0 && join < first)
                first = join;
        }
        if (first == INT32_MAX)
            return n;
        for (int i = 0; i < n; i++) {
            const int32_t *join = b->join[first - MB_BPE_BYTES];

            if (i + 1 < n && id[i] == join[0] && id[i + 1] == join[1]) {
                id[kept++] = first;
                i++;
            } else {
                id[kept++] = id[i];
            }
        }
        n = kept;
    }
}

int64_t mb_bpe_encode(const mb_bpe *b, const void *text, size_t size, int32_t *out)
{
    const unsigned char *at = text;
    int64_t count = 0;

    while (size > 0) {
        size_t n = mb_bpe_chunk(at, size);

        for (size_t i = 0; i < n; i++)
            out[count + (int64_t)i] = at[i];
        count += encode_chunk(b, out + count, (int)n);
        at += n;
        size -= n;
    }
    return count;
}

mb_err mb_bpe_save(const mb_bpe *b, const char *path)
{
    mb_replace r;

    MB_TRY(mb_replace_open(path, &r));
    fprintf(r.file, "%d\n", b->vocab - MB_BPE_BYTES);
    for (int i = 0; i < b->vocab - MB_BPE_BYTES; i++)
        fprintf(r.file, "%d %d\n", b->join[i][0], b->join[i][1]);
    return mb_replace_commit(&r);
}

static mb_err load_joins(FILE *f, const char *path, mb_bpe **out)
{
    int count = -1, left, right;

    if (fscanf(f, "%d", &count) != 1 || count < 0 || count > 1 << 24)
        return mb_fail(MB_ECORRUPT, "%s:1: expected the count of joins", path);
    *out = mb_bpe_new(MB_BPE_BYTES + count);
    for (int i = 0; i < count; i++) {
        int known = (*out)->vocab;

        if (fscanf(f, "%d %d", &left, &right) != 2 || left < 0 || left >= known || right < 0 ||
            right >= known || !mb_bpe_join(*out, left, right))
            return mb_fail(MB_ECORRUPT,
                           "%s:%d: expected two ids below %d, a new pair of at most %d"
                           " bytes",
                           path, i + 2, known, MB_BPE_LONGEST);
    }
    if (fscanf(f, " %d", &left) != EOF)
        return mb_fail(MB_ECORRUPT, "%s:%d: expected the end after %d joins", path, count + 2,
                       count);
    return MB_OK;
}

mb_err mb_bpe_load(const char *path, mb_bpe **out)
{
    FILE *f = fopen(path, "re");
    mb_err err;

    *out = NULL;
    if (!f)
        return mb_fail(MB_EMISSING, "%s: cannot be read", path);
    err = load_joins(f, path, out);
    fclose(f);
    if (err) {
        mb_bpe_free(*out);
        *out = NULL;
    }
    return err;
}
