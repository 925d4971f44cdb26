/* JSON values as parts of items, for the formats that have some. Errors name the key; where it is
   the caller puts before. */
#ifndef MB_WORKLOADS_IMPORT_JSON_H
#define MB_WORKLOADS_IMPORT_JSON_H

#include "base/file.h"
#include "workloads/item.h"

#include <jansson.h>

/* An object, with no key twice. The caller gives back *OUT, which is NULL on failure. */
mb_err mb_json_parse(const char *text, size_t size, json_t **out);

/* Refuses what is no object, or has keys besides KNOWN (ends with NULL). */
mb_err mb_json_keys(const json_t *object, const char *const *known);
/* Refuses keys among KEYS that are there and no strings. */
mb_err mb_json_strings(const json_t *object, const char *const *keys);

/* Appends a text; nothing when V is NULL. KEY is its name, for messages. */
mb_err mb_json_text(const json_t *v, const char *key, mb_item *s);
/* Appends a file of KIND (picture or sound) below ROOT, or ids when V is an array; likewise. */
mb_err mb_json_media(const json_t *v, const char *key, const char *root, enum mb_part_kind kind,
                     mb_item *s);
/* Sets the split; likewise. */
mb_err mb_json_split(const json_t *v, mb_item *s);

#endif
