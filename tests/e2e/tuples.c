/* tests/e2e/tuples.c - judges what a changing topology wrote: every tuple, from outside.
 *
 *   tuples [--total N] [--keys K] [--unordered SINK]... [--except SINK=SEQ]... --versions FILE
 *          SINK=FILE...
 *
 * The sinks hold JSON lines with `seq` (0, 1, 2 ... each once), `key`, maybe `n` (the how-manieth
 * of its key the tuple is), and stamps: fields by which each PE on the way tells its version.
 * One sink may have several files.  FILE of --versions has a line per version the topology had, in
 * order, which says what a tuple of that version looks like in every sink that it reaches:
 *
 *   main a=1 b=1; side a=1 d=1        and stamps lie between 1 and 254
 *
 * What is counted, all in the last line, and each kind's first case in a line of its own:
 *   lost        a tuple is not in a sink where its version has it
 *   doubled     it is in a sink twice
 *   reordered   a later tuple of the same key stands before it in the same file
 *   mixed       its stamps, over all sinks, are those of no version; or, of one key in one file, an
 *               older version's tuple comes after a newer one's
 *   miscounted  `n` is not what counting by hand gives: seq / K + 1
 *   malformed   a line that is none of a tuple
 *
 * --except: the tuple SEQ must not be in SINK (it was given up there), else as its version has it.
 * An oracle that shares no code with the engine.  Exit: 0 none of these and some tuples, else 1. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXCEPTIONS_MAX = 64 };
enum { SINKS_MAX = 4, SLOTS_MAX = 16, FILES_MAX = 1000, VERSIONS_MAX = 100000 };
#define LINE_BYTES_MAX (1u << 16)
enum fault { LOST, DOUBLED, REORDERED, MIXED, MISCOUNTED, MALFORMED, FAULTS };
static const char *const fault_names[] = {"lost",  "doubled",    "reordered",
                                          "mixed", "miscounted", "malformed"};

struct look { /* of one tuple, or of the tuples of one version, over all sinks */
    uint8_t count[SINKS_MAX];
    uint8_t stamp[SLOTS_MAX]; /* 0: not there */
};

struct slot {
    unsigned sink;
    char name[32];
};

struct file {
    const char *path;
    unsigned sink;
    uint32_t *seqs; /* in order of the lines */
    size_t count, capacity;
};

static struct {
    char sinks[SINKS_MAX][32];
    bool unordered[SINKS_MAX];
    unsigned sink_count;
    struct slot slots[SLOTS_MAX];
    unsigned slot_count;
    struct file files[FILES_MAX];
    unsigned file_count;
    struct {
        unsigned sink;
        size_t seq;
    } exceptions[EXCEPTIONS_MAX];
    unsigned exception_count;
    struct look *versions;
    size_t version_count;
    struct look *tuples;
    size_t total, capacity;
    bool total_given;
    int64_t keys;
    uint64_t faults[FAULTS];
} t = {.keys = 1};

static void die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("tuples: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    exit(2);
}

static void *grow(void *p, size_t bytes)
{
    p = realloc(p, bytes);
    if (p == NULL) {
        die("out of memory");
    }
    return p;
}

static void fault(enum fault kind, const char *fmt, ...)
{
    if (t.faults[kind]++ > 0) {
        return;
    }
    va_list ap;
    va_start(ap, fmt);
    printf("first %s: ", fault_names[kind]);
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
}

static unsigned sink_named(const char *name, size_t bytes)
{
    for (unsigned i = 0; i < t.sink_count; i++) {
        if (strlen(t.sinks[i]) == bytes && memcmp(t.sinks[i], name, bytes) == 0) {
            return i;
        }
    }
    if (t.sink_count == SINKS_MAX || bytes >= sizeof t.sinks[0]) {
        die("too many sinks, or too long a name");
    }
    memcpy(t.sinks[t.sink_count], name, bytes);
    return t.sink_count++;
}

static unsigned slot_named(unsigned sink, const char *name)
{
    for (unsigned i = 0; i < t.slot_count; i++) {
        if (t.slots[i].sink == sink && strcmp(t.slots[i].name, name) == 0) {
            return i;
        }
    }
    if (t.slot_count == SLOTS_MAX || strlen(name) >= sizeof t.slots[0].name) {
        die("too many stamps, or too long a name");
    }
    t.slots[t.slot_count].sink = sink;
    memcpy(t.slots[t.slot_count].name, name, strlen(name) + 1);
    return t.slot_count++;
}

/* ---- versions ---- */

