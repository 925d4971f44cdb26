/* From a request to a folder: names, the lock, the temporary sibling, and the list of sets.

   A set is made in HOME/NAME.part under the lock HOME/NAME.lock and renamed to HOME/NAME when it is
   whole, so that a folder of that name is complete whatever was killed when. Lock files stay: to
   remove one would let two processes hold "the" lock. */
#include "workloads/source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const mb_source *const sources[] = {
    &mb_fashion,           &mb_fashion_patches, &mb_spoken,  &mb_procedural, &mb_procedural_patches,
    &mb_procedural_speech, &mb_shards,          &mb_imported
};
enum { SOURCES = sizeof sources / sizeof *sources };

enum { LARGEST_VOCAB = 32768 };

char *mb_data_home(void)
{
    const char *home;

    if ((home = getenv("MOTBENCH_DATA")) && *home)
        return mb_format("%s", home);
    if ((home = getenv("XDG_CACHE_HOME")) && *home)
        return mb_format("%s/motbench", home);
    home = getenv("HOME");
    return mb_format("%s/.cache/motbench", home ? home : "");
}

void mb_progress_tell(const mb_progress *p, const char *what, double fraction)
{
    if (p->call)
        p->call(p->user, what, p->from + (p->to - p->from) * fraction);
}

mb_progress mb_progress_share(const mb_progress *p, double from, double to)
{
    double size = p->to - p->from;

    return (mb_progress){ p->call, p->user, p->from + size * from, p->from + size * to };
}

mb_err mb_identify_by_vocab(const mb_data_request *r, char **out)
{
    *out = NULL;
    if (r->text_vocab < 256 || r->text_vocab > LARGEST_VOCAB)
        return mb_fail(MB_EINVAL, "text_vocab %d is not within 256 .. %d", r->text_vocab,
                       LARGEST_VOCAB);
    *out = mb_format("bpe%d", r->text_vocab);
    return MB_OK;
}

/* The source called NAME; any other name is that of an imported set. */
static const mb_source *find_source(const char *name)
{
    for (int i = 0; name && i < SOURCES; i++) {
        if (sources[i] != &mb_imported && !strcmp(sources[i]->name, name))
            return sources[i];
    }
    return &mb_imported;
}

/* A request with its defaults filled in, and where its set is. */
typedef struct place {
    const mb_source *source;
    mb_data_request request;
    char *name, *folder;
} place;

static mb_err find_place(const mb_data_request *request, place *out)
{
    char *id, *home;

    memset(out, 0, sizeof *out);
    out->source = find_source(request->source);
    out->request = *request;
    if (!out->request.text_vocab)
        out->request.text_vocab = out->source->text_vocab;
    MB_TRY(out->source->identify(&out->request, &id));
    home = mb_data_home();
    out->name = mb_format("%s-v%d-%s", out->source->name, out->source->version, id);
    out->folder = mb_format("%s/%s", home, out->name);
    free(home);
    free(id);
    return MB_OK;
}

static void free_place(place *p)
{
    free(p->name);
    free(p->folder);
}

static bool is_complete(const char *folder)
{
    char *manifest = mb_format("%s/manifest.json", folder);
    bool there = mb_exists(manifest);

    free(manifest);
    return there;
}

/* Removes a folder of plain files, as sets are; none there is fine. */
static mb_err remove_folder(const char *folder)
{
    DIR *d = opendir(folder);
    const struct dirent *e;
    mb_err err = MB_OK;

    if (!d)
        return errno == ENOENT ? MB_OK : mb_fail(MB_EIO, "%s: %s", folder, strerror(errno));
    while ((e = readdir(d))) {
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && unlinkat(dirfd(d), e->d_name, 0))
            err = mb_fail(MB_EIO, "%s/%s: %s", folder, e->d_name, strerror(errno));
    }
    closedir(d);
    if (!err && rmdir(folder))
        err = mb_fail(MB_EIO, "%s: %s", folder, strerror(errno));
    return err;
}

