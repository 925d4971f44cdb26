#include "tests/kernels_support.h"

#include "base/file.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { SEED = 20 };

/* ---- memory --------------------------------------------------------------------------------- */

/* Bytes before and after the numbers, and two patterns that make NaN of any kind of number: what
   guards hold, and what a result holds before it is written. */
enum { GUARD_BYTES = 64, GUARD = 0x7fc5, UNSET = 0x7fde };

static size_t size_of(const test_memory *m)
{
    return m->kind == TEST_DOUBLE ? sizeof(double)
           : m->kind == TEST_REAL ? mb_size(m->c->stored)
                                  : sizeof(float);
}

static size_t bytes_of(const test_memory *m)
{
    return (size_t)m->n * size_of(m);
}

static void fill(char *x, uint16_t word, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += sizeof word)
        memcpy(x + i, &word, sizeof word);
}

static bool holds(const char *x, uint16_t word, size_t bytes)
{
    bool all = true;

    for (size_t i = 0; i < bytes; i += sizeof word)
        all = all && !memcmp(x + i, &word, sizeof word);
    return all;
}

/* `null` has no memory of its own: that it writes nothing is seen in the host's. */
static bool in_host(const test_memory *m)
{
    return m->kind == TEST_HOST || !m->c->be->computes;
}

/* Between host memory and where kernels find it, guards included. */
static void move(const test_memory *m, bool to_kernels)
{
    char *there = (char *)m->data - GUARD_BYTES;
    size_t bytes = bytes_of(m) + 2 * GUARD_BYTES;

    if (in_host(m)) {
        memcpy(to_kernels ? there : m->image, to_kernels ? m->image : there, bytes);
        return;
    }
    if (to_kernels)
        m->c->be->write(m->c, there, m->image, bytes);
    else
        m->c->be->fetch(m->c, m->image, there, bytes);
    cr_assert_eq(mb_ctx_sync(m->c), MB_OK, "%s", mb_message());
}

test_memory test_unset(mb_ctx *c, enum test_kind kind, int64_t n)
{
    test_memory m = { .c = c, .kind = kind, .n = n };
    size_t bytes = bytes_of(&m) + 2 * GUARD_BYTES;

    m.image = mb_alloc(bytes);
    m.value = mb_alloc((size_t)n * sizeof *m.value);
    m.data = in_host(&m) ? mb_alloc(bytes) : c->be->alloc(c, bytes);
    cr_assert_not_null(m.data);
    m.data = (char *)m.data + GUARD_BYTES;
    fill(m.image, GUARD, bytes);
    fill(m.image + GUARD_BYTES, UNSET, bytes_of(&m));
    move(&m, true);
    return m;
}

static uint16_t to_bf16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void test_set(test_memory *m, const float *x)
{
    for (int64_t i = 0; i < m->n; i++) {
        char *to = m->image + GUARD_BYTES + (size_t)i * size_of(m);
        uint16_t half = to_bf16(x[i]);

        if (m->kind == TEST_DOUBLE)
            memcpy(to, &(double){ x[i] }, sizeof(double));
        else if (size_of(m) == sizeof half)
            memcpy(to, &half, sizeof half);
        else
            memcpy(to, &x[i], sizeof *x);
    }
    move(m, true);
}

void test_fetch(test_memory *m)
{
    move(m, false);
    for (int64_t i = 0; i < m->n; i++) {
        const char *from = m->image + GUARD_BYTES + (size_t)i * size_of(m);
        uint32_t bits = 0;
        double wide;

        if (m->kind == TEST_DOUBLE) {
            memcpy(&wide, from, sizeof wide);
            m->value[i] = (float)wide;
            continue;
        }
        memcpy((char *)&bits + sizeof bits - size_of(m), from, size_of(m)); /* its upper half */
        memcpy(&m->value[i], &bits, sizeof bits);
    }
}

bool test_guards_survive(const test_memory *m)
{
    return holds(m->image, GUARD, GUARD_BYTES) &&
           holds(m->image + GUARD_BYTES + bytes_of(m), GUARD, GUARD_BYTES);
}

bool test_is_unset(const test_memory *m)
{
    return holds(m->image + GUARD_BYTES, UNSET, bytes_of(m));
}

void test_memory_free(test_memory *m)
{
    char *there = (char *)m->data - GUARD_BYTES;

    if (in_host(m))
        free(there);
    else
        m->c->be->free(m->c, there);
    free(m->image);
    free(m->value);
}

/* ---- numbers -------------------------------------------------------------------------------- */

void test_fill_normal(float *x, const char *name, int64_t n)
{
    const char *fresh = getenv("TEST_SEED");
    uint64_t key = mb_key(fresh ? strtoull(fresh, NULL, 10) : SEED, name, 0, 0);

    for (int64_t i = 0; i < n; i++)
        x[i] = (float)mb_normal(key, (uint64_t)i);
}

float *test_normal(const char *name, int64_t n)
{
    float *x = mb_alloc((size_t)n * sizeof *x);

    test_fill_normal(x, name, n);
    return x;
}

double test_distance(const float *a, const float *b, int64_t n)
{
    double distance = 0, size = 0;

    for (int64_t i = 0; i < n; i++) {
        distance += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)b[i] * b[i];
    }
    return distance == 0 ? 0 : distance / size;
}

mb_ctx *test_open(const char *name)
{
    mb_ctx *c;

    cr_assert_eq(mb_ctx_open(name, MB_FP32, 2, &c), MB_OK, "%s: %s", name, mb_message());
    return c;
}

