/* The store as a file: what is not ours is left alone, versions go forward, nothing breaks it. */
#include "results/schema.h"
#include "tests/store_fixture.h"

#include "base/file.h"
#include "base/random.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");

    cr_assert(f && fwrite(data, 1, size, f) == size && !fclose(f));
}

/* Opening PATH fails with CODE and TEXT, and leaves it as it was. */
static void refused(const char *path, bool create, mb_err code, const char *text)
{
    char before[MB_HASH_SIZE], after[MB_HASH_SIZE];
    mb_store *s;

    cr_assert_eq(mb_hash_file(path, before), MB_OK);
    cr_assert_eq(mb_store_open(path, create, &s), code, "%s: %s", path, mb_message());
    cr_assert_null(s);
    cr_assert(strstr(mb_message(), text) && strstr(mb_message(), path), "%s", mb_message());
    cr_assert(!strchr(mb_message(), '\n'));
    cr_assert_eq(mb_hash_file(path, after), MB_OK);
    cr_assert_str_eq(before, after);
}

static void shell(const char *format, const char *a, const char *b)
{
    char command[1024];

    snprintf(command, sizeof command, format, a, b);
    cr_assert_eq(system(command), 0, "%s", command);
}

/* ---- what is not ours ---------------------------------------------------------------------- */

Test(store_file, a_missing_database_is_missing)
{
    mb_store *s;

    cr_assert_eq(mb_store_open(fixture_path("none.db"), false, &s), MB_EMISSING);
    cr_assert_not(mb_exists(fixture_path("none.db")));
    cr_assert_eq(mb_store_open(fixture_path("a/b/new.db"), true, &s), MB_OK, "%s", mb_message());
    cr_assert_str_eq(mb_store_path(s), fixture_path("a/b/new.db"));
    mb_store_close(s);
}

Test(store_file, a_database_whose_creation_was_killed_is_an_empty_one)
{
    mb_store *s;

    write_file(fixture_path("begun.db"), "", 0);
    refused(fixture_path("begun.db"), false, MB_EMISSING, "an empty database");
    cr_assert_eq(mb_store_open(fixture_path("begun.db"), true, &s), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_store_check(s, stderr), MB_OK, "%s", mb_message());
    mb_store_close(s);
}

Test(store_file, other_files_are_refused_untouched)
{
    static char noise[5000];
    const char *path = fixture_path("other");

    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)mb_random(1, i);
    write_file(path, noise, sizeof noise);
    refused(path, true, MB_ECORRUPT, "not an SQLite database");
    write_file(path, "hello\n", 6);
    refused(path, true, MB_ECORRUPT, "not an SQLite database");
    shell("sqlite3 '%s%s' 'CREATE TABLE t (x); INSERT INTO t VALUES (1)'", path, "2");
    refused(fixture_path("other2"), true, MB_ECORRUPT, "application_id is 0x00000000");
    shell("sqlite3 '%s%s' 'PRAGMA application_id = 77'", path, "3");
    refused(fixture_path("other3"), true, MB_ECORRUPT, "application_id is 0x0000004d");
}

Test(store_file, a_folder_is_refused)
{
    mb_store *s;

    cr_assert_eq(mb_store_open(fixture_folder(), true, &s), MB_EIO, "%s", mb_message());
    cr_assert_null(s);
}

Test(store_file, a_newer_schema_is_refused_untouched)
{
    mb_store *s = fixture_store();

    mb_store_close(s);
    shell("sqlite3 '%s%s' 'PRAGMA user_version = 99' >/dev/null", fixture_path("t.db"), "");
    refused(fixture_path("t.db"), true, MB_EINVAL, "schema version 99 is newer");
}

static void full_database(void)
{
    mb_store *s = fixture_store();

    fixture_add(s, &(fixture_run){ .steps = 500 });
    mb_store_close(s);
}

Test(store_file, a_truncated_database_is_refused_untouched)
{
    full_database();
    cr_assert_eq(truncate(fixture_path("t.db"), 20000), 0);
    refused(fixture_path("t.db"), true, MB_ECORRUPT, "damaged database");
}

