/* A tree of recordings as LibriSpeech has it: in each folder of a chapter
   SPEAKER-CHAPTER.trans.txt, "ID TEXT" a line, and ID.flac beside it. Folders are walked in the
   order of their names; a chapter goes to one split. Recordings and lines must be as many. */
#include "base/file.h"
#include "workloads/item.h"

#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    char *path;
    FTS *tree;
    mb_lines lines; /* of the chapter, when that is open */
    char *folder;   /* of it */
    int64_t sounds; /* recordings there, less the lines so far */
} reader;

static const char transcript_end[] = ".trans.txt", sound_end[] = ".flac";

static void close_chapter(reader *r)
{
    mb_lines_close(&r->lines);
    free(r->folder);
    r->folder = NULL;
}

static void close_reader(void *user)
{
    reader *r = user;

    if (!r)
        return;
    close_chapter(r);
    if (r->tree)
        fts_close(r->tree);
    free(r->path);
    free(r);
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static mb_err open_reader(const char *file, const mb_import *how, void **out)
{
    reader *r = mb_zalloc(1, sizeof *r);
    char *folder[2] = { NULL, NULL };
    mb_err err = MB_OK;

    folder[0] = r->path = mb_format("%s", file);
    r->tree = fts_open(folder, FTS_LOGICAL | FTS_NOCHDIR, by_name);
    if (!r->tree) {
        err = mb_fail(MB_EIO, "%s: %s", file, strerror(errno));
        close_reader(r);
        r = NULL;
    }
    *out = r;
    return err;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);

    return n > e && !strcmp(name + n - e, end);
}

static mb_err count_sounds(reader *r)
{
    DIR *d = opendir(r->folder);
    const struct dirent *e;

    if (!d)
        return mb_fail(MB_EIO, "%s: %s", r->folder, strerror(errno));
    r->sounds = 0;
    while ((e = readdir(d)))
        r->sounds += ends_with(e->d_name, sound_end);
    closedir(d);
    return MB_OK;
}

/* Opens the next transcript of the tree; r->folder stays NULL when there is none. */
static mb_err open_chapter(reader *r)
{
    FTSENT *e;

    errno = 0;
    while ((e = fts_read(r->tree))) {
        if (e->fts_info == FTS_ERR || e->fts_info == FTS_DNR || e->fts_info == FTS_NS)
            return mb_fail(e->fts_errno == ENOENT ? MB_EMISSING : MB_EIO, "%s: %s", e->fts_path,
                           strerror(e->fts_errno));
        if (e->fts_level == 0 && e->fts_info != FTS_D && e->fts_info != FTS_DP)
            return mb_fail(MB_EINVAL, "%s: not a folder", e->fts_path);
        if (e->fts_info == FTS_F && ends_with(e->fts_name, transcript_end)) {
            r->folder = mb_format("%.*s", (int)(e->fts_pathlen - e->fts_namelen - 1), e->fts_path);
            MB_TRY(mb_lines_open(e->fts_path, &r->lines));
            return count_sounds(r);
        }
    }
    return errno ? mb_fail(MB_EIO, "%s: %s", r->path, strerror(errno)) : MB_OK;
}

/* The next line of a transcript; *MORE is false behind the last of all. */
static mb_err next_line(reader *r, bool *more)
{
    *more = false;
    while (!*more) {
        if (!r->folder)
            MB_TRY(open_chapter(r));
        if (!r->folder)
            return MB_OK;
        MB_TRY(mb_lines_next(&r->lines, more));
        r->sounds -= *more;
        if (!*more && r->sounds > 0)
            return mb_fail(MB_ECORRUPT, "%s: %lld lines, but %lld recordings more beside it",
                           r->lines.path, (long long)r->lines.number - 1, (long long)r->sounds);
        if (!*more)
            close_chapter(r);
    }
    return MB_OK;
}

static mb_err take_line(const reader *r, mb_item *s)
{
    size_t n = strcspn(r->lines.line, " ");
    char *name = mb_format("%.*s%s", (int)n, r->lines.line, sound_end), *path;
    const char *text = r->lines.line + n + (r->lines.line[n] == ' ');

    path = n && !strchr(name, '/') ? mb_path_below(r->folder, name) : NULL;
    free(name);
    if (!path || strlen(r->lines.line) != r->lines.size)
        return free(path), mb_fail(MB_ECORRUPT, "expected ID TEXT");
    s->id = mb_format("%.*s", (int)n, r->lines.line);
    s->key = mb_format("%.*s", (int)strcspn(s->id, "."), s->id);
    if (strrchr(s->key, '-'))
        *strrchr(s->key, '-') = '\0'; /* SPEAKER-CHAPTER */
    mb_item_add(s, MB_PART_TEXT, NULL, mb_format("%s", text), strlen(text));
    mb_item_add(s, MB_PART_SOUND, path, NULL, 0);
    return MB_OK;
}

static mb_err next(void *user, mb_item *s, bool *more)
{
    reader *r = user;

    MB_TRY(next_line(r, more));
    if (!*more)
        return MB_OK;
    s->where = mb_format("%s:%lld", r->lines.path, (long long)r->lines.number);
    return take_line(r, s) ? mb_fail_in(MB_ECORRUPT, "%s", s->where) : MB_OK;
}

const mb_import_format mb_import_librispeech = {
    .name = "librispeech",
    .about = "a tree of ID.flac with SPEAKER-CHAPTER.trans.txt, as LibriSpeech has it",
    .open = open_reader,
    .next = next,
    .close = close_reader,
};
