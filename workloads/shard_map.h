/* The modality map: a JSON file that says which files hold the user's ids and what the ids mean.
   workloads/README.md documents it for users. */
#ifndef MB_WORKLOADS_SHARD_MAP_H
#define MB_WORKLOADS_SHARD_MAP_H

#include "workloads/set.h"

typedef struct mb_shard_map {
    char *path; /* of the map itself */
    char name[33];
    mb_ids ids;
    int bare;               /* bytes of an id in .bin files without header; 0: not said */
    char **file[MB_SPLITS]; /* paths, NULL at the end; NULL for a split that is not named */
} mb_shard_map;

/* PATH is the map, or a folder with a modality.json. Errors name the line. */
mb_err mb_shard_map_read(const char *path, mb_shard_map *out);
void mb_shard_map_free(mb_shard_map *m); /* the contents; accepts a zeroed one */

#endif
