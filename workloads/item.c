#include "workloads/item.h"
#include "base/file.h"
#include "workloads/array.h"
#include "workloads/inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void mb_item_add(mb_item *s, enum mb_part_kind kind, char *path, void *data, size_t size)
{
    s->part = mb_grow(s->part, s->parts, &s->room, sizeof *s->part);
    s->part[s->parts++] = (mb_part){ kind, path, data, size };
}

void mb_item_clear(mb_item *s)
{
    for (size_t i = 0; i < s->parts; i++) {
        free(s->part[i].path);
        free(s->part[i].data);
    }
    free(s->part);
    free(s->where);
    free(s->id);
    free(s->key);
    *s = (mb_item){ .split = MB_SPLIT_DRAWN };
}

char *mb_root_of(const char *file, const char *root)
{
    const char *slash = strrchr(file, '/');
    size_t n = root ? strlen(root) : slash ? (size_t)(slash - file) + (slash == file) : 1;

    root = root ? root : slash ? file : ".";
    while (n > 0 && root[n - 1] == '/')
        n--;
    return mb_format("%.*s", (int)n, root);
}

char *mb_path_below(const char *root, const char *name)
{
    size_t n = strlen(root);

    if (*name == '/' && !strncmp(name, root, n) && name[n] == '/')
        name += n + 1;
    return mb_is_inside(name) ? mb_format("%s/%s", root, name) : NULL;
}

mb_err mb_lines_open(const char *path, mb_lines *out)
{
    mb_map map;

    memset(out, 0, sizeof *out);
    MB_TRY(mb_map_open(path, &map)); /* for its messages, and since folders open as well */
    mb_map_close(&map);
    out->path = mb_format("%s", path);
    out->file = fopen(path, "rbe");
    if (out->file)
        return MB_OK;
    mb_lines_close(out);
    return mb_fail(MB_EIO, "%s: %s", path, strerror(errno));
}

static bool append(mb_lines *l, int c)
{
    if (l->size + 1 >= l->room)
        l->line = mb_grow(l->line, l->room, &l->room, 1);
    l->line[l->size++] = (char)c;
    return l->size <= MB_LINE_LONGEST;
}

mb_err mb_lines_next(mb_lines *l, bool *more)
{
    int c;

    l->size = 0;
    l->number++;
    while ((c = getc_unlocked(l->file)) != EOF && c != '\n') {
        if (!append(l, c))
            return mb_fail(MB_ECORRUPT, "%s:%lld: a line of more than %d bytes", l->path,
                           (long long)l->number, MB_LINE_LONGEST);
    }
    if (ferror(l->file))
        return mb_fail(MB_EIO, "%s: %s", l->path, strerror(errno));
    *more = c != EOF || l->size > 0;
    append(l, '\0');
    l->size--;
    if (l->size > 0 && l->line[l->size - 1] == '\r')
        l->line[--l->size] = '\0';
    return MB_OK;
}

void mb_lines_close(mb_lines *l)
{
    if (l->file)
        fclose(l->file);
    free(l->path);
    free(l->line);
    memset(l, 0, sizeof *l);
}
