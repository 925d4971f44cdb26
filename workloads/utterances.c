#include "workloads/utterances.h"
#include "base/file.h"
#include "workloads/array.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { UNIT = MB_FRAME_HOP * MB_FRAMES_PER_UNIT }; /* samples */

/* Files of this machine for this machine: a header, then the arrays as they lie in memory. */
typedef struct header {
    char magic[8];
    int64_t count, frames, words;
} header;
static const char magic[8] = "mbutter";

void mb_timing_free(mb_timing *t)
{
    free(t->phone_end);
    free(t->word_end);
    free(t->phone);
    memset(t, 0, sizeof *t);
}

/* One more than needed, so that there always is an array. */
static void *reserve(void *array, int64_t needed, size_t *room, size_t size)
{
    while (*room <= (size_t)needed)
        array = mb_grow(array, *room, room, size);
    return array;
}

/* Room for COUNT, FRAMES and WORDS more; the borders behind them are set by the caller. */
static void make_room(mb_utterances *u, int64_t count, int64_t frames, int64_t words)
{
    size_t room = u->count_room, phone_room = u->frame_room;
    int64_t needed = (int64_t)u->count + count + 1;

    u->frame_start = reserve(u->frame_start, needed, &room, sizeof *u->frame_start);
    u->word_end0 = reserve(u->word_end0, needed, &u->count_room, sizeof *u->word_end0);
    u->phone = reserve(u->phone, u->frames + frames, &phone_room, sizeof *u->phone);
    u->frame = reserve(u->frame, u->frames + frames, &u->frame_room, MB_CEPSTRA * sizeof *u->frame);
    u->word_end = reserve(u->word_end, u->words + words, &u->word_room, sizeof *u->word_end);
    if (u->count == 0)
        u->frame_start[0] = u->word_end0[0] = 0;
}

static void label(uint8_t *phone, int64_t frames, int64_t trimmed, const mb_timing *t)
{
    int at = 0;

    for (int64_t f = 0; f < frames; f++) {
        double middle = (double)(trimmed + f * MB_FRAME_HOP + MB_FRAME_WINDOW / 2) / MB_SOUND_RATE;

        while (t && at < t->phones && t->phone_end[at] <= middle)
            at++;
        phone[f] = t && at < t->phones ? t->phone[at] : MB_PHONE_UNKNOWN;
    }
}

/* Word borders in units; the last word takes what is left. */
static void mark_words(int32_t *end, int64_t units, int64_t trimmed, const mb_timing *t)
{
    int64_t last = 0;

    for (int w = 0; t && w < t->words; w++) {
        int64_t at = llround((t->word_end[w] * MB_SOUND_RATE - (double)trimmed) / UNIT);

        last = at < last ? last : at;
        last = last > units || w == t->words - 1 ? units : last;
        end[w] = (int32_t)last;
    }
}

static void end_utterance(mb_utterances *u, int64_t frames, int64_t words)
{
    u->frames += frames;
    u->words += words;
    u->count++;
    u->frame_start[u->count] = u->frames;
    u->word_end0[u->count] = u->words;
}

void mb_utterances_add(mb_utterances *u, const mb_sound *s, int64_t trimmed,
                       const mb_timing *timing)
{
    int words = timing ? timing->words : 0;
    int64_t frames = mb_frames_count(s->n);

    assert(s->rate == MB_SOUND_RATE);
    make_room(u, 1, frames, words);
    mb_frames_measure(s, u->frame + u->frames * MB_CEPSTRA);
    label(u->phone + u->frames, frames, trimmed, timing);
    mark_words(u->word_end + u->words, frames / MB_FRAMES_PER_UNIT, trimmed, timing);
    end_utterance(u, frames, words);
}

void mb_utterances_skip(mb_utterances *u)
{
    make_room(u, 1, 0, 0);
    end_utterance(u, 0, 0);
}

void mb_utterances_append(mb_utterances *u, const mb_utterances *other)
{
    if (other->count == 0)
        return;
    make_room(u, (int64_t)other->count, other->frames, other->words);
    for (size_t i = 1; i <= other->count; i++) {
        u->frame_start[u->count + i] = u->frames + other->frame_start[i];
        u->word_end0[u->count + i] = u->words + other->word_end0[i];
    }
    memcpy(u->frame + u->frames * MB_CEPSTRA, other->frame,
           (size_t)other->frames * MB_CEPSTRA * sizeof *u->frame);
    memcpy(u->phone + u->frames, other->phone, (size_t)other->frames);
    if (other->words > 0)
        memcpy(u->word_end + u->words, other->word_end, (size_t)other->words * sizeof *u->word_end);
    u->count += other->count;
    u->frames += other->frames;
    u->words += other->words;
}

