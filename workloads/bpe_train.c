/* Training: which pairs to join.

   Texts become a dictionary of distinct chunks with counts. Every pair knows how often it occurs
   and in which chunks, so that a join touches only the chunks that hold it. The heap's counts may
   be out of date, but only too high, since a join adds no occurrence of an old pair: what comes up
   is put back with its present count until it is right. */
#include "base/file.h"
#include "workloads/array.h"
#include "workloads/bpe_symbols.h"

#include <stdlib.h>
#include <string.h>

typedef struct chunk {
    size_t start; /* of its symbols in the trainer's array; at first one per byte */
    int length;
    int64_t count;
} chunk;

typedef struct pair {
    int32_t left, right;
    int64_t count;
    size_t *chunk; /* those that hold it, or held it once */
    size_t chunks, room;
} pair;

typedef struct candidate {
    int64_t count;
    int32_t left, right;
} candidate;

struct mb_bpe_trainer {
    chunk *chunk;
    size_t chunks, chunk_room;
    int32_t *symbol;
    size_t symbols, symbol_room;
    pair *pair;
    size_t pairs, pair_room;
    candidate *heap;
    size_t heaped, heap_room;
    size_t *chunk_slot, *pair_slot; /* hashes: index + 1, or 0 for an empty slot */
    size_t chunk_slots, pair_slots; /* powers of two, at least twice what they hold */
};

mb_bpe_trainer *mb_bpe_trainer_open(void)
{
    mb_bpe_trainer *t = mb_zalloc(1, sizeof *t);

    t->chunk_slots = t->pair_slots = 1024;
    t->chunk_slot = mb_zalloc(t->chunk_slots, sizeof *t->chunk_slot);
    t->pair_slot = mb_zalloc(t->pair_slots, sizeof *t->pair_slot);
    return t;
}

static void trainer_free(mb_bpe_trainer *t)
{
    for (size_t i = 0; i < t->pairs; i++)
        free(t->pair[i].chunk);
    free(t->chunk);
    free(t->symbol);
    free(t->pair);
    free(t->heap);
    free(t->chunk_slot);
    free(t->pair_slot);
    free(t);
}

