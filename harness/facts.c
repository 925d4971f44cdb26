/* What a run is traced back to: the machine, the build and the data set. */
#include "harness/bench.h"
#include "harness/build.h"
#include "profiles/nvml.h"

#include <hwloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The first line of a small file; "unknown" when it cannot be read. */
static void first_line(const char *path, char *text, size_t size)
{
    FILE *f = fopen(path, "r");

    if (!f || !fgets(text, (int)size, f))
        snprintf(text, size, "unknown");
    text[strcspn(text, "\n")] = '\0';
    if (f)
        fclose(f);
}

static mb_err open_topology(hwloc_topology_t *t)
{
    if (hwloc_topology_init(t))
        return mb_fail(MB_ENOMEM, "hwloc: no memory");
    if (hwloc_topology_load(*t)) {
        hwloc_topology_destroy(*t);
        return mb_fail(MB_EIO, "hwloc: this machine's topology cannot be read");
    }
    return MB_OK;
}

static void cpu_name(hwloc_topology_t t, char *text, size_t size)
{
    hwloc_obj_t package = hwloc_get_obj_by_type(t, HWLOC_OBJ_PACKAGE, 0);
    const char *name = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;

    snprintf(text, size, "%s", name ? name : "unknown");
}

static unsigned long cache_kib(hwloc_topology_t t, hwloc_obj_type_t type)
{
    hwloc_obj_t cache = hwloc_get_obj_by_type(t, type, 0);

    return cache ? (unsigned long)(cache->attr->cache.size >> 10) : 0;
}

static int count(hwloc_topology_t t, hwloc_obj_type_t type)
{
    return hwloc_get_nbobjs_by_type(t, type);
}

void mb_facts_device(const char *backend, char *text, size_t size)
{
    hwloc_topology_t t;
    char cpu[96], gpu[192];

    *text = '\0';
    if (!strcmp(backend, "cuda"))
        snprintf(text, size, "%s, ", mb_nvml_about(gpu, sizeof gpu) ? "unknown GPU" : gpu);
    size -= strlen(text);
    text += strlen(text);
    snprintf(text, size, "unknown processor");
    if (open_topology(&t))
        return;
    cpu_name(t, cpu, sizeof cpu);
    snprintf(text, size, "%s, %d cores", cpu, count(t, HWLOC_OBJ_CORE));
    hwloc_topology_destroy(t);
}

mb_err mb_facts_machine(mb_store *s, int64_t *id)
{
    char cpu[128], host[128] = "unknown", governor[64], aslr[16], cores[16], threads[16], l1[24],
                   l2[24], l3[24], memory[24];
    struct utsname u = { 0 };
    hwloc_topology_t t;

    MB_TRY(open_topology(&t));
    cpu_name(t, cpu, sizeof cpu);
    snprintf(cores, sizeof cores, "%d", count(t, HWLOC_OBJ_CORE));
    snprintf(threads, sizeof threads, "%d", count(t, HWLOC_OBJ_PU));
    snprintf(l1, sizeof l1, "%lu", cache_kib(t, HWLOC_OBJ_L1CACHE));
    snprintf(l2, sizeof l2, "%lu", cache_kib(t, HWLOC_OBJ_L2CACHE));
    snprintf(l3, sizeof l3, "%lu", cache_kib(t, HWLOC_OBJ_L3CACHE));
    snprintf(memory, sizeof memory, "%lu",
             (unsigned long)(hwloc_get_root_obj(t)->total_memory >> 20));
    hwloc_topology_destroy(t);
    uname(&u);
    gethostname(host, sizeof host - 1);
    first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor, sizeof governor);
    first_line("/proc/sys/kernel/randomize_va_space", aslr, sizeof aslr);
    {
        const mb_pair facts[] = { { "host", host },         { "cpu", cpu },
                                  { "cores", cores },       { "hardware_threads", threads },
                                  { "l1_kib", l1 },         { "l2_kib", l2 },
                                  { "l3_kib", l3 },         { "memory_mib", memory },
                                  { "kernel", u.release },  { "architecture", u.machine },
                                  { "governor", governor }, { "aslr", aslr } };

        return mb_store_facts(s, "machine", facts, sizeof facts / sizeof *facts, id);
    }
}

mb_err mb_facts_build(mb_store *s, int64_t *id)
{
    char products[128];
    const mb_pair facts[] = { { "commit", MB_COMMIT },
                              { "compiler", MB_COMPILER },
                              { "cflags", MB_CFLAGS },
                              { "blas", products } };

    mb_products_about(products, sizeof products);
    return mb_store_facts(s, "build", facts, sizeof facts / sizeof *facts, id);
}

mb_err mb_facts_dataset(mb_store *s, const mb_data *d, int64_t *id)
{
    const mb_pair facts[] = { { "name", mb_data_name(d) },
                              { "hash", mb_data_hash(d) },
                              { "manifest", mb_data_manifest(d) } };

    return mb_store_facts(s, "dataset", facts, sizeof facts / sizeof *facts, id);
}
