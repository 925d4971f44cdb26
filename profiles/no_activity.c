/* A build without CUPTI's headers: no activity is recorded. */
#include "profiles/activity.h"

#include <stdlib.h>

mb_err mb_activity_open(mb_activity **out)
{
    *out = NULL;
    return mb_fail(MB_EMISSING, "built without CUPTI: its headers were not found");
}

void mb_activity_close(mb_activity *a)
{
}

void mb_activity_number(mb_activity *a, uint64_t id)
{
    abort(); /* nobody has one */
}

mb_err mb_activity_take(mb_activity *a, const mb_launch **launches, size_t *n)
{
    abort();
}