static uint64_t hash_symbols(const int32_t *symbol, int n)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, with a final shift for the low bits */

    for (int i = 0; i < n; i++)
        h = (h ^ (uint64_t)symbol[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

/* An empty slot for HASH in a table of SLOTS. */
static size_t empty_slot(const size_t *slot, size_t slots, uint64_t hash)
{
    size_t at = hash & (slots - 1);

    while (slot[at])
        at = (at + 1) & (slots - 1);
    return at;
}

static void rehash_chunks(mb_bpe_trainer *t)
{
    t->chunk_slots *= 2;
    free(t->chunk_slot);
    t->chunk_slot = mb_zalloc(t->chunk_slots, sizeof *t->chunk_slot);
    for (size_t i = 0; i < t->chunks; i++) {
        uint64_t hash = hash_symbols(t->symbol + t->chunk[i].start, t->chunk[i].length);

        t->chunk_slot[empty_slot(t->chunk_slot, t->chunk_slots, hash)] = i + 1;
    }
}

static void add_chunk(mb_bpe_trainer *t, const int32_t *symbol, int n)
{
    uint64_t hash = hash_symbols(symbol, n);
    size_t at = hash & (t->chunk_slots - 1);

    for (; t->chunk_slot[at]; at = (at + 1) & (t->chunk_slots - 1)) {
        chunk *c = &t->chunk[t->chunk_slot[at] - 1];

        if (c->length == n && !memcmp(t->symbol + c->start, symbol, (size_t)n * sizeof *symbol)) {
            c->count++;
            return;
        }
    }
    t->chunk = mb_grow(t->chunk, t->chunks, &t->chunk_room, sizeof *t->chunk);
    t->chunk[t->chunks] = (chunk){ t->symbols, n, 1 };
    for (int i = 0; i < n; i++) {
        t->symbol = mb_grow(t->symbol, t->symbols, &t->symbol_room, sizeof *t->symbol);
        t->symbol[t->symbols++] = symbol[i];
    }
    t->chunk_slot[at] = ++t->chunks;
    if (2 * t->chunks > t->chunk_slots)
        rehash_chunks(t);
}

void mb_bpe_trainer_add(mb_bpe_trainer *t, const void *text, size_t size)
{
    const unsigned char *at = text;

    while (size > 0) {
        size_t n = mb_bpe_chunk(at, size);
        int32_t symbol[MB_BPE_LONGEST];

        for (size_t i = 0; i < n; i++)
            symbol[i] = at[i];
        add_chunk(t, symbol, (int)n);
        at += n;
        size -= n;
    }
}

static uint64_t hash_pair(int32_t left, int32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;

    return h >> 24;
}

static void rehash_pairs(mb_bpe_trainer *t)
{
    t->pair_slots *= 2;
    free(t->pair_slot);
    t->pair_slot = mb_zalloc(t->pair_slots, sizeof *t->pair_slot);
    for (size_t i = 0; i < t->pairs; i++) {
        uint64_t hash = hash_pair(t->pair[i].left, t->pair[i].right);

        t->pair_slot[empty_slot(t->pair_slot, t->pair_slots, hash)] = i + 1;
    }
}

/* The entry of a pair, made if it is new; valid until the next call. */
static pair *find_pair(mb_bpe_trainer *t, int32_t left, int32_t right)
{
    size_t at = hash_pair(left, right) & (t->pair_slots - 1);

    for (; t->pair_slot[at]; at = (at + 1) & (t->pair_slots - 1)) {
        pair *p = &t->pair[t->pair_slot[at] - 1];

        if (p->left == left && p->right == right)
            return p;
    }
    t->pair = mb_grow(t->pair, t->pairs, &t->pair_room, sizeof *t->pair);
    t->pair[t->pairs] = (pair){ .left = left, .right = right };
    t->pair_slot[at] = ++t->pairs;
    if (2 * t->pairs > t->pair_slots)
        rehash_pairs(t);
    return &t->pair[t->pairs - 1];
}

/* Adds SIGN times its count to all pairs of chunk C; pairs with FRESH (or all, FRESH < 0) learn
   that C holds them. */
static void count_pairs(mb_bpe_trainer *t, size_t c, int sign, int32_t fresh)
{
    const chunk *k = &t->chunk[c];
    const int32_t *symbol = t->symbol + k->start;

    for (int i = 0; i + 1 < k->length; i++) {
        pair *p = find_pair(t, symbol[i], symbol[i + 1]);

        p->count += sign * k->count;
        if (sign > 0 && (fresh < 0 || p->left == fresh || p->right == fresh) &&
            (!p->chunks || p->chunk[p->chunks - 1] != c)) {
            p->chunk = mb_grow(p->chunk, p->chunks, &p->room, sizeof *p->chunk);
            p->chunk[p->chunks++] = c;
        }
    }
}

static bool before(const candidate *a, const candidate *b)
{
    if (a->count != b->count)
        return a->count > b->count;
    return a->left != b->left ? a->left < b->left : a->right < b->right;
}

static void heap_push(mb_bpe_trainer *t, const pair *p)
{
    candidate new = { p->count, p->left, p->right };
    size_t at = t->heaped;

    t->heap = mb_grow(t->heap, t->heaped++, &t->heap_room, sizeof *t->heap);
    for (; at > 0 && before(&new, &t->heap[(at - 1) / 2]); at = (at - 1) / 2)
        t->heap[at] = t->heap[(at - 1) / 2];
    t->heap[at] = new;
}

static candidate heap_pop(mb_bpe_trainer *t)
{
    candidate top = t->heap[0], last = t->heap[--t->heaped];
    size_t at = 0, child;

    while ((child = 2 * at + 1) < t->heaped) {
        if (child + 1 < t->heaped && before(&t->heap[child + 1], &t->heap[child]))
            child++;
        if (!before(&t->heap[child], &last))
            break;
        t->heap[at] = t->heap[child];
        at = child;
    }
    t->heap[at] = last;
    return top;
}

static void join_in_chunk(mb_bpe_trainer *t, size_t c, int32_t left, int32_t right, int32_t joined)
{
    chunk *k = &t->chunk[c];
    int32_t *symbol = t->symbol + k->start;
    int kept = 0;

    count_pairs(t, c, -1, joined);
    for (int i = 0; i < k->length; i++) {
        bool match = i + 1 < k->length && symbol[i] == left && symbol[i + 1] == right;

        symbol[kept++] = match ? joined : symbol[i];
        i += match;
    }
    k->length = kept;
    count_pairs(t, c, 1, joined);
}

/* Joins a pair everywhere, and puts the pairs that this made on the heap. */
static void join_everywhere(mb_bpe_trainer *t, int32_t left, int32_t right, int32_t joined)
{
    pair *p = find_pair(t, left, right);
    size_t *list = p->chunk, count = p->chunks, known = t->pairs;

    p->chunk = NULL; /* the pair is gone for good */
    p->chunks = p->room = 0;
    for (size_t i = 0; i < count; i++)
        join_in_chunk(t, list[i], left, right, joined);
    free(list);
    for (size_t i = known; i < t->pairs; i++)
        heap_push(t, &t->pair[i]);
}

mb_bpe *mb_bpe_trainer_close(mb_bpe_trainer *t, int vocab)
{
    mb_bpe *b = mb_bpe_new(vocab);

    for (size_t c = 0; c < t->chunks; c++)
        count_pairs(t, c, 1, -1);
    for (size_t i = 0; i < t->pairs; i++)
        heap_push(t, &t->pair[i]);
    while (mb_bpe_vocab(b) < vocab && t->heaped > 0) {
        candidate top = heap_pop(t);
        const pair *p = find_pair(t, top.left, top.right);

        if (p->count < 2)
            continue;
        if (p->count < top.count) {
            heap_push(t, p);
            continue;
        }
        mb_bpe_join(b, top.left, top.right);
        join_everywhere(t, top.left, top.right, mb_bpe_vocab(b) - 1);
    }
    trainer_free(t);
    return b;
}