static void parse_version(char *line)
{
    struct look v = {{0}, {0}};
    char *outer, *inner;
    for (char *part = strtok_r(line, ";\n", &outer); part; part = strtok_r(NULL, ";\n", &outer)) {
        char *word = strtok_r(part, " ", &inner);
        unsigned sink = word != NULL ? sink_named(word, strlen(word)) : 0;
        if (word == NULL) {
            continue;
        }
        v.count[sink] = 1;
        while ((word = strtok_r(NULL, " ", &inner)) != NULL) {
            char *equals = strchr(word, '=');
            long value = equals != NULL ? strtol(equals + 1, NULL, 10) : 0;
            if (value < 1 || value > 254) {
                die("a stamp must look like name=1, up to 254: %s", word);
            }
            *equals = '\0';
            v.stamp[slot_named(sink, word)] = (uint8_t)value;
        }
    }
    if (t.version_count == VERSIONS_MAX) {
        die("too many versions");
    }
    t.versions = grow(t.versions, (t.version_count + 1) * sizeof *t.versions);
    t.versions[t.version_count++] = v;
}

static void read_versions(const char *path)
{
    static char line[LINE_BYTES_MAX];
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        die("cannot read %s", path);
    }
    while (fgets(line, sizeof line, f) != NULL) {
        if (line[strspn(line, " \n")] != '\0') {
            parse_version(line);
        }
    }
    fclose(f);
}

/* ---- what the sinks hold ---- */

static bool field(const char *line, const char *name, int64_t *value)
{
    size_t bytes = strlen(name);
    for (const char *at = line; (at = strchr(at, '"')) != NULL; at++) {
        if (strncmp(at + 1, name, bytes) == 0 && strncmp(at + 1 + bytes, "\":", 2) == 0) {
            char *end;
            *value = strtoll(at + bytes + 3, &end, 10);
            return end != at + bytes + 3;
        }
    }
    return false;
}

static void reserve(size_t seq)
{
    if (seq >= t.capacity) {
        size_t more = seq * 2 + 1024;
        t.tuples = grow(t.tuples, more * sizeof *t.tuples);
        memset(t.tuples + t.capacity, 0, (more - t.capacity) * sizeof *t.tuples);
        t.capacity = more;
    }
    if (seq >= t.total && !t.total_given) {
        t.total = seq + 1;
    }
}

static void take_line(struct file *f, const char *line)
{
    int64_t seq, value;
    size_t bytes = strlen(line);
    if (bytes < 2 || line[0] != '{' || line[bytes - 1] != '\n' || line[bytes - 2] != '}' ||
        !field(line, "seq", &seq) || seq < 0 || seq > UINT32_MAX ||
        (t.total_given && (size_t)seq >= t.total)) {
        fault(MALFORMED, "%s: %.200s", f->path, line);
        return;
    }
    reserve((size_t)seq);
    struct look *x = &t.tuples[seq];
    if (++x->count[f->sink] > 1) {
        fault(DOUBLED, "%s: seq %" PRId64, f->path, seq);
        x->count[f->sink] = 2;
    }
    for (unsigned i = 0; i < t.slot_count; i++) {
        if (t.slots[i].sink == f->sink && field(line, t.slots[i].name, &value)) {
            x->stamp[i] = value >= 1 && value <= 254 ? (uint8_t)value : 255;
        }
    }
    if (field(line, "n", &value) && value != seq / t.keys + 1) {
        fault(MISCOUNTED, "%s: seq %" PRId64 " has n %" PRId64 ", not %" PRId64, f->path, seq,
              value, seq / t.keys + 1);
    }
    if (f->count == f->capacity) {
        f->capacity = f->capacity * 2 + 1024;
        f->seqs = grow(f->seqs, f->capacity * sizeof *f->seqs);
    }
    f->seqs[f->count++] = (uint32_t)seq;
}

static void read_file(struct file *f)
{
    static char line[LINE_BYTES_MAX];
    FILE *in = fopen(f->path, "r");
    if (in == NULL) {
        die("cannot read %s", f->path);
    }
    while (fgets(line, sizeof line, in) != NULL) {
        take_line(f, line);
    }
    fclose(in);
}

/* ---- judging ---- */

static bool looks_like(const struct look *x, const struct look *v)
{
    for (unsigned s = 0; s < t.sink_count; s++) {
        if ((x->count[s] > 0) != (v->count[s] > 0)) {
            return false;
        }
    }
    return memcmp(x->stamp, v->stamp, sizeof x->stamp) == 0;
}

static bool has_part_of(const struct look *x, const struct look *v)
{
    for (unsigned s = 0; s < t.sink_count; s++) {
        if (x->count[s] > 0 && v->count[s] == 0) {
            return false;
        }
    }
    for (unsigned i = 0; i < t.slot_count; i++) {
        if (x->count[t.slots[i].sink] > 0 && x->stamp[i] != v->stamp[i]) {
            return false;
        }
    }
    return true;
}

/* What a tuple of version `v` must look like: not there where it was given up. */
static struct look wanted(size_t v, size_t seq)
{
    struct look look = t.versions[v];
    for (unsigned e = 0; e < t.exception_count; e++) {
        unsigned sink = t.exceptions[e].sink;
        if (t.exceptions[e].seq != seq) {
            continue;
        }
        look.count[sink] = 0;
        for (unsigned i = 0; i < t.slot_count; i++) {
            look.stamp[i] = t.slots[i].sink == sink ? 0 : look.stamp[i];
        }
    }
    return look;
}

