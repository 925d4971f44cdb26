/* The ledger: every addition goes to the entry of its key, in whatever order they come. */
#include "models/kernels/ledger.h"

#include "base/random.h"

#include <criterion/criterion.h>

enum { OPS = 3, LAYERS = 40, KEYS = OPS * LAYERS };

static const char *const op[OPS] = { "gemm", "norm", "rope" };

static void add(mb_ledger *l, int key)
{
    mb_ledger_add(l, op[key % OPS], MB_HEAD, key / OPS, MB_FWD, -1,
                  (mb_cost){ .model = (uint64_t)key }, 1);
}

/* Whether the entry of KEY was added to TIMES times. */
static void check(const mb_ledger *l, int key, uint64_t times)
{
    size_t n, found = 0;
    const mb_entry *e = mb_ledger_entries(l, &n);

    for (size_t i = 0; i < n; i++)
        if (e[i].layer == key / OPS && !strcmp(e[i].op, op[key % OPS])) {
            found++;
            cr_expect_eq(e[i].calls, times, "key %d", key);
            cr_expect_eq(e[i].cost.model, times * (uint64_t)key, "key %d", key);
        }
    cr_expect_eq(found, times > 0, "key %d", key);
}

Test(ledger, additions_find_their_entry_in_any_order)
{
    mb_ledger *l = mb_ledger_new();
    uint64_t times[KEYS] = { 0 };

    for (uint64_t i = 0; i < 3000; i++) { /* now as it comes, now the same ones again and again */
        int key = (int)(i < 1000 ? mb_below(1, i, KEYS) : i % (i < 2000 ? KEYS : 7));

        add(l, key);
        times[key]++;
    }
    for (int key = 0; key < KEYS; key++)
        check(l, key, times[key]);
    mb_ledger_free(l);
}

Test(ledger, nothing_is_left_after_clearing)
{
    mb_ledger *l = mb_ledger_new();
    size_t n;

    for (int key = 0; key < KEYS; key++)
        add(l, key);
    mb_ledger_clear(l);
    mb_ledger_entries(l, &n);
    cr_assert_eq(n, 0);
    cr_assert_eq(mb_ledger_total(l).model, 0);
    add(l, 5);
    add(l, 5);
    add(l, 4);
    check(l, 5, 2);
    check(l, 4, 1);
    check(l, 6, 0);
    mb_ledger_free(l);
}
