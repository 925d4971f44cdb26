/* table, plot and db as functions of their options. */
#include "harness/verbs.h"
#include "tests/store_fixture.h"

#include "base/file.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void two_runs(void)
{
    mb_store *s = fixture_store();

    fixture_add(s, &(fixture_run){ .workload = "it's `x` \"w\"" });
    fixture_add(s, &(fixture_run){ .workload = "it's `x` \"w\"", .arch = "mot" });
    mb_store_close(s);
}

/* ---- table --------------------------------------------------------------------------------- */

static mb_err table(const void *o, FILE *out)
{
    return mb_verb_table(o, out);
}

Test(verbs, table_summary_has_a_row_per_architecture)
{
    mb_table_options o = { fixture_path("t.db"), "summary", NULL, MB_TABLE_CSV };
    mb_err err;
    char *text;

    two_runs();
    text = fixture_printed(table, &o, &err);
    cr_assert_eq(err, MB_OK, "%s", mb_message());
    cr_assert(strstr(text, "\"mot\",\"cpu\",\"fp32\",1,1000,900,15.625,15.625,15.640625,"), "%s",
              text);
    free(text);
}

Test(verbs, table_says_what_it_knows_not)
{
    mb_table_options o = { fixture_path("t.db"), "sumary", NULL, MB_TABLE_CSV };
    mb_err err;

    mb_store_close(fixture_store());
    free(fixture_printed(table, &o, &err));
    cr_assert_eq(err, MB_EUSAGE);
    o.name = "summary";
    free(fixture_printed(table, &o, &err));
    cr_assert_eq(err, MB_EMISSING);
    o.db = "/nowhere/x.db";
    free(fixture_printed(table, &o, &err));
    cr_assert_eq(err, MB_EMISSING);
}

/* ---- plot ---------------------------------------------------------------------------------- */

static mb_err plot(const void *o, FILE *out)
{
    return mb_verb_plot(o, out);
}

static mb_err plot_to(const char *name)
{
    mb_plot_options o = { fixture_path("t.db"), "curves", NULL, fixture_path(name) };
    mb_err err;

    free(fixture_printed(plot, &o, &err));
    return err;
}

/* No file of NAME* is in the folder but NAME itself (or none at all). */
static bool alone(const char *name)
{
    DIR *d = opendir(fixture_folder());
    bool alone = true;

    for (struct dirent *e; (e = readdir(d));)
        alone = alone && (strncmp(e->d_name, name, strlen(name)) || !strcmp(e->d_name, name));
    closedir(d);
    return alone;
}

static bool begins_with(const char *name, const char *bytes)
{
    mb_map map;
    bool yes;

    cr_assert_eq(mb_map_open(fixture_path(name), &map), MB_OK, "%s", mb_message());
    yes = map.size > strlen(bytes) && !memcmp(map.data, bytes, strlen(bytes));
    mb_map_close(&map);
    return yes;
}

Test(verbs, plot_picks_the_kind_by_extension)
{
    static const struct {
        const char *name, *bytes;
    } kinds[] = { { "p.svg", "<?xml" }, { "p.png", "\x89PNG" }, { "p.pdf", "%PDF" } };
    mb_map map;
    char *text;

    if (system("gnuplot --version >/dev/null 2>&1"))
        cr_skip_test("gnuplot is not installed");
    two_runs();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        cr_assert_eq(plot_to(kinds[i].name), MB_OK, "%s", mb_message());
        cr_assert(begins_with(kinds[i].name, kinds[i].bytes));
        cr_assert(alone(kinds[i].name));
    }
    cr_assert_eq(plot_to("p.txt"), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_map_open(fixture_path("p.txt"), &map), MB_OK);
    text = mb_format("%.*s", (int)map.size, (const char *)map.data);
    cr_assert(strstr(text, "it's `x` \"w\": validation loss"), "%s", text);
    cr_assert(strstr(text, "training FLOPs (model)") && strstr(text, " mot "), "%s", text);
    free(text);
    mb_map_close(&map);
}

