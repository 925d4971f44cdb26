/* Speech units that were made elsewhere, as fairseq's textless tools write them: "NAME|12 12 40",
   an utterance a line. A third column, if there is one, is its text: "NAME|12 12 40|two red bags".
 */
#include "base/file.h"
#include "workloads/array.h"
#include "workloads/item.h"

#include <stdlib.h>
#include <string.h>

static void close_reader(void *user)
{
    if (user)
        mb_lines_close(user);
    free(user);
}

static mb_err open_reader(const char *file, const mb_import *how, void **out)
{
    mb_lines *l = mb_zalloc(1, sizeof *l);
    mb_err err = mb_lines_open(file, l);

    if (err) {
        close_reader(l);
        l = NULL;
    }
    *out = l;
    return err;
}

static mb_err take_units(char *text, mb_item *s)
{
    int32_t *id = NULL;
    size_t n = 0, room = 0;
    char *word, *rest = text;

    while ((word = strsep(&rest, " \t"))) {
        char *end;
        long value;

        if (!*word)
            continue;
        value = strtol(word, &end, 10);
        if (*end || *word < '0' || *word > '9' || value > INT32_MAX) {
            free(id);
            return mb_fail(MB_ECORRUPT, "unit %zu: found \"%.20s\", expected a whole number", n,
                           word);
        }
        id = mb_grow(id, n, &room, sizeof *id);
        id[n++] = (int32_t)value;
    }
    mb_item_add(s, MB_PART_UNITS, NULL, id, n);
    return MB_OK;
}

static mb_err take_line(char *line, mb_item *s)
{
    char *name = strsep(&line, "|"), *units = strsep(&line, "|");

    if (!units || !*name)
        return mb_fail(MB_ECORRUPT, "expected NAME|UNITS or NAME|UNITS|TEXT");
    s->id = mb_format("%s", name);
    s->key = mb_format("%s", name);
    if (line)
        mb_item_add(s, MB_PART_TEXT, NULL, mb_format("%s", line), strlen(line));
    return take_units(units, s);
}

static mb_err next(void *user, mb_item *s, bool *more)
{
    mb_lines *l = user;

    MB_TRY(mb_lines_next(l, more));
    if (!*more)
        return MB_OK;
    s->where = mb_format("%s:%lld", l->path, (long long)l->number);
    if (strlen(l->line) != l->size)
        return mb_fail(MB_ECORRUPT, "%s: a NUL: this is no text", s->where);
    return take_line(l->line, s) ? mb_fail_in(MB_ECORRUPT, "%s", s->where) : MB_OK;
}

const mb_import_format mb_import_units = {
    .name = "units",
    .about = "units of speech made elsewhere: NAME|12 12 40, and perhaps |TEXT, a line each",
    .open = open_reader,
    .next = next,
    .close = close_reader,
};
