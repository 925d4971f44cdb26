#include "base/file.h"
#include "harness/ini.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file of SIZE bytes of TEXT; the caller removes and frees its path. */
static char *write_file(const char *text, size_t size)
{
    char *path = mb_format("/tmp/motbench-ini-XXXXXX");
    int fd = mkstemp(path);

    cr_assert(ge(int, fd, 0));
    cr_assert(eq(sz, (size_t)write(fd, text, size), size));
    close(fd);
    return path;
}

/* Everything told, as "line section key=value;" in one string. */
static mb_err note(void *user, const char *place, const char *section, const char *key,
                   const char *value)
{
    char *all = user;

    snprintf(all + strlen(all), 1024 - strlen(all), "%s %s%s%s%s%s;", strrchr(place, ':') + 1,
             section, key ? " " : "", key ? key : "", key ? "=" : "", key ? value : "");
    return key && !strcmp(key, "bad") ? mb_fail(MB_EINVAL, "%s: bad key", place) : MB_OK;
}

static mb_err read_text(const char *text, char all[1024])
{
    char *path = write_file(text, strlen(text));
    mb_err err;

    *all = '\0';
    err = mb_ini_read(path, note, all);
    unlink(path);
    free(path);
    return err;
}

Test(ini, tells_sections_and_keys_with_their_lines)
{
    char all[1024];

    cr_assert(eq(int,
                 read_text("; why?\n[a]\nx = 1 ; one\n\n[b empty]\n[c]\n# no\ny=two words\n", all),
                 MB_OK));
    cr_assert(eq(str, all, "2 a;3 a x=1;5 b empty;6 c;8 c y=two words;"));
}

Test(ini, an_indented_line_is_a_key_of_its_own)
{
    char all[1024];

    cr_assert(eq(int, read_text("[a]\nx = 1\n  y = 2\n", all), MB_OK));
    cr_assert(eq(str, all, "1 a;2 a x=1;3 a y=2;"));
}

Test(ini, the_last_line_needs_no_newline)
{
    char all[1024];

    cr_assert(eq(int, read_text("[a]\nx = 1", all), MB_OK));
    cr_assert(eq(str, all, "1 a;2 a x=1;"));
}

Test(ini, stops_at_the_first_key_that_is_refused)
{
    char all[1024];

    cr_assert(eq(int, read_text("[a]\nbad = 1\nx = 2\n", all), MB_EINVAL));
    cr_assert(eq(str, all, "1 a;2 a bad=1;"));
}

static const struct {
    const char *text, *expected;
} broken[] = {
    { "[a]\nno equals sign\n", ":2: expected [section], key = value or a comment" },
    { "[a\nx = 1\n", ":1: '[' without ']'" },
    { "x = 1\n", ":1: key 'x' before any section" },
};

Test(ini, broken_syntax_is_refused_with_its_line)
{
    char all[1024];
    size_t i;

    for (i = 0; i < sizeof broken / sizeof *broken; i++) {
        cr_expect(eq(int, read_text(broken[i].text, all), MB_EINVAL));
        cr_expect(strstr(mb_message(), broken[i].expected) != NULL, "%s", mb_message());
    }
}

Test(ini, a_line_that_does_not_fit_is_refused_not_cut)
{
    char text[1200], all[1024];

    memset(text, 'a', sizeof text);
    memcpy(text, "[a]\nx = ", 8);
    text[sizeof text - 1] = '\0';
    cr_assert(eq(int, read_text(text, all), MB_EINVAL));
    cr_assert(strstr(mb_message(), ":2: a line of") != NULL, "%s", mb_message());
}

Test(ini, a_nul_byte_is_refused)
{
    char *path = write_file("[a]\nx\0=1\n", 9), all[1024] = "";

    cr_assert(eq(int, mb_ini_read(path, note, all), MB_EINVAL));
    cr_assert(strstr(mb_message(), ":2: a NUL byte") != NULL, "%s", mb_message());
    unlink(path);
    free(path);
}

Test(ini, a_missing_file_is_missing)
{
    char all[1024] = "";

    cr_assert(eq(int, mb_ini_read("/nonexistent/x.ini", note, all), MB_EMISSING));
    cr_assert(strstr(mb_message(), "/nonexistent/x.ini") != NULL);
}

Test(ini, the_question_is_the_first_comment)
{
    char *path = write_file("; Which is\n; better?\n;\n; Notes.\n[a]\n", 37), *question;

    cr_assert(eq(int, mb_ini_question(path, &question), MB_OK));
    cr_assert(eq(str, question, "Which is better?"));
    free(question);
    unlink(path);
    free(path);
}
