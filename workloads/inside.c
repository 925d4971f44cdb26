#include "workloads/inside.h"

#include <string.h>

bool mb_is_inside(const char *name)
{
    if (!*name || *name == '/')
        return false;
    for (const char *c = name; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 127)
            return false;
    }
    for (const char *part = name; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (!strncmp(part, "..", 2) && (part[2] == '/' || part[2] == '\0'))
            return false;
    }
    return true;
}
