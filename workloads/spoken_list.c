#include "workloads/spoken_list.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum form { TEXT_AND_SPEECH, SPEECH_ALONE, INTERLEAVED, FORMS };

void mb_spoken_add(mb_spoken_list *l, const char *text, size_t size, mb_about about)
{
    l->about = mb_grow(l->about, l->text.count, &l->room, sizeof *l->about);
    l->about[l->text.count] = about;
    mb_texts_add(&l->text, text, size);
}

void mb_spoken_free(mb_spoken_list *l)
{
    mb_texts_free(&l->text);
    mb_utterances_free(&l->sound);
    free(l->about);
    memset(l, 0, sizeof *l);
}

/* One text with what is needed of its sound. */
typedef struct saying {
    const char *text;
    size_t size;
    const uint16_t *unit;
    int64_t units;
    const int32_t *word_end;
    int64_t words;
} saying;

static int64_t count_words(const saying *s)
{
    int64_t n = 0;

    for (size_t i = 0; i < s->size; i++)
        n += s->text[i] != ' ' && (i == 0 || s->text[i - 1] == ' ');
    return n;
}

/* The byte behind word W, counted from FROM, where word W's space or first letter is. */
static size_t end_of_word(const saying *s, size_t from)
{
    while (from < s->size && s->text[from] == ' ')
        from++;
    while (from < s->size && s->text[from] != ' ')
        from++;
    return from;
}

/* Runs of words, in turn as text and as speech; a run goes on past a word two times of three. */
static void interleave(mb_document *d, const saying *s, uint64_t key)
{
    bool speech = mb_below(key, 0, 2);
    size_t byte = 0;
    int64_t unit = 0;

    for (int64_t w = 0; w < s->words;) {
        size_t end = byte;
        int64_t last = unit;

        do {
            end = end_of_word(s, end);
            last = s->word_end[w++];
        } while (w < s->words && mb_below(key, (uint64_t)w, 3) > 0);
        if (!speech)
            mb_document_text(d, s->text + byte, end - byte);
        else if (last > unit)
            mb_document_speech(d, s->unit + unit, last - unit);
        byte = end;
        unit = last;
        speech = !speech;
    }
}

static void put_saying(mb_document *d, const saying *s, uint64_t key)
{
    enum form form = (enum form)mb_below(key, 0, FORMS);

    if (form == INTERLEAVED && s->words == count_words(s)) {
        interleave(d, s, mb_key(key, "interleave", 0, 0));
        return;
    }
    if (form != SPEECH_ALONE)
        mb_document_text(d, s->text, s->size);
    mb_document_speech(d, s->unit, s->units);
}

static void put_triple(mb_document *d, const saying *s, mb_about about, const mb_spoken_write *how)
{
    if (about.tag >= 0)
        mb_document_add(d, how->first_tag + about.tag);
    mb_document_text(d, s->text, s->size);
    mb_document_image(d, how->image + (int64_t)about.image * how->patches, how->patches);
    mb_document_speech(d, s->unit, s->units);
}

mb_err mb_spoken_write_all(const mb_spoken_list *l, const mb_spoken_write *how, mb_document *d,
                           enum mb_section section, mb_set_writer *w, int64_t *left_out)
{
    uint16_t *unit = mb_units_assign(how->units, &l->sound);
    const uint16_t *at = unit;
    mb_err err = MB_OK;

    for (size_t i = 0; !err && i < l->text.count; i++) {
        saying s = { .text = l->text.bytes + l->text.start[i],
                     .size = l->text.start[i + 1] - l->text.start[i],
                     .unit = at,
                     .units = mb_utterances_units(&l->sound, i),
                     .word_end = l->sound.word_end + l->sound.word_end0[i],
                     .words = l->sound.word_end0[i + 1] - l->sound.word_end0[i] };

        at += s.units;
        if (s.units == 0)
            continue;
        mb_document_begin(d);
        if (l->about[i].image >= 0)
            put_triple(d, &s, l->about[i], how);
        else
            put_saying(d, &s, mb_key(how->key, "form", (uint64_t)section, i));
        if (d->n < MB_SPOKEN_LONGEST)
            err = mb_document_end(d, section, w);
        else
            ++*left_out;
    }
    free(unit);
    return err;
}
