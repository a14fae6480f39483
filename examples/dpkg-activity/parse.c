/* parse.c - turns lines of dpkg.log into tuples; lines it cannot read leave
 * by the port `errors`.
 *
 *   2026-11-22 17:26:01 install tree:amd64 <none> 2.1.0-1
 *   2026-11-22 17:26:01 status half-configured tree:amd64 2.1.0-1
 *   2026-11-22 17:26:01 startup archives unpack
 *
 * The log has local time without its zone; it is taken as UTC. */
#define _GNU_SOURCE
#include <oxbow/pe.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { OUT_AT, OUT_DAY, OUT_ACTION, OUT_PACKAGE }; /* fields of the port `out` */
enum { ERRORS_LINE, ERRORS_WHY };                  /* fields of the port `errors` */

struct self {
    unsigned line; /* field number in the input */
};

static int bind(struct oxb_pe *pe, unsigned port, const struct oxb_schema *schema)
{
    struct self *self = oxb_self(pe);
    (void)port;
    self->line = (unsigned)oxb_field(schema, "line");
    return OXB_OK;
}

/* next_word - the word at *at, which moves behind it; len 0 at the end of the line. */
static struct oxb_str next_word(struct oxb_str line, uint32_t *at)
{
    while (*at < line.len && line.p[*at] == ' ') {
        (*at)++;
    }
    uint32_t from = *at;
    while (*at < line.len && line.p[*at] != ' ') {
        (*at)++;
    }
    struct oxb_str word = {line.p + from, *at - from};
    return word;
}

static bool read_number(const char *p, unsigned digits, int *out)
{
    *out = 0;
    for (unsigned i = 0; i < digits; i++) {
        if (!isdigit((unsigned char)p[i])) {
            return false;
        }
        *out = *out * 10 + (p[i] - '0');
    }
    return true;
}

/* read_time - "2026-11-22 17:26:01", the first 19 bytes of the line. */
static bool read_time(struct oxb_str line, int64_t *us)
{
    struct tm t;
    memset(&t, 0, sizeof t);
    const char *p = line.p;
    if (line.len < 19 || p[4] != '-' || p[7] != '-' || p[10] != ' ' || p[13] != ':' ||
        p[16] != ':' || !read_number(p, 4, &t.tm_year) || !read_number(p + 5, 2, &t.tm_mon) ||
        !read_number(p + 8, 2, &t.tm_mday) || !read_number(p + 11, 2, &t.tm_hour) ||
        !read_number(p + 14, 2, &t.tm_min) || !read_number(p + 17, 2, &t.tm_sec)) {
        return false;
    }
    if (t.tm_mon < 1 || t.tm_mon > 12 || t.tm_mday < 1 || t.tm_mday > 31 || t.tm_hour > 23) {
        return false;
    }
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    *us = (int64_t)timegm(&t) * 1000000;
    return true;
}

static void reject(struct oxb_pe *pe, struct oxb_str line, const char *why)
{
    struct oxb_writer *w = oxb_writer(pe, 1);
    uint32_t row = oxb_row(w);
    oxb_put_str(w, ERRORS_LINE, row, line.p, line.len);
    oxb_put_str(w, ERRORS_WHY, row, why, (uint32_t)strlen(why));
    oxb_commit(w);
}

static bool is_word(struct oxb_str word, const char *text)
{
    return word.len == strlen(text) && memcmp(word.p, text, word.len) == 0;
}

static void parse_line(struct oxb_pe *pe, const struct oxb_batch *in, uint32_t i,
                       struct oxb_writer *out)
{
    struct self *self = oxb_self(pe);
    struct oxb_str line = oxb_str_at(in, self->line, i);
    int64_t at_us = 0;
    if (!read_time(line, &at_us)) {
        reject(pe, line, "no time at the start of the line");
        return;
    }
    uint32_t at = 19;
    struct oxb_str action = next_word(line, &at);
    if (action.len == 0) {
        reject(pe, line, "no action after the time");
        return;
    }
    struct oxb_str package = next_word(line, &at);
    if (is_word(action, "status")) { /* status STATE PACKAGE: the state is the news */
        action = package;
        package = next_word(line, &at);
    } else if (is_word(action, "startup")) { /* names no package */
        package.len = 0;
    }
    uint32_t row = oxb_row(out);
    oxb_put_i64(out, OUT_AT, row, at_us);
    oxb_put_str(out, OUT_DAY, row, line.p, 10);
    oxb_put_str(out, OUT_ACTION, row, action.p, action.len);
    oxb_put_str(out, OUT_PACKAGE, row, package.p, package.len);
    oxb_commit(out);
}

OXB_FLATMAP(process, parse_line)

static const struct oxb_port inputs[] = {
    {.name = "in", .schema = "line: str", .doc = "lines of dpkg.log"},
    {.name = NULL},
};
static const struct oxb_port outputs[] = {
    {.name = "out",
     .schema = "at: time, day: str, action: str, package: str",
     .doc = "one tuple per line; the package is empty where the line names none"},
    {.name = "errors", .schema = "line: str, why: str", .doc = "lines that cannot be read"},
    {.name = NULL},
};

OXB_EXPORT const struct oxb_pe_type oxb_pe = {
    .abi = OXB_ABI,
    .flags = OXB_MANY,
    .name = "dpkg-parse",
    .doc = "parses dpkg.log",
    .inputs = inputs,
    .outputs = outputs,
    .state_version = 1,
    .self_bytes = sizeof(struct self),
    .bind = bind,
    .process = process,
};