/* Damage behind the first pages is found by the check, not on opening. */
Test(store_file, damage_is_found_by_the_check)
{
    static unsigned char zeros[3000];
    mb_store *s;
    char *text = NULL;
    size_t size;
    FILE *report = open_memstream(&text, &size);
    int fd;

    full_database();
    fd = open(fixture_path("t.db"), O_WRONLY);
    for (off_t at = lseek(fd, 0, SEEK_END) - 10 * 4096, i = 0; i < 10; i++)
        cr_assert_eq(pwrite(fd, zeros, sizeof zeros, at + 4096 * i), (ssize_t)sizeof zeros);
    close(fd);
    cr_assert_eq(mb_store_open(fixture_path("t.db"), false, &s), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_store_check(s, report), MB_ECORRUPT);
    fclose(report);
    cr_assert(size > 20);
    free(text);
    mb_store_close(s);
}

/* ---- our own invariants -------------------------------------------------------------------- */

/* After DAMAGE the check says TEXT. */
static void check_says(const char *damage, const char *text)
{
    char *path = mb_format("%s/t.db", fixture_folder()), *report = NULL;
    size_t size;
    FILE *out = open_memstream(&report, &size);
    mb_store *s;

    unlink(path);
    s = fixture_store();
    fixture_add(s, &(fixture_run){ 0 });
    mb_store_close(s);
    shell("sqlite3 '%s' \"%s\" >/dev/null", path, damage);
    cr_assert_eq(mb_store_open(path, false, &s), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_store_check(s, out), *text ? MB_ECORRUPT : MB_OK, "%s", damage);
    mb_store_close(s);
    fclose(out);
    cr_assert(strstr(report, text), "after %s: %s", damage, report);
    free(report);
    free(path);
}

Test(store_file, the_check_knows_our_invariants)
{
    check_says("SELECT 1", "");
    check_says("DELETE FROM event", "run 1 has no event");
    check_says("UPDATE run SET steps = 101", "run 1 is ok after 100 of 101 steps");
    check_says("DELETE FROM step WHERE step = 50", "has 99 steps, the last of which is 100");
    check_says("UPDATE step SET wall_ns = 3 WHERE step = 50", "totals differ from step 50");
    check_says("UPDATE step SET flops_useful = 3 WHERE step = 50", "totals differ from step 50");
    check_says("UPDATE value SET step = 200 WHERE step = 90", "a value at step 200");
    check_says("DELETE FROM pace", "its pace is missing");
    check_says("INSERT INTO event SELECT NULL, 1, 0, 1, 'running', NULL, NULL", "its pace is kept");
    check_says("UPDATE run SET machine = build", "points at build facts where machine facts");
    check_says("UPDATE run SET machine = 77", "points at a fact_set that is not there");
}

/* ---- versions ------------------------------------------------------------------------------ */

static const char *const old_steps[] = {
    ("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
     "CREATE TABLE fruit (name TEXT NOT NULL) STRICT;"),
    "ALTER TABLE fruit ADD COLUMN weight REAL; UPDATE fruit SET weight = 1.5;",
    "ALTER TABLE fruit ADD COLUMN oops REAL; SELECT no_such_function();",
};
static const mb_schema v1 = { old_steps, 1, "CREATE VIEW v_fruit AS SELECT name FROM fruit;" };
static const mb_schema v2 = { old_steps, 2,
                              "CREATE VIEW v_fruit AS SELECT name, weight FROM fruit;" };
static const mb_schema v3 = { old_steps, 3, "CREATE VIEW v_fruit AS SELECT name FROM fruit;" };

static void make_version_1(void)
{
    mb_store *s;

    cr_assert_eq(mb_store_open_as(fixture_path("v.db"), true, &v1, &s), MB_OK, "%s", mb_message());
    mb_store_close(s);
    shell("sqlite3 '%s%s' \"INSERT INTO fruit VALUES ('pear')\"", fixture_path("v.db"), "");
}

Test(store_file, an_old_version_is_brought_forward)
{
    mb_store *s;

    make_version_1();
    cr_assert_eq(mb_store_open_as(fixture_path("v.db"), false, &v2, &s), MB_OK, "%s", mb_message());
    cr_assert_str_eq(fixture_ask(s, "SELECT name || weight FROM v_fruit"), "pear1.5");
    mb_store_close(s);
    cr_assert_eq(mb_store_open_as(fixture_path("v.db"), false, &v1, &s), MB_EINVAL, "newer");
}

