/* k-means in integers: the same input gives the same codes, bit for bit, with every compiler,
   optimisation level and thread count. Points are bytes; distances fit int32, sums int64. */
#ifndef MB_WORKLOADS_KMEANS_H
#define MB_WORKLOADS_KMEANS_H

#include <stdint.h>

enum { MB_KMEANS_DIM = 64, MB_KMEANS_K = 65536 }; /* the largest allowed */

/* Clusters at most SAMPLE of the points (N, DIM), drawn by a fixed xorshift stream from SEED, into
   centroids (K, DIM). N >= 1. */
void mb_kmeans_fit(const uint8_t *point, int64_t n, int dim, int k, int64_t sample, int iterations,
                   uint64_t seed, uint8_t *centroid);

/* CODE (N): the nearest centroid of each point (N, DIM); the lowest index wins ties. */
void mb_kmeans_assign(const uint8_t *point, int64_t n, int dim, const uint8_t *centroid, int k,
                      uint16_t *code);

#endif
