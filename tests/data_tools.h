/* What tests of data share: a folder of their own, files in it, and prepared sets. */
#ifndef MB_TESTS_DATA_TOOLS_H
#define MB_TESTS_DATA_TOOLS_H

#include "workloads/data.h"

#include <stddef.h>

/* Criterion fixtures: a fresh folder that MOTBENCH_DATA names, removed afterwards. */
void data_folder_open(void);
void data_folder_close(void);

/* The path of NAME in that folder; valid until the process ends. */
const char *data_path(const char *name);
/* Writes a file there, and returns its path. */
const char *data_write(const char *name, const void *bytes, size_t size);
const char *data_write_text(const char *name, const char *text);
/* Changes byte AT of a file by XOR with 1. */
void data_flip(const char *path, long at);

/* The procedural set, or the one of a source with its defaults, prepared and open. */
mb_data *data_open_procedural(void);
mb_data *data_open(const char *source);
/* A set that was imported, verified and open. */
mb_data *data_open_imported(const char *name);

#endif
