/* Messages of errors. */
#include "base/err.h"

#include <criterion/criterion.h>

Test(err, a_message_is_one_line_whatever_it_quotes)
{
    cr_assert_eq(mb_fail(MB_ECORRUPT, "%s:3: found key '%s'", "a.jsonl", "segm\nts\t\x1b[31m"),
                 MB_ECORRUPT);
    cr_assert_str_eq(mb_message(), "a.jsonl:3: found key 'segm?ts??[31m'");
}

Test(err, a_prefix_comes_before_the_message_and_letters_of_any_script_stay)
{
    mb_fail(MB_EIO, "no t\xc3\xa9l\xc3\xa9");
    cr_assert_eq(mb_fail_in(MB_EIO, "line %d\n", 7), MB_EIO);
    cr_assert_str_eq(mb_message(), "line 7?: no t\xc3\xa9l\xc3\xa9");
}
