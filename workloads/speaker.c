/* From a unit back to a spectrum, and from spectra to sound.

   A unit is a centroid u of two frames' average after LDA: u = A (x - mean) for seven stacked
   frames x. What u says of x is the mean of x given u, when x is Gaussian with covariance C: mean +
   C A' (A C A')^-1 u. The set keeps no C; frames have variance 1, and neighbours a correlation of
   about 0.8 along each cepstrum, which is taken for all of it: so made, the middle frame has 0.48
   of the variance of 13 cepstra in 2,946 utterances of "spoken", where the true mean of each unit's
   frames has 0.54.

   Frames had mean 0 and variance 1 over their utterance: they get those of a usual one. Sound is
   pulses and noise, in windows of 32 ms that take the spectrum's shape. */
#include "workloads/speaker.h"
#include "base/random.h"
#include "workloads/fourier.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { BINS = MB_FRAME_BINS, POINTS = MB_FOURIER_POINTS, STEP = POINTS / 4 };
enum { UNIT = MB_FRAME_HOP * MB_FRAMES_PER_UNIT }; /* samples */
enum {
    MIDDLE = UNIT / 2 + (MB_FRAME_WINDOW - MB_FRAME_HOP) / 2
};                                     /* of a unit's first two frames */
enum { PERIOD = MB_SOUND_RATE / 110 }; /* samples between pulses */

static const double correlation = 0.8, loudness = 0.08 /* root mean square */;

/* Cepstra of speech, before they are normalised: the averages of three voices of flite (kal16, slt,
   rms) over twelve sentences. */
static const double usual_mean[MB_CEPSTRA] = { -18.3, -11.1, 12.5, 13.3, -1.4, -4.2, 0.3,
                                               -6.5,  -2.0,  -0.3, 2.3,  1.3,  -1.1 };
static const double usual_deviation[MB_CEPSTRA] = { 124.6, 52.6, 23.3, 19.3, 16.0, 11.0, 10.0,
                                                    9.7,   7.6,  7.1,  6.2,  5.3,  5.4 };

struct mb_speaker {
    int k;
    double (*level)[BINS]; /* (k) logarithms of amplitudes */
    double *voiced;        /* (k) how much of it is pulses, 0 .. 1 */
};

/* ---- units to spectra ------------------------------------------------------------------------ */

/* C A': for each axis, what the covariance makes of it. */
static void blur(const mb_lda *l, double out[MB_LDA_OUT][MB_LDA_IN])
{
    for (int o = 0; o < MB_LDA_OUT; o++) {
        for (int i = 0; i < MB_LDA_IN; i++) {
            out[o][i] = 0;
            for (int s = 0; s < MB_LDA_STACK; s++)
                out[o][i] += pow(correlation, abs(s - i / MB_CEPSTRA)) *
                             l->axis[o][s * MB_CEPSTRA + i % MB_CEPSTRA];
        }
    }
}

/* Solves M x = X in place, M (n, n) being symmetric and positive: by Gauss, without pivots. */
static void solve(double m[MB_LDA_OUT][MB_LDA_OUT], double x[MB_LDA_OUT])
{
    enum { N = MB_LDA_OUT };

    for (int a = 0; a < N; a++) {
        for (int b = a + 1; b < N; b++) {
            double factor = m[b][a] / m[a][a];

            for (int c = a; c < N; c++)
                m[b][c] -= factor * m[a][c];
            x[b] -= factor * x[a];
        }
    }
    for (int a = N - 1; a >= 0; a--) {
        for (int c = a + 1; c < N; c++)
            x[a] -= m[a][c] * x[c];
        x[a] /= m[a][a];
    }
}

/* The usual cepstra of the middle frame, given POINT after LDA. */
static void make_cepstra(const mb_lda *l, double blurred[MB_LDA_OUT][MB_LDA_IN],
                         const uint8_t *point, double cepstra[MB_CEPSTRA])
{
    const int middle = MB_LDA_STACK / 2 * MB_CEPSTRA;
    double m[MB_LDA_OUT][MB_LDA_OUT], x[MB_LDA_OUT];

    for (int a = 0; a < MB_LDA_OUT; a++) {
        x[a] = mb_units_value(point[a]);
        for (int b = 0; b < MB_LDA_OUT; b++) {
            m[a][b] = 0;
            for (int i = 0; i < MB_LDA_IN; i++)
                m[a][b] += l->axis[a][i] * blurred[b][i];
        }
    }
    solve(m, x);
    for (int c = 0; c < MB_CEPSTRA; c++) {
        double value = l->mean[middle + c];

        for (int a = 0; a < MB_LDA_OUT; a++)
            value += blurred[a][middle + c] * x[a];
        cepstra[c] = usual_mean[c] + usual_deviation[c] * value;
    }
}