mb_ctx *test_open_if_there(const char *name, mb_precision precision)
{
    mb_ctx *c = NULL;
    mb_err err = mb_ctx_open(name, precision, 2, &c);

    cr_assert(!err || err == MB_EMISSING || precision == MB_BF16 || !strcmp(name, "cuda"), "%s: %s",
              name, mb_message());
    return c;
}

static uint64_t draw(const char *name, int64_t i, int64_t n)
{
    return mb_below(mb_key(SEED, name, 0, 0), (uint64_t)i, (uint64_t)n);
}

uint8_t *test_slices(mb_ctx *c, int64_t t, int slices)
{
    uint8_t *slice = mb_ctx_host(c, (size_t)t);

    for (int64_t i = 0; i < t; i++)
        slice[i] = (uint8_t)(i == t / 2 ? slices - 1 : (int)draw("slice", i, slices));
    return slice;
}

/* Every second row, before and behind; none beyond the ends. */
int32_t *test_around(mb_ctx *c, int64_t t, int places)
{
    int32_t *around = mb_ctx_host(c, (size_t)(t * places) * sizeof *around);

    for (int64_t i = 0; i < t * places; i++) {
        int64_t row = i / places + 2 * (i % places) - (places - 1);

        around[i] = (int32_t)(row >= 0 && row < t ? row : -1);
    }
    return around;
}

int32_t *test_below(mb_ctx *c, const char *name, int64_t t, int64_t n)
{
    int32_t *x = mb_ctx_host(c, (size_t)t * sizeof *x);

    for (int64_t i = 0; i < t; i++)
        x[i] = (int32_t)draw(name, i, n);
    return x;
}

/* ---- routes --------------------------------------------------------------------------------- */

/* Whether row i of x goes to group g: to one group, to the next one too, or to none. */
static bool goes_to(enum test_layout layout, int64_t i, int64_t t, int g, int groups)
{
    int home = (int)(i * groups / t);

    if (layout == TEST_ALL_IN_LAST)
        return g == groups - 1;
    if (layout == TEST_SORTED)
        return g == (home == 1 && groups > 2 ? 2 : home);
    home = (int)draw("home", i, groups);
    switch (draw("copies", i, 3)) {
    case 0:
        return false;
    case 1:
        return g == home;
    default:
        return g == home || g == (home + 1) % groups;
    }
}

mb_route *test_route(mb_ctx *c, enum test_layout layout, int64_t t, int groups)
{
    int64_t *offset = mb_ctx_host(c, (size_t)(groups + 1) * sizeof *offset);
    int64_t *asked = mb_ctx_host(c, (size_t)groups * sizeof *asked);
    int32_t *token = mb_ctx_host(c, (size_t)(t * groups) * sizeof *token);
    int32_t *first = mb_ctx_host(c, (size_t)(t + 1) * sizeof *first);
    int32_t *row = mb_ctx_host(c, (size_t)(t * groups) * sizeof *row);
    mb_route *r = mb_ctx_host(c, sizeof *r);
    int64_t rows = 0, filled = 0;

    for (int g = 0; g < groups; g++) {
        offset[g] = rows;
        for (int64_t i = 0; i < t; i++)
            if (goes_to(layout, i, t, g, groups))
                token[rows++] = (int32_t)i;
        asked[g] = rows - offset[g];
    }
    offset[groups] = rows;
    for (int64_t i = 0; i < t; i++) {
        first[i] = (int32_t)filled;
        for (int64_t k = 0; k < rows; k++)
            if (token[k] == i)
                row[filled++] = (int32_t)k;
    }
    first[t] = (int32_t)filled;
    *r = (mb_route){
        .groups = groups, .rows = rows, .tokens = t, .offset = offset, .asked = asked, .kept = asked
    };
    if (layout == TEST_INDEXED) {
        r->token = token;
        r->first = first;
        r->row = row;
    }
    return r;
}

/* ---- spans ---------------------------------------------------------------------------------- */

/* Position p of an image sees all of it: images are the second quarter of every eight positions of
   a document, cut off where the document ends. */
static int32_t image_end(const int32_t *lo, int64_t p, int64_t len)
{
    int64_t end = p, in = (p - lo[p]) % 8;

    if (in < 2 || in > 3)
        return (int32_t)p;
    while (end + 1 < len && lo[end + 1] == lo[p] && (end + 1 - lo[p]) % 8 <= 3)
        end++;
    return (int32_t)end;
}

mb_span *test_span(mb_ctx *c, int64_t batch, int64_t len, int what)
{
    int64_t t = batch * len, rows = what & TEST_PADDED ? t + t / 2 + 1 : t;
    int32_t *lo = mb_ctx_host(c, (size_t)t * sizeof *lo);
    int32_t *hi = mb_ctx_host(c, (size_t)t * sizeof *hi);
    int32_t *at = mb_ctx_host(c, (size_t)t * sizeof *at);
    mb_span *s = mb_ctx_host(c, sizeof *s);

    *s = (mb_span){ .batch = batch, .len = len, .rows = rows, .lo = lo, .hi = hi };
    for (int64_t i = 0; i < t; i++) {
        int64_t p = i % len;
        bool starts = p == 0 || ((what & TEST_DOCUMENTS) && draw("document", i, 5) == 0);

        lo[i] = (int32_t)(starts ? p : lo[i - 1]);
        at[i] = (int32_t)mb_permute(SEED, (uint64_t)rows, (uint64_t)i);
    }
    for (int64_t i = 0; i < t; i++) {
        int64_t p = i % len;

        hi[i] = what & TEST_IMAGES ? image_end(lo + i - p, p, len) : (int32_t)p;
        s->pairs += (uint64_t)(hi[i] - lo[i] + 1);
    }
    if (what & (TEST_PERMUTED | TEST_PADDED))
        s->at = at;
    return s;
}
