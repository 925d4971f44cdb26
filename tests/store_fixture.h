/* Databases for tests: a fresh folder per test, made-up runs. */
#ifndef MB_TESTS_STORE_FIXTURE_H
#define MB_TESTS_STORE_FIXTURE_H

#include "results/store.h"

/* A fresh folder under /tmp that is removed when the test's process ends. */
const char *fixture_folder(void);
/* FOLDER/NAME, valid until the process ends. */
const char *fixture_path(const char *name);

/* Opens (creating) fixture_path("t.db") and fails the test when that fails. */
mb_store *fixture_store(void);

typedef struct fixture_run {
    const char *workload, *arch;     /* NULL: "w", "dense" */
    int64_t seed, steps;             /* 0: 1, 100 */
    int64_t step_ns, flops;          /* of each step; 0: 1000000, 1000 */
    const char *status;              /* NULL: "ok" */
    const char *width;               /* the setting model.width; NULL: "64" */
    const char *machine, *hash;      /* facts of machine and data set; NULL: "m", "h" */
    double speed;                    /* of learning; 0: 1 */
    double floor;                    /* loss that is approached; 0: 2 */
    const char *backend, *precision; /* NULL: "cpu", "fp32" */
    int64_t planned;                 /* 0: steps */
    bool no_values;
} fixture_run;

/* A run with losses of floor + 3 exp(-3 speed step / steps) for "all", "text" and "image" (the last
   0.5 higher): train at every step, val at every tenth and at 0. Returns its id. */
int64_t fixture_add(mb_store *s, const fixture_run *r);

/* First cell of a query as text, valid until the next call; fails the test on error. */
const char *fixture_ask(mb_store *s, const char *sql);

/* What a function printed. */
char *fixture_printed(mb_err (*print)(const void *options, FILE *out), const void *options,
                      mb_err *err);

#endif
