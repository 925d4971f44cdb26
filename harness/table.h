/* Tables: rows of typed cells, printed for people (aligned, or Markdown) or for programs (CSV,
   JSON). A column may be for one of the two alone, so that people read "0.52 [0.48, 0.57]" where
   programs read three numbers. */
#ifndef MB_HARNESS_TABLE_H
#define MB_HARNESS_TABLE_H

#include "results/store.h"

#include <stdio.h>

enum mb_table_format { MB_TABLE_HUMAN, MB_TABLE_CSV, MB_TABLE_JSON, MB_TABLE_MD };

/* "human", "csv", "json", "md" by number; ends with NULL. */
extern const char *const mb_table_format_name[];

/* How people see a number; programs always get all of it. */
enum mb_table_show {
    MB_SHOW_TEXT,    /* to the left, as it is */
    MB_SHOW_PLAIN,   /* to the right, as it is */
    MB_SHOW_FIXED,   /* three decimals */
    MB_SHOW_SI,      /* 12.3 M */
    MB_SHOW_SECONDS, /* 83.1 s, 12.4 min, 3.2 h, 12.0 days, 24.4 years */
};
enum mb_table_for { MB_FOR_ALL, MB_FOR_PEOPLE, MB_FOR_PROGRAMS, MB_FOR_NOBODY };

typedef struct mb_table_column {
    const char *name;  /* for programs */
    const char *title; /* for people; NULL: the name */
    enum mb_table_show show;
    enum mb_table_for audience;
    bool once; /* in the aligned table blank where it and all such columns before it repeat the row
                  above */
} mb_table_column;

typedef struct mb_table mb_table;

/* An empty table; COLUMNS is borrowed until mb_table_free(). */
mb_table *mb_table_new(const mb_table_column *columns, size_t n);
void mb_table_free(mb_table *t); /* accepts NULL */

/* The next cell, from left to right and row by row. Text is copied; NULL and NaN are "no value". */
void mb_table_text(mb_table *t, const char *text);
void mb_table_integer(mb_table *t, int64_t value);
void mb_table_real(mb_table *t, double value);
/* All rows of a query, whose columns are the table's. */
void mb_table_rows(mb_table *t, const mb_rows *rows);

/* A line to be printed under the table, and as one of "notes" in JSON; CSV has none. */
__attribute__((format(printf, 2, 3))) void mb_table_note(mb_table *t, const char *format, ...);

/* Prints the table: "no value" is "-", empty or null. JSON is {"version": 1, "rows": [{...}],
   "notes": [...]}. */
mb_err mb_table_print(const mb_table *t, enum mb_table_format format, FILE *out);

/* A number as MB_SHOW_SI and MB_SHOW_SECONDS show it. */
enum { MB_SHOWN = 32 };
void mb_show_si(double value, char out[MB_SHOWN]);
void mb_show_seconds(double value, char out[MB_SHOWN]);

#endif
