/* Fuzzers for whatever reads files of users, all in one program (make fuzz): $FUZZ_TARGET names the
   reader. Whatever the bytes are, there must be a result or a message of one line, no leak, and
   nothing that the sanitizers object to. */
#include "base/npy.h"
#include "workloads/bpe.h"
#include "workloads/import_tokens.h"
#include "workloads/picture.h"
#include "workloads/shard_file.h"
#include "workloads/shard_map.h"
#include "workloads/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static char path[64]; /* of a file in memory that has the bytes */
static int file;
static char folder[] = "/tmp/motbench-fuzz-XXXXXX"; /* for readers of more than one file */
static volatile double used; /* what was read, so that reading is no dead code */

static mb_err read_items(const mb_import_format *format, const char *from)
{
    const mb_import how = {
        .root = "/nonexistent", .side = 8, .codes = 16, .units = 16, .patch = 2
    };
    mb_import_tokens *tokens = mb_import_tokens_new(&how);
    mb_item item = { 0 };
    void *reader;
    bool more = true;
    mb_err err = format->open(from, &how, &reader);

    while (!err && more) {
        mb_item_clear(&item);
        err = format->next(reader, &item, &more);
        if (!err && more)
            err = mb_import_tokens_see(tokens, &item, MB_TRAIN);
    }
    mb_item_clear(&item);
    format->close(reader);
    mb_import_tokens_free(tokens);
    return err;
}

static mb_err fuzz_jsonl(const uint8_t *bytes, size_t size)
{
    return read_items(&mb_import_jsonl, path);
}

static mb_err fuzz_wds(const uint8_t *bytes, size_t size)
{
    return read_items(&mb_import_wds, path);
}

static mb_err fuzz_coco(const uint8_t *bytes, size_t size)
{
    return read_items(&mb_import_coco, path);
}

static mb_err fuzz_units(const uint8_t *bytes, size_t size)
{
    return read_items(&mb_import_units, path);
}

static void write_file(const char *name, const uint8_t *bytes, size_t size)
{
    char at[128];
    FILE *f;

    snprintf(at, sizeof at, "%s/%s", folder, name);
    f = fopen(at, "wb");
    if (!f || fwrite(bytes, 1, size, f) != size || fclose(f))
        abort();
}

/* Two files: what comes before the first NUL, and what comes behind it. */
static void write_two(const uint8_t *bytes, size_t size, const char *first, const char *second)
{
    size_t n = strnlen((const char *)bytes, size);

    write_file(first, bytes, n);
    write_file(second, bytes + n + (n < size), size - n - (n < size));
}

/* A transcript and a recording. */
static mb_err fuzz_librispeech(const uint8_t *bytes, size_t size)
{
    write_two(bytes, size, "9-1.trans.txt", "9-1-0000.flac");
    return read_items(&mb_import_librispeech, folder);
}

/* Captions and an array. */
static mb_err fuzz_latents(const uint8_t *bytes, size_t size)
{
    bool json = size > 0 && *bytes == '{';
    char npy[64], other[64];

    snprintf(npy, sizeof npy, "%s/x.npy", folder);
    snprintf(other, sizeof other, "%s/x.%s", folder, json ? "txt" : "jsonl");
    unlink(other);
    write_two(bytes, size, json ? "x.jsonl" : "x.txt", "x.npy");
    return read_items(&mb_import_latents, npy);
}

static mb_err fuzz_picture(const uint8_t *bytes, size_t size)
{
    uint8_t out[8 * 8 * 3];

    return mb_picture_decode("fuzz", bytes, size, 8, out);
}

static mb_err fuzz_sound(const uint8_t *bytes, size_t size)
{
    mb_utterances u = { 0 };
    mb_sound read, sound;

    MB_TRY(mb_sound_decode("fuzz", bytes, size, &read));
    mb_sound_resample(&read, &sound);
    mb_sound_trim(&sound);
    mb_utterances_add(&u, &sound, 0, NULL);
    mb_utterances_free(&u);
    mb_sound_free(&sound);
    mb_sound_free(&read);
    return MB_OK;
}

static mb_err fuzz_npy(const uint8_t *bytes, size_t size)
{
    mb_npy n;
    double sum = 0;

    MB_TRY(mb_npy_open(path, &n));
    for (int64_t i = 0; i < n.count; i++)
        sum += mb_npy_float(&n, i);
    mb_npy_close(&n);
    used = sum;
    return MB_OK;
}

static mb_err fuzz_shard(const uint8_t *bytes, size_t size)
{
    mb_shard_file f;
    int64_t sum = 0;

    MB_TRY(mb_shard_file_open(path, 2, &f));
    for (int64_t i = 0; i < f.count; i++)
        sum ^= mb_shard_file_id(&f, i);
    mb_shard_file_close(&f);
    used = (double)sum;
    return MB_OK;
}

static mb_err fuzz_map(const uint8_t *bytes, size_t size)
{
    mb_shard_map map;

    MB_TRY(mb_shard_map_read(path, &map));
    mb_shard_map_free(&map);
    return MB_OK;
}

static mb_err fuzz_bpe(const uint8_t *bytes, size_t size)
{
    int32_t *id = malloc((size + 1) * sizeof *id);
    mb_bpe *b = NULL;
    mb_err err = mb_bpe_load(path, &b);

    if (!err)
        mb_bpe_encode(b, bytes, size, id);
    mb_bpe_free(b);
    free(id);
    return err;
}

static const struct target {
    const char *name;
    mb_err (*run)(const uint8_t *bytes, size_t size);
} targets[] = {
    { "jsonl", fuzz_jsonl },
    { "wds", fuzz_wds },
    { "coco", fuzz_coco },
    { "units", fuzz_units },
    { "librispeech", fuzz_librispeech },
    { "latents", fuzz_latents },
    { "picture", fuzz_picture },
    { "sound", fuzz_sound },
    { "npy", fuzz_npy },
    { "shard", fuzz_shard },
    { "map", fuzz_map },
    { "bpe", fuzz_bpe },
    { NULL, NULL },
};
static const struct target *target = targets;

static void remove_folder(void)
{
    static const char *const names[] = { "9-1.trans.txt", "9-1-0000.flac", "x.npy", "x.txt",
                                         "x.jsonl" };
    char at[128];

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(at, sizeof at, "%s/%s", folder, names[i]);
        unlink(at);
    }
    rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = getenv("FUZZ_TARGET");

    while (target->name && (!name || strcmp(target->name, name)))
        target++;
    file = memfd_create("fuzz", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    if (!target->name || file < 0 || !mkdtemp(folder)) {
        fprintf(stderr, "FUZZ_TARGET: expected");
        for (target = targets; target->name; target++)
            fprintf(stderr, " %s", target->name);
        fputc('\n', stderr);
        exit(1);
    }
    atexit(remove_folder);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (ftruncate(file, (off_t)size) || pwrite(file, bytes, size, 0) != (ssize_t)size)
        abort();
    if (target->run(bytes, size) && (!*mb_message() || strchr(mb_message(), '\n')))
        abort(); /* a failure says what it is, in one line */
    return 0;
}
