/* Prepared sets: the folder, the manifest, damage and interruption. */
#include "base/file.h"
#include "tests/data_tools.h"
#include "workloads/bpe.h"
#include "workloads/set.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(data, .init = data_folder_open, .fini = data_folder_close);

static const mb_data_request procedural = { .source = "procedural" };
static const char set_folder[] = "procedural-v1-bpe320";

/* One value for all machines: text, codes, packing of files. Raise the source's version with it. */
Test(data, procedural_is_the_same_everywhere)
{
    mb_data *d = data_open_procedural();

    cr_expect_str_eq(mb_data_hash(d),
                     "e18acacc147b232a59ffc6b035e933505647104561fcc6b50ea2c0440ba1803e");
    cr_expect_str_eq(mb_data_name(d), set_folder);
    cr_expect_eq(mb_data_vocab(d), 320 + 64 + 4);
    cr_expect_eq(mb_data_modalities(d), 2);
    cr_expect_eq(mb_data_documents(d, MB_TRAIN), 2048);
    cr_expect_eq(mb_data_tokens(d, MB_TRAIN, MB_IMAGE), 1024 * 49);
    cr_expect_eq(mb_data_bos(d), 384);
    cr_expect_eq(mb_data_modality(d, 386, MB_IMAGE), MB_IMAGE);
    cr_expect_eq(mb_data_modality(d, 386, MB_TEXT), MB_TEXT);
    cr_expect_eq(mb_data_modality(d, 384, MB_IMAGE), MB_TEXT);
    cr_expect_not_null(strstr(mb_data_manifest(d), mb_data_hash(d)));
    cr_expect_eq(mb_data_verify(&procedural, NULL), MB_OK, "%s", mb_message());
    mb_data_close(d);
}

Test(data, documents_read_as_their_captions)
{
    mb_data *d = data_open_procedural();
    char *path = mb_format("%s/merges.txt", mb_data_folder(d)), text[256] = "";
    int64_t first, n;
    mb_bpe *b;

    cr_assert_eq(mb_bpe_load(path, &b), MB_OK, "%s", mb_message());
    cr_assert_eq(mb_set_find(&d->split[MB_TRAIN], 0, &first, &n), MB_OK);
    for (int64_t i = first; i < first + n; i++) {
        int32_t id = mb_set_token(d, &d->split[MB_TRAIN], i);
        size_t size = 0;
        const char *bytes = id < 320 ? mb_bpe_bytes(b, id, &size) : "";

        strncat(text, bytes, size);
    }
    cr_expect_eq(strncmp(text, "a ", 2), 0, "%s", text);
    cr_expect_not_null(strstr(text, " on the "), "%s", text);
    mb_bpe_free(b);
    free(path);
    mb_data_close(d);
}

Test(data, what_is_not_prepared_is_missing)
{
    mb_data *d;

    cr_expect_eq(mb_data_open(&procedural, &d), MB_EMISSING);
    cr_expect_not_null(strstr(mb_message(), "motbench data prepare procedural"), "%s",
                       mb_message());
    cr_expect_null(d);
}

