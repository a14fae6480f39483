/* topology/parse_stream.c - the list `streams:`: ends, names and partitioning. */
#include "topology/draft.h"

#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

enum stream_key { FROM, TO, NAME, BY, TO_ALL, STREAM_KEYS };
static const char *const stream_keys[STREAM_KEYS] = {"from", "to", "name", "by", "to_all"};

static int find_pe(const struct topology *t, const char *name)
{
    const struct pe *p = topology_pe(t, name);
    return p != NULL ? (int)(p - t->pes) : -1;
}

static void unknown_pe(struct draft *dr, const struct ynode *n, const char *name)
{
    const struct topology *t = dr->t;
    const char **names = mem_array(t->pe_count, sizeof names[0]);
    for (uint32_t i = 0; i < t->pe_count; i++) {
        names[i] = t->pes[i].name;
    }
    char *hint = dr->d->count < DIAGS_MAX ? hint_nearest(name, names, t->pe_count) : NULL;
    diags_error(dr->d, n->at, hint != NULL ? hint : mem_dup("add it under `pes:`"),
                "there is no PE '%.80s' in this topology", name);
    mem_free(names);
}

static void unknown_port(struct draft *dr, const struct ynode *n, const struct pe *p, bool output,
                         const char *name)
{
    const struct port *ports = output ? p->outputs : p->inputs;
    unsigned count = output ? p->output_count : p->input_count;
    const char *side = output ? "output" : "input";
    if (count == 0) {
        diags_error(dr->d, n->at,
                    output ? mem_printf("'%s' is a sink", p->use)
                           : mem_printf("'%s' is a source", p->use),
                    "'%s' has no %ss", p->name, side);
        return;
    }
    const char *names[PORTS_MAX];
    for (unsigned i = 0; i < count; i++) {
        names[i] = ports[i].name;
    }
    diags_error(dr->d, n->at, hint_nearest(name, names, count), "'%s' has no %s port '%.80s'",
                p->name, side, name);
}

/* read_end - `PE` or `PE.PORT`.  Return: false when it cannot be resolved; reported, except where
 * the PE's own code is unknown, which is reported already. */
static bool read_end(struct draft *dr, const struct ynode *n, bool output, uint32_t *pe,
                     uint32_t *port)
{
    const char *text;
    if (!read_text(dr->d, n, output ? "'from'" : "'to'", &text)) {
        return false;
    }
    size_t bytes = strcspn(text, ".");
    char *name = mem_dup_n(text, bytes);
    int found = find_pe(dr->t, name);
    if (found < 0) {
        unknown_pe(dr, n, name);
    }
    mem_free(name);
    if (found < 0 || dr->t->pes[found].desc == NULL) {
        return false;
    }
    struct pe *p = &dr->t->pes[found];
    struct port *ports = output ? p->outputs : p->inputs;
    unsigned count = output ? p->output_count : p->input_count;
    int at = -1;
    if (text[bytes] == '\0') {
        at = port_default(ports, count, output ? "out" : "in");
    }
    for (unsigned i = 0; text[bytes] == '.' && i < count; i++) {
        at = strcmp(ports[i].name, text + bytes + 1) == 0 ? (int)i : at;
    }
    if (at < 0 && output && strcmp(text + bytes, "." DEAD_LETTER_PORT) == 0) {
        at = (int)count;
    }
    if (at < 0) {
        unknown_port(dr, n, p, output, text[bytes] == '.' ? text + bytes + 1 : "");
        return false;
    }
    ports[at].connected = true;
    *pe = (uint32_t)found;
    *port = (uint32_t)at;
    return true;
}

/* default_name - `from->to`, with ports where they are not the default ones. */
static char *default_name(const struct topology *t, const struct stream *s)
{
    const struct pe *from = &t->pes[s->from_pe], *to = &t->pes[s->to_pe];
    bool out = (int)s->from_port == port_default(from->outputs, from->output_count, "out");
    bool in = (int)s->to_port == port_default(to->inputs, to->input_count, "in");
    return mem_printf("%s%s%s->%s%s%s", from->name, out ? "" : ".",
                      out ? "" : from->outputs[s->from_port].name, to->name, in ? "" : ".",
                      in ? "" : to->inputs[s->to_port].name);
}

static void read_partitioning(struct draft *dr, struct stream *s, struct dstream *at,
                              const struct ynode **v)
{
    bool all = false;
    if (v[TO_ALL] != NULL) {
        (void)read_bool(dr->d, v[TO_ALL], "'to_all'", &all);
    }
    if (all && v[BY] != NULL) {
        diags_error(dr->d, v[TO_ALL]->at, mem_dup("keep one of them"),
                    "a stream is either keyed (`by`) or goes to all (`to_all`)");
    }
    s->partitioning = v[BY] != NULL ? PART_KEYED : all ? PART_BROADCAST : PART_BALANCED;
    at->by = v[BY];
}

