/* Where figures go: a table for people, and an SQLite database written through its shell, so that
   only results/ knows the library; where there is no shell, the statements that make it. */
#ifndef MB_BENCH_REPORT_H
#define MB_BENCH_REPORT_H

#include "bench/group.h"
#include "harness/table.h"

typedef struct mb_report {
    mb_table *table;
    char *path;  /* of the database, a fresh one, or of the statements */
    FILE *sql;   /* sqlite3's standard input, or a file */
    bool shell;  /* the former */
    bool judged; /* false: the models are not those of the targets */
} mb_report;

/* Replaces FOLDER/bench.db; without the program sqlite3 FOLDER/bench.sql. */
mb_err mb_report_open(const char *folder, bool judged, mb_report *out);
/* Ends the database, prints the table and writes it to FOLDER/bench.md. */
mb_err mb_report_close(mb_report *r, const char *folder);

void mb_report_fact(mb_report *r, const char *key, const char *value);
void mb_report_turns(mb_report *r, const mb_group *g);

enum mb_goal { MB_AT_MOST, MB_AT_LEAST, MB_NEAR_ONE /* by the target at most */ };

typedef struct mb_figure {
    const char *section, *name; /* borrowed */
    mb_precision precision;
    int threads;
    enum mb_goal goal;
    double target;
} mb_figure;

/* One line: met or missed when the whole interval is, else unclear. */
void mb_report_figure(mb_report *r, const mb_figure *f, mb_measure m);
/* One line without a value, and why. */
void mb_report_missing(mb_report *r, const mb_figure *f, const char *reason);

#endif
