/* The sources papi and sde of a build without PAPI: nothing is supported. */
#include "profiles/source.h"

static void *open_none(mb_counted **counts, size_t n, int threads)
{
    return NULL; /* counts begin as not supported; without a state the rest is never called */
}

const mb_source mb_source_papi = { .name = "papi", .open = open_none };
const mb_source mb_source_sde = { .name = "sde", .events = mb_sde_events, .open = open_none };

bool mb_papi_works(void)
{
    return false;
}

const char *mb_papi_about(void)
{
    return "built without PAPI: install libpapi-dev and make again";
}

void mb_sde_publish(const mb_tally *t)
{
}
