/* pe/builtin/file_source.c - a source that reads a file: lines, JSON lines or CSV.
 *
 * Runs on:    a thread of its own: reading may wait for the disk.
 * Invariants: see pe/builtin/file_source.h.
 * Why:        large reads and memchr: what costs is copying the text into the batch, once.
 * See:        pe/builtin/file_follow.c, tests/unit/builtin/file_source_test.c */
#include "pe/builtin/file_source.h"

#include "core/hash.h"
#include "core/limits.h"
#include "core/mem.h"
#include "pe/batch.h"
#include "pe/builtin/builtin.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMER_PACE 1u
#define PROBE_BYTES 65536u
#define TOO_LONG "a record is longer than 16 MiB"

static int cannot_open(struct oxb_pe *pe, const struct file_source *s)
{
    const char *why = strerror(errno);
    char host[65] = "this machine";
    (void)gethostname(host, sizeof host - 1);
    return oxb_fail(pe, "%s: cannot open it on %s: %s", s->path, host, why);
}

static int check_kind(struct oxb_pe *pe, const struct file_source *s, const struct stat *now)
{
    const char *kind = S_ISDIR(now->st_mode) ? "a folder" : "a device or pipe";
    return S_ISREG(now->st_mode) ? OXB_OK
                                 : oxb_fail(pe, "%s: is %s, not a file", s->path, kind);
}

static int prepare(struct oxb_pe *pe)
{
    struct file_source *s = oxb_self(pe);
    const char *format = oxb_param_str(pe, "format");
    s->fd = s->notify_fd = s->watched = -1;
    s->path = oxb_param_str(pe, "path");
    s->format = strcmp(format, "jsonl") == 0 ? FILE_JSONL
                : strcmp(format, "csv") == 0 ? FILE_CSV
                                             : FILE_LINES;
    s->follows = oxb_param_bool(pe, "follow");
    s->repeat = (uint64_t)oxb_param_i64(pe, "repeat");
    s->schema = oxb_out_schema(pe, 0);
    unsigned parallelism = oxb_parallelism(pe);
    if (oxb_param_has(pe, "rate")) {
        s->pace.rate = oxb_param_f64(pe, "rate") / parallelism;
    }
    if (s->follows && (parallelism > 1 || s->repeat > 1)) {
        return oxb_fail(pe, "`follow` needs parallelism 1 and repeat 1");
    }
    if (s->format == FILE_CSV && parallelism > 1) {
        return oxb_fail(pe, "`format: csv` needs parallelism 1: a record may span lines");
    }
    struct stat now; /* said before anything runs, or changes */
    return access(s->path, R_OK) == 0 && stat(s->path, &now) == 0 ? check_kind(pe, s, &now)
                                                                  : cannot_open(pe, s);
}

int file_fail_here(struct oxb_pe *pe, struct file_source *s, const char *what)
{
    if (s->pos.begin > 0 && s->format != FILE_CSV) { /* how many lines are before is not known */
        return oxb_fail(pe, "%s: at byte %" PRIu64 ": %s", s->path, s->pos.offset, what);
    }
    return oxb_fail(pe, "%s:%" PRIu64 ": %s", s->path, s->pos.line + 1, what);
}

/* next_line_begin - the first line begin at or after `from`.  Return: false, errno set. */
static bool next_line_begin(int fd, uint64_t from, uint64_t *begin)
{
    char *probe = mem_alloc(PROBE_BYTES);
    uint64_t at = from - 1; /* a newline just before `from` counts */
    ssize_t n;
    for (;;) {
        n = pread(fd, probe, PROBE_BYTES, (off_t)at);
        if (n <= 0) {
            break;
        }
        const char *newline = memchr(probe, '\n', (size_t)n);
        if (newline != NULL) {
            at += (uint64_t)(newline - probe) + 1;
            break;
        }
        at += (uint64_t)n;
    }
    mem_free(probe);
    *begin = at;
    return n >= 0;
}

