#include "harness/table.h"

#include "base/file.h"
#include "results/csv.h"

#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *const mb_table_format_name[] = { "human", "csv", "json", "md", NULL };

struct mb_table {
    const mb_table_column *column;
    size_t columns, cells, room, notes, notes_room;
    mb_cell *cell; /* strings are ours */
    char **note;
};

mb_table *mb_table_new(const mb_table_column *columns, size_t n)
{
    mb_table *t = mb_zalloc(1, sizeof *t);

    t->column = columns;
    t->columns = n;
    return t;
}

void mb_table_free(mb_table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->cells; i++)
        free((char *)t->cell[i].string);
    for (size_t i = 0; i < t->notes; i++)
        free(t->note[i]);
    free(t->cell);
    free(t->note);
    free(t);
}

static bool for_people(const mb_table_column *c)
{
    return c->audience == MB_FOR_ALL || c->audience == MB_FOR_PEOPLE;
}

static bool for_programs(const mb_table_column *c)
{
    return c->audience == MB_FOR_ALL || c->audience == MB_FOR_PROGRAMS;
}

/* ---- filling ------------------------------------------------------------------------------- */

/* ARRAY of N things of SIZE with room for one more, at least. */
static void *with_room(void *array, size_t n, size_t *room, size_t size)
{
    void *larger;

    if (n < *room)
        return array;
    *room = n ? 2 * n : 16;
    larger = mb_alloc(*room * size);
    if (array)
        memcpy(larger, array, n * size);
    free(array);
    return larger;
}

static void add(mb_table *t, mb_cell cell)
{
    t->cell = with_room(t->cell, t->cells, &t->room, sizeof *t->cell);
    cell.string = mb_format("%s", cell.string);
    t->cell[t->cells++] = cell;
}

void mb_table_text(mb_table *t, const char *text)
{
    add(t, text ? (mb_cell){ .type = MB_STRING, .string = text }
                : (mb_cell){ .type = MB_NULL, .string = "" });
}

void mb_table_integer(mb_table *t, int64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%lld", (long long)value);
    add(t, (mb_cell){ MB_INTEGER, value, (double)value, text });
}

void mb_table_real(mb_table *t, double value)
{
    char text[MB_REAL_TEXT];

    if (isnan(value)) {
        mb_table_text(t, NULL);
        return;
    }
    mb_real_text(value, text);
    add(t, (mb_cell){ MB_REAL, 0, value, text });
}

void mb_table_rows(mb_table *t, const mb_rows *rows)
{
    assert(rows->columns == t->columns);
    for (size_t i = 0; i < rows->n * rows->columns; i++)
        add(t, rows->cell[i]);
}

void mb_table_note(mb_table *t, const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = mb_format("(out of memory)");
    va_end(args);
    t->note = with_room(t->note, t->notes, &t->notes_room, sizeof *t->note);
    t->note[t->notes++] = text;
}

/* ---- numbers for people -------------------------------------------------------------------- */

void mb_show_si(double value, char out[MB_SHOWN])
{
    static const char *const prefix[] = { "", " k", " M", " G", " T", " P", " E", " Z" };
    int i = 0;

    for (; fabs(value) >= 999.5 && i < 7; i++)
        value /= 1000;
    if (i == 0 && value == floor(value))
        snprintf(out, MB_SHOWN, "%.0f", value);
    else
        snprintf(out, MB_SHOWN, "%.*f%s",
                 fabs(value) < 9.995   ? 2
                 : fabs(value) < 99.95 ? 1
                                       : 0,
                 value, prefix[i]);
}

void mb_show_seconds(double value, char out[MB_SHOWN])
{
    if (value < 99.95)
        snprintf(out, MB_SHOWN, "%.*f s", value < 9.995 ? 2 : 1, value);
    else if (value < 100 * 60)
        snprintf(out, MB_SHOWN, "%.1f min", value / 60);
    else if (value < 100 * 3600)
        snprintf(out, MB_SHOWN, "%.1f h", value / 3600);
    else if (value < 1000 * 86400)
        snprintf(out, MB_SHOWN, "%.1f days", value / 86400);
    else
        snprintf(out, MB_SHOWN, "%.1f years", value / (365.25 * 86400));
}

