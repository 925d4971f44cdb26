#include "harness/ini.h"

#include "base/file.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    FILE *file;
    const char *path;
    char *line; /* of getline() */
    size_t room;
    int number; /* of the line, from 1 */
    mb_ini_each *each;
    void *user;
    mb_err err;
};

static void tell(struct reader *r, const char *section, const char *key, const char *value)
{
    char *place = mb_format("%s:%d", r->path, r->number);

    r->err = r->each(r->user, place, section, key, value);
    free(place);
}

/* libinih says nothing of a section without keys, so sections are told from here. */
static void tell_section(struct reader *r, char *line)
{
    char *end = strchr(line, ']');

    if (!end) {
        r->err =
            mb_fail(MB_EINVAL, "%s:%d: '[' without ']', expected [section]", r->path, r->number);
        return;
    }
    *end = '\0';
    tell(r, line + 1, NULL, NULL);
    *end = ']';
}

/* Hands libinih one line. Leading space goes, as libinih would take an indented line for more of
   the value before it. */
static char *next_line(char *out, int size, void *user)
{
    struct reader *r = user;
    ssize_t n = r->err ? -1 : getline(&r->line, &r->room, r->file);
    char *start = r->line;

    if (n < 0)
        return NULL;
    r->number++;
    if (strlen(start) != (size_t)n) {
        r->err = mb_fail(MB_EINVAL, "%s:%d: a NUL byte, expected text", r->path, r->number);
        return NULL;
    }
    while (isspace((unsigned char)*start))
        start++;
    if (strlen(start) + 1 > (size_t)size) {
        r->err = mb_fail(MB_EINVAL, "%s:%d: a line of %zu characters, expected at most %d", r->path,
                         r->number, strlen(start), size - 1);
        return NULL;
    }
    if (*start == '[')
        tell_section(r, start);
    strcpy(out, start);
    return r->err ? NULL : out;
}

static int take(void *user, const char *section, const char *key, const char *value)
{
    struct reader *r = user;

    if (!r->err && !*section)
        r->err = mb_fail(MB_EINVAL, "%s:%d: key '%s' before any section, expected [section] first",
                         r->path, r->number, key);
    if (!r->err)
        tell(r, section, key, value ? value : "");
    return !r->err;
}

/* Takes FILE. */
static mb_err read_stream(FILE *file, const char *path, mb_ini_each *each, void *user)
{
    struct reader r = { .file = file, .path = path, .each = each, .user = user };
    int line = ini_parse_stream(next_line, &r, take, &r);

    if (!r.err && ferror(r.file))
        r.err = mb_fail(MB_EIO, "%s: %s", path, strerror(errno));
    if (!r.err && line)
        r.err =
            mb_fail(MB_EINVAL, "%s:%d: expected [section], key = value or a comment", path, line);
    free(r.line);
    fclose(r.file);
    return r.err;
}

static mb_err open_file(const char *path, FILE **out)
{
    *out = fopen(path, "r");
    return *out ? MB_OK
                : mb_fail(errno == ENOENT ? MB_EMISSING : MB_EIO, "%s: %s", path, strerror(errno));
}

static FILE *open_text(const char *text)
{
    FILE *file = fmemopen((void *)text, strlen(text), "r");

    if (!file)
        abort(); /* no memory */
    return file;
}

mb_err mb_ini_read(const char *path, mb_ini_each *each, void *user)
{
    FILE *file;

    MB_TRY(open_file(path, &file));
    return read_stream(file, path, each, user);
}

mb_err mb_ini_read_text(const char *name, const char *text, mb_ini_each *each, void *user)
{
    return read_stream(open_text(text), name, each, user);
}

/* Takes FILE. */
static char *read_question(FILE *file)
{
    char line[1024], *all = mb_format("%s", "");

    while (fgets(line, sizeof line, file) && (*line == ';' || *line == '#')) {
        char *text = line + strspn(line, ";# "), *longer;

        text[strcspn(text, "\r\n")] = '\0';
        if (!*text)
            break;
        longer = mb_format("%s%s%s", all, *all ? " " : "", text);
        free(all);
        all = longer;
    }
    fclose(file);
    return all;
}

mb_err mb_ini_question(const char *path, char **question)
{
    FILE *file;

    *question = NULL;
    MB_TRY(open_file(path, &file));
    *question = read_question(file);
    return MB_OK;
}

char *mb_ini_question_text(const char *text)
{
    return read_question(open_text(text));
}