/* take_range - this instance's part of a file of `size` bytes (R3). */
static bool take_range(struct oxb_pe *pe, struct file_source *s, uint64_t size)
{
    uint64_t index = oxb_index(pe);
    uint64_t count = oxb_parallelism(pe);
    uint64_t from = size / count * index + size % count * index / count;
    uint64_t to = size / count * (index + 1) + size % count * (index + 1) / count;
    s->pos.end = index + 1 < count ? to : UINT64_MAX;
    if (from > 0 && !next_line_begin(s->fd, from, &s->pos.begin)) {
        return false;
    }
    s->pos.offset = s->pos.begin;
    return true;
}

int file_open(struct oxb_pe *pe, struct file_source *s)
{
    struct stat now;
    s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (s->fd < 0 || fstat(s->fd, &now) != 0) {
        return cannot_open(pe, s);
    }
    if (check_kind(pe, s, &now) != OXB_OK) {
        return OXB_ERROR;
    }
    s->pos.parallelism = oxb_parallelism(pe);
    bool is_same = s->pos.inode == now.st_ino && s->pos.device == now.st_dev;
    uint64_t path = hash_bytes(s->path, strlen(s->path));
    bool is_renamed = s->pos.path != 0 && s->pos.path != path;
    if (s->is_restored && !is_same && (s->follows || is_renamed)) { /* R5 */
        oxb_log(pe, OXB_WARN, "%s is another file now; reading it from its beginning", s->path);
        s->pos = (struct file_position){.parallelism = s->pos.parallelism, .end = UINT64_MAX};
        s->is_restored = false;
    }
    s->pos.path = path;
    s->pos.inode = now.st_ino;
    s->pos.device = now.st_dev;
    if (!s->is_restored && !take_range(pe, s, (uint64_t)now.st_size)) {
        return oxb_fail(pe, "%s: %s", s->path, strerror(errno));
    }
    s->has_header = false;
    s->read_offset = s->format == FILE_CSV ? 0 : s->pos.offset; /* csv: the header comes first */
    if (lseek(s->fd, (off_t)s->read_offset, SEEK_SET) < 0) {
        return oxb_fail(pe, "%s: %s", s->path, strerror(errno));
    }
    return OXB_OK;
}

static int start(struct oxb_pe *pe)
{
    struct file_source *s = oxb_self(pe);
    if (s->follows && file_follow_start(pe, s) != OXB_OK) {
        return OXB_ERROR;
    }
    return file_open(pe, s);
}

/* take_lines, take_jsonl, take_csv - up to `want` rows of what is in the buffer.
 * Return: rows, or -1 after oxb_fail. */
static int64_t take_lines(struct oxb_pe *pe, struct file_source *s, struct oxb_writer *w,
                          uint64_t want)
{
    struct line line;
    uint64_t n = 0;
    while (n < want && s->pos.offset < s->pos.end && lines_next(&s->in, &line)) {
        if (line.bytes > TUPLE_BYTES_MAX) {
            lines_untake(&s->in, &line);
            return file_fail_here(pe, s, TOO_LONG);
        }
        uint32_t row = oxb_row(w);
        if (s->in.has_other) {
            text_put(w, 0, row, line.text, line.bytes, false, &s->scratch);
        } else {
            oxb_put_str(w, 0, row, line.text, (uint32_t)line.bytes);
        }
        oxb_commit(w);
        s->pos.offset += line.taken;
        s->pos.line++;
        n++;
    }
    return (int64_t)n;
}

/* fail_record - a record that is no tuple; the caller goes past it. */
static int64_t fail_record(struct oxb_pe *pe, const struct file_source *s, const char *text,
                           size_t bytes, const char *what)
{
    bool by_line = s->pos.begin == 0 || s->format == FILE_CSV; /* see file_fail_here */
    return oxb_fail_input(pe, text, bytes, "%s:%s%" PRIu64 ": %s", s->path,
                          by_line ? "" : " at byte ", by_line ? s->pos.line + 1 : s->pos.offset,
                          what);
}

