#include "base/eigen.h"

#include <math.h>

/* One rotation that makes M[p][q] zero; the columns of V follow. */
static void rotate(double *m, double *v, int n, int p, int q)
{
    double theta = (m[q * n + q] - m[p * n + p]) / (2 * m[p * n + q]);
    double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
    double c = 1 / sqrt(t * t + 1), s = t * c;

    for (int k = 0; k < n; k++) {
        double a = m[k * n + p], b = m[k * n + q];

        m[k * n + p] = c * a - s * b;
        m[k * n + q] = s * a + c * b;
    }
    for (int k = 0; k < n; k++) {
        double a = m[p * n + k], b = m[q * n + k], x = v[k * n + p], y = v[k * n + q];

        m[p * n + k] = c * a - s * b;
        m[q * n + k] = s * a + c * b;
        v[k * n + p] = c * x - s * y;
        v[k * n + q] = s * x + c * y;
    }
}

void mb_eigen(double *m, double *v, int n)
{
    double off = 1, all = 0;

    for (int i = 0; i < n * n; i++) {
        v[i] = i % n == i / n;
        all += m[i] * m[i];
    }
    for (int sweep = 0; sweep < 50 && off > 1e-24 * all; sweep++) {
        off = 0;
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) {
                off += m[p * n + q] * m[p * n + q];
                if (m[p * n + q] != 0)
                    rotate(m, v, n, p, q);
            }
    }
}
