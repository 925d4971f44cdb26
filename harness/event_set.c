#include "harness/event_set.h"

#include "base/file.h"
#include "harness/ini.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char step_ini[] =
#include "profiles/step.ini.inc"
    ;
static const char time_ini[] =
#include "profiles/time.ini.inc"
    ;
static const char flops_ini[] =
#include "profiles/flops.ini.inc"
    ;
static const char memory_ini[] =
#include "profiles/memory.ini.inc"
    ;
static const char gpu_ini[] =
#include "profiles/gpu.ini.inc"
    ;
static const char gpu_time_ini[] =
#include "profiles/gpu-time.ini.inc"
    ;
static const char software_ini[] =
#include "profiles/software.ini.inc"
    ;

const mb_event_text mb_event_texts[] = { { "time", time_ini },
                                         { "flops", flops_ini },
                                         { "memory", memory_ini },
                                         { "software", software_ini },
                                         { "gpu", gpu_ini },
                                         { "gpu-time", gpu_time_ini },
                                         { 0 } };

enum { MOST = MB_METRICS_MAX };

typedef struct reader {
    mb_event_set *set;
    bool metric; /* the section that is open; else it is an event, or none yet */
} reader;

/* ---- sections ------------------------------------------------------------------------------- */

static bool is_word(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return n > 0 && !text[n] && !isdigit((unsigned char)*text);
}

/* A section must be complete when the next one opens, and at the end. */
static mb_err check_open(const mb_event_set *s)
{
    const mb_metric *m = s->n_metrics ? &s->metrics[s->n_metrics - 1] : NULL;
    size_t last = s->n - 1;

    if (m && (!m->unit || !m->sql))
        return mb_fail(MB_EINVAL, "%s: metric '%s' has no %s", m->place, m->name,
                       m->unit ? "sql" : "unit");
    if (s->n && (!s->columns[last] || !s->events[last].unit))
        return mb_fail(MB_EINVAL, "%s: event '%s' has no %s", s->places[last], s->events[last].name,
                       s->columns[last] ? "unit" : "column");
    return MB_OK;
}

static mb_err add_metric(mb_event_set *s, const char *place, const char *name)
{
    size_t i;

    for (i = 0; i < s->n_metrics; i++)
        if (!strcmp(s->metrics[i].name, name))
            return mb_fail(MB_EINVAL, "%s: metric '%s' is there already (%s)", place, name,
                           s->metrics[i].place);
    if (s->n_metrics == MOST)
        return mb_fail(MB_EINVAL, "%s: more than %d metrics", place, MOST);
    s->metrics[s->n_metrics++] =
        (mb_metric){ .name = mb_format("%s", name), .place = mb_format("%s", place) };
    return MB_OK;
}

static mb_err add_event(mb_event_set *s, const char *place, const char *source, const char *name)
{
    mb_event e = { .source = source, .name = name };
    size_t i;

    if (mb_event_check(&e))
        return mb_fail_in(MB_EINVAL, "%s", place);
    for (i = 0; i < s->n; i++)
        if (!strcmp(s->events[i].source, source) && !strcmp(s->events[i].name, name))
            return mb_fail(MB_EINVAL, "%s: event '%s' is there already (%s)", place, name,
                           s->places[i]);
    if (s->n == MOST)
        return mb_fail(MB_EINVAL, "%s: more than %d events", place, MOST);
    s->places[s->n] = mb_format("%s", place);
    s->events[s->n++] =
        (mb_event){ .source = mb_format("%s", source), .name = mb_format("%s", name) };
    return MB_OK;
}

static mb_err open_section(reader *r, const char *place, const char *section)
{
    char *source = mb_format("%s", section), *name = strchr(source, ' ');
    mb_err err = check_open(r->set);

    if (!err && (!name || !name[1]))
        err = mb_fail(MB_EINVAL, "%s: section '%s', expected [SOURCE EVENT] or [metric NAME]",
                      place, section);
    if (!err) {
        *name++ = '\0';
        r->metric = !strcmp(source, "metric");
        err = r->metric ? add_metric(r->set, place, name) : add_event(r->set, place, source, name);
    }
    free(source);
    return err;
}

/* ---- keys ----------------------------------------------------------------------------------- */

static mb_err set_text(char **at, const char *place, const char *key, const char *value)
{
    if (*at)
        return mb_fail(MB_EINVAL, "%s: key '%s' is set a second time", place, key);
    if (!*value)
        return mb_fail(MB_EINVAL, "%s: key '%s' has no value", place, key);
    *at = mb_format("%s", value);
    return MB_OK;
}

static mb_err set_column(mb_event_set *s, const char *place, const char *value)
{
    size_t i;

    if (!is_word(value))
        return mb_fail(MB_EINVAL, "%s: column '%s', expected lower-case letters, digits and _",
                       place, value);
    for (i = 0; i + 1 < s->n; i++)
        if (!strcmp(s->columns[i], value))
            return mb_fail(MB_EINVAL, "%s: column '%s' is there already (%s)", place, value,
                           s->places[i]);
    return set_text(&s->columns[s->n - 1], place, "column", value);
}