int64_t mb_utterances_units(const mb_utterances *u, size_t i)
{
    return (u->frame_start[i + 1] - u->frame_start[i]) / MB_FRAMES_PER_UNIT;
}

void mb_utterances_free(mb_utterances *u)
{
    free(u->frame_start);
    free(u->word_end0);
    free(u->frame);
    free(u->phone);
    free(u->word_end);
    memset(u, 0, sizeof *u);
}

mb_err mb_utterances_save(const mb_utterances *u, const char *path)
{
    header h = { .count = (int64_t)u->count, .frames = u->frames, .words = u->words };
    mb_replace r;

    memcpy(h.magic, magic, sizeof magic);
    MB_TRY(mb_replace_open(path, &r));
    fwrite(&h, sizeof h, 1, r.file);
    if (u->count > 0) {
        fwrite(u->frame_start, sizeof *u->frame_start, u->count + 1, r.file);
        fwrite(u->word_end0, sizeof *u->word_end0, u->count + 1, r.file);
        fwrite(u->frame, MB_CEPSTRA * sizeof *u->frame, (size_t)u->frames, r.file);
        fwrite(u->word_end, sizeof *u->word_end, (size_t)u->words, r.file);
        fwrite(u->phone, sizeof *u->phone, (size_t)u->frames, r.file);
    }
    return mb_replace_commit(&r);
}

/* Borders of a file, shifted behind those that are there; false when they do not fit. */
static bool take_borders(int64_t *to, const unsigned char *from, int64_t n, int64_t total,
                         int64_t shift)
{
    int64_t last = 0, at;

    for (int64_t i = 0; i <= n; i++) {
        memcpy(&at, from + (size_t)i * sizeof at, sizeof at);
        if (at < last || at > total || (i == 0 && at != 0))
            return false;
        to[i] = shift + at;
        last = at;
    }
    return last == total;
}

static bool append(mb_utterances *u, const header *h, const unsigned char *at)
{
    size_t borders = (size_t)(h->count + 1) * sizeof *u->frame_start;
    size_t frames = (size_t)h->frames * MB_CEPSTRA * sizeof *u->frame;
    size_t words = (size_t)h->words * sizeof *u->word_end;

    make_room(u, h->count, h->frames, h->words);
    if (!take_borders(u->frame_start + u->count, at, h->count, h->frames, u->frames) ||
        !take_borders(u->word_end0 + u->count, at + borders, h->count, h->words, u->words))
        return false;
    at += 2 * borders;
    memcpy(u->frame + u->frames * MB_CEPSTRA, at, frames);
    memcpy(u->word_end + u->words, at + frames, words);
    memcpy(u->phone + u->frames, at + frames + words, (size_t)h->frames);
    u->count += (size_t)h->count;
    u->frames += h->frames;
    u->words += h->words;
    return true;
}

/* Bytes that a file with this header has, or -1 when no file can. */
static int64_t size_of(const header *h)
{
    const int64_t most = INT64_C(1) << 40;

    if (memcmp(h->magic, magic, sizeof magic) || h->count < 0 || h->frames < 0 || h->words < 0 ||
        h->count > most || h->frames > most || h->words > most)
        return -1;
    if (h->count == 0)
        return sizeof *h;
    return (int64_t)sizeof *h + 2 * (h->count + 1) * 8 + h->frames * (4 * MB_CEPSTRA + 1) +
           h->words * 4;
}

mb_err mb_utterances_load(mb_utterances *u, const char *path)
{
    header h = { 0 };
    mb_map map;
    mb_err err = MB_OK;

    MB_TRY(mb_map_open(path, &map));
    if (map.size >= sizeof h)
        memcpy(&h, map.data, sizeof h);
    if (size_of(&h) != (int64_t)map.size || (h.count && !append(u, &h, map.data + sizeof h)))
        err =
            mb_fail(MB_ECORRUPT, "%s: %zu bytes that are no utterances: remove it", path, map.size);
    mb_map_close(&map);
    return err;
}
