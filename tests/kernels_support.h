/* What tests of kernels share: memory with guard words, keyed random data, routes and spans made
   without the front, and the distance between two results. */
#ifndef MB_TESTS_KERNELS_SUPPORT_H
#define MB_TESTS_KERNELS_SUPPORT_H

#include "models/kernels/backend.h"

/* Two NaN patterns: what guards hold, and what a result holds before it is written. */
#define TEST_GUARD   0x7fc5a5a5u
#define TEST_UNSET   0x7fc0deadu
#define TEST_GUARDED 16 /* words before and after every result */

/* N floats between guard words, all unset; freed by test_result_free(). */
float *test_result(int64_t n);
bool test_guards_survive(const float *result, int64_t n);
bool test_is_unset(const float *result, int64_t n);
void test_result_free(float *result); /* accepts NULL */

/* Standard normal numbers that depend on NAME alone; in memory of exactly N floats, for free(). */
float *test_normal(const char *name, int64_t n);
void test_fill_normal(float *x, const char *name, int64_t n);

/* sum (a - b)^2 / sum b^2; 0 when both are all zero, NaN when either holds one. */
double test_distance(const float *a, const float *b, int64_t n);

/* Opens backend NAME with two threads, or ends the test. */
mb_ctx *test_open(const char *name);

enum test_layout {
    TEST_SORTED,      /* no index; about equal groups, group 1 empty when there are three or more */
    TEST_ALL_IN_LAST, /* no index; every row in the last group */
    TEST_INDEXED      /* rows of x that occur once, twice (in two groups) and never */
};

/* All of what follows lives until mb_ctx_reset(). */
mb_route *test_route(mb_ctx *c, enum test_layout layout, int64_t t, int groups);
uint8_t *test_slices(mb_ctx *c, int64_t t, int slices); /* (T) below SLICES; the last one occurs */
int32_t *test_below(mb_ctx *c, const char *name, int64_t t, int64_t n); /* (T) in 0 .. n-1 */

enum { TEST_DOCUMENTS = 1, TEST_IMAGES = 2, TEST_PERMUTED = 4 };

/* Causal spans; with documents that end attention, images inside of which positions see each other
   both ways, and rows in another order than positions. */
mb_span *test_span(mb_ctx *c, int64_t batch, int64_t len, int what);

#endif
