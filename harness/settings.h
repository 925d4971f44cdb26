/* Settings: every number and choice that a workload can make, in one typed table.

   The table serves the workload files, -S, the store, the metadata of checkpoints and `motbench
   list settings`; a setting exists exactly when it has a row there. Values live in mb_settings.
   Not here: the syntax of files (harness/ini.h) and the values' meaning to models and data. */
#ifndef MB_HARNESS_SETTINGS_H
#define MB_HARNESS_SETTINGS_H

#include "base/err.h"
#include "models/model.h"
#include "results/store.h"
#include "workloads/data.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MB_SEEDS_MAX = 64, MB_ARCHS_MAX = 16, MB_STRING_MAX = 256, MB_SETTINGS_MAX = 96 };

enum mb_setting_type {
    MB_SET_INT,
    MB_SET_FLOAT,
    MB_SET_BOOL,
    MB_SET_ENUM,
    MB_SET_STRING,
    MB_SET_LIST
};

typedef struct mb_setting {
    const char *section, *key;
    enum mb_setting_type type;
    size_t offset, size;      /* of the value in mb_settings; section arch: in mb_arch_settings */
    double low, high;         /* of numbers, and of each number of a list; inclusive */
    const char *const *names; /* of an enum, NULL-terminated; its values count from 0 */
    const char *fallback;     /* the default, as it would be written in a file */
    bool incidental; /* where things lie or how often they are saved: no effect on numbers */
    const char *doc; /* one line */
} mb_setting;

/* All settings, ending with a NULL section. Section "arch" stands for every [arch NAME]. */
extern const mb_setting mb_setting_table[];
const mb_setting *mb_setting_find(const char *section, const char *key); /* NULL: no such row */

enum mb_workload_kind { MB_CHAMELEON, MB_CHAMELEON_SPEECH, MB_TRANSFUSION };
enum mb_schedule { MB_COSINE, MB_LINEAR, MB_CONSTANT };

typedef struct mb_seeds {
    int n;
    int64_t at[MB_SEEDS_MAX];
} mb_seeds;

typedef struct mb_arch_settings { /* [arch NAME]; what a row without a router leaves unused */
    const mb_arch *arch;
    int experts;
    double capacity, eval_capacity, balance, router_z, jitter;
    enum mb_score score;
    enum mb_groups group;
    char *place[MB_SETTINGS_MAX];
} mb_arch_settings;

typedef struct mb_settings {
    char name[64]; /* of the workload */
    char *file;    /* that it was read from; NULL: none */
    enum mb_workload_kind kind;
    int text_vocab;
    char source[MB_STRING_MAX]; /* workload.data */
    char path[MB_STRING_MAX], fashion_dir[MB_STRING_MAX], wordnet_dir[MB_STRING_MAX];
    char stamps_dir[MB_STRING_MAX];
    mb_mixture mixture;
    int64_t len, batch, steps, eval_every, eval_batches, checkpoint_every;
    int accumulate;
    mb_optimizer_config optimizer;
    double min_lr;
    int64_t warmup;
    enum mb_schedule schedule;
    mb_model_config model; /* all but what data, batch and [arch NAME] decide */
    int patch_channels;
    mb_arch_settings arch[MB_ARCHS_MAX];
    int archs;
    mb_seeds seeds;
    char *place[MB_SETTINGS_MAX]; /* by row of the table: where it was set; NULL: the default */
} mb_settings;

/* All defaults, no architecture. */
mb_settings *mb_settings_new(void);
void mb_settings_free(mb_settings *s); /* accepts NULL */

/* Sets KEY of SECTION ("model", "arch switch", ...) from text. PLACE ("demo.ini:12") opens every
   message about this value, also later ones. A file may set a key once: ONCE. */
mb_err mb_settings_set(mb_settings *s, const char *place, bool once, const char *section,
                       const char *key, const char *value);
/* Opens SECTION; makes the architecture's settings when it is "arch NAME". */
mb_err mb_settings_section(mb_settings *s, const char *place, const char *section);
/* "section.key=value", as -S takes it. */
mb_err mb_settings_override(mb_settings *s, const char *text);
/* Adds the architecture NAME with its defaults unless it is there; *out points into s. */
mb_err mb_settings_arch(mb_settings *s, const char *place, const char *name,
                        mb_arch_settings **out);
/* "dense,mot" as -a takes it: these architectures in this order and no others. */
mb_err mb_settings_select(mb_settings *s, const char *place, const char *names);
/* "1,2,3" as -s takes it. */
mb_err mb_settings_seeds(mb_settings *s, const char *place, const char *list);
/* Reads a workload file; the workload is named after it. */
mb_err mb_settings_load(mb_settings *s, const char *path);

/* What only all values together can get wrong; completes values that follow from others. To be
   called once, after everything is set. */
mb_err mb_settings_check(mb_settings *s);
/* Refuses a data set that is neither a source's nor imported; a workload may name one that is yet
   to be imported. */
mb_err mb_settings_find_data(const mb_settings *s);

/* The value of a row as text that reads back to the same value; TEXT of MB_STRING_MAX * 4. A is
   looked at for rows of section arch alone. */
enum { MB_TEXT_MAX = MB_STRING_MAX * 4 };
void mb_settings_text(const mb_settings *s, const mb_arch_settings *a, const mb_setting *row,
                      char *text);
/* Every setting of one architecture as ("section.key", value), with "arch.name" first; rows of
   section arch only when it has a router. Incidental ones and the list of seeds are left out when
   DECISIVE: what remains decides a run's numbers, with its seed and data. Freed with
   mb_pairs_free(). */
mb_pair *mb_settings_pairs(const mb_settings *s, const mb_arch_settings *a, bool decisive,
                           size_t *n);
void mb_pairs_free(mb_pair *pairs, size_t n);

/* What data and models want to know; strings are borrowed from s. */
mb_data_request mb_settings_data(const mb_settings *s);
/* Refuses open data that are not of the workload's kind: with speech, with patches, with neither.
 */
mb_err mb_settings_fit(const mb_settings *s, const mb_data *d);
typedef struct mb_data_sizes { /* of a model, that follow from its data: V, M, S */
    int vocab, modalities, patch;
} mb_data_sizes;
mb_data_sizes mb_settings_sizes(const mb_data *d);
mb_model_config mb_settings_model(const mb_settings *s, const mb_arch_settings *a,
                                  mb_data_sizes sizes);
/* The learning rate of STEP (from 0): linear warm-up, then the schedule down to min_lr * lr. */
float mb_settings_lr(const mb_settings *s, int64_t step);
int64_t mb_settings_tokens(const mb_settings *s); /* of one step */
/* Where SECTION.KEY got its value, to open a message; A as for mb_settings_text(). */
const char *mb_settings_place(const mb_settings *s, const mb_arch_settings *a, const char *section,
                              const char *key);

#endif