/* Holds the lock of a folder until *FD is closed. */
static mb_err take_lock(const char *folder, const mb_progress *p, int *fd)
{
    char *path = mb_format("%s.lock", folder);
    mb_err err = MB_OK;

    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (*fd >= 0 && flock(*fd, LOCK_EX | LOCK_NB)) {
        mb_progress_tell(p, "waiting for another process that prepares the same data", 0);
        if (flock(*fd, LOCK_EX)) {
            err =
                mb_fail(errno == EINTR ? MB_EINTERRUPTED : MB_EIO, "%s: %s", path, strerror(errno));
            close(*fd);
        }
    } else if (*fd < 0) {
        err = mb_fail(MB_EIO, "%s: %s", path, strerror(errno));
    }
    free(path);
    return err;
}

static mb_err make_set(const place *at, const char *part, const mb_progress *p)
{
    mb_set_writer *w;
    mb_err err;

    MB_TRY(remove_folder(part));
    MB_TRY(mb_make_folders(part));
    w = mb_set_create(part, at->name, at->source->name);
    err = at->source->prepare(&at->request, w, p);
    if (!err)
        err = mb_set_finish(w);
    mb_set_writer_free(w);
    if (!err)
        err = remove_folder(at->folder); /* one without a manifest */
    if (!err && rename(part, at->folder))
        err = mb_fail(MB_EIO, "%s: %s", at->folder, strerror(errno));
    if (err) {
        char *why = mb_format("%s", mb_message());

        remove_folder(part); /* what fails here is of less interest */
        err = at->request.import ? mb_fail(err, "%s", why) : mb_fail(err, "%s: %s", at->name, why);
        free(why);
    }
    return err;
}

static mb_err prepare_place(const place *at, const mb_progress *p)
{
    char *home = mb_data_home(), *part = mb_format("%s.part", at->folder);
    int lock = -1;
    mb_err err = mb_make_folders(home);

    if (!err)
        err = take_lock(at->folder, p, &lock);
    if (!err) {
        if (!is_complete(at->folder)) /* else another process was faster */
            err = make_set(at, part, p);
        close(lock);
    }
    if (!err)
        mb_progress_tell(p, "done", 1);
    free(part);
    free(home);
    return err;
}

/* What helps when a set is not there. */
static mb_err refuse_missing(const place *at)
{
    const mb_data_request *r = &at->request;
    char names[128] = "";

    if (at->source == &mb_imported) {
        for (int i = 0; sources[i] != &mb_imported; i++)
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "",
                     sources[i]->name);
        return mb_fail(MB_EMISSING, "no data set \"%s\": neither a source (%s) nor imported",
                       r->source, names);
    }
    if (r->path)
        return mb_fail(MB_EMISSING,
                       "%s is not prepared: run `motbench data prepare %s -S workload.path=%s`",
                       at->name, at->source->name, r->path);
    return mb_fail(MB_EMISSING,
                   "%s is not prepared: run `motbench data prepare %s -S workload.text_vocab=%d`",
                   at->name, at->source->name, r->text_vocab);
}

mb_err mb_data_known(const char *source)
{
    mb_data_request r = { .source = source };
    place at;
    mb_err err;

    if (find_source(source) != &mb_imported)
        return MB_OK;
    MB_TRY(find_place(&r, &at));
    err = is_complete(at.folder) ? MB_OK : refuse_missing(&at);
    free_place(&at);
    return err;
}

int mb_data_text_vocab(const char *source)
{
    return find_source(source)->text_vocab;
}

mb_err mb_data_prepare(const mb_data_request *request, mb_data_progress *progress, void *user)
{
    mb_progress p = { progress, user, 0, 1 };
    place at;
    mb_err err;

    MB_TRY(find_place(request, &at));
    if (is_complete(at.folder))
        err = MB_OK;
    else if (at.source == &mb_imported && !request->import)
        err = refuse_missing(&at);
    else
        err = prepare_place(&at, &p);
    free_place(&at);
    return err;
}

