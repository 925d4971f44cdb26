#include "harness/settings.h"

#include "base/file.h"
#include "harness/ini.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- one value ----------------------------------------------------------------------------- */

/* Where a row's value lies. */
static void *slot(const mb_settings *s, const mb_arch_settings *a, const mb_setting *row)
{
    return (char *)(strcmp(row->section, "arch") ? (const void *)s : (const void *)a) + row->offset;
}

static void put_integer(void *at, size_t size, int64_t value)
{
    int32_t narrow = (int32_t)value;

    memcpy(at, size == sizeof narrow ? (const void *)&narrow : (const void *)&value, size);
}

static int64_t get_integer(const void *at, size_t size)
{
    int64_t value = 0;
    int32_t narrow = 0;

    if (size != sizeof narrow)
        return memcpy(&value, at, sizeof value), value;
    return memcpy(&narrow, at, sizeof narrow), narrow;
}

static void put_real(void *at, size_t size, double value)
{
    float narrow = (float)value;

    memcpy(at, size == sizeof narrow ? (const void *)&narrow : (const void *)&value, size);
}

static double get_real(const void *at, size_t size)
{
    double value = 0;
    float narrow = 0;

    if (size != sizeof narrow)
        return memcpy(&value, at, sizeof value), value;
    return memcpy(&narrow, at, sizeof narrow), (double)narrow;
}

static mb_err wrong(const char *place, const mb_setting *row, const char *value,
                    const char *expected)
{
    return mb_fail(MB_EINVAL, "%s: key '%s': found '%.80s', expected %s", place, row->key, value,
                   expected);
}

static mb_err wrong_number(const char *place, const mb_setting *row, const char *value)
{
    char expected[96];

    snprintf(expected, sizeof expected, "%s in %.9g .. %.9g",
             row->type == MB_SET_FLOAT ? "a number" : "a whole number", row->low, row->high);
    return wrong(place, row, value, expected);
}

/* Nothing but a whole number, to the last character. */
static bool is_integer(const char *text, const mb_setting *row, int64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoll(text, &end, 10);
    return !errno && end != text && !*end && !isspace((unsigned char)*text) &&
           (double)*out >= row->low && (double)*out <= row->high;
}

static bool is_real(const char *text, const mb_setting *row, double *out)
{
    char *end;

    *out = strtod(text, &end);
    return end != text && !*end && !isspace((unsigned char)*text) && isfinite(*out) &&
           *out >= row->low && *out <= row->high;
}

static mb_err set_enum(void *at, const mb_setting *row, const char *place, const char *value)
{
    char expected[256] = "one of";
    int i;

    for (i = 0; row->names[i]; i++) {
        if (!strcmp(row->names[i], value)) {
            put_integer(at, row->size, i);
            return MB_OK;
        }
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%s %s",
                 i ? "," : "", row->names[i]);
    }
    return wrong(place, row, value, expected);
}

static mb_err set_bool(void *at, const mb_setting *row, const char *place, const char *value)
{
    bool yes = !strcmp(value, "true") || !strcmp(value, "yes") || !strcmp(value, "on");

    if (!yes && strcmp(value, "false") && strcmp(value, "no") && strcmp(value, "off"))
        return wrong(place, row, value, "true or false");
    memcpy(at, &yes, sizeof yes);
    return MB_OK;
}

static mb_err set_list(mb_seeds *seeds, const mb_setting *row, const char *place, const char *value)
{
    char *copy = mb_format("%s", value), *rest = copy, *word;
    mb_err err = MB_OK;
    mb_seeds list = { 0 };
    int i;

    while (!err && (word = strsep(&rest, ","))) {
        int64_t number = 0;

        word += strspn(word, " "); /* "1, 2" */
        if (list.n == MB_SEEDS_MAX)
            err = wrong(place, row, value, "at most 64 numbers");
        else if (!is_integer(word, row, &number))
            err = wrong_number(place, row, word);
        for (i = 0; !err && i < list.n; i++)
            if (list.at[i] == number)
                err = wrong(place, row, value, "every number once");
        if (!err)
            list.at[list.n++] = number;
    }
    if (!err)
        *seeds = list;
    free(copy);
    return err;
}

static mb_err set_value(void *at, const mb_setting *row, const char *place, const char *value)
{
    int64_t integer;
    double real;

    switch (row->type) {
    case MB_SET_INT:
        if (!is_integer(value, row, &integer))
            return wrong_number(place, row, value);
        put_integer(at, row->size, integer);
        break;
    case MB_SET_FLOAT:
        if (!is_real(value, row, &real))
            return wrong_number(place, row, value);
        put_real(at, row->size, real);
        break;
    case MB_SET_STRING:
        if (strlen(value) >= row->size)
            return wrong(place, row, value, "at most 255 characters");
        strcpy(at, value);
        break;
    case MB_SET_BOOL:
        return set_bool(at, row, place, value);
    case MB_SET_ENUM:
        return set_enum(at, row, place, value);
    case MB_SET_LIST:
        return set_list(at, row, place, value);
    }
    return MB_OK;
}