static void judge_tuple(size_t seq)
{
    const struct look *x = &t.tuples[seq];
    bool whole = false, part = false;
    for (size_t v = 0; v < t.version_count && !whole; v++) {
        struct look want = wanted(v, seq);
        whole = looks_like(x, &want);
        part = part || has_part_of(x, &want);
    }
    if (whole || t.version_count == 0) {
        return;
    }
    fault(part ? LOST : MIXED, "seq %zu", seq);
    for (unsigned i = 0; i < t.slot_count && t.faults[part ? LOST : MIXED] == 1; i++) {
        printf("  %s %s=%d%s\n", t.sinks[t.slots[i].sink], t.slots[i].name, x->stamp[i],
               x->count[t.slots[i].sink] == 0 ? " (not there)" : "");
    }
}

/* Of each key in one file: later tuples later, and of the same or a later version. */
static void judge_order(const struct file *f)
{
    int64_t *last = grow(NULL, (size_t)t.keys * sizeof *last);
    size_t *version = grow(NULL, (size_t)t.keys * sizeof *version);
    for (int64_t k = 0; k < t.keys; k++) {
        last[k] = -1;
        version[k] = 0;
    }
    for (size_t i = 0; i < f->count && !t.unordered[f->sink]; i++) {
        int64_t seq = f->seqs[i], key = seq % t.keys;
        if (seq < last[key]) {
            fault(REORDERED, "%s: seq %" PRId64 " after %" PRId64, f->path, seq, last[key]);
        }
        last[key] = seq;
        size_t v = version[key];
        while (v < t.version_count && !looks_like(&t.tuples[seq], &t.versions[v])) {
            v++;
        }
        if (v < t.version_count) {
            version[key] = v;
            continue;
        }
        for (v = 0; v < version[key] && !looks_like(&t.tuples[seq], &t.versions[v]); v++) {
        }
        if (v < version[key]) { /* else judge_tuple has seen it */
            fault(MIXED, "%s: seq %" PRId64 " is of version %zu, after one of version %zu", f->path,
                  seq, v, version[key]);
        }
    }
    free(last);
    free(version);
}

static void add_file(char *arg)
{
    char *equals = strchr(arg, '=');
    if (equals == NULL || t.file_count == FILES_MAX) {
        die("SINK=FILE is wanted, not %s", arg);
    }
    t.files[t.file_count++] =
        (struct file){.path = equals + 1, .sink = sink_named(arg, (size_t)(equals - arg))};
}

static void add_exception(const char *value)
{
    const char *equals = strchr(value, '=');
    if (equals == NULL || t.exception_count == EXCEPTIONS_MAX) {
        die("SINK=SEQ is wanted, not %s", value);
    }
    t.exceptions[t.exception_count].sink = sink_named(value, (size_t)(equals - value));
    t.exceptions[t.exception_count++].seq = strtoull(equals + 1, NULL, 10);
}

static void parse_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strncmp(argv[i], "--", 2) != 0) {
            add_file(argv[i]);
            continue;
        }
        if (value == NULL) {
            die("%s wants a value", argv[i]);
        }
        if (strcmp(argv[i], "--total") == 0) {
            t.total = strtoull(value, NULL, 10);
            t.total_given = true;
        } else if (strcmp(argv[i], "--keys") == 0) {
            t.keys = strtoll(value, NULL, 10);
        } else if (strcmp(argv[i], "--unordered") == 0) {
            t.unordered[sink_named(value, strlen(value))] = true;
        } else if (strcmp(argv[i], "--except") == 0) {
            add_exception(value);
        } else if (strcmp(argv[i], "--versions") == 0) {
            read_versions(value);
        } else {
            die("no such option: %s", argv[i]);
        }
        i++;
    }
    if (t.keys < 1 || t.file_count == 0 || t.version_count == 0) {
        die("usage: tuples [--total N] [--keys K] [--unordered SINK] --versions FILE SINK=FILE...");
    }
}

int main(int argc, char **argv)
{
    parse_arguments(argc, argv);
    if (t.total > 0) {
        reserve(t.total - 1);
    }
    for (unsigned i = 0; i < t.file_count; i++) {
        read_file(&t.files[i]);
    }
    for (size_t seq = 0; seq < t.total; seq++) {
        judge_tuple(seq);
    }
    for (unsigned i = 0; i < t.file_count; i++) {
        judge_order(&t.files[i]);
        free(t.files[i].seqs);
    }
    uint64_t faults = 0;
    printf("tuples %zu", t.total);
    for (unsigned k = 0; k < FAULTS; k++) {
        printf(" %s %" PRIu64, fault_names[k], t.faults[k]);
        faults += t.faults[k];
    }
    putchar('\n');
    size_t total = t.total;
    free(t.tuples);
    free(t.versions);
    return faults == 0 && total > 0 ? 0 : 1;
}
