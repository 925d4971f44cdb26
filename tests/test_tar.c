/* Tar archives made here, block by block: what is read, and what is refused with its offset. */
#include "base/file.h"
#include "tests/data_tools.h"
#include "workloads/inside.h"
#include "workloads/tar.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

TestSuite(tar, .init = data_folder_open, .fini = data_folder_close);

static unsigned char archive[64 * 512];
static size_t used;

static void set_sum(unsigned char *block)
{
    unsigned sum = 0;

    memset(block + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

/* A header and SIZE bytes of content. */
static unsigned char *add(const char *name, char type, const char *content, size_t size)
{
    unsigned char *block = archive + used;

    strncpy((char *)block, name, 100);
    snprintf((char *)block + 124, 12, "%011zo", size);
    block[156] = (unsigned char)type;
    memcpy(block + 257, "ustar", 6);
    set_sum(block);
    memcpy(block + 512, content, size);
    used += 512 + (size + 511) / 512 * 512;
    return block;
}

static const char *write_archive(void)
{
    return data_write("a.tar", archive, used + 1024);
}

/* The names and contents of all files as "name=content;", or the message. */
static const char *read_back(const char *path)
{
    static char all[4096];
    mb_tar_entry e;
    mb_tar *t;
    bool more = true;
    mb_err err = mb_tar_open(path, &t);

    all[0] = '\0';
    while (!err && more) {
        char *content = NULL;

        err = mb_tar_next(t, &e, &more);
        if (!err && more)
            err = mb_tar_read(t, &content);
        if (!err && more)
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s=%s;", e.name, content);
        free(content);
    }
    if (!err && (mb_tar_next(t, &e, &more) || more))
        strcpy(all, "more behind the end");
    mb_tar_close(t);
    return err ? mb_message() : all;
}

Test(tar, files_are_read_in_their_order_and_folders_passed_over)
{
    add("folder/", '5', "", 0);
    add("folder/a.txt", '0', "first", 5);
    add("b", '\0', "", 0);
    cr_expect_str_eq(read_back(write_archive()), "folder/a.txt=first;b=;");
}

Test(tar, long_names_come_from_prefix_pax_and_gnu)
{
    unsigned char *block = add("end", '0', "1", 1);
    char pax[] = "27 path=name/from/a/header\n", gnu[] = "name/of/gnu";

    strcpy((char *)block + 345, "a/prefix");
    set_sum(block);
    add("x", 'x', pax, sizeof pax - 1);
    add("short", '0', "2", 1);
    add("L", 'L', gnu, sizeof gnu);
    add("short", '0', "3", 1);
    add("after", '0', "4", 1);
    cr_expect_str_eq(read_back(write_archive()),
                     "a/prefix/end=1;name/from/a/header=2;name/of/gnu=3;after=4;");
}

Test(tar, a_size_may_be_in_base_256)
{
    unsigned char *block = add("a", '0', "xyz", 3);

    memset(block + 124, 0, 12);
    block[124] = 0x80;
    block[135] = 3;
    set_sum(block);
    cr_expect_str_eq(read_back(write_archive()), "a=xyz;");
}

Test(tar, names_are_bytes_and_need_no_locale)
{
    char pax[] = "12 path=e\314\201\n", latin[] = "\374";

    add("x", 'x', pax, sizeof pax - 1);
    add("short", '0', "1", 1);
    add(latin, '0', "2", 1);
    cr_expect_str_eq(read_back(write_archive()), "e\314\201=1;\374=2;");
}

static void expect_refused(const char *says)
{
    const char *found = read_back(write_archive());

    cr_expect_not_null(strstr(found, says), "\"%s\" lacks \"%s\"", found, says);
    memset(archive, 0, sizeof archive);
    used = 0;
}

Test(tar, bad_entries_are_refused_with_their_offset)
{
    static const char *const names[] = { "/etc/x", "../x", "a/../../x", "a/..", "a\nb", "a\177" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        add("good", '0', "", 0);
        add(names[i], '0', "", 0);
        expect_refused("a.tar: offset 512: a name that is absolute, leads upwards");
    }
    add("link", '2', "", 0);
    expect_refused("offset 0: neither a file nor a folder");
    add("a", '0', "", 0)[0] = 'b';
    expect_refused("offset 0: Unrecognized archive format");
    add("good", '0', "", 0);
    add("a", '0', "", 0)[0] = 'b';
    expect_refused("offset 512: Damaged tar archive");
    strcpy((char *)add("a", '0', "", 0) + 124, "77777777777");
    set_sum(archive);
    expect_refused("offset 0: a: 8589934591 bytes, expected at most 268435456");
    memset(add("a", '0', "", 0) + 124, 255, 12);
    set_sum(archive);
    expect_refused("offset 512: Tar entry has negative size");
    add("x", 'x', "99 path=a\n", 10);
    add("a", '0', "", 0);
    expect_refused("offset 0: Ignoring malformed pax extended attribute");
    add("x", 'x', "9 path=../b\n", 12);
    add("a", '0', "", 0);
    expect_refused("offset 0: Ignoring malformed pax extended attribute");
    add("x", 'x', "12 path=../b\n", 12);
    add("a", '0', "", 0);
    expect_refused("offset 0: Ignoring malformed pax extended attribute");
}

/* In GNU's form: 1 MiB, of which the archive has nothing. */
Test(tar, a_file_with_holes_is_refused)
{
    unsigned char *block = add("a", 'S', "", 0);

    memcpy(block + 257, "ustar  ", 8);
    strcpy((char *)block + 386, "00004000000");
    strcpy((char *)block + 398, "00000000000");
    strcpy((char *)block + 483, "00004000000");
    set_sum(block);
    expect_refused("offset 0: a file with holes");
}

/* One of each kind of header, and the end mark's first block: the bytes used. */
static size_t add_all_kinds(void)
{
    add("g", 'g', "9 x=yyyy\n", 9);
    add("a", '0', "content", 7);
    add("x", 'x', "11 path=bb\n", 11);
    add("b", '0', "", 0);
    add("L", 'L', "c", 2);
    add("folder/", '5', "", 0);
    add("d", '0', "", 0);
    return used + 512;
}

/* Wherever it is cut: a message, and never a file that is shorter than its header says. */
Test(tar, an_archive_cut_anywhere_is_refused)
{
    size_t whole = add_all_kinds();

    for (size_t cut = 0; cut < whole; cut += 64) {
        const char *found = read_back(data_write("cut.tar", archive, cut));

        cr_expect_not_null(strstr(found, "cut.tar: offset "), "%zu: %s", cut, found);
    }
    cr_expect_str_eq(read_back(data_write("whole.tar", archive, whole)), "a=content;bb=;d=;");
}

/* Cut anywhere, and with any bit of the last bytes, which are the checksum, turned. */
static void expect_whole(const unsigned char *packed, size_t size, size_t checksum)
{
    unsigned char broken[1024];

    cr_assert(size <= sizeof broken);
    cr_expect_str_eq(read_back(data_write("whole", packed, size)), "a=content;bb=;d=;");
    for (size_t cut = 0; cut < size; cut++) {
        const char *found = read_back(data_write("cut", packed, cut));

        cr_expect_not_null(strstr(found, "cut: offset "), "%zu: %s", cut, found);
    }
    for (size_t at = size - checksum; at < size; at++) {
        const char *found;

        memcpy(broken, packed, size);
        broken[at] ^= 1;
        found = read_back(data_write("broken", broken, size));
        cr_expect_not_null(strstr(found, "broken: offset "), "%zu: %s", at, found);
    }
}

Test(tar, an_archive_in_gzip_is_checked_to_its_last_byte)
{
    const char *path = data_path("a.tar.gz");
    gzFile file = gzopen(path, "wb9");
    size_t whole = add_all_kinds();
    mb_map map;

    cr_assert_eq(gzwrite(file, archive, (unsigned)whole), (int)whole);
    gzclose(file);
    cr_assert_eq(mb_map_open(path, &map), MB_OK);
    expect_whole(map.data, map.size, 8);
    mb_map_close(&map);
}

/* The same, as `zstd -19` packed it. */
Test(tar, an_archive_in_zstd_is_checked_to_its_last_byte)
{
    static const unsigned char packed[] = {
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x68, 0x2d, 0x05, 0x00, 0x82, 0x45, 0x13, 0x18, 0x90, 0x3b,
        0x07, 0x00, 0xec, 0xfc, 0xa7, 0x16, 0xdd, 0x44, 0xfc, 0xd5, 0x03, 0xda, 0x0a, 0xb6, 0x25,
        0x11, 0xc4, 0xea, 0x4e, 0x15, 0x48, 0x01, 0xfc, 0x86, 0x7c, 0xb3, 0x0a, 0x81, 0x63, 0x3c,
        0x85, 0x39, 0xdc, 0xe2, 0xb4, 0x56, 0xb5, 0xb5, 0xa6, 0x12, 0xc8, 0x9a, 0xdc, 0x8d, 0x79,
        0x26, 0x94, 0x79, 0xe3, 0x0f, 0x17, 0x03, 0x2e, 0x8c, 0xd3, 0x7c, 0xa7, 0x4e, 0xad, 0xec,
        0x40, 0xa4, 0x62, 0x16, 0x77, 0x18, 0x7c, 0xa0, 0x7c, 0xaf, 0xf2, 0xae, 0x1e, 0x09, 0x1d,
        0xa8, 0x20, 0x1c, 0x2a, 0x68, 0x57, 0x03, 0x30, 0x29, 0x29, 0x48, 0x41, 0x3c, 0x30, 0x42,
        0x22, 0x20, 0x62, 0x49, 0x20, 0x12, 0xff, 0xff, 0x4d, 0x7a, 0xfd, 0xbe, 0xc6, 0x86, 0xca,
        0x00, 0x20, 0xd8, 0x86, 0x31, 0xe0, 0x6e, 0x8f, 0x7d, 0x7f, 0x08, 0x2c, 0x11, 0x04, 0x11,
        0x0c, 0x80, 0x31, 0xb1, 0x06, 0x40, 0x06, 0xb4, 0x37, 0x5f, 0x00, 0x02, 0x2b, 0xab, 0x22,
        0xa0, 0x4e, 0x1f, 0xc0, 0x04, 0x66, 0x64, 0x81, 0x01, 0xf0, 0xfc, 0xf1, 0x47, 0xed, 0xab,
        0x84, 0xf8, 0x44, 0xb7, 0xb3, 0xd5, 0x35, 0x94, 0x05, 0x1e, 0xf2, 0x07, 0x92
    };

    expect_whole(packed, sizeof packed, 4);
}

Test(tar, names_stay_inside)
{
    cr_expect(mb_is_inside("a") && mb_is_inside("a/b.c") && mb_is_inside("..a/b..") &&
              mb_is_inside("./a"));
    cr_expect(!mb_is_inside("") && !mb_is_inside("/") && !mb_is_inside("..") &&
              !mb_is_inside("a/../b") && !mb_is_inside("a//..") && !mb_is_inside("a\tb"));
}
