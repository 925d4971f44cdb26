/* A route puts the rows of x into groups; group g uses weight slice g.

   Groups lie one after another: group g owns rows offset[g] .. offset[g+1]-1 of the routed matrix.
   Row i of it is row token[i] of x. With token == NULL row i is row i: no index and no copy, the
   plain path of dense (one group) and of modality routes (the model keeps rows sorted by modality).
   A row of x may occur once, never (dropped) or often (several experts).

   The arrays are host memory, owned by the ctx until mb_ctx_reset(); gate is a tensor so that the
   gradient of the gates reaches the router.

   A route that a device chose has its shape before its rows are known: every group has room for its
   capacity, token is -1 in rows that stay empty, row is -1 for an assignment that was dropped.
   token, first and row are then memory of the device, and asked and kept hold after the next
   mb_ctx_sync(). */
#ifndef MB_KERNELS_ROUTE_H
#define MB_KERNELS_ROUTE_H

#include "models/kernels/tensor.h"

typedef struct mb_route {
    int groups;            /* G */
    int64_t rows;          /* S = offset[G] */
    int64_t tokens;        /* T, rows of x */
    const int64_t *offset; /* (G+1) */
    const int64_t *asked;  /* (G) rows that group g was asked to take, before drops: model FLOPs */
    const int64_t *kept;   /* (G) rows in use: useful FLOPs */
    const int32_t *token;  /* (S) or NULL */
    const int32_t *first;  /* (T+1), with token: the routed rows of x's row t are */
    const int32_t *row;    /* (S)     row[first[t]] .. row[first[t+1]-1], ascending */
    mb_tensor *gate;       /* (S) or NULL: every gate is 1 */
    const void *decision;  /* of a learned route: what its backend remembers for the backward */
    bool device;           /* made by the kernels of a device, see below */
} mb_route;

#endif
