/* With the Cholesky factor L of the scatter within phones, the axes are L^-T v for the largest
   eigenvectors v of L^-1 B L^-T, B being the scatter between phones. */
#include "workloads/lda.h"
#include "base/eigen.h"
#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = MB_LDA_IN, PHONES = 255 };

typedef struct scatter {
    double all[N][N];      /* sum of x x^T, lower triangle */
    double sum[PHONES][N]; /* of x */
    double count[PHONES];
    double total;
} scatter;

/* Frame F of N frames with three neighbours on either side; ends repeat. */
static void stack(const float *frame, int64_t f, int64_t n, double out[N])
{
    for (int s = 0; s < MB_LDA_STACK; s++) {
        int64_t at = f + s - MB_LDA_STACK / 2;

        at = at < 0 ? 0 : at >= n ? n - 1 : at;
        for (int c = 0; c < MB_CEPSTRA; c++)
            out[s * MB_CEPSTRA + c] = frame[at * MB_CEPSTRA + c];
    }
}

static void gather(const mb_utterances *u, size_t i, scatter *s)
{
    int64_t first = u->frame_start[i], n = u->frame_start[i + 1] - first;
    double x[N];

    for (int64_t f = 0; f < n; f++) {
        int phone = u->phone[first + f];

        if (phone == MB_PHONE_UNKNOWN)
            continue;
        stack(u->frame + first * MB_CEPSTRA, f, n, x);
        for (int a = 0; a < N; a++) {
            s->sum[phone][a] += x[a];
            for (int b = 0; b <= a; b++)
                s->all[a][b] += x[a] * x[b];
        }
        s->count[phone]++;
        s->total++;
    }
}

/* The scatters within and between phones, per frame, and the mean. */
static void split(const scatter *s, double within[N][N], double between[N][N], double mean[N])
{
    memset(mean, 0, N * sizeof *mean);
    for (int p = 0; p < PHONES; p++) {
        for (int a = 0; a < N; a++)
            mean[a] += s->sum[p][a] / s->total;
    }
    for (int a = 0; a < N; a++) {
        for (int b = 0; b <= a; b++) {
            double means = 0; /* sum of n m m^T over phones */

            for (int p = 0; p < PHONES; p++) {
                if (s->count[p] > 0)
                    means += s->sum[p][a] * s->sum[p][b] / s->count[p];
            }
            within[a][b] = within[b][a] = (s->all[a][b] - means) / s->total;
            between[a][b] = between[b][a] = means / s->total - mean[a] * mean[b];
        }
        within[a][a] += 1e-4; /* frames have variance 1: far below, and never singular */
    }
}

/* M = L L^T; L replaces the lower triangle. */
static void factor(double m[N][N])
{
    for (int a = 0; a < N; a++) {
        for (int b = 0; b <= a; b++) {
            double sum = m[a][b];

            for (int k = 0; k < b; k++)
                sum -= m[a][k] * m[b][k];
            m[a][b] = a == b ? sqrt(sum) : sum / m[b][b];
        }
    }
}

/* M becomes L^-1 M; as M is symmetric, doing so to its columns and again to its rows whitens it. */
static void solve_columns(double l[N][N], double m[N][N])
{
    for (int c = 0; c < N; c++) {
        for (int a = 0; a < N; a++) {
            double sum = m[a][c];

            for (int k = 0; k < a; k++)
                sum -= l[a][k] * m[k][c];
            m[a][c] = sum / l[a][a];
        }
    }
}

static void transpose(double m[N][N])
{
    for (int a = 0; a < N; a++) {
        for (int b = 0; b < a; b++) {
            double swap = m[a][b];

            m[a][b] = m[b][a];
            m[b][a] = swap;
        }
    }
}

/* OUT = L^-T V[:, COLUMN], with a sign that does not depend on the road taken. */
static void make_axis(double l[N][N], double v[N][N], int column, double out[N])
{
    double sum = 0;

    for (int a = N - 1; a >= 0; a--) {
        double x = v[a][column];

        for (int k = a + 1; k < N; k++)
            x -= l[k][a] * out[k];
        out[a] = x / l[a][a];
    }
    for (int a = 0; a < N; a++)
        sum += out[a];
    for (int a = 0; a < N && sum < 0; a++)
        out[a] = -out[a];
}

static void pick_axes(double l[N][N], double m[N][N], double v[N][N], mb_lda *out)
{
    bool used[N] = { false };

    for (int i = 0; i < MB_LDA_OUT; i++) {
        int best = -1;

        for (int a = 0; a < N; a++) {
            if (!used[a] && (best < 0 || m[a][a] > m[best][best]))
                best = a;
        }
        used[best] = true;
        make_axis(l, v, best, out->axis[i]);
    }
}

mb_err mb_lda_fit(const mb_utterances *u, size_t step, mb_lda *out)
{
    scatter *s = mb_zalloc(1, sizeof *s);
    double(*m)[N][N] = mb_zalloc(3, sizeof *m); /* within, between, eigenvectors */
    int phones = 0;

    for (size_t i = 0; i < u->count; i += step)
        gather(u, i, s);
    for (int p = 0; p < PHONES; p++)
        phones += s->count[p] > 0;
    if (phones >= 2) {
        split(s, m[0], m[1], out->mean);
        factor(m[0]);
        solve_columns(m[0], m[1]);
        transpose(m[1]);
        solve_columns(m[0], m[1]);
        mb_eigen(&m[1][0][0], &m[2][0][0], N);
        pick_axes(m[0], m[1], m[2], out);
    }
    free(m);
    free(s);
    return phones >= 2 ? MB_OK
                       : mb_fail(MB_EINVAL, "speech with %d phones: expected at least 2", phones);
}

void mb_lda_project(const mb_lda *l, const mb_utterances *u, size_t i, double *out)
{
    int64_t first = u->frame_start[i], n = u->frame_start[i + 1] - first;
    double x[N];

    for (int64_t f = 0; f < n; f++) {
        stack(u->frame + first * MB_CEPSTRA, f, n, x);
        for (int o = 0; o < MB_LDA_OUT; o++) {
            double sum = 0;

            for (int a = 0; a < N; a++)
                sum += l->axis[o][a] * (x[a] - l->mean[a]);
            out[f * MB_LDA_OUT + o] = sum;
        }
    }
}