static mb_err take(void *user, const char *place, const char *section, const char *key,
                   const char *value)
{
    reader *r = user;
    mb_event_set *s = r->set;

    if (!key)
        return open_section(r, place, section);
    if (r->metric && !strcmp(key, "unit"))
        return set_text(&s->metrics[s->n_metrics - 1].unit, place, key, value);
    if (r->metric && !strcmp(key, "sql"))
        return set_text(&s->metrics[s->n_metrics - 1].sql, place, key, value);
    if (!r->metric && !strcmp(key, "unit"))
        return set_text((char **)&s->events[s->n - 1].unit, place, key, value);
    if (!r->metric && !strcmp(key, "column"))
        return set_column(s, place, value);
    return mb_fail(MB_EINVAL, "%s: key '%s' is not known, expected unit or %s", place, key,
                   r->metric ? "sql" : "column");
}

/* ---- the whole ------------------------------------------------------------------------------ */

static mb_err read_built_in(const char *name, const char *text, reader *r)
{
    char *path = mb_format("profiles/%s.ini", name);
    mb_err err = mb_ini_read_text(path, text, take, r);

    free(path);
    return err;
}

static mb_err read_set(const char *name, reader *r)
{
    const mb_event_text *t;
    const char *end = strrchr(name, '.');

    MB_TRY(read_built_in("step", step_ini, r));
    if (strchr(name, '/') || (end && !strcmp(end, ".ini")))
        return mb_ini_read(name, take, r);
    for (t = mb_event_texts; t->name; t++)
        if (!strcmp(t->name, name))
            return read_built_in(name, t->text, r);
    return mb_fail(MB_EMISSING,
                   "no profile is called \"%s\": motbench list profiles, or a FILE.ini", name);
}

mb_err mb_event_set_open(const char *name, mb_event_set **out)
{
    mb_event_set *s = mb_zalloc(1, sizeof *s);
    reader r = { .set = s };
    mb_err err;

    s->events = mb_zalloc(MOST, sizeof *s->events);
    s->columns = mb_zalloc(MOST, sizeof *s->columns);
    s->places = mb_zalloc(MOST, sizeof *s->places);
    s->metrics = mb_zalloc(MOST, sizeof *s->metrics);
    err = read_set(name, &r);
    if (!err)
        err = check_open(s);
    *out = err ? NULL : s;
    if (err)
        mb_event_set_close(s);
    return err;
}

void mb_event_set_close(mb_event_set *s)
{
    size_t i;

    if (!s)
        return;
    for (i = 0; i < s->n; i++) {
        free((char *)s->events[i].source);
        free((char *)s->events[i].name);
        free((char *)s->events[i].unit);
        free(s->columns[i]);
        free(s->places[i]);
    }
    for (i = 0; i < s->n_metrics; i++) {
        free(s->metrics[i].name);
        free(s->metrics[i].unit);
        free(s->metrics[i].sql);
        free(s->metrics[i].place);
    }
    free(s->events);
    free(s->columns);
    free(s->places);
    free(s->metrics);
    free(s);
}

/* ---- metrics -------------------------------------------------------------------------------- */

/* TEXT in single quotes, as SQL wants it. */
static void write_quoted(const char *text, FILE *out)
{
    fputc('\'', out);
    for (; *text; text++)
        fputs(*text == '\'' ? "''" : (char[]){ *text, 0 }, out);
    fputc('\'', out);
}

/* One row whose columns are the counts of the run and v_profile's; then the metric. */
static char *metric_query(const mb_event_set *s, const mb_metric *m)
{
    char *sql = NULL;
    size_t size, i;
    FILE *f = open_memstream(&sql, &size);

    if (!f)
        abort();
    fputs("WITH counted AS (SELECT ?1 AS run_id", f);
    for (i = 0; i < s->n; i++) {
        fputs(", max(iif(source = ", f);
        write_quoted(s->events[i].source, f);
        fputs(" AND event = ", f);
        write_quoted(s->events[i].name, f);
        fprintf(f, ", value, NULL)) AS \"%s\"", s->columns[i]);
    }
    fprintf(f,
            " FROM v_counter WHERE run_id = ?1) "
            "SELECT (%s) * 1.0 FROM counted JOIN v_profile AS profile "
            "ON profile.run_id = counted.run_id",
            m->sql);
    if (fclose(f))
        abort();
    return sql;
}

mb_err mb_event_set_metrics(const mb_event_set *s, mb_store *store, int64_t run, double *value)
{
    char id[24];
    mb_err err = MB_OK;
    size_t i;

    snprintf(id, sizeof id, "%lld", (long long)run);
    for (i = 0; !err && i < s->n_metrics; i++) {
        char *sql = metric_query(s, &s->metrics[i]);
        mb_rows *rows;

        err = mb_store_query(store, sql, (const char *const[]){ id, NULL }, &rows);
        value[i] = !err && rows->n && rows->cell[0].type != MB_NULL ? rows->cell[0].real : NAN;
        if (err)
            err = mb_fail_in(err, "%s: metric %s", s->metrics[i].place, s->metrics[i].name);
        mb_rows_free(rows);
        free(sql);
    }
    return err;
}