mb_err mb_data_import(const char *name, const mb_import *import, mb_data_progress *progress,
                      void *user)
{
    mb_data_request r = { .source = name, .import = import };
    place at;
    bool there;

    if (find_source(name) != &mb_imported)
        return mb_fail(MB_EINVAL, "\"%s\" is a source of motbench: choose another name", name);
    MB_TRY(find_place(&r, &at));
    there = is_complete(at.folder);
    if (there)
        mb_fail(MB_EINVAL, "%s is there already: remove %s, or choose another name", name,
                at.folder);
    free_place(&at);
    return there ? MB_EINVAL : mb_data_prepare(&r, progress, user);
}

mb_err mb_data_open(const mb_data_request *request, mb_data **out)
{
    place at;
    mb_err err;

    *out = NULL;
    MB_TRY(find_place(request, &at));
    err = is_complete(at.folder) ? mb_set_open(at.folder, out) : refuse_missing(&at);
    free_place(&at);
    return err;
}

mb_err mb_data_verify(const mb_data_request *request, FILE *report)
{
    mb_data *d;
    mb_err err;

    MB_TRY(mb_data_open(request, &d));
    err = mb_set_verify(d, report);
    mb_data_close(d);
    return err;
}

/* ---- listing --------------------------------------------------------------------------------- */

typedef void list_each(void *user, const mb_data_listing *l);

static void list_folder(const mb_source *source, const char *home, const char *name,
                        list_each *each, void *user)
{
    mb_data_listing l = { .state = "incomplete" };
    mb_data *d = NULL;

    snprintf(l.name, sizeof l.name, "%.63s", name);
    snprintf(l.about, sizeof l.about, "%s", source->about);
    snprintf(l.folder, sizeof l.folder, "%s/%s", home, name);
    if (!mb_set_open(l.folder, &d)) {
        snprintf(l.state, sizeof l.state, "prepared");
        for (int s = 0; s < MB_SPLITS; s++)
            l.tokens += d->split[s].tokens;
        if (source == &mb_imported)
            snprintf(l.about, sizeof l.about, "data = %s: imported as %s", strchr(name, '-') + 4,
                     json_string_value(
                         json_object_get(json_object_get(d->json, "parameters"), "format")));
    } else if (is_complete(l.folder)) { /* it should open, but does not: say why */
        snprintf(l.about, sizeof l.about, "%s", mb_message());
    }
    mb_data_close(d);
    each(user, &l);
}

/* Every folder of SOURCE in HOME; returns how many. */
static int list_source(const mb_source *source, const char *home, list_each *each, void *user)
{
    char *prefix = mb_format("%s-v", source->name), *path;
    struct dirent **entry = NULL;
    int n = scandir(home, &entry, NULL, alphasort), found = 0;
    struct stat st;

    for (int i = 0; i < n; i++) {
        path = mb_format("%s/%s", home, entry[i]->d_name);
        if (!strncmp(entry[i]->d_name, prefix, strlen(prefix)) && !stat(path, &st) &&
            S_ISDIR(st.st_mode)) {
            list_folder(source, home, entry[i]->d_name, each, user);
            found++;
        }
        free(path);
        free(entry[i]);
    }
    free(entry);
    free(prefix);
    return found;
}

mb_err mb_data_list(void (*each)(void *user, const mb_data_listing *l), void *user)
{
    char *home = mb_data_home();

    for (int i = 0; i < SOURCES; i++) {
        mb_data_listing none = { .state = "not prepared" };

        if (list_source(sources[i], home, each, user) > 0)
            continue;
        snprintf(none.name, sizeof none.name, "%s", sources[i]->name);
        snprintf(none.about, sizeof none.about, "%s", sources[i]->about);
        each(user, &none);
    }
    free(home);
    return MB_OK;
}
