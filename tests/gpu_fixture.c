#include "tests/gpu_fixture.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Loads a stand-in, which is then what its soname means in this process. */
static void load(const char *name)
{
    char self[512], *path;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    cr_assert_gt(n, 0);
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    path = mb_format("%s/fake/%s", self, name);
    if (!mb_exists(path))
        cr_skip_test("%s was not built: CUPTI's headers were not found", name);
    cr_assert(dlopen(path, RTLD_NOW), "%s", dlerror());
    free(path);
}

void test_load_gpu(void)
{
    load("libcuda.so.1");
    load("libnvidia-ml.so.1");
    load("libcupti.so.13");
}