static void parse_stream(struct draft *dr, const struct ynode *n)
{
    const struct ynode *v[STREAM_KEYS];
    const char *name = NULL;
    struct stream s = {.at = n->at};
    struct dstream at = {0};
    (void)read_map(dr->d, n, "a stream", stream_keys, STREAM_KEYS, v);
    if (n->kind != Y_MAP) {
        dr->ends_bad = true;
        return;
    }
    bool good = true;
    for (unsigned k = FROM; k <= TO; k++) {
        if (v[k] == NULL) {
            diags_error(dr->d, n->at, mem_dup("write {from: PE, to: PE}"), "a stream lacks '%s'",
                        stream_keys[k]);
            good = false;
        }
    }
    good = v[FROM] != NULL && read_end(dr, v[FROM], true, &s.from_pe, &s.from_port) && good;
    good = v[TO] != NULL && read_end(dr, v[TO], false, &s.to_pe, &s.to_port) && good;
    if (v[NAME] != NULL) {
        good = read_name(dr->d, v[NAME], "a stream", &name) && good;
    }
    read_partitioning(dr, &s, &at, v);
    if (!good) {
        dr->ends_bad = true;
        return;
    }
    s.name = name != NULL ? mem_dup(name) : default_name(dr->t, &s);
    dr->streams[dr->t->stream_count] = at;
    dr->t->streams[dr->t->stream_count++] = s;
}

static int by_name(const void *a, const void *b)
{
    const struct stream *x = *(struct stream *const *)a, *y = *(struct stream *const *)b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : x < y ? -1 : 1;
}

static int by_ends(const void *a, const void *b)
{
    const struct stream *x = *(struct stream *const *)a, *y = *(struct stream *const *)b;
    const uint32_t p[] = {x->from_pe, x->from_port, x->to_pe, x->to_port};
    const uint32_t q[] = {y->from_pe, y->from_port, y->to_pe, y->to_port};
    for (unsigned i = 0; i < 4; i++) {
        if (p[i] != q[i]) {
            return p[i] < q[i] ? -1 : 1;
        }
    }
    return x < y ? -1 : 1;
}

static void check_unique(struct draft *dr)
{
    struct topology *t = dr->t;
    struct stream **sorted = mem_array(t->stream_count, sizeof sorted[0]);
    for (uint32_t i = 0; i < t->stream_count; i++) {
        sorted[i] = &t->streams[i];
    }
    qsort(sorted, t->stream_count, sizeof sorted[0], by_name);
    for (uint32_t i = 1; i < t->stream_count; i++) {
        if (strcmp(sorted[i]->name, sorted[i - 1]->name) == 0) {
            diags_error(dr->d, sorted[i]->at,
                        mem_printf("the first one is in line %u; give one of them a `name:`",
                                   sorted[i - 1]->at.line),
                        "a second stream is named '%s'", sorted[i]->name);
        }
    }
    qsort(sorted, t->stream_count, sizeof sorted[0], by_ends);
    for (uint32_t i = 1; i < t->stream_count; i++) {
        const struct stream *a = sorted[i - 1], *b = sorted[i];
        if (a->from_pe == b->from_pe && a->from_port == b->from_port && a->to_pe == b->to_pe &&
            a->to_port == b->to_port && strcmp(a->name, b->name) != 0) {
            diags_warning(dr->d, b->at, mem_dup("remove one of them if that is not meant"),
                          "'%s' gets every tuple of '%s' twice", t->pes[b->to_pe].name,
                          t->pes[b->from_pe].name);
        }
    }
    mem_free(sorted);
}

void parse_streams(struct draft *dr, const struct ynode *n)
{
    if (ytree_is_null(n)) {
        return;
    }
    if (n->kind != Y_LIST) {
        dr->ends_bad = true;
        diags_error(dr->d, n->at, mem_dup("write `- {from: a, to: b}` lines below it"),
                    "'streams' is %s, not a list", ytree_kind_text(n));
        return;
    }
    if (n->count > STREAMS_MAX) {
        diags_error(dr->d, n->at, mem_printf("at most %d are allowed", STREAMS_MAX),
                    "the topology has %zu streams", n->count);
        return;
    }
    dr->t->streams = mem_array(n->count, sizeof dr->t->streams[0]);
    dr->streams = mem_array(n->count, sizeof dr->streams[0]);
    for (size_t i = 0; i < n->count; i++) {
        parse_stream(dr, n->items[i]);
    }
    check_unique(dr);
}
