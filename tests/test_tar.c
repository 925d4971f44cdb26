/* Tar archives made here, block by block: what is read, and what is refused with its offset. */
#include "base/file.h"
#include "tests/data_tools.h"
#include "workloads/inside.h"
#include "workloads/tar.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

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
    expect_refused("offset 0: no tar header: its checksum is wrong");
    strcpy((char *)add("a", '0', "", 0) + 124, "77777777777");
    set_sum(archive);
    expect_refused("offset 0: a: 8589934591 bytes, expected at most 268435456");
    strcpy((char *)add("a", '0', "", 0) + 124, "12x");
    set_sum(archive);
    expect_refused("offset 0: a size that is no number");
    add("x", 'x', "99 path=a\n", 10);
    expect_refused("offset 0: a pax header that is none");
    add("x", 'x', "9 path=../b\n", 12);
    expect_refused("offset 0: a pax header that is none");
    add("x", 'x', "12 path=../b\n", 12);
    add("a", '0', "", 0);
    expect_refused("a pax header that is none");
}

/* Wherever it is cut: a message, and never a file that is shorter than its header says. */
Test(tar, an_archive_cut_anywhere_is_refused)
{
    size_t whole;

    add("a", '0', "content", 7);
    whole = used + 512;
    for (size_t cut = 0; cut < whole; cut += 64) {
        const char *found = read_back(data_write("cut.tar", archive, cut));

        cr_expect_not_null(strstr(found, "the archive ends"), "%zu: %s", cut, found);
    }
    cr_expect_str_eq(read_back(data_write("whole.tar", archive, whole)), "a=content;");
}

Test(tar, names_stay_inside)
{
    cr_expect(mb_is_inside("a") && mb_is_inside("a/b.c") && mb_is_inside("..a/b..") &&
              mb_is_inside("./a"));
    cr_expect(!mb_is_inside("") && !mb_is_inside("/") && !mb_is_inside("..") &&
              !mb_is_inside("a/../b") && !mb_is_inside("a//..") && !mb_is_inside("a\tb"));
}
