/* Davis & Mermelstein 1980, in double: pre-emphasis, 25 ms Hann windows, a 512-point Fourier
   transform, 40 triangles between 60 and 7600 Hz on the mel scale, logarithm, cosine transform. */
#include "workloads/frames.h"
#include "base/file.h"
#include "workloads/fourier.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>

enum { POINTS = MB_FOURIER_POINTS, BINS = MB_FRAME_BINS, MELS = 40 };
static const double emphasis = 0.97;

static struct tables {
    double window[MB_FRAME_WINDOW];
    double mel[MELS][BINS];
    int first[MELS], last[MELS]; /* bins of a triangle that are not 0 */
    double area[MELS];           /* sum of its weights */
    double cosine[MB_CEPSTRA][MELS];
} tables;

static double to_mel(double hz)
{
    return 2595 * log10(1 + hz / 700);
}

static double from_mel(double mel)
{
    return 700 * (pow(10, mel / 2595) - 1);
}

static void make_triangles(void)
{
    double low = to_mel(60), step = (to_mel(7600) - low) / (MELS + 1);

    for (int m = 0; m < MELS; m++) {
        double left = from_mel(low + m * step), top = from_mel(low + (m + 1) * step);
        double right = from_mel(low + (m + 2) * step);

        tables.first[m] = BINS;
        for (int b = 0; b < BINS; b++) {
            double hz = (double)b * MB_SOUND_RATE / POINTS;
            double w = hz < top ? (hz - left) / (top - left) : (right - hz) / (right - top);

            tables.mel[m][b] = w > 0 ? w : 0;
            tables.area[m] += tables.mel[m][b];
            if (w > 0) {
                tables.first[m] = b < tables.first[m] ? b : tables.first[m];
                tables.last[m] = b;
            }
        }
    }
}

static void make_tables(void)
{
    for (int i = 0; i < MB_FRAME_WINDOW; i++)
        tables.window[i] = 0.5 - 0.5 * cos(2 * M_PI * i / (MB_FRAME_WINDOW - 1));
    make_triangles();
    for (int c = 0; c < MB_CEPSTRA; c++) {
        for (int m = 0; m < MELS; m++)
            tables.cosine[c][m] = cos(M_PI * c * (m + 0.5) / MELS);
    }
}

/* Sample I with pre-emphasis. */
static double emphasised(const mb_sound *s, int64_t i)
{
    return s->sample[i] - (i > 0 ? emphasis * s->sample[i - 1] : 0);
}

static void to_cepstra(const double *spectrum, float *out)
{
    double level[MELS];

    for (int m = 0; m < MELS; m++) {
        double sum = 0;

        for (int b = tables.first[m]; b <= tables.last[m]; b++)
            sum += tables.mel[m][b] * spectrum[b];
        level[m] = log(sum + 1e-6); /* of sounds with a mean square of 1: far below speech */
    }
    for (int c = 0; c < MB_CEPSTRA; c++) {
        double sum = 0;

        for (int m = 0; m < MELS; m++)
            sum += tables.cosine[c][m] * level[m];
        out[c] = (float)sum;
    }
}

/* Two real frames are one complex transform Z of x + iy: Z(b) and the conjugate of Z(-b) have X(b)
   as half their sum and iY(b) as half their difference. */
static void measure_two(const mb_sound *s, int64_t f, bool both, float *out)
{
    double re[POINTS] = { 0 }, im[POINTS] = { 0 };
    double spectrum[2][BINS];

    for (int i = 0; i < MB_FRAME_WINDOW; i++) {
        re[i] = tables.window[i] * emphasised(s, f * MB_FRAME_HOP + i);
        if (both)
            im[i] = tables.window[i] * emphasised(s, (f + 1) * MB_FRAME_HOP + i);
    }
    mb_fourier(re, im);
    for (int b = 0; b < BINS; b++) {
        int minus = (POINTS - b) % POINTS;
        double sum_re = re[b] + re[minus], sum_im = im[b] - im[minus];
        double gap_re = re[b] - re[minus], gap_im = im[b] + im[minus];

        spectrum[0][b] = (sum_re * sum_re + sum_im * sum_im) / 4;
        spectrum[1][b] = (gap_re * gap_re + gap_im * gap_im) / 4;
    }
    to_cepstra(spectrum[0], out);
    if (both)
        to_cepstra(spectrum[1], out + MB_CEPSTRA);
}

static void normalise(float *frame, int64_t n)
{
    for (int c = 0; c < MB_CEPSTRA; c++) {
        double sum = 0, square = 0, mean, scale;

        for (int64_t f = 0; f < n; f++)
            sum += frame[f * MB_CEPSTRA + c];
        mean = sum / (double)n;
        for (int64_t f = 0; f < n; f++)
            square += pow(frame[f * MB_CEPSTRA + c] - mean, 2);
        scale = 1 / sqrt(square / (double)n + 1e-6);
        for (int64_t f = 0; f < n; f++)
            frame[f * MB_CEPSTRA + c] = (float)((frame[f * MB_CEPSTRA + c] - mean) * scale);
    }
}

int64_t mb_frames_count(int64_t samples)
{
    return samples < MB_FRAME_WINDOW ? 0 : (samples - MB_FRAME_WINDOW) / MB_FRAME_HOP + 1;
}

static void need_tables(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_tables);
}

void mb_frames_measure(const mb_sound *s, float *frame)
{
    int64_t n = mb_frames_count(s->n);

    need_tables();
    for (int64_t f = 0; f < n; f += 2)
        measure_two(s, f, f + 1 < n, frame + f * MB_CEPSTRA);
    normalise(frame, n);
}

/* Log power of a triangle, per bin: the cosine transform backwards. */
static double level_of(const double *cepstra, int m)
{
    double sum = cepstra[0] / MELS;

    for (int c = 1; c < MB_CEPSTRA; c++)
        sum += 2 * cepstra[c] * tables.cosine[c][m] / MELS;
    return sum - log(tables.area[m]);
}

void mb_frames_spectrum(const double *cepstra, double *power)
{
    double low = to_mel(60), step = (to_mel(7600) - low) / (MELS + 1), window = 0;

    need_tables();
    for (int i = 0; i < MB_FRAME_WINDOW; i++)
        window += tables.window[i] * tables.window[i];
    for (int b = 0; b < BINS; b++) {
        double at = (to_mel((double)b * MB_SOUND_RATE / POINTS) - low) / step - 1, part;
        double turn = 2 * M_PI * b / POINTS;
        double lifted = 1 + emphasis * emphasis - 2 * emphasis * cos(turn);
        int m;

        at = at < 0 ? 0 : at > MELS - 1 ? MELS - 1 : at;
        m = at < MELS - 1 ? (int)at : MELS - 2;
        part = at - m;
        power[b] = exp((1 - part) * level_of(cepstra, m) + part * level_of(cepstra, m + 1));
        power[b] /= window * lifted;
    }
}
