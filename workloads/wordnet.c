/* A line of a data file, as wndb(5WN) has it:
       OFFSET LEX_FILE TYPE COUNT WORD ... | GLOSS
   with OFFSET of 8 digits and COUNT of 2 hex digits. The licence at the top is lines that begin
   with two spaces. */
#include "workloads/wordnet.h"
#include "base/file.h"
#include "workloads/split.h"

#include <stdlib.h>
#include <string.h>

const char *const mb_wordnet_files[] = { "data.noun", "data.verb", "data.adj", "data.adv", NULL };

enum { VAL_ONE_IN = 50 };

static bool is_val(char letter, const char *offset)
{
    char key[10];

    snprintf(key, sizeof key, "%c%.8s", letter, offset);
    return mb_split_is_val(key, strlen(key), VAL_ONE_IN);
}

/* The first word of a line (its fifth field), without the "(a)" that marks an adjective's place. */
static const char *find_lemma(const char *line, const char *end, size_t *size)
{
    for (int field = 0; field < 4 && line; field++) {
        line = memchr(line, ' ', (size_t)(end - line));
        line = line ? line + 1 : NULL;
    }
    *size = 0;
    while (line && line + *size < end && line[*size] != ' ' && line[*size] != '(')
        ++*size;
    return line;
}

static const char *find_gloss(const char *line, const char *end, size_t *size)
{
    const char *bar = memmem(line, (size_t)(end - line), " | ", 3);

    if (!bar)
        return NULL;
    bar += 3;
    while (end > bar && end[-1] == ' ')
        end--;
    *size = (size_t)(end - bar);
    return bar;
}

static mb_err read_synset(const char *path, size_t offset, const char *line, const char *end,
                          char letter, mb_texts *train, mb_texts *val)
{
    size_t lemma_size = 0, gloss_size = 0;
    const char *lemma = find_lemma(line, end, &lemma_size);
    const char *gloss = find_gloss(line, end, &gloss_size);
    char said[9], *text;

    snprintf(said, sizeof said, "%.*s", (int)(end - line), line);
    if (strlen(said) != 8 || strspn(said, "0123456789") != 8 || strtoul(said, NULL, 10) != offset)
        return mb_fail(MB_ECORRUPT, "%s: offset %zu: the line begins with \"%s\", expected %08zu",
                       path, offset, said, offset);
    if (!lemma || !lemma_size || !gloss || !gloss_size)
        return mb_fail(MB_ECORRUPT, "%s: offset %zu: expected a word and \" | \" and a gloss", path,
                       offset);
    text = mb_format("%.*s: %.*s", (int)lemma_size, lemma, (int)gloss_size, gloss);
    for (size_t i = 0; i < lemma_size; i++)
        text[i] = text[i] == '_' ? ' ' : text[i];
    mb_texts_add(is_val(letter, said) ? val : train, text, strlen(text));
    free(text);
    return MB_OK;
}

static mb_err read_lines(const char *path, const mb_map *map, char letter, long count,
                         mb_texts *train, mb_texts *val)
{
    const char *begin = (const char *)map->data, *end = begin + map->size, *next;
    long synsets = 0;

    for (const char *line = begin; line < end; line = next + 1) {
        next = memchr(line, '\n', (size_t)(end - line));
        if (!next)
            return mb_fail(MB_ECORRUPT, "%s: offset %zu: the file ends within a line", path,
                           map->size);
        if (next - line >= 2 && line[0] == ' ' && line[1] == ' ')
            continue;
        MB_TRY(read_synset(path, (size_t)(line - begin), line, next, letter, train, val));
        synsets++;
    }
    if (count && synsets != count)
        return mb_fail(MB_ECORRUPT, "%s: offset %zu: %ld synsets found, %ld expected (WordNet 3.0)",
                       path, map->size, synsets, count);
    return MB_OK;
}

mb_err mb_wordnet_read(const char *path, char letter, long count, mb_texts *train, mb_texts *val)
{
    mb_map map;
    mb_err err;

    MB_TRY(mb_map_open(path, &map));
    err = map.size ? read_lines(path, &map, letter, count, train, val)
                   : mb_fail(MB_ECORRUPT, "%s: the file is empty", path);
    mb_map_close(&map);
    return err;
}

mb_err mb_wordnet_read_all(const char *folder, mb_texts *train, mb_texts *val)
{
    static const char letter[] = { 'n', 'v', 'a', 'r' };
    static const long count[] = { 82115, 13767, 18156, 3621 }; /* wnstats(7WN), version 3.0 */
    mb_err err = MB_OK;

    for (int i = 0; !err && mb_wordnet_files[i]; i++) {
        char *path = mb_format("%s/%s", folder, mb_wordnet_files[i]);

        err = mb_wordnet_read(path, letter[i], count[i], train, val);
        free(path);
    }
    return err;
}
