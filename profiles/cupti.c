/* The source cupti: counters of the GPU by CUPTI's own names ("dram__bytes_read.sum"), of
   everything that the device does between start and stop.

   The hardware counts few at once, so metrics are dealt to sets, and the sets take turns: the first
   region counts the first set, the next the second. Regions must therefore do the same work, and at
   least as many as there are sets; what is reported for all is what each counted in its own, in
   proportion. Nothing is replayed, so the device's memory needs no saving. */
#include "profiles/cupti.h"

#include "base/file.h"
#include "profiles/driver.h"
#include "profiles/source.h"

#include <stdlib.h>
#include <string.h>

typedef struct turn { /* one set of metrics */
    mb_counted **counts;
    double *sums, *values; /* over its regions; of the last */
    uint8_t *data;         /* CUPTI's image of what was counted */
    size_t data_size;
    size_t regions;
} turn;

typedef struct state {
    mb_cupti cupti;
    mb_driver driver;
    uint8_t *availability;
    mb_metric_sets sets;
    turn *turns; /* (sets.n) */
    CUpti_Profiler_Host_Object *host;
    CUpti_RangeProfiler_Object *profiler;
    mb_counted **counts;
    size_t n, regions;
    bool running, gone; /* in a region; nothing counts any more */
} state;

/* PARAMS of a call: its size, and what is set of it. */
#define PARAMS(type, ...)                                                                          \
    &(type)                                                                                        \
    {                                                                                              \
        .structSize = type##_STRUCT_SIZE, __VA_ARGS__                                              \
    }

static enum mb_count_status status_of(CUptiResult result)
{
    switch (result) {
    case CUPTI_ERROR_INSUFFICIENT_PRIVILEGES:
    case CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES:
        return MB_COUNT_NOT_PERMITTED;
    case CUPTI_ERROR_NOT_SUPPORTED:
    case CUPTI_ERROR_VIRTUALIZED_DEVICE_NOT_SUPPORTED:
    case CUPTI_ERROR_CONFIDENTIAL_COMPUTING_NOT_SUPPORTED:
    case CUPTI_ERROR_CMP_DEVICE_NOT_SUPPORTED:
    case CUPTI_ERROR_MIG_DEVICE_NOT_SUPPORTED:
    case CUPTI_ERROR_SLI_DEVICE_NOT_SUPPORTED:
    case CUPTI_ERROR_WSL_DEVICE_NOT_SUPPORTED:
        return MB_COUNT_NOT_SUPPORTED;
    default:
        return MB_COUNT_ERROR;
    }
}

/* No metric counts from now on, because of WHY. */
static void give_up(state *s, enum mb_count_status status, const char *why)
{
    size_t i;

    for (i = 0; i < s->n; i++) {
        s->counts[i]->status = status;
        snprintf(s->counts[i]->why, sizeof s->counts[i]->why, "%s", why);
    }
    s->running = false;
    s->gone = true;
}

/* Whether CUPTI did WHAT was asked; else it is given up. */
static bool done(state *s, const char *what, CUptiResult result)
{
    const char *text = NULL;
    char *why;

    if (result == CUPTI_SUCCESS)
        return true;
    s->cupti.get_error_message(result, &text);
    why = mb_format("%s: CUPTI's error %d, %s", what, (int)result, text ? text : "of no name");
    give_up(s, status_of(result), why);
    free(why);
    return false;
}

