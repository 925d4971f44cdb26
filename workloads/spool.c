/* A file for each split and section has records: a header, where the document is from, its ids, its
   patches.
   Two more have 64 bits of the SHA-256 of every document that is held out, and of every id, with
   the place of the record; they are sorted where they lie, in memory that the system may write back
   to disk. Two different documents out of ten million share those bits once in 300000 imports. */
#include "workloads/spool.h"
#include "workloads/array.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FILES = MB_SPLITS * MB_SECTIONS };

typedef struct record { /* then WHERE bytes, the last of them NUL, N int32, PATCHES bytes */
    uint64_t hash;
    int64_t n;
    int64_t where, patches;
} record;

typedef struct seen {
    uint64_t hash;
    int64_t at; /* of the record in its file */
    int64_t file;
} seen;

typedef struct table { /* what a file of seen ones is when it is mapped and sorted */
    seen *row;
    size_t n;
} table;

struct mb_spool {
    char *folder;
    FILE *document[FILES], *held, *id; /* made when the first comes */
    int64_t size[FILES], count[FILES];
    table held_table, id_table;
};

mb_spool *mb_spool_open(const char *folder)
{
    mb_spool *s = mb_zalloc(1, sizeof *s);

    s->folder = mb_format("%s", folder);
    return s;
}

static void close_table(table *t)
{
    if (t->row)
        munmap(t->row, t->n * sizeof *t->row);
}

void mb_spool_close(mb_spool *s)
{
    if (!s)
        return;
    close_table(&s->held_table);
    close_table(&s->id_table);
    for (int i = 0; i < FILES; i++) {
        if (s->document[i])
            fclose(s->document[i]);
    }
    if (s->held)
        fclose(s->held);
    if (s->id)
        fclose(s->id);
    free(s->folder);
    free(s);
}

static mb_err failed(const mb_spool *s)
{
    return mb_fail(MB_EIO, "%s: %s", s->folder, strerror(errno));
}

/* A file that is gone when it is closed. */
static mb_err need_file(mb_spool *s, FILE **f)
{
    char *path;
    int fd;

    if (*f)
        return MB_OK;
    path = mb_format("%s/spool-XXXXXX", s->folder);
    fd = mkstemp(path);
    if (fd >= 0) {
        unlink(path);
        *f = fdopen(fd, "w+b");
    }
    free(path);
    return *f ? MB_OK : failed(s);
}

/* ---- what comes in --------------------------------------------------------------------------- */

static uint64_t short_hash(const void *data, size_t size)
{
    char hash[MB_HASH_SIZE];

    mb_hash(data, size, hash);
    hash[16] = '\0';
    return strtoull(hash, NULL, 16);
}

static mb_err note(mb_spool *s, FILE **f, uint64_t hash, int file)
{
    seen row = { hash, s->size[file], file };

    MB_TRY(need_file(s, f));
    return fwrite(&row, sizeof row, 1, *f) == 1 ? MB_OK : failed(s);
}

mb_err mb_spool_add(mb_spool *s, enum mb_split split, enum mb_section section, mb_document *d,
                    const char *where, const char *id)
{
    int file = (int)split * MB_SECTIONS + (int)section;
    size_t bytes;
    record r;

    mb_document_add(d, d->ids->eos);
    bytes = (size_t)d->n * sizeof *d->token;
    r = (record){ short_hash(d->token, bytes), d->n, (int64_t)strlen(where) + 1,
                  (int64_t)d->patch_bytes };
    if (d->patch_bytes)
        r.hash ^= short_hash(d->patch, d->patch_bytes);
    MB_TRY(need_file(s, &s->document[file]));
    if (split != MB_TRAIN)
        MB_TRY(note(s, &s->held, r.hash, file));
    if (id)
        MB_TRY(note(s, &s->id, short_hash(id, strlen(id)), file));
    if (fwrite(&r, sizeof r, 1, s->document[file]) != 1 ||
        fwrite(where, 1, (size_t)r.where, s->document[file]) != (size_t)r.where ||
        fwrite(d->token, 1, bytes, s->document[file]) != bytes ||
        (d->patch_bytes &&
         fwrite(d->patch, 1, d->patch_bytes, s->document[file]) != d->patch_bytes))
        return failed(s);
    s->size[file] += (int64_t)sizeof r + r.where + (int64_t)bytes + r.patches;
    s->count[file]++;
    return MB_OK;
}

/* ---- what came twice ------------------------------------------------------------------------- */

/* By hash, in place, from the highest bit on. */
static void sort(seen *row, size_t n, int bit)
{
    size_t low = 0, high = n;

    if (n < 2 || bit < 0)
        return;
    while (low < high) {
        if (row[low].hash >> bit & 1) {
            seen other = row[--high];

            row[high] = row[low];
            row[low] = other;
        } else {
            low++;
        }
    }
    sort(row, low, bit - 1);
    sort(row + low, n - low, bit - 1);
}

static mb_err sort_file(const mb_spool *s, FILE *f, table *out)
{
    void *data;
    long size;

    if (!f)
        return MB_OK;
    if (fflush(f) || (size = ftell(f)) < 0)
        return failed(s);
    data = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0);
    if (data == MAP_FAILED)
        return failed(s);
    *out = (table){ data, (size_t)size / sizeof(seen) };
    sort(out->row, out->n, 63);
    return MB_OK;
}

