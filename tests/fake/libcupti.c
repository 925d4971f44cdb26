/* CUPTI of a chip that counts metrics of one first letter at a time, for tests: soname
   libcupti.so.13. Metrics of 'x' take two passes, it has none of 'n'. In every region a metric of
   'a' counts 10, of 'b' 100. $FAKE_REFUSES: enabling fails with this number. Calls in the wrong
   order fail. */
#include "profiles/cupti.h"

#include <cupti_activity.h>

#include <stdlib.h>
#include <string.h>

struct CUpti_Profiler_Host_Object {
    char letters[64];
    size_t n;
};

struct CUpti_RangeProfiler_Object {
    char letter; /* that it is configured to count */
    int depth;   /* 1: started, 2: in a range */
    uint8_t *data;
};

static struct CUpti_RangeProfiler_Object profiler;
enum { SIZE = 64, MISUSED = CUPTI_ERROR_INVALID_OPERATION };

CUptiResult cuptiGetVersion(uint32_t *version)
{
    *version = 130000;
    return CUPTI_SUCCESS;
}

CUptiResult cuptiGetErrorMessage(CUptiResult result, const char **text)
{
    *text = "fake";
    return CUPTI_SUCCESS;
}

CUptiResult cuptiProfilerInitialize(CUpti_Profiler_Initialize_Params *p)
{
    return CUPTI_SUCCESS;
}

CUptiResult cuptiDeviceGetChipName(CUpti_Device_GetChipName_Params *p)
{
    p->pChipName = "FAKE";
    return CUPTI_SUCCESS;
}

CUptiResult cuptiProfilerGetCounterAvailability(CUpti_Profiler_GetCounterAvailability_Params *p)
{
    p->counterAvailabilityImageSize = SIZE;
    return p->pCounterAvailabilityImage && getenv("FAKE_NO_AVAILABILITY") ? CUPTI_ERROR_UNKNOWN
                                                                          : CUPTI_SUCCESS;
}

CUptiResult cuptiProfilerHostInitialize(CUpti_Profiler_Host_Initialize_Params *p)
{
    p->pHostObject = calloc(1, sizeof *p->pHostObject);
    return CUPTI_SUCCESS;
}

CUptiResult cuptiProfilerHostDeinitialize(CUpti_Profiler_Host_Deinitialize_Params *p)
{
    free(p->pHostObject);
    return CUPTI_SUCCESS;
}

CUptiResult cuptiProfilerHostConfigAddMetrics(CUpti_Profiler_Host_ConfigAddMetrics_Params *p)
{
    for (size_t i = 0; i < p->numMetrics; i++) {
        char letter = p->ppMetricNames[i][0];

        if (letter == 'n')
            return CUPTI_ERROR_INVALID_METRIC_NAME;
        if (!strchr(p->pHostObject->letters, letter))
            p->pHostObject->letters[p->pHostObject->n++] = letter;
        if (letter == 'x')
            p->pHostObject->letters[p->pHostObject->n++] = 'y';
    }
    return CUPTI_SUCCESS;
}

CUptiResult cuptiProfilerHostGetConfigImageSize(CUpti_Profiler_Host_GetConfigImageSize_Params *p)
{
    p->configImageSize = SIZE;
    return CUPTI_SUCCESS;
}

CUptiResult cuptiProfilerHostGetConfigImage(CUpti_Profiler_Host_GetConfigImage_Params *p)
{
    memcpy(p->pConfigImage, p->pHostObject->letters, SIZE);
    return CUPTI_SUCCESS;
}

CUptiResult cuptiProfilerHostGetNumOfPasses(CUpti_Profiler_Host_GetNumOfPasses_Params *p)
{
    p->numOfPasses = strlen((const char *)p->pConfigImage);
    return CUPTI_SUCCESS;
}

/* Data is the letter that was counted, and how often. */
CUptiResult cuptiProfilerHostEvaluateToGpuValues(CUpti_Profiler_Host_EvaluateToGpuValues_Params *p)
{
    for (size_t i = 0; i < p->numMetrics; i++) {
        if (p->ppMetricNames[i][0] != (char)p->pCounterDataImage[0])
            return CUPTI_ERROR_INVALID_METRIC_NAME;
        p->pMetricValues[i] = (p->pCounterDataImage[0] == 'a' ? 10 : 100) * p->pCounterDataImage[1];
    }
    return CUPTI_SUCCESS;
}

CUptiResult cuptiRangeProfilerEnable(CUpti_RangeProfiler_Enable_Params *p)
{
    const char *refused = getenv("FAKE_REFUSES");

    p->pRangeProfilerObject = &profiler;
    return refused ? (CUptiResult)atoi(refused) : CUPTI_SUCCESS;
}

CUptiResult cuptiRangeProfilerDisable(CUpti_RangeProfiler_Disable_Params *p)
{
    return profiler.depth == 0 ? CUPTI_SUCCESS : MISUSED;
}

CUptiResult cuptiRangeProfilerGetCounterDataSize(CUpti_RangeProfiler_GetCounterDataSize_Params *p)
{
    p->counterDataSize = SIZE;
    return CUPTI_SUCCESS;
}

CUptiResult cuptiRangeProfilerCounterDataImageInitialize(
    CUpti_RangeProfiler_CounterDataImage_Initialize_Params *p)
{
    memset(p->pCounterData, 0, p->counterDataSize);
    return CUPTI_SUCCESS;
}

