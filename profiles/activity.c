#include "profiles/activity.h"

#include "base/file.h"
#include "base/library.h"
#include "profiles/driver.h"

#include <cupti_activity.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER = 1 << 20, ALIGNED = 8 };

typedef struct found { /* a record of a launch that waits for its number */
    uint32_t correlation;
    mb_launch launch;
} found;

typedef struct numbered { /* a call of the CUDA interface, and the number that was set */
    uint32_t correlation;
    uint64_t id;
} numbered;

struct mb_activity {
    mb_library library;
    mb_driver driver;
    CUptiResult (*callbacks)(CUpti_BuffersCallbackRequestFunc, CUpti_BuffersCallbackCompleteFunc);
    CUptiResult (*enable)(CUpti_ActivityKind);
    CUptiResult (*disable)(CUpti_ActivityKind);
    CUptiResult (*flush)(uint32_t);
    CUptiResult (*next)(uint8_t *, size_t, CUpti_Activity **);
    CUptiResult (*dropped)(CUcontext, uint32_t, size_t *);
    CUptiResult (*push)(CUpti_ExternalCorrelationKind, uint64_t);
    CUptiResult (*pop)(CUpti_ExternalCorrelationKind, uint64_t *);
    pthread_mutex_t lock; /* CUPTI hands buffers over in a thread of its own */
    found *found;
    size_t n_found, room_found;
    numbered *numbered;
    size_t n_numbered, room_numbered;
    mb_launch *launches;
    size_t n_launches, lost;
};

