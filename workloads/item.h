/* One item of the user's data while it is imported: its parts in their order, before they are
   tokens. Private to workloads/. */
#ifndef MB_WORKLOADS_ITEM_H
#define MB_WORKLOADS_ITEM_H

#include "workloads/data.h"

#include <stddef.h>

enum mb_part_kind {
    MB_PART_TEXT,    /* UTF-8 */
    MB_PART_PICTURE, /* a PNG or JPEG file, named or in memory */
    MB_PART_SOUND,   /* a sound file, likewise */
    MB_PART_CODES,   /* an image as ids of the user's own tokenizer, from 0 */
    MB_PART_UNITS,   /* speech, likewise */
    MB_PART_LATENT,  /* an image as numbers of the user's own encoder: an mb_latent */
    MB_PART_KINDS
};

typedef struct mb_latent {
    int side, channels;
    float number[]; /* (side, side, channels) */
} mb_latent;

typedef struct mb_part {
    enum mb_part_kind kind;
    char *path;  /* of a picture or sound that lies in a file, else what it is called */
    void *data;  /* text, with a NUL behind; bytes of a file; int32_t ids; NULL: in PATH */
    size_t size; /* bytes, ids, or numbers */
} mb_part;

enum { MB_SPLIT_DRAWN = -1 };

typedef struct mb_item {
    mb_part *part;
    size_t parts, room;
    char *where; /* "FILE:LINE" or "FILE: offset N", to open messages */
    char *id;    /* that no other item may have, or NULL */
    char *key;   /* items of one key go to the same split */
    int split;   /* enum mb_split, or MB_SPLIT_DRAWN */
} mb_item;

/* Appends a part; PATH and DATA (malloc) are taken over. */
void mb_item_add(mb_item *s, enum mb_part_kind kind, char *path, void *data, size_t size);
/* Frees the contents, for the next one; accepts a zeroed one. */
void mb_item_clear(mb_item *s);

/* A kind of files to import. */
typedef struct mb_import_format {
    const char *name, *about;
    /* Opens FILE (or a folder); pictures and sounds are named relative to HOW's root, or to where
       FILE is when that is NULL. */
    mb_err (*open)(const char *file, const mb_import *how, void **reader);
    /* Fills the cleared S; *MORE is false behind the last one. */
    mb_err (*next)(void *reader, mb_item *s, bool *more);
    void (*close)(void *reader); /* accepts NULL */
} mb_import_format;

extern const mb_import_format mb_import_jsonl, mb_import_wds, mb_import_coco, mb_import_librispeech,
    mb_import_units, mb_import_latents;

/* ---- what readers share ---------------------------------------------------------------------- */

/* What names in FILE are relative to: ROOT, else the folder that FILE is in; without a slash at the
   end. Caller frees. */
char *mb_root_of(const char *file, const char *root);
/* The path of NAME below such a ROOT: ROOT, a slash, NAME; an absolute NAME must lie there. NULL
   when it leads out; caller frees. */
char *mb_path_below(const char *root, const char *name);

/* Lines of a text file, without their ends. A line longer than MB_LINE_LONGEST is refused. */
enum { MB_LINE_LONGEST = 1 << 26 };
typedef struct mb_lines {
    FILE *file;
    char *path, *line;
    size_t size, room; /* of the line */
    int64_t number;    /* of the line, from 1 */
} mb_lines;
mb_err mb_lines_open(const char *path, mb_lines *out);
mb_err mb_lines_next(mb_lines *l, bool *more);
void mb_lines_close(mb_lines *l); /* accepts a zeroed one */

#endif
