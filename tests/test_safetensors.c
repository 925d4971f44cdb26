/* .safetensors files: what is written is read back, and nothing malformed is accepted. */
#include "base/file.h"
#include "base/random.h"
#include "models/safetensors.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static char folder[] = "/tmp/motbench-safetensors-XXXXXX";
static char *path;

static void setup(void)
{
    cr_assert(mkdtemp(folder));
    path = mb_format("%s/x.safetensors", folder);
}

static void teardown(void)
{
    unlink(path);
    rmdir(folder);
    free(path);
}

TestSuite(safetensors, .init = setup, .fini = teardown);

static void write_bytes(const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");

    cr_assert(f);
    cr_assert_eq(fwrite(data, 1, size, f), size);
    cr_assert_eq(fclose(f), 0);
}

/* A file of HEADER, which says that it has LENGTH bytes (0: what it has), and SIZE bytes of data.
 */
static void write_raw(const char *header, uint64_t length, size_t size)
{
    size_t n = strlen(header);
    unsigned char *bytes = mb_zalloc(8 + n + size, 1);

    length = length ? length : n;
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, n);
    write_bytes(bytes, 8 + n + size);
    free(bytes);
}

static volatile unsigned seen; /* so that no read is optimised away */

/* Opens the file, looks at everything that it holds, and closes it. */
static mb_err read_all(void)
{
    mb_safetensors *s;
    unsigned sum = 0;

    MB_TRY(mb_safetensors_open(path, &s));
    for (size_t i = 0; i < mb_safetensors_count(s); i++) {
        const mb_st_tensor *t = mb_safetensors_at(s, i);

        for (size_t j = 0; j < t->size; j++)
            sum += ((const unsigned char *)t->data)[j];
        cr_assert_eq(mb_safetensors_find(s, t->name), t);
    }
    seen = sum;
    mb_safetensors_close(s);
    return MB_OK;
}

static const float floats[6] = { 1, -2, 3.5f, 0, 1e30f, -1e-30f };
static const double doubles[2] = { 0.1, -1e300 };
static const int32_t ints[3] = { -1, 0, 7 };
static const uint8_t bytes3[3] = { 1, 2, 255 };

static const mb_st_tensor sample[] = {
    { "bytes", "U8", 1, { 3 }, bytes3, 3 },
    { "weights", "F32", 3, { 1, 2, 3 }, floats, 24 },
    { "none", "F32", 2, { 0, 5 }, NULL, 0 },
    { "ints", "I32", 1, { 3 }, ints, 12 },
    { "doubles", "F64", 2, { 2, 1 }, doubles, 16 },
    { "scalar", "F32", 0, { 0 }, floats, 4 },
    { "half", "BF16", 1, { 1 }, ints, 2 },
    { "long", "I64", 1, { 1 }, doubles, 8 },
};
enum { SAMPLES = sizeof sample / sizeof *sample };

static const char *const notes[] = { "arch", "mot", "text", "a \"quoted\" line\n", NULL };

Test(safetensors, what_is_written_is_read_back)
{
    mb_safetensors *s;

    cr_assert_eq(mb_safetensors_write(path, sample, SAMPLES, notes), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_safetensors_open(path, &s), MB_OK, "%s", mb_message());
    cr_expect_eq(mb_safetensors_count(s), SAMPLES);
    for (size_t i = 0; i < SAMPLES; i++) {
        const mb_st_tensor *want = &sample[i], *got = mb_safetensors_find(s, want->name);

        cr_assert(got, "%s", want->name);
        cr_expect_str_eq(got->dtype, want->dtype);
        cr_expect_eq(got->rank, want->rank);
        cr_expect_arr_eq(got->shape, want->shape, (size_t)want->rank * sizeof *want->shape);
        cr_assert_eq(got->size, want->size);
        if (want->size > 0)
            cr_expect_arr_eq(got->data, want->data, want->size, "%s", want->name);
    }
    cr_expect_null(mb_safetensors_find(s, "weight"));
    cr_expect_str_eq(mb_safetensors_metadata(s, "arch"), "mot");
    cr_expect_str_eq(mb_safetensors_metadata(s, "text"), "a \"quoted\" line\n");
    cr_expect_null(mb_safetensors_metadata(s, "weights"));
    mb_safetensors_close(s);
}

