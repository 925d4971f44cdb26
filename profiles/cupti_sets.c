#include "profiles/cupti.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* ---- the library ---------------------------------------------------------------------------- */

mb_err mb_cupti_open(mb_cupti *out)
{
    static const char *const names[] = { "libcupti.so.13", NULL };
    static const char *const metrics[] = { "libnvperf_host.so", NULL }; /* CUPTI opens it by name */
    const mb_symbol symbols[] = {
        { "cuptiGetVersion", &out->get_version },
        { "cuptiGetErrorMessage", &out->get_error_message },
        { "cuptiProfilerInitialize", &out->initialize },
        { "cuptiDeviceGetChipName", &out->chip_name },
        { "cuptiProfilerGetCounterAvailability", &out->availability },
        { "cuptiProfilerHostInitialize", &out->host_open },
        { "cuptiProfilerHostDeinitialize", &out->host_close },
        { "cuptiProfilerHostConfigAddMetrics", &out->host_add },
        { "cuptiProfilerHostGetConfigImageSize", &out->host_size },
        { "cuptiProfilerHostGetConfigImage", &out->host_image },
        { "cuptiProfilerHostGetNumOfPasses", &out->host_passes },
        { "cuptiProfilerHostEvaluateToGpuValues", &out->host_evaluate },
        { "cuptiRangeProfilerEnable", &out->enable },
        { "cuptiRangeProfilerDisable", &out->disable },
        { "cuptiRangeProfilerGetCounterDataSize", &out->data_size },
        { "cuptiRangeProfilerCounterDataImageInitialize", &out->data_clear },
        { "cuptiRangeProfilerSetConfig", &out->configure },
        { "cuptiRangeProfilerStart", &out->start },
        { "cuptiRangeProfilerStop", &out->stop },
        { "cuptiRangeProfilerPushRange", &out->push },
        { "cuptiRangeProfilerPopRange", &out->pop },
        { "cuptiRangeProfilerDecodeData", &out->decode },
        { "cuptiRangeProfilerGetCounterDataInfo", &out->info },
        { 0 },
    };
    mb_library host;
    mb_err err;

    memset(out, 0, sizeof *out);
    (void)mb_library_open(metrics, &host); /* stays open; CUPTI says when it lacks it */
    MB_TRY(mb_library_open(names, &out->library));
    err = mb_library_symbols(&out->library, symbols);
    if (err)
        mb_cupti_close(out);
    return err;
}

void mb_cupti_close(mb_cupti *c)
{
    mb_library_close(&c->library);
    memset(c, 0, sizeof *c);
}

/* ---- sets of metrics ------------------------------------------------------------------------ */

typedef struct host { /* what answers for a chip */
    const mb_cupti *cupti;
    const char *chip;
    const uint8_t *availability;
} host;

static CUptiResult open_host(const host *h, CUpti_Profiler_Host_Object **out)
{
    CUptiResult result;
    CUpti_Profiler_Host_Initialize_Params p = {
        .structSize = CUpti_Profiler_Host_Initialize_Params_STRUCT_SIZE,
        .profilerType = CUPTI_PROFILER_TYPE_RANGE_PROFILER,
        .pChipName = h->chip,
        .pCounterAvailabilityImage = h->availability,
    };

    result = h->cupti->host_open(&p);
    *out = p.pHostObject;
    return result;
}

static void close_host(const host *h, CUpti_Profiler_Host_Object *object)
{
    CUpti_Profiler_Host_Deinitialize_Params p = {
        .structSize = CUpti_Profiler_Host_Deinitialize_Params_STRUCT_SIZE, .pHostObject = object
    };

    h->cupti->host_close(&p);
}

