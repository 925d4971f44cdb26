/* The verbs as commands: each parses its arguments (ARGV[0] is "motbench VERB"), prints results on
   stdout, and leaves the printing of errors and the exit code to main(). Those that read the
   database alone are parsed in command.c and done in verbs.h. */
#ifndef MB_HARNESS_COMMAND_H
#define MB_HARNESS_COMMAND_H

#include "base/err.h"
#include "harness/table.h"

mb_err mb_command_run(int argc, char **argv);
mb_err mb_command_profile(int argc, char **argv);
mb_err mb_command_cmp(int argc, char **argv);
mb_err mb_command_list(int argc, char **argv);
mb_err mb_command_table(int argc, char **argv);
mb_err mb_command_plot(int argc, char **argv);
mb_err mb_command_data(int argc, char **argv);
mb_err mb_command_import(int argc, char **argv); /* of "motbench data import" */
mb_err mb_command_score(int argc, char **argv);
mb_err mb_command_generate(int argc, char **argv);
mb_err mb_command_quality(int argc, char **argv);
mb_err mb_command_db(int argc, char **argv);
mb_err mb_command_doctor(int argc, char **argv);

/* What both `list data` and `data list` print. */
mb_err mb_list_data(enum mb_table_format format);

#endif