/* The shortest decimal that reads back as the same float or double; whole numbers in full. */
static void print_real(char *text, double value, size_t size)
{
    int digits;

    if (value == floor(value) && fabs(value) < 1e9) {
        snprintf(text, MB_TEXT_MAX, "%.0f", value);
        return;
    }
    for (digits = 1; digits < 17; digits++) {
        snprintf(text, MB_TEXT_MAX, "%.*g", digits, value);
        if (size == sizeof(float) ? strtof(text, NULL) == (float)value
                                  : strtod(text, NULL) == value)
            return;
    }
    snprintf(text, MB_TEXT_MAX, "%.17g", value);
}

static void print_list(char *text, const mb_seeds *seeds)
{
    int i, used = 0;

    *text = '\0';
    for (i = 0; i < seeds->n && used < MB_TEXT_MAX - 24; i++)
        used += sprintf(text + used, "%s%lld", i ? "," : "", (long long)seeds->at[i]);
}

void mb_settings_text(const mb_settings *s, const mb_arch_settings *a, const mb_setting *row,
                      char *text)
{
    const void *at = slot(s, a, row);

    switch (row->type) {
    case MB_SET_INT:
        snprintf(text, MB_TEXT_MAX, "%lld", (long long)get_integer(at, row->size));
        break;
    case MB_SET_FLOAT:
        print_real(text, get_real(at, row->size), row->size);
        break;
    case MB_SET_BOOL:
        strcpy(text, *(const bool *)at ? "true" : "false");
        break;
    case MB_SET_ENUM:
        strcpy(text, row->names[get_integer(at, row->size)]);
        break;
    case MB_SET_STRING:
        strcpy(text, at);
        break;
    case MB_SET_LIST:
        print_list(text, at);
        break;
    }
}

/* ---- all values ---------------------------------------------------------------------------- */

static void set_defaults(mb_settings *s, mb_arch_settings *a)
{
    const mb_setting *row;
    mb_err err = MB_OK;

    for (row = mb_setting_table; row->section; row++)
        if (row->fallback && !strcmp(row->section, "arch") == (a != NULL))
            err = err ? err : set_value(slot(s, a, row), row, "default", row->fallback);
    if (err) { /* a row of our own table that refuses its own default */
        fprintf(stderr, "%s\n", mb_message());
        abort();
    }
}

mb_settings *mb_settings_new(void)
{
    mb_settings *s = mb_zalloc(1, sizeof *s);

    set_defaults(s, NULL);
    return s;
}

static void free_places(char **place)
{
    int k;

    for (k = 0; k < MB_SETTINGS_MAX; k++)
        free(place[k]);
}

/* Forgets all but the first N architectures. */
static void keep_archs(mb_settings *s, int n)
{
    while (s->archs > n)
        free_places(s->arch[--s->archs].place);
}

void mb_settings_free(mb_settings *s)
{
    if (!s)
        return;
    keep_archs(s, 0);
    free_places(s->place);
    free(s->file);
    free(s);
}

static mb_err unknown_arch(const char *place, const char *name)
{
    char list[256] = "";
    const mb_arch *arch;

    for (arch = mb_archs; arch->name; arch++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s",
                 arch == mb_archs ? "" : ", ", arch->name);
    return mb_fail(MB_EINVAL, "%s: arch '%.60s' is not known, expected one of %s", place, name,
                   list);
}

mb_err mb_settings_arch(mb_settings *s, const char *place, const char *name, mb_arch_settings **out)
{
    const mb_arch *arch = mb_arch_find(name);
    mb_arch_settings *a;
    int i;

    *out = NULL;
    if (!arch)
        return unknown_arch(place, name);
    for (i = 0; i < s->archs; i++)
        if (s->arch[i].arch == arch)
            *out = &s->arch[i];
    if (*out)
        return MB_OK;
    if (s->archs == MB_ARCHS_MAX)
        return mb_fail(MB_EINVAL, "%s: arch '%s' is one too many, expected at most %d", place, name,
                       MB_ARCHS_MAX);
    a = &s->arch[s->archs++];
    a->arch = arch;
    set_defaults(s, a);
    a->capacity = arch->capacity;
    a->balance = arch->balance;
    a->score = arch->score;
    *out = a;
    return MB_OK;
}

