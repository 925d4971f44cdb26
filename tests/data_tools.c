#include "tests/data_tools.h"
#include "base/file.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

void data_folder_open(void)
{
    strcpy(folder, "/tmp/motbench-data-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    setenv("MOTBENCH_DATA", folder, 1);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    return remove(path);
}

void data_folder_close(void)
{
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *data_path(const char *name)
{
    static char path[16][512]; /* enough for the paths that one test holds at a time */
    static int next;
    char *out = path[next++ % 16];

    snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

const char *data_write(const char *name, const void *bytes, size_t size)
{
    const char *path = data_path(name);
    FILE *f = fopen(path, "wb");

    cr_assert_not_null(f, "%s", path);
    cr_assert_eq(fwrite(bytes, 1, size, f), size);
    cr_assert_eq(fclose(f), 0);
    return path;
}

const char *data_write_text(const char *name, const char *text)
{
    return data_write(name, text, strlen(text));
}

void data_flip(const char *path, long at)
{
    FILE *f = fopen(path, "r+b");
    int byte;

    cr_assert_not_null(f, "%s", path);
    fseek(f, at, SEEK_SET);
    byte = fgetc(f);
    fseek(f, at, SEEK_SET);
    fputc(byte ^ 1, f);
    fclose(f);
}

mb_data *data_open_procedural(void)
{
    return data_open("procedural");
}

mb_data *data_open(const char *source)
{
    mb_data_request r = { .source = source };
    mb_data *d;

    cr_assert_eq(mb_data_prepare(&r, NULL, NULL), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_data_open(&r, &d), MB_OK, "%s", mb_message());
    return d;
}

mb_data *data_open_imported(const char *name)
{
    mb_data_request r = { .source = name };
    mb_data *d;

    cr_assert_eq(mb_data_open(&r, &d), MB_OK, "%s", mb_message());
    cr_expect_eq(mb_data_verify(&r, NULL), MB_OK, "%s", mb_message());
    return d;
}
