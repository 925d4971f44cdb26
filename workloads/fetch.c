/* The commands are run as child processes, so nothing here needs to know about archives or mirrors,
   and apt checks what it downloads. Content is checked again by whoever reads it. */
#include "workloads/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child: becomes COMMAND in FOLDER, both outputs going to OUT. */
static void become(const char *folder, int out, char *const command[])
{
    int nothing = open("/dev/null", O_RDONLY);

    if (chdir(folder) == 0 && nothing >= 0 && dup2(nothing, 0) >= 0 && dup2(out, 1) >= 0 &&
        dup2(out, 2) >= 0)
        execvp(command[0], command);
    dprintf(out, "%s: %s\n", command[0], strerror(errno));
    _exit(127);
}

/* The last line that says an error ("E: ..."), else the last line at all. */
static void last_line(FILE *f, char *line, size_t size)
{
    char buffer[512];
    bool error = false;

    line[0] = '\0';
    while (fgets(buffer, sizeof buffer, f)) {
        bool this_error = !strncmp(buffer, "E: ", 3);

        buffer[strcspn(buffer, "\n")] = '\0';
        if (buffer[0] && (this_error || !error))
            snprintf(line, size, "%s", buffer);
        error |= this_error;
    }
}

/* Runs COMMAND in FOLDER to its end; on failure its complaint is in LINE. */
static bool run(const char *folder, char *const command[], char *line, size_t size)
{
    int ends[2], status = -1;
    pid_t child;
    FILE *f;

    if (pipe2(ends, O_CLOEXEC)) {
        snprintf(line, size, "pipe: %s", strerror(errno));
        return false;
    }
    child = fork();
    if (child == 0)
        become(folder, ends[1], command);
    close(ends[1]);
    f = fdopen(ends[0], "r");
    if (f) {
        last_line(f, line, size);
        fclose(f);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return status == 0;
}

/* The shell is there for its "*": the name of a .deb carries a version. */
static mb_err download(const char *package, const char *into)
{
    char line[512];
    char *const fetch[] = { "apt-get", "-q", "download", (char *)package, NULL };
    char *const unpack[] = { "sh", "-c", "dpkg-deb -x ./*.deb . && rm ./*.deb", NULL };

    if (!run(into, fetch, line, sizeof line))
        return mb_fail(MB_EMISSING,
                       "apt-get download %s: %s (needed: the network and `apt-get update` as root, "
                       "or the package installed, or its files in a folder that you name)",
                       package, line);
    if (!run(into, unpack, line, sizeof line))
        return mb_fail(MB_EIO, "%s: dpkg-deb: %s", package, line);
    return MB_OK;
}

static void remove_tree(const char *path)
{
    char line[512];
    char *const command[] = { "rm", "-rf", "--", (char *)path, NULL };

    run(".", command, line, sizeof line);
}

/* Downloads to ROOT.part and renames to ROOT, one process at a time. */
static mb_err unpack_package(const char *package, const char *root)
{
    char *part = mb_format("%s.part", root), *lock_path = mb_format("%s.lock", root);
    mb_err err = MB_OK;
    int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

    if (lock < 0 || flock(lock, LOCK_EX))
        err = mb_fail(MB_EIO, "%s: %s", lock_path, strerror(errno));
    if (!err && !mb_exists(root)) { /* else another process was faster */
        remove_tree(part);
        err = mb_make_folders(part);
        if (!err)
            err = download(package, part);
        if (!err && rename(part, root))
            err = mb_fail(MB_EIO, "%s: %s", root, strerror(errno));
        if (err)
            remove_tree(part);
    }
    if (lock >= 0)
        close(lock);
    free(lock_path);
    free(part);
    return err;
}

static mb_err fetch_package(const char *package, const char *inside, const mb_progress *p,
                            char **folder)
{
    char *home = mb_data_home(), *sources = mb_format("%s/sources", home);
    char *root = mb_format("%s/%s", sources, package);
    mb_err err = mb_make_folders(sources);

    if (!err && !mb_exists(root)) {
        mb_progress_tell(p, "downloading the source package", 0);
        err = unpack_package(package, root);
    }
    if (!err)
        *folder = mb_format("%s/%s", root, inside);
    free(root);
    free(sources);
    free(home);
    return err;
}

mb_err mb_fetch(const char *package, const char *inside, const char *given, const mb_progress *p,
                char **folder)
{
    char *installed;

    *folder = NULL;
    if (given) {
        *folder = mb_format("%s", given);
        return MB_OK;
    }
    installed = mb_format("/%s", inside);
    if (mb_exists(installed)) {
        *folder = installed;
        return MB_OK;
    }
    free(installed);
    return fetch_package(package, inside, p, folder);
}
