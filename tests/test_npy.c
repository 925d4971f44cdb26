#include "base/npy.h"
#include "tests/data_tools.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(npy, .init = data_folder_open, .fini = data_folder_close);

/* A version 1.0 file with header DICT and SIZE bytes of elements. */
static const char *write_npy(const char *dict, const void *data, size_t size)
{
    unsigned char bytes[512] = "\x93NUMPY\x01\x00";
    size_t n = strlen(dict);

    bytes[8] = (unsigned char)n;
    bytes[9] = 0;
    memcpy(bytes + 10, dict, n);
    memcpy(bytes + 10 + n, data, size);
    return data_write("x.npy", bytes, 10 + n + size);
}

Test(npy, what_is_written_is_read)
{
    const float data[6] = { 0, 1, -2.5f, 3e38f, 1e-40f, INFINITY };
    const int64_t shape[] = { 2, 3 };
    const char *path = data_path("a.npy");
    mb_npy n;

    cr_assert_eq(mb_npy_write_f32(path, data, 2, shape), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_npy_open(path, &n), MB_OK, "%s", mb_message());
    cr_expect(n.kind == 'f' && n.size == 4 && n.rank == 2 && n.count == 6);
    cr_expect(n.shape[0] == 2 && n.shape[1] == 3);
    cr_expect_eq(((const unsigned char *)n.data - n.map.data) % 64, 0);
    for (int i = 0; i < 6; i++)
        cr_expect_eq(mb_npy_float(&n, i), (double)data[i]);
    mb_npy_close(&n);
}

Test(npy, ranks_0_and_1_are_written)
{
    const float data[3] = { 1, 2, 3 };
    const int64_t shape[] = { 3 };
    mb_npy n;

    for (int rank = 0; rank < 2; rank++) {
        cr_assert_eq(mb_npy_write_f32(data_path("a.npy"), data, rank, shape), MB_OK);
        cr_assert_eq(mb_npy_open(data_path("a.npy"), &n), MB_OK, "%s", mb_message());
        cr_expect_eq(n.rank, rank);
        cr_expect_eq(n.count, rank ? 3 : 1);
        mb_npy_close(&n);
    }
}

Test(npy, integers_and_halves_have_their_values)
{
    const int32_t i4[] = { -1, 70000 };
    const int64_t i8[] = { INT64_MIN, 5 };
    const uint16_t u2[] = { 65535, 1 };
    const uint16_t f2[] = { 0x3c00, 0xc000, 0x0001, 0x7c00, 0x7bff };
    mb_npy n;

    mb_npy_open(write_npy("{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", i4, 8), &n);
    cr_expect(mb_npy_int(&n, 0) == -1 && mb_npy_int(&n, 1) == 70000);
    mb_npy_close(&n);
    mb_npy_open(write_npy("{'shape': (2,), 'descr': '<i8', 'fortran_order': False}", i8, 16), &n);
    cr_expect(mb_npy_int(&n, 0) == INT64_MIN && mb_npy_float(&n, 1) == 5);
    mb_npy_close(&n);
    mb_npy_open(write_npy("{'descr': '<u2', 'fortran_order': False, 'shape': (2, 1)}", u2, 4), &n);
    cr_expect(mb_npy_int(&n, 0) == 65535 && n.rank == 2);
    mb_npy_close(&n);
    mb_npy_open(write_npy("{'descr': '<f2', 'fortran_order': False, 'shape': (5,)}", f2, 10), &n);
    cr_expect(mb_npy_float(&n, 0) == 1 && mb_npy_float(&n, 1) == -2);
    cr_expect(mb_npy_float(&n, 2) == ldexp(1, -24) && isinf(mb_npy_float(&n, 3)));
    cr_expect_eq(mb_npy_float(&n, 4), 65504);
    mb_npy_close(&n);
}

static const char *const bad_headers[] = {
    "{'descr': '>u2', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<u2', 'fortran_order': True, 'shape': (2,)}",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (2)}",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (3,)}",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (1,)}",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (-2,)}",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (2 1)}",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (2,1,1,1,1)}",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (99999999999999999999,)}",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (4294967296,4294967296,2)}",
    "{'descr': '<u2', 'descr': '<u2', 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<u2', 'fortran_order': False}",
    "{'descr': '<u2' 'fortran_order': False, 'shape': (2,)}",
    "{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (2,)}",
    "{'descr': '<u2', 'fortran_order': False, 'shape': (2,)} x",
    "",
};

/* Run as root, a rename would put a file in the place of the device. */
Test(npy, a_device_is_refused_and_stays)
{
    const int64_t shape[] = { 1 };
    const float x = 1;
    struct stat st;

    cr_assert_eq(mb_npy_write_f32("/dev/null", &x, 1, shape), MB_EINVAL);
    cr_expect(strstr(mb_message(), "/dev/null: not a regular file"), "%s", mb_message());
    cr_assert(!stat("/dev/null", &st) && S_ISCHR(st.st_mode));
}

Test(npy, bad_headers_are_refused_with_the_offset)
{
    const uint16_t data[] = { 1, 2 };
    mb_npy n;

    for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++) {
        cr_expect_eq(mb_npy_open(write_npy(bad_headers[i], data, 4), &n), MB_ECORRUPT, "%s",
                     bad_headers[i]);
        cr_expect_not_null(strstr(mb_message(), "x.npy: offset "), "%s", mb_message());
        cr_expect_null(n.map.data);
    }
}

/* Every truncation of a good file is refused, and none crashes; nor does any flipped byte. */
Test(npy, damaged_files_never_open_or_crash)
{
    const float data[2] = { 1, 2 };
    const int64_t shape[] = { 2 };
    unsigned char bytes[512];
    size_t size;
    FILE *f;
    mb_npy n;

    mb_npy_write_f32(data_path("good.npy"), data, 1, shape);
    f = fopen(data_path("good.npy"), "rb");
    size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    for (size_t cut = 0; cut < size; cut++)
        cr_expect_eq(mb_npy_open(data_write("cut.npy", bytes, cut), &n), MB_ECORRUPT, "%zu", cut);
    for (size_t at = 0; at < size; at++) {
        bytes[at] ^= 0x11;
        if (!mb_npy_open(data_write("flip.npy", bytes, size), &n)) {
            cr_expect_geq(at, size - sizeof data, "byte %zu of the header", at);
            mb_npy_close(&n);
        }
        bytes[at] ^= 0x11;
    }
    cr_expect_eq(mb_npy_open(data_path("none.npy"), &n), MB_EMISSING);
}