/* External numbers need the records of the calls that they belong to. */
static const CUpti_ActivityKind kinds[] = {
    CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
    CUPTI_ACTIVITY_KIND_MEMCPY,
    CUPTI_ACTIVITY_KIND_MEMSET,
    CUPTI_ACTIVITY_KIND_RUNTIME,
    CUPTI_ACTIVITY_KIND_DRIVER,
    CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION,
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static mb_activity *current; /* whose the buffers are: CUPTI's callbacks know nothing of it */

/* ---- records -------------------------------------------------------------------------------- */

static void *room_for_one(void *items, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return items;
    *room = *room ? 2 * *room : 1024;
    items = realloc(items, *room * size);
    if (!items)
        abort();
    return items;
}

static void add_launch(mb_activity *a, uint32_t correlation, const char *name, uint64_t start,
                       uint64_t end, uint64_t bytes)
{
    a->found = room_for_one(a->found, a->n_found, &a->room_found, sizeof *a->found);
    a->found[a->n_found++] = (found){ correlation,
                                      { .name = mb_format("%s", name),
                                        .start_ns = (int64_t)start,
                                        .end_ns = (int64_t)end,
                                        .bytes = bytes } };
}

static void add_number(mb_activity *a, const CUpti_ActivityExternalCorrelation *r)
{
    a->numbered = room_for_one(a->numbered, a->n_numbered, &a->room_numbered, sizeof *a->numbered);
    a->numbered[a->n_numbered++] = (numbered){ r->correlationId, r->externalId };
}

static void add_record(mb_activity *a, const CUpti_Activity *record)
{
    const CUpti_ActivityKernel10 *kernel = (const void *)record;
    const CUpti_ActivityMemcpy6 *copy = (const void *)record;
    const CUpti_ActivityMemset4 *fill = (const void *)record;

    switch (record->kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
        add_launch(a, kernel->correlationId, kernel->name, kernel->start, kernel->end, 0);
        break;
    case CUPTI_ACTIVITY_KIND_MEMCPY:
        add_launch(a, copy->correlationId, "copy", copy->start, copy->end, copy->bytes);
        break;
    case CUPTI_ACTIVITY_KIND_MEMSET:
        add_launch(a, fill->correlationId, "fill", fill->start, fill->end, fill->bytes);
        break;
    case CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION:
        add_number(a, (const void *)record);
        break;
    default: /* calls of the CUDA interface */
        break;
    }
}

static void CUPTIAPI request(uint8_t **buffer, size_t *size, size_t *records)
{
    *buffer = aligned_alloc(ALIGNED, BUFFER);
    *size = *buffer ? BUFFER : 0;
    *records = 0; /* as many as fit */
}

static void CUPTIAPI complete(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size,
                              size_t valid)
{
    mb_activity *a = current;
    CUpti_Activity *record = NULL;
    size_t lost = 0;

    if (a) {
        pthread_mutex_lock(&a->lock);
        while (a->next(buffer, valid, &record) == CUPTI_SUCCESS)
            add_record(a, record);
        a->dropped(context, stream, &lost);
        a->lost += lost;
        pthread_mutex_unlock(&a->lock);
    }
    free(buffer);
}

/* ---- the life of it ------------------------------------------------------------------------- */

static mb_err open_library(mb_activity *a)
{
    static const char *const names[] = { "libcupti.so.13", NULL };
    const mb_symbol symbols[] = { { "cuptiActivityRegisterCallbacks", &a->callbacks },
                                  { "cuptiActivityEnable", &a->enable },
                                  { "cuptiActivityDisable", &a->disable },
                                  { "cuptiActivityFlushAll", &a->flush },
                                  { "cuptiActivityGetNextRecord", &a->next },
                                  { "cuptiActivityGetNumDroppedRecords", &a->dropped },
                                  { "cuptiActivityPushExternalCorrelationId", &a->push },
                                  { "cuptiActivityPopExternalCorrelationId", &a->pop },
                                  { 0 } };

    MB_TRY(mb_driver_open(&a->driver));
    MB_TRY(mb_library_open(names, &a->library));
    return mb_library_symbols(&a->library, symbols);
}

static mb_err start(mb_activity *a)
{
    CUptiResult result;
    size_t i;

    current = a;
    result = a->callbacks(request, complete);
    for (i = 0; i < KINDS && !result; i++)
        result = a->enable(kinds[i]);
    if (!result)
        result = a->push(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, 0);
    return result ? mb_fail(MB_EMISSING, "CUPTI records no activity: error %d", (int)result)
                  : MB_OK;
}

mb_err mb_activity_open(mb_activity **out)
{
    mb_activity *a = mb_zalloc(1, sizeof *a);
    mb_err err;

    pthread_mutex_init(&a->lock, NULL);
    err = open_library(a);
    if (!err)
        err = start(a);
    *out = a;
    if (err) {
        mb_activity_close(a);
        *out = NULL;
    }
    return err;
}

static void free_launches(mb_activity *a)
{
    while (a->n_launches > 0)
        free(a->launches[--a->n_launches].name);
    free(a->launches);
    a->launches = NULL;
}

void mb_activity_close(mb_activity *a)
{
    size_t i;

    if (!a)
        return;
    if (current == a) {
        uint64_t last;

        a->pop(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, &last);
        for (i = 0; i < KINDS; i++)
            a->disable(kinds[i]);
        a->flush(0);
        current = NULL;
    }
    for (i = 0; i < a->n_found; i++)
        free(a->found[i].launch.name);
    free_launches(a);
    free(a->found);
    free(a->numbered);
    mb_driver_close(&a->driver); /* CUPTI stays open: it has threads of its own */
    pthread_mutex_destroy(&a->lock);
    free(a);
}

void mb_activity_number(mb_activity *a, uint64_t id)
{
    uint64_t last;

    a->pop(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, &last);
    a->push(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, id);
}

/* ---- joining -------------------------------------------------------------------------------- */

static int by_correlation(const void *x, const void *y)
{
    const numbered *a = x, *b = y;

    return (a->correlation > b->correlation) - (a->correlation < b->correlation);
}

static int by_start(const void *x, const void *y)
{
    const mb_launch *a = x, *b = y;

    return (a->start_ns > b->start_ns) - (a->start_ns < b->start_ns);
}

/* Moves what was found to the launches, each with its number. */
static void join(mb_activity *a)
{
    size_t i;

    if (a->n_numbered) /* a sorted list of none may be NULL */
        qsort(a->numbered, a->n_numbered, sizeof *a->numbered, by_correlation);
    a->launches = mb_zalloc(a->n_found + 1, sizeof *a->launches);
    a->n_launches = a->n_found;
    for (i = 0; i < a->n_found; i++) {
        numbered key = { .correlation = a->found[i].correlation }, *number = NULL;

        if (a->n_numbered)
            number = bsearch(&key, a->numbered, a->n_numbered, sizeof key, by_correlation);
        a->launches[i] = a->found[i].launch;
        a->launches[i].id = number ? number->id : 0;
    }
    qsort(a->launches, a->n_launches, sizeof *a->launches, by_start);
    a->n_found = a->n_numbered = 0;
}

mb_err mb_activity_take(mb_activity *a, const mb_launch **launches, size_t *n)
{
    bool complete = a->driver.synchronize() == 0 && a->flush(0) == CUPTI_SUCCESS;

    free_launches(a);
    pthread_mutex_lock(&a->lock);
    join(a);
    pthread_mutex_unlock(&a->lock);
    *launches = a->launches;
    *n = a->n_launches;
    if (!complete)
        return mb_fail(MB_EIO, "CUPTI did not hand over its records");
    return a->lost ? mb_fail(MB_EIO, "CUPTI lost %zu records", a->lost) : MB_OK;
}
