#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[1024];

/* Names in files of users may hold anything, also what breaks a line or a terminal. */
static void keep_on_one_line(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127)
            *text = '?';
}

mb_err mb_fail(mb_err code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    keep_on_one_line(message);
    return code;
}

mb_err mb_fail_in(mb_err code, const char *format, ...)
{
    char inner[sizeof message], prefix[512];
    va_list args;

    memcpy(inner, message, sizeof inner);
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    return mb_fail(code, "%s: %.500s", prefix, inner);
}

const char *mb_message(void)
{
    return message;
}
