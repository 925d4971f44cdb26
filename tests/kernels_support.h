/* What tests of kernels share: memory with guard words, keyed random data, routes and spans made
   without the front, and the distance between two results. */
#ifndef MB_TESTS_KERNELS_SUPPORT_H
#define MB_TESTS_KERNELS_SUPPORT_H

#include "models/kernels/backend.h"

/* Numbers in the memory of a backend, between guard words; whether they are activations, floats in
   every precision, doubles, or floats in host memory. */
typedef struct test_memory {
    mb_ctx *c;
    enum test_kind { TEST_REAL, TEST_FLOAT, TEST_DOUBLE, TEST_HOST } kind;
    int64_t n;
    void *data;   /* where kernels find them */
    char *image;  /* in host memory, with the guards */
    float *value; /* N floats: as they were last fetched */
} test_memory;

/* N numbers that nobody has set; test_memory_free() frees them. */
test_memory test_unset(mb_ctx *c, enum test_kind kind, int64_t n);
/* Sets them to X, rounded to what their kind can hold. */
void test_set(test_memory *m, const float *x);
/* Copies them to m->value; what is unset is NaN there. */
void test_fetch(test_memory *m);
bool test_guards_survive(const test_memory *m); /* as fetched */
bool test_is_unset(const test_memory *m);       /* all of them, as fetched */
void test_memory_free(test_memory *m);

/* Standard normal numbers that depend on NAME, and on $TEST_SEED where that is set, alone; in
   memory of exactly N floats, for free(). */
float *test_normal(const char *name, int64_t n);
void test_fill_normal(float *x, const char *name, int64_t n);

/* sum (a - b)^2 / sum b^2; 0 when both are all zero, NaN when either holds one. */
double test_distance(const float *a, const float *b, int64_t n);

/* Opens backend NAME with two threads, or ends the test. */
mb_ctx *test_open(const char *name);
/* The same in PRECISION; NULL when there is no such device here, or it has no such precision. */
mb_ctx *test_open_if_there(const char *name, mb_precision precision);

enum test_layout {
    TEST_SORTED,      /* no index; about equal groups, group 1 empty when there are three or more */
    TEST_ALL_IN_LAST, /* no index; every row in the last group */
    TEST_INDEXED      /* rows of x that occur once, twice (in two groups) and never */
};

/* All of what follows lives until mb_ctx_reset(). */
mb_route *test_route(mb_ctx *c, enum test_layout layout, int64_t t, int groups);
uint8_t *test_slices(mb_ctx *c, int64_t t, int slices); /* (T) below SLICES; the last one occurs */
int32_t *test_below(mb_ctx *c, const char *name, int64_t t, int64_t n); /* (T) in 0 .. n-1 */

int32_t *test_around(mb_ctx *c, int64_t t, int places); /* (T, places) of mb_unfold() */

enum { TEST_DOCUMENTS = 1, TEST_IMAGES = 2, TEST_PERMUTED = 4, TEST_PADDED = 8 };

/* Causal spans; with documents that end attention, images inside of which positions see each other
   both ways, rows in another order than positions, and some that are no position's. */
mb_span *test_span(mb_ctx *c, int64_t batch, int64_t len, int what);

#endif