/* Voices have most of their power below 1 kHz, what is breathed or hissed has not. */
static double voiced_share(const double power[BINS])
{
    double low = 0, all = 0, share;

    for (int b = 0; b < BINS; b++) {
        low += b < 1000 * POINTS / MB_SOUND_RATE ? power[b] : 0;
        all += power[b];
    }
    share = (low / all - 0.3) / 0.4;
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

static void make_spectra(mb_speaker *s, const mb_units *u)
{
    double blurred[MB_LDA_OUT][MB_LDA_IN], cepstra[MB_CEPSTRA], power[BINS];

    blur(&u->lda, blurred);
    for (int i = 0; i < s->k; i++) {
        make_cepstra(&u->lda, blurred, u->centroid + i * MB_LDA_OUT, cepstra);
        mb_frames_spectrum(cepstra, power);
        s->voiced[i] = voiced_share(power);
        for (int b = 0; b < BINS; b++)
            s->level[i][b] = log(power[b]) / 2;
    }
}

mb_err mb_speaker_open(const char *folder, int k, mb_speaker **out)
{
    mb_speaker *s;
    mb_units u;

    *out = NULL;
    MB_TRY(mb_units_read(folder, k, &u));
    s = mb_zalloc(1, sizeof *s);
    s->k = k;
    s->level = mb_alloc((size_t)k * sizeof *s->level);
    s->voiced = mb_alloc((size_t)k * sizeof *s->voiced);
    make_spectra(s, &u);
    mb_units_free(&u);
    *out = s;
    return MB_OK;
}

void mb_speaker_close(mb_speaker *s)
{
    if (!s)
        return;
    free(s->level);
    free(s->voiced);
    free(s);
}

/* ---- spectra to sound ------------------------------------------------------------------------ */

/* The two units whose middles sample T lies between, and how far from the first to the second. */
static double between(int64_t t, int64_t n, int64_t *a, int64_t *b)
{
    double at = (double)(t - MIDDLE) / UNIT;

    at = at < 0 ? 0 : at > (double)(n - 1) ? (double)(n - 1) : at;
    *a = (int64_t)at;
    *b = *a + 1 < n ? *a + 1 : *a;
    return at - (double)*a;
}

/* Pulses where units are voiced, noise where they are not; of power 1. */
static void excite(const mb_speaker *s, const uint16_t *unit, int64_t n, double *out)
{
    uint64_t key = mb_key(0, "speaker", 0, 0);

    for (int64_t t = 0; t < n * UNIT; t++) {
        int64_t a, b;
        double part = between(t, n, &a, &b);
        double voiced = (1 - part) * s->voiced[unit[a]] + part * s->voiced[unit[b]];

        out[t] = sqrt(1 - voiced) * mb_normal(key, (uint64_t)t);
        if (t % PERIOD == 0)
            out[t] += sqrt(voiced * PERIOD);
    }
}

/* Adds the window of IN that begins at FROM, shaped by the spectrum at its middle, to OUT; both
   have N units. */
static void shape(const mb_speaker *s, const uint16_t *unit, int64_t n, int64_t from,
                  const double *in, double *out)
{
    double re[POINTS], im[POINTS] = { 0 }, part;
    int64_t a, b;

    part = between(from + POINTS / 2, n, &a, &b);
    for (int i = 0; i < POINTS; i++) {
        bool inside = from + i >= 0 && from + i < n * UNIT;

        re[i] = inside ? in[from + i] * (0.5 - 0.5 * cos(2 * M_PI * i / POINTS)) : 0;
    }
    mb_fourier(re, im);
    for (int i = 0; i < POINTS; i++) {
        int bin = i < BINS ? i : POINTS - i;
        double gain =
            exp((1 - part) * s->level[unit[a]][bin] + part * s->level[unit[b]][bin]) / POINTS;

        re[i] *= gain;
        im[i] *= gain;
    }
    mb_fourier(im, re);
    for (int i = 0; i < POINTS; i++) {
        if (from + i >= 0 && from + i < n * UNIT)
            out[from + i] += re[i] * (0.5 - 0.5 * cos(2 * M_PI * i / POINTS));
    }
}

static void make_loud(mb_sound *s)
{
    double sum = 0, scale;

    for (int64_t i = 0; i < s->n; i++)
        sum += s->sample[i] * s->sample[i];
    scale = loudness / sqrt(sum / (double)s->n + 1e-12);
    for (int64_t i = 0; i < s->n; i++) /* few samples are beyond */
        s->sample[i] = tanh(scale * s->sample[i]);
}

void mb_speaker_say(const mb_speaker *s, const uint16_t *unit, int64_t n, mb_sound *out)
{
    double *in = mb_alloc((size_t)(n * UNIT + 1) * sizeof *in);

    *out = (mb_sound){ .sample = mb_zalloc((size_t)(n * UNIT + 1), sizeof *out->sample),
                       .n = n * UNIT,
                       .rate = MB_SOUND_RATE };
    for (int64_t i = 0; i < n; i++)
        assert(unit[i] < s->k);
    if (n > 0)
        excite(s, unit, n, in);
    for (int64_t from = STEP - POINTS; n > 0 && from < n * UNIT; from += STEP)
        shape(s, unit, n, from, in, out->sample);
    if (n > 0)
        make_loud(out);
    free(in);
}