/* Waits for the device; when that fails the backend will say why, too. */
static bool settled(state *s)
{
    if (s->driver.synchronize() == 0)
        return true;
    give_up(s, MB_COUNT_ERROR, "the device reports an error");
    return false;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* Which of the chip's counters this device lends; all, where it does not say: starting tells. */
static void ask_availability(state *s)
{
    CUpti_Profiler_GetCounterAvailability_Params p = {
        .structSize = CUpti_Profiler_GetCounterAvailability_Params_STRUCT_SIZE,
        .ctx = s->driver.context
    };

    if (s->cupti.availability(&p) != CUPTI_SUCCESS)
        return;
    s->availability = p.pCounterAvailabilityImage = mb_alloc(p.counterAvailabilityImageSize);
    if (s->cupti.availability(&p) == CUPTI_SUCCESS)
        return;
    free(s->availability);
    s->availability = NULL;
}

static bool make_sets(state *s, const char *chip)
{
    const char **metrics = mb_zalloc(s->n, sizeof *metrics);
    mb_err err;
    size_t i;

    for (i = 0; i < s->n; i++)
        metrics[i] = s->counts[i]->event.name;
    err = mb_metric_sets_make(&s->cupti, chip, s->availability, metrics, s->n, &s->sets);
    free(metrics);
    if (err)
        give_up(s, MB_COUNT_NOT_SUPPORTED, mb_message());
    for (i = 0; !err && i < s->n; i++)
        s->counts[i]->status = s->sets.counts[i] ? MB_COUNT_OK : MB_COUNT_NOT_SUPPORTED;
    return !err;
}

/* CUPTI's counting as a whole, on: for every region anew, since its sets are not promised to change
   while it is. */
static bool enable(state *s)
{
    CUpti_RangeProfiler_Enable_Params p = { .structSize =
                                                CUpti_RangeProfiler_Enable_Params_STRUCT_SIZE,
                                            .ctx = s->driver.context };

    if (!done(s, "enabling counters", s->cupti.enable(&p)))
        return false;
    s->profiler = p.pRangeProfilerObject;
    return true;
}

static bool disable(state *s)
{
    CUpti_RangeProfiler_Object *profiler = s->profiler;

    s->profiler = NULL;
    return done(s, "disabling counters",
                s->cupti.disable(
                    PARAMS(CUpti_RangeProfiler_Disable_Params, .pRangeProfilerObject = profiler)));
}

static mb_counted *count_of(const state *s, const char *metric)
{
    size_t i = 0;

    while (strcmp(s->counts[i]->event.name, metric))
        i++;
    return s->counts[i];
}

static bool open_turn(state *s, turn *t, const mb_metric_set *set)
{
    CUpti_RangeProfiler_GetCounterDataSize_Params p = {
        .structSize = CUpti_RangeProfiler_GetCounterDataSize_Params_STRUCT_SIZE,
        .pRangeProfilerObject = s->profiler,
        .pMetricNames = set->metrics,
        .numMetrics = set->n,
        .maxNumOfRanges = 1,
        .maxNumRangeTreeNodes = 1,
    };
    size_t i;

    t->counts = mb_zalloc(set->n, sizeof *t->counts);
    t->sums = mb_zalloc(set->n, sizeof *t->sums);
    t->values = mb_zalloc(set->n, sizeof *t->values);
    for (i = 0; i < set->n; i++)
        t->counts[i] = count_of(s, set->metrics[i]);
    if (!done(s, "sizing what is counted", s->cupti.data_size(&p)))
        return false;
    t->data_size = p.counterDataSize;
    t->data = mb_zalloc(1, t->data_size);
    return true;
}

static bool open_device(state *s)
{
    CUpti_Device_GetChipName_Params chip = { .structSize =
                                                 CUpti_Device_GetChipName_Params_STRUCT_SIZE };
    CUpti_Profiler_Host_Initialize_Params host = {
        .structSize = CUpti_Profiler_Host_Initialize_Params_STRUCT_SIZE,
        .profilerType = CUPTI_PROFILER_TYPE_RANGE_PROFILER,
    };

    chip.deviceIndex = (size_t)s->driver.device;
    if (!done(s, "beginning",
              s->cupti.initialize(PARAMS(CUpti_Profiler_Initialize_Params, .pPriv = NULL))) ||
        !done(s, "asking for the chip", s->cupti.chip_name(&chip)))
        return false;
    ask_availability(s);
    if (!make_sets(s, chip.pChipName))
        return false;
    host.pChipName = chip.pChipName;
    host.pCounterAvailabilityImage = s->availability;
    if (!done(s, "opening what evaluates", s->cupti.host_open(&host)))
        return false;
    s->host = host.pHostObject;
    return true;
}

static void close_cupti(void *of)
{
    state *s = of;
    size_t i;

    for (i = 0; s->turns && i < s->n; i++) {
        free(s->turns[i].counts);
        free(s->turns[i].sums);
        free(s->turns[i].values);
        free(s->turns[i].data);
    }
    if (s->profiler)
        s->cupti.disable(
            PARAMS(CUpti_RangeProfiler_Disable_Params, .pRangeProfilerObject = s->profiler));
    if (s->host)
        s->cupti.host_close(
            PARAMS(CUpti_Profiler_Host_Deinitialize_Params, .pHostObject = s->host));
    mb_metric_sets_free(&s->sets);
    mb_driver_close(&s->driver); /* CUPTI stays open: the driver may call into it */
    free(s->turns);
    free(s->availability);
    free(s);
}

static void *open_cupti(mb_counted **counts, size_t n, int threads)
{
    state *s = mb_zalloc(1, sizeof *s);
    bool works;
    size_t i;

    s->counts = counts;
    s->n = n;
    works = !mb_driver_open(&s->driver) && !mb_cupti_open(&s->cupti);
    if (!works)
        give_up(s, MB_COUNT_NOT_SUPPORTED, mb_message());
    works = works && open_device(s) && enable(s);
    if (works)
        s->turns = mb_zalloc(n, sizeof *s->turns);
    for (i = 0; works && i < s->sets.n; i++)
        works = open_turn(s, &s->turns[i], &s->sets.set[i]);
    if (works && disable(s))
        return s;
    close_cupti(s);
    return NULL;
}

/* ---- counting ------------------------------------------------------------------------------- */

static bool configure(state *s, turn *t, const mb_metric_set *set)
{
    return done(s, "clearing counts",
                s->cupti.data_clear(PARAMS(CUpti_RangeProfiler_CounterDataImage_Initialize_Params,
                                           .pRangeProfilerObject = s->profiler,
                                           .counterDataSize = t->data_size,
                                           .pCounterData = t->data))) &&
           done(s, "choosing what to count",
                s->cupti.configure(PARAMS(
                    CUpti_RangeProfiler_SetConfig_Params, .pRangeProfilerObject = s->profiler,
                    .configSize = set->config_size, .pConfig = set->config,
                    .counterDataImageSize = t->data_size, .pCounterDataImage = t->data,
                    .range = CUPTI_UserRange, .replayMode = CUPTI_UserReplay, .maxRangesPerPass = 1,
                    .numNestingLevels = 1, .minNestingLevel = 1, .targetNestingLevel = 1)));
}

static void start_cupti(void *of)
{
    state *s = of;
    size_t which;

    if (s->gone || s->sets.n == 0)
        return;
    which = s->regions % s->sets.n;
    s->running =
        settled(s) && enable(s) && configure(s, &s->turns[which], &s->sets.set[which]) &&
        done(s, "starting to count",
             s->cupti.start(
                 PARAMS(CUpti_RangeProfiler_Start_Params, .pRangeProfilerObject = s->profiler))) &&
        done(s, "beginning a range",
             s->cupti.push(PARAMS(CUpti_RangeProfiler_PushRange_Params,
                                  .pRangeProfilerObject = s->profiler, .pRangeName = "region")));
}

/* What the last region counted, of the set whose turn it was. One in which nothing was launched
   may have no range, and counted nothing. */
static bool evaluate(state *s, turn *t, const mb_metric_set *set)
{
    CUpti_RangeProfiler_GetCounterDataInfo_Params info = {
        .structSize = CUpti_RangeProfiler_GetCounterDataInfo_Params_STRUCT_SIZE,
        .pCounterDataImage = t->data,
        .counterDataImageSize = t->data_size,
    };
    CUpti_RangeProfiler_DecodeData_Params decode = {
        .structSize = CUpti_RangeProfiler_DecodeData_Params_STRUCT_SIZE,
        .pRangeProfilerObject = s->profiler,
    };

    if (!done(s, "reading counts", s->cupti.decode(&decode)))
        return false;
    if (decode.numOfRangeDropped > 0) {
        give_up(s, MB_COUNT_ERROR, "reading counts: CUPTI dropped the range");
        return false;
    }
    if (!done(s, "asking for ranges", s->cupti.info(&info)))
        return false;
    if (info.numTotalRanges == 0) {
        memset(t->values, 0, set->n * sizeof *t->values);
        return true;
    }
    return done(s, "evaluating counts",
                s->cupti.host_evaluate(PARAMS(CUpti_Profiler_Host_EvaluateToGpuValues_Params,
                                              .pHostObject = s->host, .pCounterDataImage = t->data,
                                              .counterDataImageSize = t->data_size, .rangeIndex = 0,
                                              .ppMetricNames = set->metrics, .numMetrics = set->n,
                                              .pMetricValues = t->values)));
}

/* Every set's sums in proportion to all regions; a set whose turn has not come has none. */
static void tell(state *s)
{
    size_t i, k;

    for (i = 0; i < s->sets.n; i++)
        for (k = 0; k < s->sets.set[i].n; k++) {
            turn *t = &s->turns[i];

            t->counts[k]->status = t->regions ? MB_COUNT_OK : MB_COUNT_MULTIPLEXED;
            if (t->regions)
                t->counts[k]->value = t->sums[k] * (double)s->regions / (double)t->regions;
        }
}

static void stop_cupti(void *of)
{
    state *s = of;
    size_t which, k;
    turn *t;

    if (!s->running)
        return;
    s->running = false;
    which = s->regions % s->sets.n;
    t = &s->turns[which];
    if (!settled(s) ||
        !done(s, "ending a range",
              s->cupti.pop(PARAMS(CUpti_RangeProfiler_PopRange_Params,
                                  .pRangeProfilerObject = s->profiler))) ||
        !done(s, "ending to count",
              s->cupti.stop(
                  PARAMS(CUpti_RangeProfiler_Stop_Params, .pRangeProfilerObject = s->profiler))) ||
        !evaluate(s, t, &s->sets.set[which]) || !disable(s))
        return;
    for (k = 0; k < s->sets.set[which].n; k++)
        t->sums[k] += t->values[k];
    t->regions++;
    s->regions++;
    tell(s);
}

const mb_source mb_source_cupti = { "cupti",     NULL,       true,       open_cupti,
                                    start_cupti, stop_cupti, close_cupti };
