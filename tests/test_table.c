/* Tables as people and programs see them. */
#include "harness/table.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <csv.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const mb_table_column columns[] = {
    { .name = "workload", .once = true },
    { .name = "arch", .once = true },
    { .name = "flops", .title = "FLOPs", .show = MB_SHOW_SI },
    { .name = "loss", .show = MB_SHOW_FIXED },
    { .name = "share", .show = MB_SHOW_PLAIN, .audience = MB_FOR_PEOPLE },
    { .name = "lo", .show = MB_SHOW_FIXED, .audience = MB_FOR_PROGRAMS },
};

static void add_row(mb_table *t, const char *workload, const char *arch, int64_t flops, double loss)
{
    mb_table_text(t, workload);
    mb_table_text(t, arch);
    mb_table_integer(t, flops);
    mb_table_real(t, loss);
    mb_table_text(t, "0.5 – 1");
    mb_table_real(t, 0.1);
}

static char *printed(enum mb_table_format format)
{
    mb_table *t = mb_table_new(columns, 6);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    add_row(t, "demo", "dense", 123456789, 2.26512);
    add_row(t, "demo", "dense", 5, NAN);
    add_row(t, "say \"a, b\"\n", "dense", 999950, 10);
    mb_table_note(t, "%d notes", 1);
    cr_assert_eq(mb_table_print(t, format, out), MB_OK, "%s", mb_message());
    mb_table_free(t);
    fclose(out);
    return text;
}

Test(table, people_get_aligned_columns)
{
    char *text = printed(MB_TABLE_HUMAN);

    cr_assert_str_eq(text, "workload     arch    FLOPs    loss    share\n"
                           "-----------  -----  ------  ------  -------\n"
                           "demo         dense   123 M   2.265  0.5 – 1\n"
                           "                         5       -  0.5 – 1\n"
                           "say \"a, b\"   dense  1.00 M  10.000  0.5 – 1\n"
                           "1 notes\n");
    free(text);
}

Test(table, markdown_repeats_what_the_eye_would_not_need)
{
    char *text = printed(MB_TABLE_MD);

    cr_assert(strstr(text, "| workload    | arch  |  FLOPs |   loss |   share |\n"
                           "|:------------|:------|-------:|-------:|--------:|\n"));
    cr_assert(strstr(text, "| demo        | dense |      5 |      - | 0.5 – 1 |\n"));
    cr_assert(strstr(text, "|\n\n1 notes\n"));
    free(text);
}

static void count_field(void *field, size_t size, void *user)
{
    char **all = user, *more = mb_format("%s[%.*s]", *all, (int)size, (char *)field);

    free(*all);
    *all = more;
}

static void end_row(int end, void *user)
{
    count_field("/", 1, user);
}

Test(table, csv_reads_back)
{
    char *text = printed(MB_TABLE_CSV), *all = mb_format("%s", "");
    struct csv_parser p;

    csv_init(&p, CSV_STRICT | CSV_STRICT_FINI);
    cr_assert_eq(csv_parse(&p, text, strlen(text), count_field, end_row, &all), strlen(text));
    cr_assert_eq(csv_fini(&p, count_field, end_row, &all), 0);
    csv_free(&p);
    cr_assert_str_eq(all, "[workload][arch][flops][loss][lo][/]"
                          "[demo][dense][123456789][2.26512][0.1][/]"
                          "[demo][dense][5][][0.1][/]"
                          "[say \"a, b\"\n][dense][999950][10][0.1][/]");
    cr_assert(strstr(text, "\"say \"\"a, b\"\"\n\",\"dense\",999950,10,0.1\r\n"), "%s", text);
    free(text);
    free(all);
}

Test(table, json_reads_back)
{
    char *text = printed(MB_TABLE_JSON);
    json_error_t where;
    json_t *root = json_loads(text, 0, &where), *row;

    cr_assert_not_null(root, "line %d: %s", where.line, where.text);
    row = json_array_get(json_object_get(root, "rows"), 0);
    cr_assert_eq(json_object_size(row), 5, "what is for people is left out");
    cr_assert_eq(json_integer_value(json_object_get(row, "flops")), 123456789);
    cr_assert_eq(json_real_value(json_object_get(row, "loss")), 2.26512);
    row = json_array_get(json_object_get(root, "rows"), 1);
    cr_assert(json_is_null(json_object_get(row, "loss")));
    cr_assert_eq(json_array_size(json_object_get(root, "rows")), 3);
    cr_assert_str_eq(json_string_value(json_array_get(json_object_get(root, "notes"), 0)),
                     "1 notes");
    json_decref(root);
    free(text);
}

Test(table, an_empty_table_has_its_head)
{
    mb_table *t = mb_table_new(columns, 2);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    cr_assert_eq(mb_table_print(t, MB_TABLE_HUMAN, out), MB_OK);
    cr_assert_eq(mb_table_print(t, MB_TABLE_JSON, out), MB_OK);
    fclose(out);
    cr_assert_eq(strncmp(text, "workload  arch\n--------  ----\n{", 31), 0, "%s", text);
    free(text);
    mb_table_free(t);
}

Test(table, numbers_for_people_keep_three_digits)
{
    static const struct {
        double value;
        const char *si, *seconds;
    } cases[] = {
        { 0, "0", "0.00 s" },
        { 7, "7", "7.00 s" },
        { 0.5, "0.50", "0.50 s" },
        { 999.4, "999", "16.7 min" },
        { 999.6, "1.00 k", "16.7 min" },
        { 9999, "10.0 k", "2.8 h" },
        { 123456, "123 k", "34.3 h" },
        { 864000, "864 k", "10.0 days" },
        { 3.15576e8, "316 M", "10.0 years" },
        { 2.5e15, "2.50 P", NULL },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[MB_SHOWN];

        mb_show_si(cases[i].value, text);
        cr_assert_str_eq(text, cases[i].si);
        mb_show_seconds(cases[i].value, text);
        cr_assert(!cases[i].seconds || !strcmp(text, cases[i].seconds), "%s", text);
    }
}

Test(table, a_full_disk_is_said)
{
    mb_table *t = mb_table_new(columns, 1);
    FILE *full = fopen("/dev/full", "w");

    for (int format = MB_TABLE_HUMAN; format <= MB_TABLE_MD; format++) {
        setvbuf(full, NULL, _IONBF, 0);
        cr_assert_eq(mb_table_print(t, (enum mb_table_format)format, full), MB_EIO);
    }
    fclose(full);
    mb_table_free(t);
}