Test(safetensors, written_tensors_are_aligned_to_their_elements)
{
    mb_safetensors *s;

    cr_assert_eq(mb_safetensors_write(path, sample, SAMPLES, notes), MB_OK);
    cr_assert_eq(mb_safetensors_open(path, &s), MB_OK);
    cr_expect_eq((uintptr_t)mb_safetensors_at(s, 0)->data % 8, 0);
    for (size_t i = 0; i < SAMPLES; i++) {
        const mb_st_tensor *t = mb_safetensors_at(s, i);
        size_t count = 1;

        for (int d = 0; d < t->rank; d++)
            count *= (size_t)t->shape[d];
        if (count > 0)
            cr_expect_eq((uintptr_t)t->data % (t->size / count), 0, "%s", t->name);
    }
    mb_safetensors_close(s);
}

Test(safetensors, a_file_without_tensors_or_metadata_is_valid)
{
    mb_safetensors *s;

    cr_assert_eq(mb_safetensors_write(path, NULL, 0, NULL), MB_OK);
    cr_assert_eq(mb_safetensors_open(path, &s), MB_OK, "%s", mb_message());
    cr_expect_eq(mb_safetensors_count(s), 0);
    cr_expect_null(mb_safetensors_metadata(s, "arch"));
    mb_safetensors_close(s);
}

Test(safetensors, tensors_come_in_file_order)
{
    mb_safetensors *s;

    write_raw("{\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]},"
              "\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}",
              0, 5);
    cr_assert_eq(mb_safetensors_open(path, &s), MB_OK, "%s", mb_message());
    cr_expect_str_eq(mb_safetensors_at(s, 0)->name, "a");
    cr_expect_str_eq(mb_safetensors_at(s, 1)->name, "b");
    mb_safetensors_close(s);
}

Test(safetensors, a_metadata_string_that_is_not_utf8_is_refused)
{
    static const char *const bad[] = { "path", "\xff\xfe", NULL };

    cr_expect_eq(mb_safetensors_write(path, sample, SAMPLES, bad), MB_EINVAL);
    cr_expect_not(mb_exists(path));
}

/* ---- malformed files ----------------------------------------------------------------------- */

#define T(name, dtype, shape, offsets)                                                             \
    "\"" name "\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define F32 "\"F32\""

struct bad { /* strings are arrays: parameters are copied between processes */
    char header[256];
    uint64_t length; /* 0: what the header has */
    size_t data;
    char message[64]; /* what the error must mention */
};

