/* The tables `pace` and `smooth`. They could be queries (the view v_pace is one, for runs under
   way), but these sort all samples of a run, which costs more than writing them did; what is here
   reads them once, in the order in which they lie. */
#include "results/derive.h"

#include "base/file.h"
#include "results/sql.h"

#include <math.h>
#include <stdlib.h>

enum { WINDOWS = 100 }; /* of a smoothed curve */

/* ---- pace ---------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static mb_err read_undisturbed(mb_store *s, int64_t run, int64_t *wall_ns, size_t *n)
{
    sqlite3_stmt *st = NULL;
    bool row = true;
    mb_err err = mb_sql_prepare(s, "SELECT wall_ns FROM step WHERE run = ?1 AND flagged = 0", &st);

    if (!err)
        err = mb_sql_bind(s, st, 1, "i", run);
    for (*n = 0; !err && row; *n += row) {
        err = mb_sql_next(s, st, &row);
        if (row)
            wall_ns[*n] = sqlite3_column_int64(st, 0);
    }
    sqlite3_finalize(st);
    return err;
}

static mb_err write_pace(mb_store *s, int64_t run, int64_t steps)
{
    int64_t *wall_ns = mb_alloc((size_t)steps * sizeof *wall_ns);
    double step_s = NAN;
    size_t n;
    mb_err err = read_undisturbed(s, run, wall_ns, &n);

    if (!err && n) {
        qsort(wall_ns, n, sizeof *wall_ns, by_size);
        step_s = (double)(wall_ns[(n - 1) / 2] + wall_ns[n / 2]) / 2 / 1e9;
    }
    free(wall_ns);
    return err ? err : mb_sql_run(s, "INSERT INTO pace VALUES (?1, ?2)", "id", run, step_s);
}

/* ---- smoothed curves ----------------------------------------------------------------------- */

/* Window W of STEPS steps ends after this one; step s lies in window (s - 1) * WINDOWS / STEPS. */
static int64_t window_end(int64_t w, int64_t steps)
{
    return ((w + 1) * steps + WINDOWS - 1) / WINDOWS;
}

static mb_err smooth_series(mb_store *s, sqlite3_stmt *st, int64_t run, int64_t series,
                            int64_t steps)
{
    int64_t before = -1; /* a value at step 0 belongs to the first window */

    for (int64_t w = 0; w < WINDOWS; w++) {
        int64_t last = window_end(w, steps);

        MB_TRY(mb_sql_bind(s, st, 1, "iiii", run, series, before, last));
        MB_TRY(mb_sql_finish(s, st));
        before = last;
    }
    return MB_OK;
}

static mb_err write_smooth(mb_store *s, int64_t run, int64_t steps)
{
    static const char find[] =
        "SELECT id FROM series WHERE split = 'train' "
        "AND EXISTS (SELECT 1 FROM value WHERE run = ?1 AND series = series.id)";
    static const char insert[] = "INSERT INTO smooth (run, series, step, value) "
                                 "SELECT ?1, ?2, avg(step), sum(value * n) / sum(n) FROM value "
                                 "WHERE run = ?1 AND series = ?2 AND step > ?3 AND step <= ?4 "
                                 "AND value IS NOT NULL AND n > 0 HAVING sum(n) > 0";
    sqlite3_stmt *series = NULL, *window = NULL;
    bool row = true;
    mb_err err = mb_sql_prepare(s, find, &series);

    if (!err)
        err = mb_sql_bind(s, series, 1, "i", run);
    if (!err)
        err = mb_sql_prepare(s, insert, &window);
    while (!err && row) {
        err = mb_sql_next(s, series, &row);
        if (row)
            err = smooth_series(s, window, run, sqlite3_column_int64(series, 0), steps);
    }
    sqlite3_finalize(series);
    sqlite3_finalize(window);
    return err;
}

/* ---- both ---------------------------------------------------------------------------------- */

mb_err mb_derive_drop(mb_store *s, int64_t run)
{
    MB_TRY(mb_sql_run(s, "DELETE FROM pace WHERE run = ?1", "i", run));
    return mb_sql_run(s, "DELETE FROM smooth WHERE run = ?1", "i", run);
}

mb_err mb_derive(mb_store *s, int64_t run)
{
    int64_t done, planned;

    MB_TRY(mb_sql_integer(s, &done, 0, "SELECT coalesce(max(step), 0) FROM step WHERE run = ?1",
                          "i", run));
    MB_TRY(mb_sql_integer(s, &planned, 0, "SELECT steps FROM run WHERE id = ?1", "i", run));
    MB_TRY(mb_derive_drop(s, run));
    MB_TRY(write_pace(s, run, done));
    return write_smooth(s, run, planned);
}