/* The image of METRICS, in *image, which the caller frees; false when the chip lacks one. */
static bool make_image(const host *h, CUpti_Profiler_Host_Object *object, const char **metrics,
                       size_t n, uint8_t **image, size_t *size)
{
    CUpti_Profiler_Host_ConfigAddMetrics_Params add = {
        .structSize = CUpti_Profiler_Host_ConfigAddMetrics_Params_STRUCT_SIZE,
        .pHostObject = object,
        .ppMetricNames = metrics,
        .numMetrics = n,
    };
    CUpti_Profiler_Host_GetConfigImageSize_Params ask = {
        .structSize = CUpti_Profiler_Host_GetConfigImageSize_Params_STRUCT_SIZE,
        .pHostObject = object,
    };
    CUpti_Profiler_Host_GetConfigImage_Params get = {
        .structSize = CUpti_Profiler_Host_GetConfigImage_Params_STRUCT_SIZE,
        .pHostObject = object,
    };

    if (h->cupti->host_add(&add) || h->cupti->host_size(&ask))
        return false;
    *size = get.configImageSize = ask.configImageSize;
    *image = get.pConfigImage = mb_alloc(*size);
    return h->cupti->host_image(&get) == CUPTI_SUCCESS;
}

/* How often the same work must be done to count all of IMAGE; 0 when CUPTI does not say. */
static size_t count_passes(const host *h, uint8_t *image, size_t size)
{
    CUpti_Profiler_Host_GetNumOfPasses_Params p = {
        .structSize = CUpti_Profiler_Host_GetNumOfPasses_Params_STRUCT_SIZE,
        .configImageSize = size,
        .pConfigImage = image,
    };

    return h->cupti->host_passes(&p) == CUPTI_SUCCESS ? p.numOfPasses : 0;
}

/* Whether the hardware counts METRICS at once; then SET has their image. */
static bool fits(const host *h, const char **metrics, size_t n, mb_metric_set *set)
{
    CUpti_Profiler_Host_Object *object;
    uint8_t *image = NULL;
    size_t size = 0;
    bool one;

    if (open_host(h, &object))
        return false;
    one = make_image(h, object, metrics, n, &image, &size) && count_passes(h, image, size) == 1;
    close_host(h, object);
    if (one) {
        free(set->config);
        set->config = image;
        set->config_size = size;
        set->n = n;
    } else {
        free(image);
    }
    return one;
}

/* Puts METRIC into the first set that takes it, a new one at last. */
static bool deal(const host *h, mb_metric_sets *s, size_t most, const char *metric)
{
    mb_metric_set *set;
    size_t i;

    for (i = 0; i <= s->n && i < most; i++) {
        set = &s->set[i];
        if (!set->metrics)
            set->metrics = mb_zalloc(most, sizeof *set->metrics);
        set->metrics[set->n] = metric;
        if (fits(h, set->metrics, set->n + 1, set)) {
            s->n = i == s->n ? i + 1 : s->n;
            return true;
        }
    }
    return false;
}

mb_err mb_metric_sets_make(const mb_cupti *c, const char *chip, const uint8_t *availability,
                           const char *const *metrics, size_t n, mb_metric_sets *out)
{
    host h = { c, chip, availability };
    CUpti_Profiler_Host_Object *object;
    CUptiResult result = open_host(&h, &object);
    const char *text = NULL;
    size_t i;

    memset(out, 0, sizeof *out);
    if (result) {
        c->get_error_message(result, &text);
        return mb_fail(MB_EINVAL, "the metrics of chip '%s': CUPTI's error %d, %s", chip,
                       (int)result, text ? text : "of no name");
    }
    close_host(&h, object);
    out->set = mb_zalloc(n + 1, sizeof *out->set);
    out->counts = mb_zalloc(n + 1, sizeof *out->counts);
    for (i = 0; i < n; i++)
        out->counts[i] = deal(&h, out, n, metrics[i]);
    return MB_OK;
}

void mb_metric_sets_free(mb_metric_sets *s)
{
    size_t i;

    for (i = 0; s->set && i <= s->n; i++) { /* the one after the last may have been tried */
        free(s->set[i].metrics);
        free(s->set[i].config);
    }
    free(s->set);
    free(s->counts);
    memset(s, 0, sizeof *s);
}