/* What version 1 of our own schema held is training. */
Test(store_file, our_first_version_is_brought_forward)
{
    const mb_schema first = { mb_schema_current.step, 1, "CREATE VIEW v_none AS SELECT 1 AS one;" };
    mb_store *s;

    cr_assert_eq(mb_store_open_as(fixture_path("1.db"), true, &first, &s), MB_OK);
    mb_store_close(s);
    shell(
        "sqlite3 '%s%s' \"INSERT INTO fact_set (id, kind, hash) VALUES (1, 'machine', 'h'); "
        "INSERT INTO run VALUES (1, 'u', 'w', 'dense', 1, 'cpu', 'fp32', 'd', 'j', 1, 1, 1, 1, 1, "
        "1, 1); INSERT INTO event (run, at_ns, pid, status) VALUES (1, 1, 1, 'ok')\"",
        fixture_path("1.db"), "");
    cr_assert_eq(mb_store_open(fixture_path("1.db"), false, &s), MB_OK, "%s", mb_message());
    cr_assert_str_eq(fixture_ask(s, "SELECT workload || purpose FROM v_latest"), "wtrain");
    cr_assert_eq(mb_store_memory(s, 1, 2, 3), MB_OK, "%s", mb_message());
    mb_store_close(s);
}

/* What version 2 asked of a step's flag is still asked, in other words; rows stay. */
Test(store_file, our_second_version_is_brought_forward)
{
    const mb_schema second = { mb_schema_current.step, 2,
                               "CREATE VIEW v_none AS SELECT 1 AS one;" };
    mb_step_row step = { .step = 1, .flagged = 2 };
    mb_store *s, *other;
    int64_t run;

    cr_assert_eq(mb_store_open_as(fixture_path("t.db"), true, &second, &s), MB_OK);
    run = fixture_add(s, &(fixture_run){ .steps = 20, .status = "interrupted" });
    other = fixture_store();
    step.step = 21; /* by the program that had the old one open, and by the new one */
    cr_assert_eq(mb_store_samples(s, run, &step, 1, NULL, 0), MB_OK, "%s", mb_message());
    step.step = 22, step.flagged = 3;
    cr_assert_eq(mb_store_samples(s, run, &step, 1, NULL, 0), MB_EINVAL);
    cr_assert_eq(mb_store_samples(other, run, &step, 1, NULL, 0), MB_EINVAL);
    step.flagged = -1;
    cr_assert_eq(mb_store_samples(other, run, &step, 1, NULL, 0), MB_EINVAL);
    step.flagged = 1;
    cr_assert_eq(mb_store_samples(other, run, &step, 1, NULL, 0), MB_OK, "%s", mb_message());
    cr_assert_str_eq(fixture_ask(other, "SELECT count(*) || ' ' || sum(flagged) FROM step"),
                     "22 5");
    cr_assert_str_eq(fixture_ask(other, "PRAGMA integrity_check"), "ok");
    mb_store_close(s);
    mb_store_close(other);
}

Test(store_file, a_failed_migration_changes_nothing)
{
    mb_store *s;

    make_version_1();
    cr_assert_eq(mb_store_open_as(fixture_path("v.db"), false, &v3, &s), MB_EINVAL);
    cr_assert_eq(mb_store_open_as(fixture_path("v.db"), false, &v1, &s), MB_OK, "%s", mb_message());
    cr_assert_str_eq(fixture_ask(s, "SELECT name FROM v_fruit"), "pear");
    mb_store_close(s);
}

Test(store_file, changed_views_replace_the_old_ones)
{
    const mb_schema renamed = { old_steps, 1, "CREATE VIEW v_pome AS SELECT name FROM fruit;" };
    mb_store *s;

    make_version_1();
    cr_assert_eq(mb_store_open_as(fixture_path("v.db"), false, &renamed, &s), MB_OK);
    cr_assert_str_eq(fixture_ask(s, "SELECT group_concat(name) FROM sqlite_master "
                                    "WHERE type = 'view'"),
                     "v_pome");
    mb_store_close(s);
}

/* ---- no permission to write ---------------------------------------------------------------- */

/* As somebody who may not write t.db, of mode FILE in a folder of mode FOLDER: 0 when it reads
   TEXT, or when opening says TEXT. */
