/* Event sets: the ones compiled in are sound; what is wrong in a file is said with its place. */
#include "harness/event_set.h"
#include "tests/store_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static mb_err open_text(const char *text, mb_event_set **out)
{
    FILE *f = fopen(fixture_path("set.ini"), "w");

    cr_assert(f);
    fputs(text, f);
    fclose(f);
    return mb_event_set_open(fixture_path("set.ini"), out);
}

static void refused(const char *text, const char *message)
{
    mb_event_set *s;

    cr_assert_eq(open_text(text, &s), MB_EINVAL, "%s", text);
    cr_assert_null(s);
    cr_assert(strstr(mb_message(), message), "%s", mb_message());
}

Test(event_set, those_compiled_in_open_and_their_metrics_are_sql)
{
    mb_store *store = fixture_store();

    for (const mb_event_text *t = mb_event_texts; t->name; t++) {
        double value[MB_METRICS_MAX];
        mb_event_set *s;

        cr_assert_eq(mb_event_set_open(t->name, &s), MB_OK, "%s", mb_message());
        cr_assert_gt(s->n, 0);
        cr_assert_eq(mb_event_set_metrics(s, store, 0, value), MB_OK, "%s", mb_message());
        cr_assert(isnan(value[0]), "there is no such run");
        mb_event_set_close(s);
    }
    mb_store_close(store);
}

Test(event_set, an_unknown_name_is_missing)
{
    mb_event_set *s;

    cr_assert_eq(mb_event_set_open("tme", &s), MB_EMISSING);
    cr_assert_eq(mb_event_set_open("/nowhere/x.ini", &s), MB_EMISSING);
}

Test(event_set, what_is_wrong_is_said_with_its_place)
{
    fixture_folder();
    refused("[clock]\n", "set.ini:1: section 'clock', expected [SOURCE EVENT]");
    refused("[clok wall]\n", "set.ini:1: source 'clok' is not known");
    refused("\n[clock walls]\n", "set.ini:2: source clock has no event 'walls'");
    refused("[clock wall]\nunit = ns\n", "set.ini:1: event 'wall' has no column");
    refused("[clock wall]\ncolumn = w\n[clock cpu]\n", "set.ini:1: event 'wall' has no unit");
    refused("[clock wall]\ncolum = w\n", "set.ini:2: key 'colum' is not known");
    refused("[clock wall]\ncolumn = W s\n", "set.ini:2: column 'W s', expected lower-case");
    refused("[clock wall]\ncolumn = w\nunit = ns\n[clock wall]\n", "set.ini:4: event 'wall' is");
    refused("[clock wall]\ncolumn = w\nunit = ns\n[clock cpu]\ncolumn = w\n",
            "set.ini:5: column 'w' is there already");
    refused("[metric m]\nunit = 1\nunit = 2\n", "set.ini:3: key 'unit' is set a second time");
    refused("[metric m]\nunit = 1\n", "set.ini:1: metric 'm' has no sql");
    refused("[metric m]\nunit = 1\nsql =\n", "set.ini:3: key 'sql' has no value");
    refused("[metric m]\nunit = 1\nsql = 1\n[metric m]\n", "set.ini:4: metric 'm' is there");
}

Test(event_set, a_metric_that_is_no_sql_is_said_with_its_place)
{
    mb_store *store = fixture_store();
    double value[MB_METRICS_MAX];
    mb_event_set *s;

    cr_assert_eq(open_text("; why\n[metric m]\nunit = 1\nsql = wall_nss / 2\n", &s), MB_OK);
    cr_assert_eq(mb_event_set_metrics(s, store, 0, value), MB_EINVAL);
    cr_assert(strstr(mb_message(), "set.ini:2: metric m: "), "%s", mb_message());
    mb_event_set_close(s);
    mb_store_close(store);
}