static int64_t take_jsonl(struct oxb_pe *pe, struct file_source *s, struct oxb_writer *w,
                          uint64_t want)
{
    struct line line;
    struct fail why;
    uint64_t n = 0;
    while (n < want && s->pos.offset < s->pos.end && lines_next(&s->in, &line)) {
        if (!text_is_blank(line.text, line.bytes)) {
            struct builder *to = (struct builder *)w; /* the writer is its first member */
            if (row_parse_json(to, line.text, line.bytes, &why) != ERR_OK) {
                int64_t failed = fail_record(pe, s, line.text, line.bytes, why.what);
                s->pos.offset += line.taken;
                s->pos.line++;
                return failed;
            }
            n++;
        }
        s->pos.offset += line.taken;
        s->pos.line++;
    }
    return (int64_t)n;
}

static uint64_t count_newlines(const char *p, size_t bytes)
{
    uint64_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        n += p[i] == '\n';
    }
    return n;
}

/* take_header - the record just cut names the columns; go on where the position is. */
static int take_header(struct oxb_pe *pe, struct file_source *s, uint64_t bytes, uint64_t lines)
{
    const char *missing;
    uint64_t line = s->pos.line;
    if (!csv_header(&s->csv, s->schema, &missing)) {
        s->pos.line = 0;
        return oxb_fail(pe, "%s:1: the header has no column `%s`", s->path, missing);
    }
    s->has_header = true;
    s->pos.begin = bytes;
    s->begin_line = lines;
    if (s->pos.offset <= bytes) {
        s->pos.offset = bytes;
        s->pos.line = lines;
        return OXB_OK;
    }
    s->pos.line = line;
    lines_clear(&s->in);
    s->read_offset = s->pos.offset;
    if (lseek(s->fd, (off_t)s->read_offset, SEEK_SET) < 0) {
        return oxb_fail(pe, "%s: %s", s->path, strerror(errno));
    }
    return OXB_OK;
}

/* put_record - @text, @bytes: the record that csv_cut has taken apart. */
static int put_record(struct oxb_pe *pe, struct file_source *s, struct oxb_writer *w,
                      const char *text, size_t bytes)
{
    const char *field;
    const char *why;
    char what[256];
    s->csv.is_plain = !s->in.has_other;
    if (!csv_put(&s->csv, s->schema, w, oxb_row(w), &field, &why)) {
        snprintf(what, sizeof what, "column `%s` %s", field, why);
        return (int)fail_record(pe, s, text, bytes, what);
    }
    oxb_commit(w);
    return OXB_OK;
}

/* go_past - the next bytes of the buffer, which are `lines` lines, are done with. */
static void go_past(struct file_source *s, size_t bytes, uint64_t lines)
{
    s->in.begin += bytes;
    s->in.searched = s->in.begin;
    s->pos.offset += bytes;
    s->pos.line += lines;
}

static int64_t take_csv(struct oxb_pe *pe, struct file_source *s, struct oxb_writer *w,
                        uint64_t want)
{
    uint64_t n = 0;
    while (n < want && lines_left(&s->in) > 0) {
        const char *text = s->in.data + s->in.begin;
        const char *why;
        size_t taken;
        bool has_bom =
            !s->has_header && lines_left(&s->in) >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0;
        size_t bom = has_bom ? 3 : 0;
        enum csv_cut cut =
            csv_cut(&s->csv, text + bom, lines_left(&s->in) - bom, s->in.is_final, &taken, &why);
        if (cut == CSV_BAD && !s->has_header) {
            return file_fail_here(pe, s, why);
        }
        if (cut == CSV_BAD) { /* where the record ends is not known: with its line */
            const char *end = memchr(text, '\n', lines_left(&s->in));
            size_t bytes = end != NULL ? (size_t)(end - text) + 1 : lines_left(&s->in);
            int64_t failed = fail_record(pe, s, text, bytes, why);
            go_past(s, bytes, end != NULL ? 1 : 0);
            return failed;
        }
        if (cut == CSV_MORE) {
            break;
        }
        taken += bom;
        uint64_t lines = count_newlines(text, taken);
        if (!s->has_header) {
            s->in.begin += taken;
            s->in.searched = s->in.begin;
            if (take_header(pe, s, taken, lines) != OXB_OK) {
                return -1;
            }
            continue;
        }
        bool is_empty = s->csv.cell_count == 1 && s->csv.cells[0].bytes == 0 && text[0] != '"';
        if (!is_empty) {
            if (put_record(pe, s, w, text + bom, taken - bom) != OXB_OK) {
                go_past(s, taken, lines);
                return -1;
            }
            n++;
        }
        go_past(s, taken, lines);
    }
    return (int64_t)n;
}