static int read_as_another(mode_t file, mode_t folder, const char *text)
{
    const char *path = fixture_path("t.db");
    int status;
    pid_t pid;

    cr_assert(!chmod(path, file) && !chmod(fixture_folder(), folder));
    pid = fork();
    if (pid == 0) {
        mb_store *s;

        if (getuid() == 0 && setuid(65534)) /* root may write everything */
            _exit(2);
        if (mb_store_open(path, false, &s))
            _exit(strstr(mb_message(), text) ? 0 : 3);
        if (!mb_store_read_only(s) || mb_store_run_event(s, 1, "failed", NULL, NULL) != MB_EIO)
            _exit(4);
        _exit(strcmp(fixture_ask(s, "SELECT count(*) FROM v_step"), text) ? 5 : 0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(!chmod(fixture_folder(), 0755) && !chmod(path, 0644));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

Test(store_file, what_may_not_be_written_can_be_read)
{
    mb_store *s = fixture_store();

    fixture_add(s, &(fixture_run){ .steps = 20 });
    cr_expect_eq(read_as_another(0444, 0777, "20"), 0, "with a log of another process beside it");
    mb_store_close(s);
    cr_expect_eq(read_as_another(0444, 0777, "20"), 0, "the file");
    cr_expect_eq(read_as_another(0666, 0555, "20"), 0, "the folder");
    cr_expect_eq(read_as_another(0444, 0555, "20"), 0, "both");
    cr_expect_eq(read_as_another(0000, 0755, "unable to open"), 0, "not even read");
    shell("sqlite3 '%s%s' 'PRAGMA user_version = 2'", fixture_path("t.db"), "");
    cr_expect_eq(read_as_another(0444, 0555, "not writable: make a copy"), 0, "a migration");
    cr_assert_not(mb_exists(fixture_path("t.db-wal")));
    cr_assert_not(mb_exists(fixture_path("t.db-shm")));
}

/* ---- several processes --------------------------------------------------------------------- */

/* Runs BODY in N children at once; each must exit with 0. */
static void children(int n, int (*body)(int which))
{
    int status;

    fixture_folder();
    for (int i = 0; i < n; i++) {
        pid_t pid = fork();

        cr_assert_geq(pid, 0);
        if (pid == 0)
            _exit(body(i));
    }
    for (int i = 0; i < n; i++) {
        cr_assert_gt(wait(&status), 0);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static void assert_sound(void)
{
    mb_store *s = fixture_store();

    cr_assert_eq(mb_store_check(s, stderr), MB_OK, "%s", mb_message());
    mb_store_close(s);
}

static int open_and_close(int which)
{
    mb_store *s;

    if (mb_store_open(fixture_path("t.db"), true, &s)) {
        fprintf(stderr, "%s\n", mb_message());
        return 1;
    }
    mb_store_close(s);
    return 0;
}

Test(store_file, many_processes_may_create_it_at_once)
{
    for (int round = 0; round < 5; round++) {
        children(8, open_and_close);
        assert_sound();
        shell("rm '%s%s'", fixture_path("t.db"), "");
    }
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int write_for_a_second(int which)
{
    mb_store *s = fixture_store();

    for (double end = seconds() + 1; seconds() < end;)
        fixture_add(s, &(fixture_run){ .seed = which + 1, .steps = 40 });
    mb_store_close(s);
    return 0;
}

Test(store_file, two_processes_may_write_at_once)
{
    mb_store *s;

    children(2, write_for_a_second);
    s = fixture_store();
    cr_assert_str_eq(fixture_ask(s, "SELECT count(DISTINCT seed) FROM v_run"), "2");
    cr_assert_str_eq(fixture_ask(s, "SELECT count(*) FROM v_run WHERE steps <> 40"), "0");
    mb_store_close(s);
    assert_sound();
}

/* Killed at ten different moments; what was written before each stays whole. */
Test(store_file, a_killed_writer_leaves_a_sound_database)
{
    const struct timespec moment = { .tv_nsec = 37 * 1000 * 1000 };
    int status;

    fixture_folder();
    for (int i = 0; i < 10; i++) {
        pid_t pid = fork();

        cr_assert_geq(pid, 0);
        if (pid == 0)
            _exit(write_for_a_second(i));
        nanosleep(&moment, NULL);
        kill(pid, SIGKILL);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        assert_sound();
    }
}
