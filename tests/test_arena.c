#include "models/kernels/arena.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

enum { MIB = 1 << 20 };

/* One pass: BYTES in pieces, all written. */
static void pass(mb_arena *a, size_t bytes)
{
    for (size_t piece = bytes / 8, taken = 0; taken < bytes; taken += piece)
        memset(mb_arena_take(a, piece), 1, piece);
    mb_arena_reset(a);
}

/* Memory that is new to the process costs more than most of what a step computes. */
Test(arena, settles_although_every_pass_takes_a_little_more)
{
    mb_arena a = { .used = 0 };
    size_t settled;

    cr_assert_eq(mb_arena_reserve(&a, 16 * MIB), MB_OK);
    pass(&a, 17 * MIB);
    settled = mb_arena_size(&a);
    for (size_t more = 0; more < 8; more++)
        pass(&a, 17 * MIB + more * (MIB / 8));
    cr_expect_eq(mb_arena_size(&a), settled);
    cr_expect_leq(settled, 20 * MIB);
    mb_arena_free(&a);
}
