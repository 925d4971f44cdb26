/* What is compared with what, and the targets. */
#ifndef MB_BENCH_SECTIONS_H
#define MB_BENCH_SECTIONS_H

#include "bench/report.h"

typedef struct mb_plan {                     /* paths are borrowed */
    const char *step, *motbench, *synthetic; /* our programs */
    const char *base;                        /* another build's `step`, or NULL */
    const char *python;                      /* with PyTorch, or NULL */
    const char *folder;
    const char *words;   /* added to every model, as bench/task.c reads them; "" */
    int rounds, threads; /* rounds that count; threads: most */
    const char *in;      /* the only precision, or NULL */
    bool has[2];         /* by mb_precision: what is measured, and our backend computes in */
    mb_report report;
} mb_plan;

typedef struct mb_bench_section {
    const char *name, *about;
    enum { MB_ALWAYS, MB_WITH_PEERS, MB_WITH_BASE, MB_WHEN_ASKED } when;
    mb_err (*run)(mb_plan *p);
} mb_bench_section;

mb_err mb_bench_products(mb_plan *p); /* bench/products.c */
/* bench/overhead.c */
mb_err mb_bench_overhead(mb_plan *p);
mb_err mb_bench_cmp(mb_plan *p);

extern const mb_bench_section mb_bench_sections[]; /* ends with a NULL name */

#endif
