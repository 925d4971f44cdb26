#include "models/kernels/cpu/slots.h"

#include <assert.h>

/* A block is ended early only with so many queries in it: very short documents share one. */
enum { FEWEST = SIDE / 2 };

int64_t slots_most(int64_t len)
{
    return (len / FEWEST + 1) * SIDE;
}

int64_t slots_size(int64_t len)
{
    return 4 * slots_most(len) + 4 * (slots_most(len) / SIDE) + len;
}

slots slots_in(int32_t *space, int64_t len)
{
    int64_t most = slots_most(len), blocks = most / SIDE;
    slots s = { .position = space };

    s.row = s.position + most;
    s.lo = s.row + most;
    s.hi = s.lo + most;
    s.first = s.hi + most;
    s.end = s.first + blocks;
    s.from = s.end + blocks;
    s.to = s.from + blocks;
    s.slot = s.to + blocks;
    return s;
}

static void leave_empty(slots *s, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) {
        s->position[i] = s->row[i] = s->lo[i] = -1;
        s->hi[i] = INT32_MAX;
    }
}

/* Gives each position a slot; returns how many there are. */
static int64_t fill(slots *s, const mb_span *span, int64_t b)
{
    const int32_t *lo = span->lo + b * span->len, *hi = span->hi + b * span->len;
    int64_t n = 0, end;

    for (int64_t p = 0; p < span->len; p++, n++) {
        assert(0 <= lo[p] && lo[p] <= hi[p] && hi[p] < span->len); /* every query sees a key */
        if (lo[p] >= p && n % SIDE >= FEWEST) {
            end = (n + SIDE - 1) / SIDE * SIDE;
            leave_empty(s, n, end);
            n = end;
        }
        s->slot[p] = (int32_t)n;
        s->position[n] = (int32_t)p;
        s->row[n] = span->at ? span->at[b * span->len + p] : (int32_t)(b * span->len + p);
        s->lo[n] = lo[p];
        s->hi[n] = hi[p];
    }
    end = (n + SIDE - 1) / SIDE * SIDE;
    leave_empty(s, n, end);
    return end;
}

int64_t slots_make(slots *s, const mb_span *span, int64_t b)
{
    int64_t pairs = 0;

    s->blocks = fill(s, span, b) / SIDE;
    for (int64_t q = 0; q < s->blocks; q++) {
        int32_t low = INT32_MAX, high = 0;

        s->from[q] = 0;
        s->to[q] = INT32_MAX;
        for (int64_t i = q * SIDE; i < (q + 1) * SIDE && s->row[i] >= 0; i++) {
            low = s->lo[i] < low ? s->lo[i] : low;
            high = s->hi[i] > high ? s->hi[i] : high;
            s->from[q] = s->lo[i] > s->from[q] ? s->lo[i] : s->from[q];
            s->to[q] = s->hi[i] < s->to[q] ? s->hi[i] : s->to[q];
        }
        s->first[q] = s->slot[low] / SIDE;
        s->end[q] = s->slot[high] / SIDE + 1;
        pairs += s->end[q] - s->first[q];
    }
    return pairs;
}
