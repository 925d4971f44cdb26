/* motbench: finds the verb, prints its error, gives its exit code. The one place that does either.
 */
#include "base/err.h"
#include "harness/build.h"
#include "harness/command.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_ERROR = 1, EXIT_INCOMPARABLE = 7, EXIT_USAGE = 64, EXIT_INTERRUPTED = 130 };

static const struct verb {
    const char *name;
    mb_err (*run)(int argc, char **argv);
    const char *about;
} verbs[] = {
    { "run", mb_command_run, "train the architectures of a workload and record everything" },
    { "cmp", mb_command_cmp, "FLOPs and time each architecture needs for the baseline's quality" },
    { "profile", mb_command_profile, "where the time of a step goes, operation by operation" },
    { "table", mb_command_table, "a table of results" },
    { "plot", mb_command_plot, "a figure of results" },
    { "list", mb_command_list,
      "what there is: architectures, workloads, data, runs, settings, ..." },
    { "data", mb_command_data, "list, prepare, verify and import data sets" },
    { "score", mb_command_score, "logits of a checkpoint for any tokens" },
    { "generate", mb_command_generate, "images, captions and speech by a run's model" },
    { "quality", mb_command_quality, "what a run's model is good for, beside its loss" },
    { "db", mb_command_db, "check and export the database" },
    { "doctor", mb_command_doctor, "what works on this machine, and why not" },
};
enum { VERBS = sizeof verbs / sizeof *verbs };

static void print_help(FILE *out)
{
    size_t i;

    fputs(
        "Usage: motbench VERB [OPTION...] [ARGUMENT...]\n"
        "Trains dense, mixture-of-experts and Mixture-of-Transformers models on the same data and\n"
        "compares what each needs to reach the same quality.\n\n",
        out);
    for (i = 0; i < VERBS; i++)
        fprintf(out, "  %-8s %s\n", verbs[i].name, verbs[i].about);
    fputs("\n`motbench VERB --help` tells more.\n"
          "Exit codes: 0 clean, 1 error, 7 not comparable, 64 usage, 130 interrupted (results "
          "kept).\n",
          out);
}

static int exit_code(mb_err err)
{
    return err == MB_OK              ? 0
           : err == MB_EUSAGE        ? EXIT_USAGE
           : err == MB_EINCOMPARABLE ? EXIT_INCOMPARABLE
           : err == MB_EINTERRUPTED  ? EXIT_INTERRUPTED
                                     : EXIT_ERROR;
}

/* An error also when what was printed has nowhere to go. */
static mb_err flush_output(void)
{
    return fflush(stdout) || ferror(stdout) ? mb_fail(MB_EIO, "standard output: cannot be written")
                                            : MB_OK;
}

/* Says what went wrong, if anything. */
static int finish(mb_err err)
{
    if (err)
        fprintf(stderr, "motbench: %s\n", mb_message());
    return exit_code(err);
}

static int run_verb(const struct verb *verb, int argc, char **argv)
{
    char name[32];
    mb_err err;

    snprintf(name, sizeof name, "motbench %s", verb->name);
    argv[1] = name; /* for argp's messages */
    err = verb->run(argc - 1, argv + 1);
    return finish(err ? err : flush_output());
}

/* Threads that spin while they wait collapse when anything else runs: under a load of 11 on two
   cores a step of demo.ini's dense took 2.3 s, with short spins 0.4 s; without load 54 ms or so.
   OpenMP reads its environment before main(), so the program starts itself once more. */
static void spin_shortly(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY"))
        return;
    setenv("GOMP_SPINCOUNT", "1000", 1);
    execv("/proc/self/exe", argv); /* where that is not possible, it goes on as it is */
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    size_t i;

    spin_shortly(argv);
    argp_err_exit_status = EXIT_USAGE;
    signal(SIGXFSZ, SIG_IGN); /* a file too large is an error like a full disk */
    if (!strcmp(word, "--help") || !strcmp(word, "-?") || !strcmp(word, "help")) {
        print_help(stdout);
        return finish(flush_output());
    }
    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        printf("motbench %s\n", MB_COMMIT);
        return finish(flush_output());
    }
    for (i = 0; i < VERBS; i++)
        if (!strcmp(word, verbs[i].name))
            return run_verb(&verbs[i], argc, argv);
    if (*word)
        fprintf(stderr, "motbench: no verb '%s'; `motbench --help` lists them\n", word);
    else
        print_help(stderr);
    return EXIT_USAGE;
}