/* dense has no speech: its place stays empty and nobody's least loss is drawn. */
Test(verbs, plot_bears_an_architecture_without_a_modality)
{
    mb_value_row speech = { 100, "val", "speech", "loss", 1, 1 };
    mb_store *s = fixture_store();

    if (system("gnuplot --version >/dev/null 2>&1"))
        cr_skip_test("gnuplot is not installed");
    fixture_add(s, &(fixture_run){ 0 });
    cr_assert_eq(
        mb_store_samples(s, fixture_add(s, &(fixture_run){ .arch = "mot" }), NULL, 0, &speech, 1),
        MB_OK);
    mb_store_close(s);
    cr_assert_eq(plot_to("p.svg"), MB_OK, "%s", mb_message());
}

Test(verbs, plot_refuses_what_it_cannot_draw)
{
    mb_store *s;

    mb_store_close(fixture_store());
    cr_assert_eq(plot_to("p.svg"), MB_EMISSING);
    cr_assert(strstr(mb_message(), "nothing to plot"));
    cr_assert_eq(plot_to("p.jpeg"), MB_EUSAGE);
    cr_assert_eq(plot_to("none"), MB_EUSAGE);
    s = fixture_store();
    fixture_add(s, &(fixture_run){ .workload = "a" });
    fixture_add(s, &(fixture_run){ .workload = "b" });
    mb_store_close(s);
    cr_assert_eq(plot_to("p.svg"), MB_EINVAL);
    cr_assert(strstr(mb_message(), "which workload") && strstr(mb_message(), "There are: a, b"));
    cr_assert_not(mb_exists(fixture_path("p.svg")));
}

/* Makes `gnuplot` a script of ours that does WHAT, found first or alone. */
static void fake_gnuplot(const char *what)
{
    FILE *f = fopen(fixture_path("gnuplot"), "w");

    fprintf(f, "#!/bin/sh\n%s\n", what);
    fclose(f);
    chmod(fixture_path("gnuplot"), 0755);
    setenv("PATH", fixture_folder(), 1);
}

Test(verbs, a_failing_gnuplot_leaves_the_old_picture)
{
    FILE *f;

    two_runs();
    f = fopen(fixture_path("p.svg"), "w");
    fputs("old", f);
    fclose(f);
    fake_gnuplot("echo '\"script\" line 7: undefined variable: A' >&2; exit 1");
    cr_assert_eq(plot_to("p.svg"), MB_EIO);
    cr_assert(strstr(mb_message(), "line 7: undefined variable: A"), "%s", mb_message());
    fake_gnuplot("kill -9 $$");
    cr_assert_eq(plot_to("p.svg"), MB_EIO);
    fake_gnuplot("exit 0");
    cr_assert_eq(plot_to("p.svg"), MB_EIO);
    cr_assert(strstr(mb_message(), "wrote nothing"));
    cr_assert(begins_with("p.svg", "ol") && alone("p.svg"));
}

Test(verbs, a_missing_gnuplot_is_said)
{
    two_runs();
    setenv("PATH", fixture_folder(), 1);
    cr_assert_eq(plot_to("p.svg"), MB_EMISSING);
    cr_assert(strstr(mb_message(), "gnuplot-nox"), "%s", mb_message());
    cr_assert(alone("p.svg"));
}

/* ---- db ------------------------------------------------------------------------------------ */

static mb_err db(const void *o, FILE *out)
{
    return mb_verb_db(o, out);
}

Test(verbs, db_checks_and_exports)
{
    mb_db_options o = { fixture_path("t.db"), "check", NULL };
    mb_err err;
    char *text;

    two_runs();
    text = fixture_printed(db, &o, &err);
    cr_assert_eq(err, MB_OK, "%s", mb_message());
    cr_assert(strstr(text, ": ok\n"));
    free(text);
    o.action = "export";
    free(fixture_printed(db, &o, &err));
    cr_assert_eq(err, MB_EUSAGE, "no folder");
    o.folder = fixture_path("out");
    free(fixture_printed(db, &o, &err));
    cr_assert_eq(err, MB_OK, "%s", mb_message());
    cr_assert(mb_exists(fixture_path("out/v_run.csv")));
    o.action = "destroy";
    free(fixture_printed(db, &o, &err));
    cr_assert_eq(err, MB_EUSAGE);
}
