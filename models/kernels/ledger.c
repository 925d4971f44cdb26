#include "models/kernels/ledger.h"

#include "base/file.h"

#include <stdbool.h>

#include <stdlib.h>
#include <string.h>

const char *const mb_pass_name[MB_PASSES] = { "fwd", "bwd", "opt" };
const char *const mb_part_name[MB_PARTS] = { "embed",  "attention", "feed_forward",
                                             "router", "head",      "optimizer" };

/* Entries in order of appearance. A step repeats the one before it, so the entry that follows the
   last one is nearly always the next; others are found through an open hash table of indices. */
struct mb_ledger {
    mb_entry *entries;
    size_t n, room;
    size_t next;     /* a guess, at most n */
    uint32_t *slots; /* index + 1; 0 is free */
    size_t n_slots;  /* a power of two, at least twice the entries */
};

static bool same(const mb_entry *a, const mb_entry *b)
{
    return a->layer == b->layer && a->pass == b->pass && a->part == b->part &&
           a->group == b->group && (a->op == b->op || !strcmp(a->op, b->op));
}

static size_t hash(const mb_entry *e)
{
    uint64_t h = (uint64_t)(e->layer + 1) << 32 | (uint64_t)(e->group + 1) << 8 |
                 (uint64_t)e->part << 4 | (uint64_t)e->pass;

    for (const char *s = e->op; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return (size_t)(h ^ h >> 29);
}

static uint32_t *slot_of(const mb_ledger *l, const mb_entry *key)
{
    size_t i = hash(key);

    for (;; i++) {
        uint32_t *slot = &l->slots[i & (l->n_slots - 1)];

        if (!*slot || same(&l->entries[*slot - 1], key))
            return slot;
    }
}

static void grow(mb_ledger *l)
{
    l->room *= 2;
    l->entries = realloc(l->entries, l->room * sizeof *l->entries);
    if (!l->entries)
        abort();
    free(l->slots);
    l->n_slots = 2 * l->room;
    l->slots = mb_zalloc(l->n_slots, sizeof *l->slots);
    for (size_t i = 0; i < l->n; i++)
        *slot_of(l, &l->entries[i]) = (uint32_t)i + 1;
}

mb_ledger *mb_ledger_new(void)
{
    mb_ledger *l = mb_zalloc(1, sizeof *l);

    l->room = 64;
    grow(l);
    return l;
}

void mb_ledger_free(mb_ledger *l)
{
    if (!l)
        return;
    free(l->entries);
    free(l->slots);
    free(l);
}

void mb_ledger_clear(mb_ledger *l)
{
    l->n = l->next = 0;
    memset(l->slots, 0, l->n_slots * sizeof *l->slots);
}

static mb_entry *find(mb_ledger *l, const mb_entry *key)
{
    uint32_t *slot = slot_of(l, key);

    if (!*slot) {
        if (l->n == l->room) {
            grow(l);
            slot = slot_of(l, key);
        }
        l->entries[l->n] = *key;
        *slot = (uint32_t)++l->n;
    }
    return &l->entries[*slot - 1];
}

void mb_ledger_add(mb_ledger *l, const char *op, mb_part part, int layer, mb_pass_kind pass,
                   int group, mb_cost cost, uint64_t wall_ns)
{
    mb_entry key = { .op = op, .part = part, .layer = layer, .pass = pass, .group = group };
    mb_entry *e = l->entries + (l->next < l->n ? l->next : 0);

    if (!l->n || !same(e, &key))
        e = find(l, &key);
    l->next = (size_t)(e - l->entries) + 1;
    e->calls++;
    e->wall_ns += wall_ns;
    e->cost.model += cost.model;
    e->cost.useful += cost.useful;
    e->cost.executed += cost.executed;
    e->cost.vector += cost.vector;
    e->cost.bytes += cost.bytes;
}

const mb_entry *mb_ledger_entries(const mb_ledger *l, size_t *count)
{
    *count = l->n;
    return l->entries;
}

mb_cost mb_ledger_total(const mb_ledger *l)
{
    mb_cost total = { 0 };

    for (size_t i = 0; i < l->n; i++) {
        const mb_cost *c = &l->entries[i].cost;

        total.model += c->model;
        total.useful += c->useful;
        total.executed += c->executed;
        total.vector += c->vector;
        total.bytes += c->bytes;
    }
    return total;
}