static struct bad bad_files[] = {
    { "{}", 3, 0, "offset 0" },
    { "{}", UINT64_MAX, 0, "offset 0" },
    { "{}", (uint64_t)INT64_MAX + 1, 0, "offset 0" },
    { "{}", 1, 0, "header" },
    { " {}", 0, 0, "expected '{'" },
    { "[]", 0, 0, "expected '{'" },
    { "{\"a\":", 0, 0, "header" },
    { "{} x", 0, 0, "header" },
    { "{\"\xff\":1}", 0, 0, "header" },
    { "{\"a\nb\":1}", 0, 0, "header" },
    { "{}", 0, 1, "offset 10" },
    { "{\"a\":1}", 0, 0, "'a': expected an object" },
    { "{\"\":{}}", 0, 0, "name" },
    { "{\"a\\nb\":{}}", 0, 0, "control character" },
    { "{\"a\\u0000b\":{}}", 0, 0, "header" },
    { "{\"a\":{}}", 0, 0, "unknown dtype" },
    { "{" T("a", "\"F16\"", "[2]", "[0,4]") "}", 0, 4, "unknown dtype" },
    { "{" T("a", "4", "[1]", "[0,4]") "}", 0, 4, "unknown dtype" },
    { "{" T("a", F32, "[1],\"x\":1", "[0,4]") "}", 0, 4, "exactly" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"offsets\":[0,4]}}", 0, 4, "data_offsets" },
    { "{" T("a", F32, "{}", "[0,4]") "}", 0, 4, "shape" },
    { "{" T("a", F32, "4", "[0,4]") "}", 0, 4, "shape" },
    { "{" T("a", F32, "[1,1,1,1,1]", "[0,4]") "}", 0, 4, "5 dimensions" },
    { "{" T("a", F32, "[-1]", "[0,4]") "}", 0, 4, "dimension" },
    { "{" T("a", F32, "[1.0]", "[0,4]") "}", 0, 4, "dimension" },
    { "{" T("a", F32, "[99999999999999999999]", "[0,4]") "}", 0, 4, "header" },
    { "{" T("a", F32, "[4294967296,4294967296]", "[0,4]") "}", 0, 4, "overflows" },
    { "{" T("a", F32, "[4611686018427387905]", "[0,4]") "}", 0, 4, "overflows" },
    { "{" T("a", F32, "[2305843009213693952]", "[0,4]") "}", 0, 4, "overflows" },
    { "{" T("a", F32, "[2]", "[0,4]") "}", 0, 4, "need 8" },
    { "{" T("a", F32, "[0]", "[0,4]") "}", 0, 4, "need 0" },
    { "{" T("a", F32, "[1]", "[0,4,8]") "}", 0, 8, "two integers" },
    { "{" T("a", F32, "[1]", "[0]") "}", 0, 4, "two integers" },
    { "{" T("a", F32, "[1]", "[0,4.0]") "}", 0, 4, "two integers" },
    { "{" T("a", F32, "[1]", "[-4,0]") "}", 0, 4, "outside" },
    { "{" T("a", F32, "[1]", "[4,0]") "}", 0, 4, "outside" },
    { "{" T("a", F32, "[1]", "[4,8]") "}", 0, 4, "outside" },
    { "{" T("a", F32, "[1]", "[0,9223372036854775807]") "}", 0, 4, "outside" },
    { "{" T("a", F32, "[1]", "[4,8]") "}", 0, 8, "hole" },
    { "{" T("a", F32, "[1]", "[0,4]") "}", 0, 8, "behind the last tensor" },
    { "{" T("a", F32, "[1]", "[0,4]") "," T("b", F32, "[1]", "[8,12]") "}", 0, 12, "hole" },
    { "{" T("a", F32, "[1]", "[0,4]") "," T("b", F32, "[1]", "[0,4]") "}", 0, 4, "overlap" },
    { "{" T("a", F32, "[2]", "[0,8]") "," T("b", F32, "[2]", "[4,12]") "}", 0, 12, "overlap" },
    { "{" T("a", F32, "[2]", "[0,8]") "," T("b", F32, "[0]", "[4,4]") "}", 0, 8, "overlap" },
    { "{" T("a", F32, "[1]", "[0,4]") "," T("a", F32, "[1]", "[4,8]") "}", 0, 8, "uplicate" },
    { "{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}", 0, 0, "uplicate" },
    { "{\"__metadata__\":{\"a\":1}}", 0, 0, "strings" },
    { "{\"__metadata__\":\"a\"}", 0, 0, "__metadata__" },
    { "{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, 0, "strings" },
};

ParameterizedTestParameters(safetensors, a_malformed_header_is_refused)
{
    return cr_make_param_array(struct bad, bad_files, sizeof bad_files / sizeof *bad_files);
}

ParameterizedTest(struct bad *b, safetensors, a_malformed_header_is_refused)
{
    mb_safetensors *s = (mb_safetensors *)b; /* anything but NULL */

    write_raw(b->header, b->length, b->data);
    cr_expect_eq(mb_safetensors_open(path, &s), MB_ECORRUPT, "%s", b->header);
    cr_expect_null(s);
    cr_expect(strstr(mb_message(), path), "%s", mb_message());
    cr_expect(strstr(mb_message(), b->message), "%s: %s", b->header, mb_message());
    cr_expect_not(strchr(mb_message(), '\n'));
}

Test(safetensors, a_missing_file_and_a_folder_are_refused)
{
    mb_safetensors *s;

    cr_expect_eq(mb_safetensors_open(path, &s), MB_EMISSING);
    cr_expect_null(s);
    cr_expect_eq(mb_safetensors_open(folder, &s), MB_EINVAL);
}

Test(safetensors, deep_nesting_is_refused)
{
    char *header = mb_alloc(100001);

    memset(header, '[', 100000);
    memcpy(header, "{\"a\":", 5);
    header[100000] = '\0';
    write_raw(header, 100000, 0);
    cr_expect_eq(read_all(), MB_ECORRUPT);
    free(header);
}

static unsigned char *read_sample(size_t *size)
{
    mb_map map;
    unsigned char *copy;

    cr_assert_eq(mb_safetensors_write(path, sample, SAMPLES, notes), MB_OK);
    cr_assert_eq(mb_map_open(path, &map), MB_OK);
    copy = mb_alloc(map.size);
    memcpy(copy, map.data, map.size);
    *size = map.size;
    mb_map_close(&map);
    return copy;
}

Test(safetensors, a_file_cut_anywhere_is_refused)
{
    size_t size;
    unsigned char *all = read_sample(&size);

    for (size_t cut = 0; cut < size; cut++) {
        write_bytes(all, cut);
        cr_assert_eq(read_all(), MB_ECORRUPT, "cut at %zu of %zu", cut, size);
    }
    free(all);
}

/* Up to four bytes change to anything; whatever is accepted must be readable to its last byte. */
Test(safetensors, no_mutation_crashes_the_reader)
{
    size_t size, accepted = 0;
    unsigned char *all = read_sample(&size), *mutant = mb_alloc(size);

    for (uint64_t i = 0; i < 2000; i++) {
        uint64_t key = mb_key(1, "mutation", i, 0), flips = 1 + mb_below(key, 0, 4);

        memcpy(mutant, all, size);
        for (uint64_t f = 1; f <= flips; f++)
            mutant[mb_below(key, 2 * f, size)] = (unsigned char)mb_random(key, 2 * f + 1);
        write_bytes(mutant, size);
        accepted += read_all() == MB_OK;
    }
    cr_expect(accepted > 0 && accepted < 1000, "%zu mutants accepted", accepted);
    free(mutant);
    free(all);
}

/* ---- atomic replacement -------------------------------------------------------------------- */

static size_t files_in_folder(void)
{
    DIR *d = opendir(folder);
    size_t n = 0;

    cr_assert(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

Test(safetensors, a_full_disk_leaves_the_old_file_alone)
{
    static const float large[1 << 15];
    mb_st_tensor t = { "large", "F32", 1, { 1 << 15 }, large, sizeof large };
    struct rlimit limit;
    char before[MB_HASH_SIZE], after[MB_HASH_SIZE];

    cr_assert_eq(mb_safetensors_write(path, sample, SAMPLES, notes), MB_OK);
    cr_assert_eq(mb_hash_file(path, before), MB_OK);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    for (rlim_t room = 0; room < sizeof large; room += 20000) {
        limit.rlim_cur = room;
        cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        cr_expect_eq(mb_safetensors_write(path, &t, 1, NULL), MB_EIO);
        cr_expect(strstr(mb_message(), folder), "%s", mb_message());
        cr_expect_eq(files_in_folder(), 1, "a temporary file stays");
        cr_assert_eq(mb_hash_file(path, after), MB_OK);
        cr_expect_str_eq(after, before);
    }
}

Test(safetensors, a_folder_that_is_not_there_is_an_error)
{
    char *missing = mb_format("%s/none/x.safetensors", folder);

    cr_expect_eq(mb_safetensors_write(missing, sample, SAMPLES, NULL), MB_EIO);
    cr_expect(strstr(mb_message(), missing), "%s", mb_message());
    free(missing);
}