static int64_t take(struct oxb_pe *pe, struct file_source *s, struct oxb_writer *w, uint64_t want)
{
    switch (s->format) {
    case FILE_JSONL:
        return take_jsonl(pe, s, w, want);
    case FILE_CSV:
        return take_csv(pe, s, w, want);
    case FILE_LINES:
        break;
    }
    return take_lines(pe, s, w, want);
}

/* end_of_pass - the file, or the range, is read: again, or done. */
static enum file_more end_of_pass(struct oxb_pe *pe, struct file_source *s)
{
    if (s->format == FILE_CSV && !s->has_header) {
        oxb_fail(pe, "%s:1: there is no header line", s->path);
        return FILE_FAILED;
    }
    bool was_empty = s->pos.offset == s->pos.begin;
    s->pos.repetition = was_empty ? s->repeat : s->pos.repetition + 1;
    if (s->pos.repetition >= s->repeat) {
        return FILE_ENDED;
    }
    lines_clear(&s->in);
    s->pos.offset = s->read_offset = s->pos.begin;
    s->pos.line = s->begin_line;
    if (lseek(s->fd, (off_t)s->read_offset, SEEK_SET) < 0) {
        oxb_fail(pe, "%s: %s", s->path, strerror(errno));
        return FILE_FAILED;
    }
    return FILE_MORE;
}

/* read_more - called when the buffer holds no complete record. */
static enum file_more read_more(struct oxb_pe *pe, struct file_source *s)
{
    if (s->pos.offset >= s->pos.end) {
        return end_of_pass(pe, s);
    }
    if (lines_left(&s->in) > TUPLE_BYTES_MAX) {
        file_fail_here(pe, s, TOO_LONG);
        return FILE_FAILED;
    }
    if (s->in.is_final) {
        return s->follows ? file_follow_end(pe, s) : end_of_pass(pe, s);
    }
    char *space = lines_space(&s->in, LINES_READ_BYTES);
    ssize_t n;
    do {
        n = read(s->fd, space, LINES_READ_BYTES);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        oxb_fail(pe, "%s: cannot read it: %s", s->path, strerror(errno));
        return FILE_FAILED;
    }
    if (n > 0) {
        s->read_offset += (uint64_t)n;
        lines_filled(&s->in, (size_t)n);
        return FILE_MORE;
    }
    if (s->follows) {
        return file_follow_end(pe, s);
    }
    if (lines_left(&s->in) > 0) {
        s->in.is_final = true;
        return FILE_MORE;
    }
    return end_of_pass(pe, s);
}

static int produce(struct oxb_pe *pe, uint32_t rows_max)
{
    struct file_source *s = oxb_self(pe);
    if (s->pos.repetition >= s->repeat) { /* restored at the end */
        return OXB_END;
    }
    uint64_t now_us = s->pace.rate > 0 ? oxb_mono_us(pe) : 0;
    uint64_t room = pace_room(&s->pace, now_us);
    uint64_t want = room < rows_max ? room : rows_max;
    uint64_t done = 0;
    int result = OXB_OK;
    struct oxb_writer *w = oxb_writer(pe, 0);
    while (done < want && result == OXB_OK) {
        int64_t n = take(pe, s, w, want - done);
        if (n < 0) {
            result = OXB_ERROR;
            break;
        }
        done += (uint64_t)n;
        if (done == want) {
            break;
        }
        switch (read_more(pe, s)) {
        case FILE_MORE:
            break;
        case FILE_ENDED:
            result = OXB_END;
            break;
        case FILE_WAIT:
            result = OXB_IDLE;
            break;
        case FILE_FAILED:
            result = OXB_ERROR;
            break;
        }
    }
    s->pace.used += done;
    if (result == OXB_OK && done == room) {
        oxb_timer_set(pe, TIMER_PACE, pace_next_us(&s->pace, now_us));
        return OXB_IDLE;
    }
    return result;
}

