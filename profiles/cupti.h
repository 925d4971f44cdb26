/* CUPTI, opened while running: what its parts share. For cupti.c (counters of a device as a source
   of counts), cupti_sets.c (which of them fit together; needs no device) and tests.

   CUPTI 13: the host and range profiler interfaces. The older ones are deprecated, and no longer
   work. Only in builds that have its headers; no_cupti.c stands in for cupti.c otherwise. */
#ifndef MB_PROFILES_CUPTI_H
#define MB_PROFILES_CUPTI_H

#include "base/library.h"

#include <cupti_profiler_host.h>
#include <cupti_range_profiler.h>
#include <cupti_target.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mb_cupti {
    mb_library library;
    CUptiResult (*get_version)(uint32_t *);
    CUptiResult (*get_error_message)(CUptiResult, const char **);
    CUptiResult (*initialize)(CUpti_Profiler_Initialize_Params *);
    CUptiResult (*chip_name)(CUpti_Device_GetChipName_Params *);
    CUptiResult (*availability)(CUpti_Profiler_GetCounterAvailability_Params *);
    CUptiResult (*host_open)(CUpti_Profiler_Host_Initialize_Params *);
    CUptiResult (*host_close)(CUpti_Profiler_Host_Deinitialize_Params *);
    CUptiResult (*host_add)(CUpti_Profiler_Host_ConfigAddMetrics_Params *);
    CUptiResult (*host_size)(CUpti_Profiler_Host_GetConfigImageSize_Params *);
    CUptiResult (*host_image)(CUpti_Profiler_Host_GetConfigImage_Params *);
    CUptiResult (*host_passes)(CUpti_Profiler_Host_GetNumOfPasses_Params *);
    CUptiResult (*host_evaluate)(CUpti_Profiler_Host_EvaluateToGpuValues_Params *);
    CUptiResult (*enable)(CUpti_RangeProfiler_Enable_Params *);
    CUptiResult (*disable)(CUpti_RangeProfiler_Disable_Params *);
    CUptiResult (*data_size)(CUpti_RangeProfiler_GetCounterDataSize_Params *);
    CUptiResult (*data_clear)(CUpti_RangeProfiler_CounterDataImage_Initialize_Params *);
    CUptiResult (*configure)(CUpti_RangeProfiler_SetConfig_Params *);
    CUptiResult (*start)(CUpti_RangeProfiler_Start_Params *);
    CUptiResult (*stop)(CUpti_RangeProfiler_Stop_Params *);
    CUptiResult (*push)(CUpti_RangeProfiler_PushRange_Params *);
    CUptiResult (*pop)(CUpti_RangeProfiler_PopRange_Params *);
    CUptiResult (*decode)(CUpti_RangeProfiler_DecodeData_Params *);
    CUptiResult (*info)(CUpti_RangeProfiler_GetCounterDataInfo_Params *);
} mb_cupti;

/* MB_EMISSING: no CUPTI here, or not one of version 13. */
mb_err mb_cupti_open(mb_cupti *out);
void mb_cupti_close(mb_cupti *c); /* accepts a zeroed one */

/* ---- sets of metrics ------------------------------------------------------------------------ */

typedef struct mb_metric_set { /* metrics that the hardware counts at once */
    const char **metrics;      /* (n), borrowed */
    size_t n;
    uint8_t *config; /* CUPTI's image of them */
    size_t config_size;
} mb_metric_set;

typedef struct mb_metric_sets {
    mb_metric_set *set;
    size_t n;
    bool *counts; /* (metrics): whether a set has it; the chip lacks the others, or takes several
                     passes over the same work for one of them alone */
} mb_metric_sets;

/* Deals METRICS (n, borrowed; named as for CHIP, such as "GH100") to as few sets as a first fit
   makes; AVAILABILITY: the device's own image of its counters, or NULL for all that a chip has. */
mb_err mb_metric_sets_make(const mb_cupti *c, const char *chip, const uint8_t *availability,
                           const char *const *metrics, size_t n, mb_metric_sets *out);
void mb_metric_sets_free(mb_metric_sets *s); /* accepts a zeroed one */

#endif
