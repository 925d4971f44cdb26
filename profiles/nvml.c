/* The source nvml. NVML's header is in no CUDA installation that must be there: what is used of it
   is declared here, and has been the same since 2018. */
#include "profiles/nvml.h"

#include "base/file.h"
#include "profiles/driver.h"
#include "profiles/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NVML_SUCCESS = 0, NVML_ERROR_NOT_SUPPORTED = 3, NVML_ERROR_NO_PERMISSION = 4 };
enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEM = 2 };
enum { /* reasons for lower clocks */
       REASON_POWER_CAP = 0x4,
       REASON_HW_SLOWDOWN = 0x8,
       REASON_SW_THERMAL = 0x20,
       REASON_HW_THERMAL = 0x40,
       REASON_HW_POWER_BRAKE = 0x80
};

struct mb_nvml {
    mb_library library;
    void *device;
    int (*init)(void);
    int (*shutdown)(void);
    int (*by_bus)(const char *, void **);
    int (*by_index)(unsigned, void **);
    int (*get_name)(void *, char *, unsigned);
    int (*get_driver)(char *, unsigned);
    int (*energy)(void *, unsigned long long *mj);
    int (*clock)(void *, int kind, unsigned *mhz);
    int (*reasons)(void *, unsigned long long *);
};

/* The library alone, started. */
static mb_err open_library(mb_nvml **out)
{
    static const char *const names[] = { "libnvidia-ml.so.1", NULL };
    mb_nvml *n = mb_zalloc(1, sizeof *n);
    const mb_symbol symbols[] = { { "nvmlInit_v2", &n->init },
                                  { "nvmlShutdown", &n->shutdown },
                                  { "nvmlDeviceGetHandleByPciBusId_v2", &n->by_bus },
                                  { "nvmlDeviceGetHandleByIndex_v2", &n->by_index },
                                  { "nvmlDeviceGetName", &n->get_name },
                                  { "nvmlSystemGetDriverVersion", &n->get_driver },
                                  { "nvmlDeviceGetTotalEnergyConsumption", &n->energy },
                                  { "nvmlDeviceGetClockInfo", &n->clock },
                                  { "nvmlDeviceGetCurrentClocksThrottleReasons", &n->reasons },
                                  { 0 } };
    int result;
    mb_err err = mb_library_open(names, &n->library);

    if (!err)
        err = mb_library_symbols(&n->library, symbols);
    if (!err && (result = n->init()) != NVML_SUCCESS)
        err = mb_fail(MB_EMISSING, "%s does not start: error %d", n->library.name, result);
    if (err) {
        mb_library_close(&n->library);
        free(n);
        n = NULL;
    }
    *out = n;
    return err;
}

mb_err mb_nvml_open(mb_nvml **out)
{
    mb_driver driver;
    mb_err err;

    *out = NULL;
    MB_TRY(mb_driver_open(&driver));
    err = open_library(out);
    if (!err && (*out)->by_bus(driver.bus, &(*out)->device) != NVML_SUCCESS)
        err = mb_fail(MB_EMISSING, "NVML does not know the device at %s", driver.bus);
    if (err) {
        mb_nvml_close(*out);
        *out = NULL;
    }
    mb_driver_close(&driver);
    return err;
}

void mb_nvml_close(mb_nvml *n)
{
    if (!n)
        return;
    n->shutdown();
    mb_library_close(&n->library);
    free(n);
}

static unsigned long long reasons_of(const mb_nvml *n)
{
    unsigned long long reasons = 0;

    return n->reasons(n->device, &reasons) == NVML_SUCCESS ? reasons : 0;
}

bool mb_nvml_throttled(const mb_nvml *n)
{
    return reasons_of(n) &
           (REASON_HW_SLOWDOWN | REASON_SW_THERMAL | REASON_HW_THERMAL | REASON_HW_POWER_BRAKE);
}

mb_err mb_nvml_about(char *text, size_t size)
{
    char name[96] = "", driver[80] = "";
    void *device;
    mb_nvml *n;
    mb_err err = MB_OK;

    MB_TRY(open_library(&n));
    if (n->by_index(0, &device) || n->get_name(device, name, sizeof name) ||
        n->get_driver(driver, sizeof driver))
        err = mb_fail(MB_EMISSING, "%s finds no device", n->library.name);
    else
        snprintf(text, size, "%s, driver %s", name, driver);
    mb_nvml_close(n);
    return err;
}

/* ---- the source ----------------------------------------------------------------------------- */

static const char *const events[] = { "energy",       "sm_clock",  "memory_clock",
                                      "power_capped", "throttled", NULL };

typedef struct state {
    mb_nvml *nvml;
    mb_counted **counts;
    size_t n;
    unsigned long long before_mj;
} state;

static enum mb_count_status status_of(int result)
{
    return result == NVML_SUCCESS               ? MB_COUNT_OK
           : result == NVML_ERROR_NOT_SUPPORTED ? MB_COUNT_NOT_SUPPORTED
           : result == NVML_ERROR_NO_PERMISSION ? MB_COUNT_NOT_PERMITTED
                                                : MB_COUNT_ERROR;
}

/* One reading of what EVENT is about. */
static int read_event(const mb_nvml *n, const char *event, double *value)
{
    unsigned long long whole = 0;
    unsigned mhz = 0;
    int result;

    if (!strcmp(event, "energy")) {
        result = n->energy(n->device, &whole);
        *value = (double)whole;
    } else if (!strcmp(event, "sm_clock") || !strcmp(event, "memory_clock")) {
        result = n->clock(n->device, *event == 's' ? NVML_CLOCK_SM : NVML_CLOCK_MEM, &mhz);
        *value = mhz * 1e6;
    } else {
        result = n->reasons(n->device, &whole);
        *value =
            !strcmp(event, "throttled") ? mb_nvml_throttled(n) : (whole & REASON_POWER_CAP) > 0;
    }
    return result;
}

static void *open_nvml(mb_counted **counts, size_t n, int threads)
{
    state *s = mb_zalloc(1, sizeof *s);
    double value;
    size_t i;

    s->counts = counts;
    s->n = n;
    if (mb_nvml_open(&s->nvml)) {
        free(s);
        return NULL;
    }
    for (i = 0; i < n; i++)
        counts[i]->status = status_of(read_event(s->nvml, counts[i]->event.name, &value));
    return s;
}

static void start_nvml(void *of)
{
    state *s = of;

    s->before_mj = 0;
    s->nvml->energy(s->nvml->device, &s->before_mj);
}

/* Energy is what the region took; a clock is the slowest of those at the ends of regions; the rest
   are the regions that ended so. */
static void add(mb_counted *count, double value, double before_mj)
{
    const char *event = count->event.name;

    if (!strcmp(event, "energy"))
        count->value += (value - before_mj) / 1e3;
    else if (strstr(event, "clock"))
        count->value = count->value > 0 && count->value < value ? count->value : value;
    else
        count->value += value;
}

static void stop_nvml(void *of)
{
    state *s = of;
    double value;
    size_t i;

    for (i = 0; i < s->n; i++) {
        if (s->counts[i]->status != MB_COUNT_OK)
            continue;
        s->counts[i]->status = status_of(read_event(s->nvml, s->counts[i]->event.name, &value));
        add(s->counts[i], value, (double)s->before_mj);
    }
}

static void close_nvml(void *of)
{
    state *s = of;

    mb_nvml_close(s->nvml);
    free(s);
}

const mb_source mb_source_nvml = { "nvml",     events,    false,     open_nvml,
                                   start_nvml, stop_nvml, close_nvml };
