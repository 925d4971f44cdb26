/* Where the positions of a sequence lie in blocks of SIDE slots, for attention. A document begins a
   block, so that its first queries do not drag along the keys of the one before; what a block has
   too much then stays empty. */
#ifndef MB_KERNELS_CPU_SLOTS_H
#define MB_KERNELS_CPU_SLOTS_H

#include "models/kernels/op.h"

enum { SIDE = 8 }; /* short documents waste more with 16 than the wider tile would gain */

typedef struct slots {
    int64_t blocks;
    int32_t *position, *row; /* of a slot, -1: empty; position: within its sequence */
    int32_t *lo, *hi;        /* positions that its query sees; all of them, if it is empty */
    int32_t *slot;           /* of a position */
    int32_t *first, *end;    /* of a block: the blocks of keys that one of its queries sees, */
    int32_t *from, *to;      /* and the positions that all of them see */
} slots;

/* Numbers that a sequence of LEN positions needs; slots that it has at most. */
int64_t slots_size(int64_t len);
int64_t slots_most(int64_t len);

/* Divides SPACE, slots_size() numbers. */
slots slots_in(int32_t *space, int64_t len);

/* Fills in sequence B; returns the pairs of blocks that meet. */
int64_t slots_make(slots *s, const mb_span *span, int64_t b);

static inline bool sees(const slots *s, int64_t q, int64_t k)
{
    return s->first[q] <= k && k < s->end[q];
}

typedef struct range { /* of blocks */
    int64_t begin, end;
} range;

/* The blocks of keys among THESE that block q of queries sees. */
static inline range seen(const slots *s, int64_t q, range these)
{
    return (range){ s->first[q] > these.begin ? s->first[q] : these.begin,
                    s->end[q] < these.end ? s->end[q] : these.end };
}

/* Does every query of block Q see all of block K, which has no empty slot? */
static inline bool all_seen(const slots *s, int64_t q, int64_t k)
{
    const int32_t *p = s->position + k * SIDE;

    return p[SIDE - 1] == p[0] + SIDE - 1 && s->from[q] <= p[0] && p[SIDE - 1] <= s->to[q];
}

#endif