CUptiResult cuptiRangeProfilerSetConfig(CUpti_RangeProfiler_SetConfig_Params *p)
{
    profiler.letter = (char)p->pConfig[0];
    profiler.data = p->pCounterDataImage;
    profiler.data[0] = p->pConfig[0];
    return profiler.depth == 0 && p->configSize == SIZE ? CUPTI_SUCCESS : MISUSED;
}

CUptiResult cuptiRangeProfilerStart(CUpti_RangeProfiler_Start_Params *p)
{
    return profiler.depth++ == 0 ? CUPTI_SUCCESS : MISUSED;
}

CUptiResult cuptiRangeProfilerPushRange(CUpti_RangeProfiler_PushRange_Params *p)
{
    return profiler.depth++ == 1 ? CUPTI_SUCCESS : MISUSED;
}

CUptiResult cuptiRangeProfilerPopRange(CUpti_RangeProfiler_PopRange_Params *p)
{
    profiler.data[1]++;
    return profiler.depth-- == 2 ? CUPTI_SUCCESS : MISUSED;
}

CUptiResult cuptiRangeProfilerStop(CUpti_RangeProfiler_Stop_Params *p)
{
    return profiler.depth-- == 1 ? CUPTI_SUCCESS : MISUSED;
}

CUptiResult cuptiRangeProfilerDecodeData(CUpti_RangeProfiler_DecodeData_Params *p)
{
    p->numOfRangeDropped = 0;
    return CUPTI_SUCCESS;
}

/* With $FAKE_IDLE nothing is ever launched in a region. */
CUptiResult cuptiRangeProfilerGetCounterDataInfo(CUpti_RangeProfiler_GetCounterDataInfo_Params *p)
{
    p->numTotalRanges = getenv("FAKE_IDLE") ? 0 : 1;
    return CUPTI_SUCCESS;
}

/* ---- activity: a launch of 100 ns for every number that is set, 50 ns after the one before
 * -------
 */

static uint64_t numbers[64];
static size_t n_numbers;
static CUpti_BuffersCallbackRequestFunc request_buffer;
static CUpti_BuffersCallbackCompleteFunc complete_buffer;

CUptiResult cuptiActivityRegisterCallbacks(CUpti_BuffersCallbackRequestFunc request,
                                           CUpti_BuffersCallbackCompleteFunc complete)
{
    request_buffer = request;
    complete_buffer = complete;
    return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityEnable(CUpti_ActivityKind kind)
{
    return getenv("FAKE_NO_ACTIVITY") ? CUPTI_ERROR_INSUFFICIENT_PRIVILEGES : CUPTI_SUCCESS;
}

CUptiResult cuptiActivityDisable(CUpti_ActivityKind kind)
{
    return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityPushExternalCorrelationId(CUpti_ExternalCorrelationKind kind, uint64_t id)
{
    if (id > 0 && n_numbers < sizeof numbers / sizeof *numbers)
        numbers[n_numbers++] = id;
    return CUPTI_SUCCESS;
}

CUptiResult cuptiActivityPopExternalCorrelationId(CUpti_ExternalCorrelationKind kind,
                                                  uint64_t *last)
{
    return CUPTI_SUCCESS;
}

/* The last launch first: records come in any order. */
CUptiResult cuptiActivityFlushAll(uint32_t flag)
{
    uint8_t *buffer;
    size_t size, records, i;
    struct pair {
        CUpti_ActivityKernel10 kernel;
        CUpti_ActivityExternalCorrelation number;
    } * pair;

    request_buffer(&buffer, &size, &records);
    pair = (struct pair *)buffer;
    memset(pair, 0, n_numbers * sizeof *pair);
    for (i = 0; i < n_numbers; i++, pair++) {
        uint64_t start = 1000 + 150 * (n_numbers - 1 - i);

        pair->kernel.kind = CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL;
        pair->kernel.name = "kernel";
        pair->kernel.start = start;
        pair->kernel.end = start + 100;
        pair->kernel.correlationId = (uint32_t)i + 7;
        pair->number.kind = CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION;
        pair->number.externalId = numbers[n_numbers - 1 - i];
        pair->number.correlationId = (uint32_t)i + 7;
    }
    complete_buffer(NULL, 0, buffer, size, n_numbers);
    n_numbers = 0;
    return CUPTI_SUCCESS;
}

/* VALID is the number of pairs. */
CUptiResult cuptiActivityGetNextRecord(uint8_t *buffer, size_t valid, CUpti_Activity **record)
{
    const size_t kernel = sizeof(CUpti_ActivityKernel10);
    const size_t pair = kernel + sizeof(CUpti_ActivityExternalCorrelation);
    uint8_t *next = !*record ? buffer
                    : (*record)->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL
                        ? (uint8_t *)*record + kernel
                        : (uint8_t *)*record + pair - kernel;

    *record = (CUpti_Activity *)next;
    return next < buffer + valid * pair ? CUPTI_SUCCESS : CUPTI_ERROR_MAX_LIMIT_REACHED;
}

CUptiResult cuptiActivityGetNumDroppedRecords(CUcontext context, uint32_t stream, size_t *lost)
{
    *lost = 0;
    return CUPTI_SUCCESS;
}
