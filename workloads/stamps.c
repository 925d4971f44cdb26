/* Beside NAME.png lie NAME.txt (the English description, then lines LANGUAGE.utf8=DESCRIPTION) and
   NAME_desc_LANGUAGE.ogg. */
#include "workloads/stamps.h"
#include "base/file.h"
#include "workloads/split.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *const mb_language[MB_LANGUAGES] = { "fr", "ru", "ro", "ca", "bg", "es", "be", "el" };

enum { VAL_ONE_IN = 10, DEEPEST = 32 };

void mb_stamps_free(mb_stamps *s)
{
    for (size_t i = 0; i < s->pictures; i++)
        free(s->picture[i]);
    for (size_t i = 0; i < s->clips; i++)
        free(s->clip[i].sound);
    free(s->picture);
    free(s->is_val);
    free(s->clip);
    mb_texts_free(&s->text);
    memset(s, 0, sizeof *s);
}

/* A line of TEXT without the spaces around it. */
typedef struct line {
    const char *text;
    size_t size;
} line;

static line trim(const char *from, const char *to)
{
    while (from < to && strchr(" \t\r", *from))
        from++;
    while (to > from && strchr(" \t\r", to[-1]))
        to--;
    return (line){ from, (size_t)(to - from) };
}

/* The description in a language, NULL being English: the first line; size 0 when there is none. */
static line find_line(const char *begin, const char *end, const char *language)
{
    char key[16];
    size_t size = (size_t)snprintf(key, sizeof key, "%s.utf8=", language ? language : "");

    for (const char *next; begin < end; begin = next + (next < end)) {
        next = memchr(begin, '\n', (size_t)(end - begin));
        next = next ? next : end;
        if (!language)
            return trim(begin, next);
        if ((size_t)(next - begin) > size && !memcmp(begin, key, size))
            return trim(begin + size, next);
    }
    return (line){ end, 0 };
}

/* The group of a description: in small letters, without the full stop. */
static bool is_val(line english)
{
    char *key = mb_format("%.*s", (int)english.size, english.text);
    size_t size = strlen(key);
    bool val;

    for (size_t i = 0; i < size; i++)
        key[i] = key[i] >= 'A' && key[i] <= 'Z' ? (char)(key[i] + 'a' - 'A') : key[i];
    size -= size > 0 && key[size - 1] == '.';
    val = mb_split_is_val(key, size, VAL_ONE_IN);
    free(key);
    return val;
}

static void add_clip(mb_stamps *s, int language, line text, char *sound)
{
    s->clip = mb_grow(s->clip, s->clips, &s->clip_room, sizeof *s->clip);
    s->clip[s->clips++] = (mb_clip){
        .picture = (int)s->pictures, .language = language, .text = s->text.count, .sound = sound
    };
    mb_texts_add(&s->text, text.text, text.size);
}

/* The stamp STEM.png, if it is one with a voice. */
static mb_err add_stamp(mb_stamps *s, const char *stem)
{
    char *path = mb_format("%s.txt", stem);
    const char *begin, *end;
    size_t before = s->clips;
    mb_map map = { 0 };
    line english;
    mb_err err = mb_exists(path) ? mb_map_open(path, &map) : MB_OK;

    free(path);
    begin = (const char *)map.data;
    end = begin + map.size;
    english = find_line(begin, end, NULL);
    for (int l = 0; !err && english.size > 0 && l < MB_LANGUAGES; l++) {
        line text = find_line(begin, end, mb_language[l]);
        char *sound = mb_format("%s_desc_%s.ogg", stem, mb_language[l]);

        if (text.size > 0 && mb_exists(sound))
            add_clip(s, l, text, sound);
        else
            free(sound);
    }
    if (s->clips > before) {
        s->picture = mb_grow(s->picture, s->pictures, &s->picture_room, sizeof *s->picture);
        s->is_val = mb_grow(s->is_val, s->pictures, &s->val_room, sizeof *s->is_val);
        s->is_val[s->pictures] = is_val(english);
        s->picture[s->pictures++] = mb_format("%s.png", stem);
    }
    mb_map_close(&map);
    return err;
}

static mb_err walk(mb_stamps *s, const char *folder, int depth)
{
    struct dirent **entry = NULL;
    int n = scandir(folder, &entry, NULL, alphasort);
    mb_err err = MB_OK;

    if (n < 0)
        return mb_fail(errno == ENOENT ? MB_EMISSING : MB_EIO, "%s: %s", folder, strerror(errno));
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;
        char *path = mb_format("%s/%s", folder, name), *dot = strrchr(path, '.');
        struct stat st;

        if (!err && name[0] != '.' && !lstat(path, &st)) {
            if (S_ISDIR(st.st_mode) && depth < DEEPEST) {
                err = walk(s, path, depth + 1);
            } else if (S_ISREG(st.st_mode) && dot && !strcmp(dot, ".png")) {
                *dot = '\0';
                err = add_stamp(s, path);
            }
        }
        free(path);
        free(entry[i]);
    }
    free(entry);
    return err;
}

mb_err mb_stamps_find(const char *folder, mb_stamps *out)
{
    mb_err err;

    memset(out, 0, sizeof *out);
    err = walk(out, folder, 0);
    if (!err && out->clips == 0)
        err = mb_fail(MB_EMISSING, "%s: no picture with a spoken description", folder);
    if (err)
        mb_stamps_free(out);
    return err;
}

bool mb_stamps_plausible(const char *text, size_t size, double seconds)
{
    double letters = 0;

    for (size_t i = 0; i < size; i++)
        letters += ((unsigned char)text[i] & 0xc0) != 0x80; /* UTF-8: not one that continues */
    return seconds > 0 && seconds <= 12 && letters >= 4 * seconds && letters <= 40 * seconds;
}
