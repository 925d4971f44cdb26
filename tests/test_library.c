/* Libraries opened while running: what is there opens, what is missing is said, with where it was
   looked for. */
#include "base/library.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const maths[] = { "libnot-there.so.1", "libm.so.6", NULL };
static const char *const nowhere[] = { "libnot-there.so.1", "libnot-there.so", NULL };

Test(library, the_first_name_that_opens_is_taken)
{
    double (*root)(double);
    const mb_symbol symbols[] = { { "sqrt", &root }, { 0 } };
    mb_library l;
    char *path;

    cr_assert_eq(mb_library_open(maths, &l), MB_OK, "%s", mb_message());
    cr_assert_str_eq(l.name, "libm.so.6");
    path = mb_library_path(&l);
    cr_assert_eq(path[0], '/');
    cr_assert_not_null(strstr(path, "libm"));
    cr_assert_eq(mb_library_symbols(&l, symbols), MB_OK, "%s", mb_message());
    cr_assert_eq(root(9), 3);
    mb_library_close(&l);
    cr_assert_null(l.handle);
    free(path);
}

Test(library, what_is_missing_is_named_with_where_it_was_looked_for)
{
    mb_library l;

    setenv("CUDA_HOME", "/nonsense", 1);
    cr_assert_eq(mb_library_open(nowhere, &l), MB_EMISSING);
    cr_assert_not_null(strstr(mb_message(), "libnot-there.so.1, libnot-there.so: not found"));
    cr_assert_not_null(strstr(mb_message(), "$CUDA_HOME (/nonsense)"), "%s", mb_message());
    cr_assert_null(strchr(mb_message(), '\n'));
    cr_assert_null(l.handle);
    mb_library_close(&l);
}

Test(library, a_symbol_that_is_missing_is_named)
{
    void (*none)(void);
    const mb_symbol symbols[] = { { "no_such_function", &none }, { 0 } };
    mb_library l;

    cr_assert_eq(mb_library_open(maths, &l), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_library_symbols(&l, symbols), MB_EMISSING);
    cr_assert_not_null(strstr(mb_message(), "libm.so.6 has no no_such_function"));
    mb_library_close(&l);
}

/* A Python environment with nvidia/cu13/lib, as pip lays it out; alone on $PATH is a link to its
   python3. */
static char *make_environment(void)
{
    char *folder = mb_format("/tmp/motbench-library-XXXXXX"), *bin, *lib, *python, *path, *link;

    cr_assert_not_null(mkdtemp(folder));
    bin = mb_format("%s/bin", folder);
    path = mb_format("%s/path", folder);
    link = mb_format("%s/python3", path);
    lib = mb_format("%s/lib/python3.12/site-packages/nvidia/cu13/lib", folder);
    python = mb_format("%s/python3", bin);
    cr_assert_eq(mb_make_folders(bin), MB_OK);
    cr_assert_eq(mb_make_folders(lib), MB_OK);
    fclose(fopen(python, "w"));
    chmod(python, 0755);
    cr_assert_eq(mb_make_folders(path), MB_OK);
    cr_assert_eq(symlink("../bin/python3", link), 0);
    setenv("PATH", path, 1);
    free(link);
    free(path);
    free(python);
    free(bin);
    free(lib);
    return folder;
}

Test(library, python_packages_are_searched_and_a_broken_library_says_why)
{
    char *folder = make_environment(), *file, *clean;
    FILE *f;
    mb_library l;

    file = mb_format("%s/lib/python3.12/site-packages/nvidia/cu13/lib/libnot-there.so", folder);
    clean = mb_format("/bin/rm -r %s", folder);
    f = fopen(file, "w");
    fputs("no library\n", f);
    fclose(f);
    cr_assert_eq(mb_library_open(nowhere, &l), MB_EMISSING);
    cr_assert_not_null(strstr(mb_message(), "is there and does not open"), "%s", mb_message());
    cr_assert_not_null(strstr(mb_message(), "nvidia/cu13/lib/libnot-there.so"));
    cr_assert_eq(system(clean), 0);
    free(clean);
    free(file);
    free(folder);
}
