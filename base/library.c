#include "base/library.h"

#include "base/file.h"

#include <dlfcn.h>
#include <glob.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where the symbolic link PATH leads, the next folder on its way; takes PATH. NULL: it is none. */
static char *follow(char *path)
{
    char to[PATH_MAX] = "", *next;
    ssize_t n = 1;

    while (n > 0 && !strchr(to, '/')) {
        n = readlink(path, to, sizeof to - 1);
        to[n > 0 ? n : 0] = '\0';
        *strrchr(path, '/') = '\0';
        next = *to == '/' ? mb_format("%s", to) : mb_format("%s/%s", path, to);
        free(path);
        path = next;
    }
    if (n > 0)
        return path;
    free(path);
    return NULL;
}

/* The packages of PYTHON, a program, and of all that it is a link to: the environment that is meant
   may be at either end. Takes PYTHON. */
static void add_packages(FILE *out, char *python)
{
    for (int links = 0; python && links < 8; links++) {
        fprintf(out, "%.*s/../lib/python3*/{site,dist}-packages/nvidia/*/lib\n",
                (int)(strrchr(python, '/') - python), python);
        python = follow(python);
    }
    free(python);
}

/* The folders of Python packages that bring CUDA's libraries, as patterns for glob(). */
static void add_python(FILE *out)
{
    const char *path = getenv("PATH");
    char *copy = mb_format("%s", path ? path : ""), *rest = copy, *folder;

    while ((folder = strsep(&rest, ":"))) {
        char *python = mb_format("%s/python3", folder);

        if (*folder == '/' && access(python, X_OK) == 0)
            add_packages(out, python);
        else
            free(python);
    }
    free(copy);
}

/* Patterns for glob(), one a line. */
static char *list_places(void)
{
    const char *home = getenv("CUDA_HOME");
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        abort();
    if (home && *home)
        fprintf(out, "%s/{lib64,extras/CUPTI/lib64}\n", home);
    fputs("/usr/local/cuda*/{lib64,extras/CUPTI/lib64}\n", out);
    add_python(out);
    fputs("/usr/local/lib/python3*/{site,dist}-packages/nvidia/*/lib\n", out);
    if (fclose(out))
        abort();
    return text;
}

/* dlerror() of a name that is nowhere says nothing more than that. */
static bool is_absent(const char *why)
{
    return strstr(why, "cannot open shared object file: No such file") != NULL;
}

/* *why becomes what the loader said of the first library that is there and does not open. */
static void *try_open(const char *path, char **why)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const char *said = handle ? NULL : dlerror();

    /* the missing file may be a dependency of the library, which then is there */
    if (said && !*why && (!is_absent(said) || (strchr(path, '/') && access(path, F_OK) == 0)))
        *why = mb_format("%s", said);
    return handle;
}

/* Tries NAME in the folders that match PATTERN. */
static void *open_in(const char *pattern, const char *name, char **why)
{
    char *both = mb_format("%s/%s", pattern, name);
    void *handle = NULL;
    glob_t found;
    size_t i;

    if (glob(both, GLOB_BRACE, NULL, &found) == 0) {
        for (i = 0; !handle && i < found.gl_pathc; i++)
            handle = try_open(found.gl_pathv[i], why);
        globfree(&found);
    }
    free(both);
    return handle;
}

static void *open_name(const char *name, const char *places, char **why)
{
    void *handle = try_open(name, why);
    char *copy = mb_format("%s", places), *rest = copy, *pattern;

    while (!handle && (pattern = strsep(&rest, "\n")))
        if (*pattern)
            handle = open_in(pattern, name, why);
    free(copy);
    return handle;
}

static char *join(const char *const *names)
{
    char *text = mb_format("%s", names[0]);

    for (names++; *names; names++) {
        char *longer = mb_format("%s, %s", text, *names);

        free(text);
        text = longer;
    }
    return text;
}

static mb_err missing(const char *const *names, const char *why)
{
    const char *home = getenv("CUDA_HOME");
    char *all = join(names);
    mb_err err;

    err = why ? mb_fail(MB_EMISSING, "%s is there and does not open: %s", all, why)
              : mb_fail(MB_EMISSING,
                        "%s: not found by the loader, below $CUDA_HOME (%s) and /usr/local/cuda*, "
                        "nor in python3's nvidia packages",
                        all, home && *home ? home : "not set");
    free(all);
    return err;
}

mb_err mb_library_open(const char *const *names, mb_library *out)
{
    char *places = list_places(), *why = NULL;
    const char *const *name;
    mb_err err;

    *out = (mb_library){ 0 };
    for (name = names; *name && !out->handle; name++) {
        out->handle = open_name(*name, places, &why);
        out->name = *name;
    }
    err = out->handle ? MB_OK : missing(names, why);
    free(places);
    free(why);
    return err;
}

void mb_library_close(mb_library *l)
{
    if (l->handle)
        dlclose(l->handle);
    *l = (mb_library){ 0 };
}

mb_err mb_library_symbols(const mb_library *l, const mb_symbol *symbols)
{
    for (; symbols->name; symbols++) {
        void *address = dlsym(l->handle, symbols->name);

        if (!address)
            return mb_fail(MB_EMISSING, "%s has no %s: another version than this build expects",
                           l->name, symbols->name);
        memcpy(symbols->pointer, &address, sizeof address);
    }
    return MB_OK;
}

char *mb_library_path(const mb_library *l)
{
    struct link_map *map;

    return mb_format("%s", dlinfo(l->handle, RTLD_DI_LINKMAP, &map) == 0 ? map->l_name : l->name);
}