static int timer(struct oxb_pe *pe, uint64_t id) /* its coming makes the engine call produce */
{
    (void)pe;
    (void)id;
    return OXB_OK;
}

static int ready(struct oxb_pe *pe, int fd, uint32_t events) /* likewise */
{
    (void)fd;
    (void)events;
    file_follow_drain(oxb_self(pe));
    return OXB_OK;
}

static void stop(struct oxb_pe *pe)
{
    struct file_source *s = oxb_self(pe);
    file_follow_stop(pe, s);
    if (s->fd >= 0) {
        close(s->fd);
        s->fd = -1;
    }
}

static void drop(struct oxb_pe *pe)
{
    struct file_source *s = oxb_self(pe);
    lines_fini(&s->in);
    csv_fini(&s->csv);
    strbuf_fini(&s->scratch);
}

static int snapshot(struct oxb_pe *pe, struct oxb_blob *out)
{
    const struct file_source *s = oxb_self(pe);
    oxb_blob_add(out, &s->pos, sizeof s->pos);
    return OXB_OK;
}

static int restore(struct oxb_pe *pe, const void *data, size_t bytes, uint32_t version)
{
    struct file_source *s = oxb_self(pe);
    (void)version;
    if (bytes != sizeof s->pos && bytes != offsetof(struct file_position, path)) {
        return oxb_fail(pe, "the saved position has %zu bytes, not %zu", bytes, sizeof s->pos);
    }
    struct file_position pos = {0};
    memcpy(&pos, data, bytes);
    if (pos.parallelism == 0) { /* saved before start: nothing was read */
        return OXB_OK;
    }
    if (pos.parallelism != oxb_parallelism(pe)) {
        return oxb_fail(pe,
                        "the saved position is of parallelism %" PRIu64 ", not %u; keep it, or "
                        "give the PE another uid to begin anew",
                        pos.parallelism, oxb_parallelism(pe));
    }
    s->pos = pos;
    s->is_restored = true;
    return OXB_OK;
}

static const struct oxb_param params[] = {
    {.name = "path", .type = OXB_P_PATH, .flags = OXB_REQUIRED, .doc = "the file to read"},
    {.name = "format",
     .type = OXB_P_ENUM,
     .fallback = "lines",
     .choices = "lines jsonl csv",
     .doc = "lines: the field `line`; jsonl, csv: the fields of `out`; csv has a header line"},
    {.name = "follow",
     .type = OXB_P_BOOL,
     .fallback = "false",
     .doc = "wait for more at the end, also when the file is truncated or replaced"},
    {.name = "rate",
     .type = OXB_P_F64,
     .min = PACE_RATE_MIN,
     .max = PACE_RATE_MAX,
     .doc = "tuples per second, over all instances; as fast as it can when absent"},
    {.name = "repeat",
     .type = OXB_P_I64,
     .fallback = "1",
     .min = 1,
     .max = 9e15,
     .doc = "how many times to read the file"},
    {.name = NULL},
};

static const struct oxb_port outputs[] = {
    {"out", "?format=lines(line: str), ?format!=lines(declared)",
     "one tuple per line or record; N instances read N parts of the file"},
    {NULL, NULL, NULL},
};

const struct oxb_pe_type builtin_file_source = {
    .abi = OXB_ABI,
    .flags = OXB_SOURCE | OXB_REPLAYABLE | OXB_OWN_THREAD | OXB_LOCAL,
    .name = "file-source",
    .doc = "reads a file: lines, JSON lines or CSV; follows it if asked",
    .params = params,
    .outputs = outputs,
    .state_version = 1,
    .self_bytes = sizeof(struct file_source),
    .prepare = prepare,
    .start = start,
    .produce = produce,
    .ready = ready,
    .timer = timer,
    .stop = stop,
    .drop = drop,
    .snapshot = snapshot,
    .restore = restore,
};