mb_err mb_settings_select(mb_settings *s, const char *place, const char *names)
{
    char *copy = mb_format("%s", names), *rest = copy, *name;
    mb_arch_settings *a, swap;
    mb_err err = MB_OK;
    int n = 0;

    while (!err && (name = strsep(&rest, ","))) {
        err = mb_settings_arch(s, place, name, &a);
        if (!err && a < &s->arch[n])
            err = mb_fail(MB_EINVAL, "%s: arch '%s' is there twice", place, name);
        if (!err) {
            swap = s->arch[n];
            s->arch[n++] = *a;
            *a = swap;
        }
    }
    if (!err)
        keep_archs(s, n);
    free(copy);
    return err;
}

/* "arch" of "arch switch", and what follows it. */
static const char *arch_name(const char *section)
{
    return strncmp(section, "arch ", 5) ? NULL : section + 5;
}

mb_err mb_settings_section(mb_settings *s, const char *place, const char *section)
{
    const mb_setting *row;
    mb_arch_settings *a;

    if (arch_name(section))
        return mb_settings_arch(s, place, arch_name(section), &a);
    for (row = mb_setting_table; row->section; row++)
        if (!strcmp(row->section, section) && strcmp(section, "arch"))
            return MB_OK;
    return mb_fail(MB_EINVAL,
                   "%s: section [%.60s] is not known, expected workload, optimizer, model, "
                   "arch NAME or seeds",
                   place, section);
}

const mb_setting *mb_setting_find(const char *section, const char *key)
{
    const mb_setting *row;

    for (row = mb_setting_table; row->section; row++)
        if (!strcmp(row->section, section) && !strcmp(row->key, key))
            return row;
    return NULL;
}

static mb_err unknown_key(const char *place, const char *section, const char *key)
{
    char list[512] = "";
    const mb_setting *row;

    for (row = mb_setting_table; row->section; row++)
        if (!strcmp(row->section, section))
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", *list ? ", " : "",
                     row->key);
    return mb_fail(MB_EINVAL, "%s: key '%.60s' is not known in [%s], expected one of %s", place,
                   key, section, list);
}

mb_err mb_settings_set(mb_settings *s, const char *place, bool once, const char *section,
                       const char *key, const char *value)
{
    mb_arch_settings *a = NULL;
    const mb_setting *row;
    char **where;

    MB_TRY(mb_settings_section(s, place, section));
    if (arch_name(section)) {
        MB_TRY(mb_settings_arch(s, place, arch_name(section), &a));
        section = "arch";
    }
    row = mb_setting_find(section, key);
    if (!row)
        return unknown_key(place, section, key);
    if (a && a->arch->ffn != MB_BY_ROUTER)
        return mb_fail(MB_EINVAL, "%s: key '%s' is not for arch '%s', which has no router", place,
                       key, a->arch->name);
    where = (a ? a->place : s->place) + (row - mb_setting_table);
    if (once && *where)
        return mb_fail(MB_EINVAL, "%s: key '%s' is set a second time, first at %s", place, key,
                       *where);
    MB_TRY(set_value(slot(s, a, row), row, place, value));
    free(*where);
    *where = mb_format("%s", place);
    return MB_OK;
}

mb_err mb_settings_override(mb_settings *s, const char *text)
{
    char *copy = mb_format("%s", text), *place = mb_format("-S %s", text);
    char *value = strchr(copy, '='), *key = NULL;
    mb_err err;

    if (value) {
        *value++ = '\0';
        key = strrchr(copy, '.');
    }
    if (!key) {
        err = mb_fail(MB_EINVAL, "%s: expected section.key=value", place);
    } else {
        *key++ = '\0';
        err = mb_settings_set(s, place, false, copy, key, value);
    }
    free(copy);
    free(place);
    return err;
}

mb_err mb_settings_seeds(mb_settings *s, const char *place, const char *list)
{
    return mb_settings_set(s, place, false, "seeds", "list", list);
}

static mb_err load_one(void *user, const char *place, const char *section, const char *key,
                       const char *value)
{
    return key ? mb_settings_set(user, place, true, section, key, value)
               : mb_settings_section(user, place, section);
}

mb_err mb_settings_load(mb_settings *s, const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t n = strlen(base);

    if (n > 4 && !strcmp(base + n - 4, ".ini"))
        n -= 4;
    if (n == 0 || n >= sizeof s->name)
        return mb_fail(MB_EINVAL, "%s: expected a file name of 1 to %zu characters", path,
                       sizeof s->name - 1);
    memcpy(s->name, base, n);
    s->name[n] = '\0';
    s->file = mb_format("%s", path);
    return mb_ini_read(path, load_one, s);
}