/* Where a document is from; caller frees. */
static char *where_of(const mb_spool *s, const seen *row)
{
    int fd = fileno(s->document[row->file]);
    record r = { 0 };
    char *where;

    if (pread(fd, &r, sizeof r, row->at) != sizeof r)
        r.where = 0; /* a message without it is better than none */
    where = mb_zalloc((size_t)r.where + 1, 1);
    if (pread(fd, where, (size_t)r.where, row->at + (int64_t)sizeof r) != r.where)
        where[0] = '\0';
    return where;
}

static mb_err refuse_pair(const mb_spool *s, const seen *a, const seen *b, const char *what)
{
    char *first, *second;
    mb_err err;

    if (a->file > b->file || (a->file == b->file && a->at > b->at)) {
        const seen *swap = a;

        a = b;
        b = swap;
    }
    first = where_of(s, a);
    second = where_of(s, b);
    err = mb_fail(MB_ECORRUPT, "%s: the same %s as %s", second, what, first);
    free(first);
    free(second);
    return err;
}

static mb_err check_ids(mb_spool *s)
{
    const table *t = &s->id_table;

    MB_TRY(sort_file(s, s->id, &s->id_table));
    for (size_t i = 1; i < t->n; i++) {
        if (t->row[i].hash == t->row[i - 1].hash)
            return refuse_pair(s, &t->row[i], &t->row[i - 1], "id");
    }
    return MB_OK;
}

/* A document with this content in a split before (training: after) that of FILE, or NULL. */
static const seen *find_rival(const mb_spool *s, uint64_t hash, int file)
{
    const table *t = &s->held_table;
    size_t low = 0, high = t->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (t->row[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < t->n && t->row[low].hash == hash; low++) {
        int64_t other = t->row[low].file / MB_SECTIONS, mine = file / MB_SECTIONS;

        if (other != mine && (mine == MB_TRAIN || other == MB_VAL))
            return &t->row[low];
    }
    return NULL;
}

/* ---- what goes out --------------------------------------------------------------------------- */

typedef struct out {
    mb_set_writer *writer;
    bool drop;
    int64_t *dropped;
} out;

/* BYTES are its ids and then its patches. */
static mb_err write_record(mb_spool *s, int file, const record *r, int64_t at, const void *bytes,
                           out *o)
{
    const int32_t *token = bytes;
    const seen *rival = find_rival(s, r->hash, file);

    if (rival && !o->drop)
        return refuse_pair(s, &(seen){ r->hash, at, file }, rival, "document in another split");
    if (rival) {
        ++*o->dropped;
        return MB_OK;
    }
    MB_TRY(mb_set_document(o->writer, (enum mb_section)(file % MB_SECTIONS), token, r->n));
    return r->patches ? mb_set_patches(o->writer, token + r->n, (size_t)r->patches) : MB_OK;
}

static mb_err write_file(mb_spool *s, int file, out *o)
{
    FILE *f = s->document[file];
    char *bytes = NULL;
    size_t room = 0, size;
    mb_err err = MB_OK;

    if (!f)
        return MB_OK;
    rewind(f);
    for (int64_t i = 0; !err && i < s->count[file]; i++) {
        int64_t at = ftell(f);
        record r = { 0 };

        if (fread(&r, sizeof r, 1, f) != 1 || fseek(f, r.where, SEEK_CUR))
            err = failed(s);
        size = (size_t)r.n * sizeof(int32_t) + (size_t)r.patches;
        while (!err && room < size)
            bytes = mb_grow(bytes, room, &room, 1);
        if (!err && fread(bytes, 1, size, f) != size)
            err = failed(s);
        if (!err)
            err = write_record(s, file, &r, at, bytes, o);
    }
    free(bytes);
    return err;
}

static mb_err flush_files(const mb_spool *s)
{
    for (int i = 0; i < FILES; i++) {
        if (s->document[i] && fflush(s->document[i]))
            return failed(s);
    }
    return MB_OK;
}

static int64_t count_of(const mb_spool *s, enum mb_split split)
{
    int64_t n = 0;

    for (int section = 0; section < MB_SECTIONS; section++)
        n += s->count[(int)split * MB_SECTIONS + section];
    return n;
}

static mb_err write_split(mb_spool *s, enum mb_split split, out *o)
{
    int64_t before = *o->dropped;

    MB_TRY(mb_set_begin(o->writer, split));
    for (int section = 0; section < MB_SECTIONS; section++)
        MB_TRY(write_file(s, (int)split * MB_SECTIONS + section, o));
    if (*o->dropped - before == count_of(s, split))
        return mb_fail(MB_EINVAL, "no document for %s is left: other splits have them all",
                       mb_split_name[split]);
    return MB_OK;
}

mb_err mb_spool_write(mb_spool *s, mb_set_writer *w, bool drop, int64_t *dropped)
{
    out o = { w, drop, dropped };

    *dropped = 0;
    for (enum mb_split split = MB_TRAIN; split <= MB_VAL; split++) {
        if (count_of(s, split) == 0)
            return mb_fail(MB_EINVAL, "no document for %s: expected some for train and for val",
                           mb_split_name[split]);
    }
    MB_TRY(flush_files(s));
    MB_TRY(check_ids(s));
    MB_TRY(sort_file(s, s->held, &s->held_table));
    for (enum mb_split split = 0; split < MB_SPLITS; split++) {
        if (count_of(s, split) > 0)
            MB_TRY(write_split(s, split, &o));
    }
    return MB_OK;
}