Test(data, bad_requests_are_refused)
{
    static const mb_data_request nothing = { .source = "nothing" }, bad[] = {
        { .source = "no/thing" },
        { .source = NULL },
        { .source = "procedural", .text_vocab = 100 },
        { .source = "procedural", .text_vocab = -1 },
        { .source = "procedural", .text_vocab = 1 << 20 },
        { .source = "procedural", .text_vocab = 9000 }, /* more than the text fills */
        { .source = "shards" },
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_expect_eq(mb_data_prepare(&bad[i], NULL, NULL), MB_EINVAL, "%zu", i);
    cr_expect_eq(mb_data_prepare(&nothing, NULL, NULL), MB_EMISSING);
    cr_expect_not_null(strstr(mb_message(), "neither a source (fashion, "), "%s", mb_message());
}

static char *in_set(const char *name)
{
    return mb_format("%s/%s", data_path(set_folder), name);
}

static void expect_damage(mb_err (*act)(void), const char *says)
{
    cr_expect_eq(act(), MB_ECORRUPT, "%s", says);
    cr_expect_not_null(strstr(mb_message(), says), "\"%s\" lacks \"%s\"", mb_message(), says);
}

static mb_err reopen(void)
{
    mb_data *d;
    mb_err err = mb_data_open(&procedural, &d);

    mb_data_close(d);
    return err;
}

static mb_err verify(void)
{
    return mb_data_verify(&procedural, NULL);
}

Test(data, a_truncated_file_is_refused_with_its_sizes)
{
    static const char *const name[] = { "train.tokens.u16", "val.documents.u64", "codebook.u8" };
    mb_data *d = data_open_procedural();

    mb_data_close(d);
    for (int i = 0; i < 3; i++) {
        char *path = in_set(name[i]), *keep = in_set("keep");
        struct stat st;

        cr_assert_eq(rename(path, keep), 0);
        expect_damage(reopen, name[i]);
        cr_assert_eq(rename(keep, path), 0);
        cr_assert_eq(stat(path, &st), 0);
        cr_assert_eq(truncate(path, st.st_size - 1), 0);
        expect_damage(reopen, "bytes found");
        cr_assert_eq(truncate(path, st.st_size), 0); /* the lost byte is 0 now */
        free(path);
        free(keep);
    }
}

Test(data, a_flipped_byte_is_found_by_verify)
{
    static const char *const name[] = { "train.tokens.u16", "test.documents.u64", "merges.txt" };
    mb_data *d = data_open_procedural();

    mb_data_close(d);
    for (int i = 0; i < 3; i++) {
        char *path = in_set(name[i]);

        data_flip(path, 40);
        cr_expect_eq(reopen(), MB_OK);
        expect_damage(verify, name[i]);
        data_flip(path, 40);
        cr_expect_eq(verify(), MB_OK);
        free(path);
    }
}

/* Every byte of the manifest matters, or is white space. */
Test(data, a_changed_manifest_is_noticed)
{
    mb_data *d = data_open_procedural();
    char *path = in_set("manifest.json"), *text = strdup(mb_data_manifest(d));

    mb_data_close(d);
    for (long at = 0; at < (long)strlen(text); at += 7) {
        if (strchr(" \n", text[at]))
            continue;
        data_flip(path, at);
        expect_damage(reopen, "manifest.json");
        data_flip(path, at);
    }
    cr_expect_eq(reopen(), MB_OK);
    free(text);
    free(path);
}

/* Ids and borders that the manifest does not vouch for never reach a model. */
Test(data, damaged_tokens_do_not_leave_the_stream)
{
    static const mb_mixture m = { 1, 1, 0.5, MB_TEXT, 0, 0, 0, MB_EPSILON };
    mb_data *d = data_open_procedural();
    char *path = in_set("train.tokens.u16");
    struct stat st;
    FILE *f;
    mb_stream *s;
    mb_batch b;
    mb_err err = MB_OK;

    mb_data_close(d);
    cr_assert_eq(stat(path, &st), 0);
    f = fopen(path, "wb");
    for (long i = 0; i < st.st_size; i++)
        fputc(0xff, f);
    fclose(f);
    cr_assert_eq(mb_data_open(&procedural, &d), MB_OK);
    cr_assert_eq(mb_stream_open(d, MB_TRAIN, &m, 1, 1, 128, &s), MB_OK);
    err = mb_stream_next(s, &b);
    cr_expect_eq(err, MB_ECORRUPT);
    cr_expect_not_null(strstr(mb_message(), "train.tokens.u16: offset "), "%s", mb_message());
    mb_stream_close(s);
    mb_data_close(d);
    free(path);
}

/* Prepares in a child, since OpenMP must not be used on both sides of a fork. */
static pid_t start_preparing(void)
{
    pid_t child = fork();

    if (child == 0)
        _exit(mb_data_prepare(&procedural, NULL, NULL));
    return child;
}

/* kill -9 at different moments, then again: never a half set, and the second try succeeds. */
Test(data, a_killed_preparation_leaves_no_half_set)
{
    for (int delay = 0; delay < 6; delay++) {
        pid_t child = start_preparing();
        mb_err err;

        usleep((useconds_t)(delay * 7000));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        err = verify();
        cr_expect(err == MB_OK || err == MB_EMISSING, "%s", mb_message());
        waitpid(start_preparing(), NULL, 0);
        cr_expect_eq(verify(), MB_OK, "%s", mb_message());
        data_folder_close();
        cr_assert_eq(mkdir(getenv("MOTBENCH_DATA"), 0777), 0);
    }
}

Test(data, two_processes_prepare_one_set)
{
    pid_t child[4];
    int status;

    for (int i = 0; i < 4; i++)
        child[i] = start_preparing();
    for (int i = 0; i < 4; i++) {
        waitpid(child[i], &status, 0);
        cr_expect_eq(status, 0);
    }
    cr_expect_eq(verify(), MB_OK, "%s", mb_message());
}

static void note_listing(void *user, const mb_data_listing *l)
{
    char *all = user;

    sprintf(all + strlen(all), "%s: %s; ", l->name, l->state);
}

Test(data, the_list_has_every_source_and_set)
{
    char all[1024] = "";

    cr_assert_eq(mb_data_list(note_listing, all), MB_OK);
    cr_expect_str_eq(
        all, "fashion: not prepared; fashion-patches: not prepared; spoken: not prepared; "
             "procedural: not prepared; procedural-patches: not prepared; "
             "procedural-speech: not prepared; shards: not prepared; imported: not prepared; ");
    mb_data_close(data_open_procedural());
    cr_assert_eq(mkdir(data_path("fashion-v1-bpe2048.part"), 0777), 0);
    all[0] = '\0';
    cr_assert_eq(mb_data_list(note_listing, all), MB_OK);
    cr_expect_str_eq(
        all,
        "fashion-v1-bpe2048.part: incomplete; fashion-patches: not prepared; spoken: not prepared; "
        "procedural-v1-bpe320: prepared; procedural-patches: not prepared; procedural-speech: not "
        "prepared; "
        "shards: not prepared; imported: not prepared; ");
}

Test(data, a_home_that_cannot_be_written_is_an_error)
{
    setenv("MOTBENCH_DATA", "/proc/nowhere", 1);
    cr_expect_eq(mb_data_prepare(&procedural, NULL, NULL), MB_EIO);
    cr_expect_not_null(strstr(mb_message(), "/proc/nowhere"), "%s", mb_message());
}
