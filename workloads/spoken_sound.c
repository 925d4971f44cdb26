#include "workloads/spoken_sound.h"
#include "workloads/stamps.h"
#include "workloads/voice.h"
#include "workloads/workers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PIECE = 250 /* texts: seconds of work */, VERSION = 1 /* of what is measured */ };

typedef struct pieces {
    const mb_spoken_list *list;
    char **path; /* (n) */
    int64_t n;
} pieces;

static size_t end_of(const pieces *p, int64_t piece)
{
    size_t end = (size_t)(piece + 1) * PIECE;

    return end < p->list->text.count ? end : p->list->text.count;
}

static char *text_of(const mb_spoken_list *l, size_t i)
{
    return mb_format("%.*s", (int)(l->text.start[i + 1] - l->text.start[i]),
                     l->text.bytes + l->text.start[i]);
}

static mb_err add_recording(mb_utterances *u, const char *path, const char *text)
{
    mb_sound read, sound;
    int64_t trimmed;

    MB_TRY(mb_sound_read(path, &read));
    mb_sound_resample(&read, &sound);
    trimmed = mb_sound_trim(&sound);
    if (mb_stamps_plausible(text, strlen(text), (double)sound.n / sound.rate))
        mb_utterances_add(u, &sound, trimmed, NULL);
    else
        mb_utterances_skip(u);
    mb_sound_free(&sound);
    mb_sound_free(&read);
    return MB_OK;
}

static mb_err add_reading(mb_utterances *u, enum mb_voice voice, const char *text)
{
    mb_sound sound;
    mb_timing timing;
    int64_t trimmed;

    MB_TRY(mb_voice_read(voice, text, &sound, &timing));
    trimmed = mb_sound_trim(&sound);
    mb_utterances_add(u, &sound, trimmed, &timing);
    mb_sound_free(&sound);
    mb_timing_free(&timing);
    return MB_OK;
}

/* The job of a worker. */
static mb_err make_piece(void *user, int64_t piece)
{
    const pieces *p = user;
    const mb_spoken_list *l = p->list;
    mb_utterances u = { 0 };
    mb_err err = MB_OK;

    if (mb_exists(p->path[piece]))
        return MB_OK;
    for (size_t i = (size_t)piece * PIECE; !err && i < end_of(p, piece); i++) {
        char *text = text_of(l, i);

        if (l->about[i].recording)
            err = add_recording(&u, l->about[i].recording, text);
        else
            err = add_reading(&u, (enum mb_voice)l->about[i].voice, text);
        free(text);
    }
    if (!err)
        err = mb_utterances_save(&u, p->path[piece]);
    mb_utterances_free(&u);
    return err;
}

/* What tells a text's sound apart; caller frees. */
static mb_err describe(const mb_spoken_list *l, size_t i, char **out)
{
    const mb_about *a = &l->about[i];
    char *text = text_of(l, i);
    struct stat st = { 0 };
    mb_err err = MB_OK;

    if (a->recording && stat(a->recording, &st))
        err = mb_fail(MB_EMISSING, "%s: %s", a->recording, strerror(errno));
    *out =
        mb_format("%s %s %lld %lld\n", text, a->recording ? a->recording : mb_voice_name[a->voice],
                  (long long)st.st_size, (long long)st.st_mtim.tv_sec);
    free(text);
    return err;
}

/* The file of a piece, named by a hash of all that it is made of. */
static mb_err name_piece(const pieces *p, const char *folder, int64_t piece, char **out)
{
    mb_texts all = { 0 };
    char hash[MB_HASH_SIZE];
    mb_err err = MB_OK;

    for (size_t i = (size_t)piece * PIECE; !err && i < end_of(p, piece); i++) {
        char *line;

        err = describe(p->list, i, &line);
        mb_texts_add(&all, line, strlen(line));
        free(line);
    }
    mb_hash(all.bytes, all.size, hash);
    *out = mb_format("%s/%.24s", folder, hash);
    mb_texts_free(&all);
    return err;
}

static mb_err make_all(pieces *p, mb_utterances *out, const mb_progress *progress, const char *what)
{
    char *home = mb_data_home();
    char *folder = mb_format("%s/sources/utterances-v%d", home, VERSION);
    mb_err err = mb_make_folders(folder);

    for (int64_t i = 0; !err && i < p->n; i++)
        err = name_piece(p, folder, i, &p->path[i]);
    if (!err)
        err = mb_workers_run(p->n, make_piece, p, progress, what);
    for (int64_t i = 0; !err && i < p->n; i++)
        err = mb_utterances_load(out, p->path[i]);
    free(folder);
    free(home);
    return err;
}

mb_err mb_spoken_sound(mb_spoken_list *l, const mb_progress *progress, const char *what)
{
    pieces p = { .list = l, .n = (int64_t)((l->text.count + PIECE - 1) / PIECE) };
    mb_err err;

    p.path = mb_zalloc((size_t)p.n + 1, sizeof *p.path);
    err = make_all(&p, &l->sound, progress, what);
    for (int64_t i = 0; i < p.n; i++)
        free(p.path[i]);
    free(p.path);
    return err;
}