/* A copy that stays on its line. */
static char *one_line(const char *text)
{
    char *out = mb_format("%s", text);

    for (char *p = out; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    return out;
}

static char *shown(const mb_cell *cell, enum mb_table_show show)
{
    char text[MB_SHOWN];

    if (cell->type == MB_NULL)
        return mb_format("-");
    if (cell->type == MB_STRING || show == MB_SHOW_TEXT || show == MB_SHOW_PLAIN)
        return one_line(cell->string);
    if (show == MB_SHOW_FIXED)
        return mb_format("%.3f", cell->real);
    if (show == MB_SHOW_SI)
        mb_show_si(cell->real, text);
    else
        mb_show_seconds(cell->real, text);
    return mb_format("%s", text);
}

/* ---- for people ---------------------------------------------------------------------------- */

static const char *title(const mb_table_column *c)
{
    return c->title ? c->title : c->name;
}

/* Terminal columns of UTF-8 text: bytes that begin a character. */
static size_t width_of(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

/* All cells as people see them: (rows, columns) of strings; columns for programs stay NULL. */
static char **show_all(const mb_table *t, bool blank_repeats)
{
    char **out = mb_zalloc(t->cells, sizeof *out);

    for (size_t i = 0; i < t->cells; i++) {
        const mb_table_column *c = &t->column[i % t->columns];

        if (for_people(c))
            out[i] = shown(&t->cell[i], c->show);
    }
    for (size_t row = t->cells / t->columns; blank_repeats && row-- > 1;)
        for (size_t c = 0; c < t->columns; c++) {
            size_t i = row * t->columns + c;

            if (!t->column[c].once || !out[i])
                continue;
            if (strcmp(out[i], out[i - t->columns]))
                break;
            *out[i] = '\0';
        }
    return out;
}

static void free_all(char **text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(text[i]);
    free(text);
}

static void pad(FILE *out, const char *text, size_t width, bool right)
{
    int blanks = (int)(width - width_of(text));

    fprintf(out, "%*s%s%*s", right ? blanks : 0, "", text, right ? 0 : blanks, "");
}

/* One line: TEXT holds as many strings as there are columns. */
static void print_line(const mb_table *t, char *const *text, const size_t *width, bool md,
                       FILE *out)
{
    size_t last = t->columns; /* for people; nothing follows it that it would be padded for */
    bool first = true;

    while (last > 0 && !for_people(&t->column[last - 1]))
        last--;
    for (size_t c = 0; c < last; c++) {
        bool right = t->column[c].show != MB_SHOW_TEXT;

        if (!for_people(&t->column[c]))
            continue;
        fputs(md ? "| " : first ? "" : "  ", out);
        if (md || right || c + 1 < last)
            pad(out, text[c], width[c], right);
        else
            fputs(text[c], out);
        fputs(md ? " " : "", out);
        first = false;
    }
    fputs(md ? "|\n" : "\n", out);
}

static void print_rule(const mb_table *t, const size_t *width, bool md, FILE *out)
{
    bool first = true;

    for (size_t c = 0; c < t->columns; c++) {
        bool right = t->column[c].show != MB_SHOW_TEXT;

        if (!for_people(&t->column[c]))
            continue;
        fputs(md ? (right ? "|-" : "|:") : first ? "" : "  ", out);
        for (size_t i = 0; i < width[c]; i++)
            fputs("-", out);
        fputs(md ? (right ? ":" : "-") : "", out);
        first = false;
    }
    fputs(md ? "|\n" : "\n", out);
}

static void print_people(const mb_table *t, bool md, FILE *out)
{
    char **text = show_all(t, !md), **head = mb_zalloc(t->columns, sizeof *head);
    size_t *width = mb_zalloc(t->columns, sizeof *width);

    for (size_t c = 0; c < t->columns; c++) {
        head[c] = mb_format("%s", title(&t->column[c]));
        width[c] = width_of(head[c]);
    }
    for (size_t i = 0; i < t->cells; i++)
        if (text[i] && width_of(text[i]) > width[i % t->columns])
            width[i % t->columns] = width_of(text[i]);
    print_line(t, head, width, md, out);
    print_rule(t, width, md, out);
    for (size_t i = 0; i < t->cells; i += t->columns)
        print_line(t, text + i, width, md, out);
    for (size_t i = 0; i < t->notes; i++)
        fprintf(out, md ? "\n%s\n" : "%s\n", t->note[i]);
    free_all(text, t->cells);
    free_all(head, t->columns);
    free(width);
}

/* ---- for programs -------------------------------------------------------------------------- */

/* The columns that programs get. */
static size_t program_columns(const mb_table *t, size_t *index)
{
    size_t n = 0;

    for (size_t c = 0; c < t->columns; c++)
        if (for_programs(&t->column[c]))
            index[n++] = c;
    return n;
}

static void print_csv(const mb_table *t, FILE *out)
{
    size_t *index = mb_alloc(t->columns * sizeof *index), n = program_columns(t, index);
    const char **name = mb_alloc(n * sizeof *name);
    mb_cell *row = mb_alloc(n * sizeof *row);

    for (size_t c = 0; c < n; c++)
        name[c] = t->column[index[c]].name;
    mb_csv_header(out, name, n);
    for (size_t i = 0; i < t->cells; i += t->columns) {
        for (size_t c = 0; c < n; c++)
            row[c] = t->cell[i + index[c]];
        mb_csv_row(out, row, n);
    }
    free(index);
    free(name);
    free(row);
}

static json_t *json_of(const mb_cell *c)
{
    switch (c->type) {
    case MB_INTEGER:
        return json_integer(c->integer);
    case MB_REAL:
        return json_real(c->real); /* NULL for infinity, which JSON cannot say */
    case MB_STRING:
        return json_string(c->string);
    default:
        return NULL;
    }
}

static mb_err print_json(const mb_table *t, FILE *out)
{
    json_t *root = json_object(), *rows = json_array(), *notes = json_array();
    int bad = json_object_set_new(root, "version", json_integer(1));

    bad |= json_object_set_new(root, "rows", rows) | json_object_set_new(root, "notes", notes);
    for (size_t i = 0; i < t->cells; i++) {
        const mb_table_column *c = &t->column[i % t->columns];
        json_t *value = json_of(&t->cell[i]);

        if (i % t->columns == 0)
            bad |= json_array_append_new(rows, json_object());
        if (for_programs(c))
            bad |= json_object_set_new(json_array_get(rows, i / t->columns), c->name,
                                       value ? value : json_null());
        else
            json_decref(value);
    }
    for (size_t i = 0; i < t->notes; i++)
        bad |= json_array_append_new(notes, json_string(t->note[i]));
    bad = bad || json_dumpf(root, out, JSON_INDENT(1)) || fputs("\n", out) < 0;
    json_decref(root);
    return bad ? mb_fail(MB_EIO, "the table could not be written as JSON") : MB_OK;
}

mb_err mb_table_print(const mb_table *t, enum mb_table_format format, FILE *out)
{
    assert(t->cells % t->columns == 0);
    if (format == MB_TABLE_JSON)
        MB_TRY(print_json(t, out));
    else if (format == MB_TABLE_CSV)
        print_csv(t, out);
    else
        print_people(t, format == MB_TABLE_MD, out);
    if (fflush(out) || ferror(out))
        return mb_fail(MB_EIO, "the table could not be written: is the disk full?");
    return MB_OK;
}
