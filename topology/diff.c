/* topology/diff.c - compares two topologies part by part.
 *
 * Invariants: D1 to D3 of diff.h.
 * Why:        an upgrade must do nothing for what only looks different, and must say in words what
 *             it does for the rest. */
#include "topology/diff.h"

#include "core/mem.h"
#include "core/strbuf.h"
#include "core/text.h"

#include <inttypes.h>
#include <string.h>

static void match_pes(struct diff *d);
static void match_streams(struct diff *d);
static void diff_pe(struct diff *d, uint32_t old, uint32_t new);
static void diff_stream(struct diff *d, uint32_t old, uint32_t new);
static void diff_whole(struct diff *d);
static char *pe_text(const struct pe *p);
static char *stream_text(const struct topology *t, const struct stream *s);

const char *change_kind_name(enum change_kind kind)
{
    static const char *const names[] = {
        [CHANGE_PE_ADDED] = "pe-added",
        [CHANGE_PE_REMOVED] = "pe-removed",
        [CHANGE_PE_RENAMED] = "pe-renamed",
        [CHANGE_PE_CODE] = "code",
        [CHANGE_PE_PARAMS] = "parameters",
        [CHANGE_PE_SCHEMA] = "schema",
        [CHANGE_PE_PARALLELISM] = "parallelism",
        [CHANGE_PE_PLACEMENT] = "placement",
        [CHANGE_PE_THREADS] = "threads",
        [CHANGE_PE_POLICY] = "policy",
        [CHANGE_STREAM_ADDED] = "stream-added",
        [CHANGE_STREAM_REMOVED] = "stream-removed",
        [CHANGE_STREAM_REPOINTED] = "stream-repointed",
        [CHANGE_STREAM_REPARTITIONED] = "stream-repartitioned",
        [CHANGE_STREAM_RENAMED] = "stream-renamed",
        [CHANGE_POLICY] = "topology-policy",
        [CHANGE_FUSION] = "fusion",
    };
    static_assert(sizeof names / sizeof names[0] == CHANGE_KIND_COUNT, "a name each");
    return kind < CHANGE_KIND_COUNT ? names[kind] : "?";
}

static void add(struct diff *d, enum change_kind kind, uint32_t old, uint32_t new,
                char *before TAKES, char *after TAKES)
{
    const char *name = d->to->name;
    if (change_is_pe(kind)) {
        name = new != INDEX_NONE ? d->to->pes[new].name : d->from->pes[old].name;
    } else if (kind <= CHANGE_STREAM_RENAMED) {
        name = new != INDEX_NONE ? d->to->streams[new].name : d->from->streams[old].name;
    }
    d->items = mem_grow(d->items, d->count, &d->capacity, sizeof d->items[0]);
    d->items[d->count++] = (struct diff_item){kind, old, new, mem_dup(name), before, after};
}

struct diff *diff_topologies(const struct topology *from, const struct topology *to)
{
    struct diff *d = mem_alloc(sizeof *d);
    d->from = from;
    d->to = to;
    match_pes(d);
    match_streams(d);
    for (uint32_t i = 0; i < to->pe_count; i++) {
        if (d->pe_old[i] == INDEX_NONE) {
            add(d, CHANGE_PE_ADDED, INDEX_NONE, i, NULL, pe_text(&to->pes[i]));
            d->pes_added++;
        } else {
            size_t before = d->count;
            diff_pe(d, d->pe_old[i], i);
            d->pes_changed += d->count > before;
        }
    }
    for (uint32_t i = 0; i < from->pe_count; i++) {
        if (d->pe_new[i] == INDEX_NONE) {
            add(d, CHANGE_PE_REMOVED, i, INDEX_NONE, pe_text(&from->pes[i]), NULL);
            d->pes_removed++;
        }
    }
    for (uint32_t i = 0; i < to->stream_count; i++) {
        if (d->stream_old[i] == INDEX_NONE) {
            add(d, CHANGE_STREAM_ADDED, INDEX_NONE, i, NULL, stream_text(to, &to->streams[i]));
            d->streams_added++;
        } else {
            size_t before = d->count;
            diff_stream(d, d->stream_old[i], i);
            d->streams_updated += d->count > before;
        }
    }
    for (uint32_t i = 0; i < from->stream_count; i++) {
        if (d->stream_new[i] == INDEX_NONE) {
            add(d, CHANGE_STREAM_REMOVED, i, INDEX_NONE, stream_text(from, &from->streams[i]),
                NULL);
            d->streams_removed++;
        }
    }
    diff_whole(d);
    return d;
}

void diff_free(struct diff *d)
{
    if (d == NULL) {
        return;
    }
    for (size_t i = 0; i < d->count; i++) {
        mem_free(d->items[i].name);
        mem_free(d->items[i].before);
        mem_free(d->items[i].after);
    }
    mem_free(d->items);
    mem_free(d->pe_old);
    mem_free(d->pe_new);
    mem_free(d->stream_old);
    mem_free(d->stream_new);
    mem_free(d);
}

/* ---- who is who */

static uint32_t *nobody(uint32_t count)
{
    uint32_t *all = mem_array(count, sizeof all[0]);
    memset(all, 0xff, count * sizeof all[0]);
    return all;
}

static_assert(INDEX_NONE == UINT32_MAX, "nobody() fills with 0xff");

static int by_uid(const void *a, const void *b)
{
    const struct pe *const *x = a, *const *y = b;
    return strcmp((*x)->uid, (*y)->uid);
}

static const struct pe **sorted_by_uid(const struct topology *t)
{
    const struct pe **sorted = mem_array(t->pe_count, sizeof sorted[0]);
    for (uint32_t i = 0; i < t->pe_count; i++) {
        sorted[i] = &t->pes[i];
    }
    qsort(sorted, t->pe_count, sizeof sorted[0], by_uid);
    return sorted;
}

static void match_pes(struct diff *d)
{
    d->pe_old = nobody(d->to->pe_count);
    d->pe_new = nobody(d->from->pe_count);
    const struct pe **a = sorted_by_uid(d->from), **b = sorted_by_uid(d->to);
    uint32_t i = 0, k = 0;
    while (i < d->from->pe_count && k < d->to->pe_count) {
        int order = strcmp(a[i]->uid, b[k]->uid);
        if (order == 0) {
            uint32_t old = (uint32_t)(a[i] - d->from->pes), new = (uint32_t)(b[k] - d->to->pes);
            d->pe_old[new] = old;
            d->pe_new[old] = new;
        }
        i += order <= 0;
        k += order >= 0;
    }
    mem_free(a);
    mem_free(b);
}

static bool same_ends(const struct diff *d, const struct stream *x, const struct stream *y)
{
    const struct pe *from = &d->from->pes[x->from_pe], *to = &d->from->pes[x->to_pe];
    return d->pe_new[x->from_pe] == y->from_pe && d->pe_new[x->to_pe] == y->to_pe &&
           strcmp(from->outputs[x->from_port].name,
                  d->to->pes[y->from_pe].outputs[y->from_port].name) == 0 &&
           strcmp(to->inputs[x->to_port].name, d->to->pes[y->to_pe].inputs[y->to_port].name) == 0;
}

static void pair_streams(struct diff *d, uint32_t old, uint32_t new)
{
    d->stream_old[new] = old;
    d->stream_new[old] = new;
}

/* match_named - streams of one name; with `ends`, only those whose ends are the same, too. */
static void match_named(struct diff *d, bool ends)
{
    uint32_t i = 0, k = 0;
    while (i < d->from->stream_count && k < d->to->stream_count) { /* both in order of name */
        const struct stream *x = &d->from->streams[i], *y = &d->to->streams[k];
        int order = strcmp(x->name, y->name);
        if (order == 0 && d->stream_new[i] == INDEX_NONE && d->stream_old[k] == INDEX_NONE &&
            (!ends || same_ends(d, x, y))) {
            pair_streams(d, i, k);
        }
        i += order <= 0;
        k += order >= 0;
    }
}

static void match_streams(struct diff *d)
{
    const struct topology *a = d->from, *b = d->to;
    d->stream_old = nobody(b->stream_count);
    d->stream_new = nobody(a->stream_count);
    uint32_t *first = mem_array(a->pe_count, sizeof first[0]); /* streams of V by producer */
    uint32_t *next = mem_array(a->stream_count, sizeof next[0]);
    for (uint32_t i = a->stream_count; i-- > 0;) {
        next[i] = first[a->streams[i].from_pe];
        first[a->streams[i].from_pe] = i + 1;
    }
    match_named(d, true);
    for (uint32_t k = 0; k < b->stream_count; k++) {
        uint32_t from = d->pe_old[b->streams[k].from_pe];
        for (uint32_t i = from != INDEX_NONE ? first[from] : 0; i != 0; i = next[i - 1]) {
            if (d->stream_old[k] == INDEX_NONE && d->stream_new[i - 1] == INDEX_NONE &&
                same_ends(d, &a->streams[i - 1], &b->streams[k])) {
                pair_streams(d, i - 1, k);
            }
        }
    }
    match_named(d, false);
    mem_free(first);
    mem_free(next);
}

/* ---- PEs */

static char *code_text(const struct pe *p)
{
    size_t digest = strcspn(p->code, ":");
    bool file = digest == DIGEST_HEX_BYTES - 1;
    if (!file) {
        return mem_printf("%s (state %u)", p->use, p->desc->state_version);
    }
    return mem_printf("%s %.12s (state %u)", p->use, p->code, p->desc->state_version);
}

static char *pe_text(const struct pe *p)
{
    char *code = code_text(p);
    char *text = p->parallelism == 1 ? mem_dup(code) : mem_printf("%s x %u", code, p->parallelism);
    mem_free(code);
    return text;
}

static char *value_text(const json_t *value)
{
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS)
                               : mem_dup("(none)");
    return text != NULL ? text : mem_dup("?");
}

static void word(struct strbuf *to, const char *key, const json_t *value)
{
    char *text = value_text(value);
    strbuf_printf(to, "%s%s: %.200s%s", to->bytes > 0 ? ", " : "", key, text,
                  strlen(text) > 200 ? "..." : "");
    mem_free(text);
}

static void diff_params(struct diff *d, uint32_t old, uint32_t new)
{
    json_t *a = d->from->pes[old].with, *b = d->to->pes[new].with;
    struct strbuf before = {0}, after = {0};
    const char *key;
    json_t *value;
    json_object_foreach(a, key, value)
    {
        const json_t *other = json_object_get(b, key);
        if (other == NULL || !json_equal(value, other)) {
            word(&before, key, value);
            word(&after, key, other);
        }
    }
    json_object_foreach(b, key, value)
    {
        if (json_object_get(a, key) == NULL) {
            word(&before, key, NULL);
            word(&after, key, value);
        }
    }
    if (after.bytes > 0) {
        add(d, CHANGE_PE_PARAMS, old, new, strbuf_take(&before), strbuf_take(&after));
    }
    strbuf_fini(&before);
    strbuf_fini(&after);
}

static const struct port *port_named(const struct port *ports, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(ports[i].name, name) == 0) {
            return &ports[i];
        }
    }
    return NULL;
}

static const char *schema_text(const struct port *p)
{
    return p == NULL ? "(no port)" : p->schema.text != NULL ? p->schema.text : "(unconnected)";
}

static void compare_port(const char *kind, const char *name, const struct port *x,
                         const struct port *y, struct strbuf out[2])
{
    const char *a = schema_text(x), *b = schema_text(y);
    if (strcmp(a, b) != 0) {
        strbuf_printf(&out[0], "%s%s %s {%.200s}", out[0].bytes > 0 ? ", " : "", kind, name, a);
        strbuf_printf(&out[1], "%s%s %s {%.200s}", out[1].bytes > 0 ? ", " : "", kind, name, b);
    }
}

static void compare_ports(const char *kind, const struct port *a, unsigned a_count,
                          const struct port *b, unsigned b_count, struct strbuf out[2])
{
    for (unsigned i = 0; i < a_count; i++) {
        compare_port(kind, a[i].name, &a[i], port_named(b, b_count, a[i].name), out);
    }
    for (unsigned i = 0; i < b_count; i++) {
        if (port_named(a, a_count, b[i].name) == NULL) {
            compare_port(kind, b[i].name, NULL, &b[i], out);
        }
    }
}

static void diff_schema(struct diff *d, uint32_t old, uint32_t new)
{
    const struct pe *a = &d->from->pes[old], *b = &d->to->pes[new];
    struct strbuf out[2] = {{0}, {0}};
    compare_ports("input", a->inputs, a->input_count, b->inputs, b->input_count, out);
    compare_ports("output", a->outputs, a->output_count, b->outputs, b->output_count, out);
    if (out[0].bytes > 0) {
        add(d, CHANGE_PE_SCHEMA, old, new, strbuf_take(&out[0]), strbuf_take(&out[1]));
    }
    strbuf_fini(&out[0]);
    strbuf_fini(&out[1]);
}

static bool same_json(const json_t *a, const json_t *b)
{
    return a == NULL || b == NULL ? a == b : json_equal(a, b);
}

bool pe_goes_on(const struct pe *a, const struct pe *b)
{
    bool opens = b->desc->source || b->desc->local || b->desc->effects;
    return strcmp(a->digest, b->digest) == 0 && a->own_thread == b->own_thread &&
           a->isolate_process == b->isolate_process && strcmp(a->device, b->device) == 0 &&
           (!opens || a->parallelism == b->parallelism);
}

static char *place_text(const struct pe *p)
{
    char *labels = p->labels != NULL ? value_text(p->labels) : mem_dup("no labels");
    char *text = mem_printf("device %s, %s", p->device, labels);
    mem_free(labels);
    return text;
}

static char *threads_text(const struct pe *p)
{
    return mem_printf("%s threads%s", p->own_thread ? "own" : "shared",
                      p->isolate_process ? ", own process" : "");
}

static char *policy_text(const struct pe *p)
{
    static const char *const thens[] = {"stop", "drop", "hold", "dead-letter"};
    char stuck[32];
    text_duration((int64_t)p->stuck_after_us, stuck, sizeof stuck);
    bool usual = p->stuck_after_us == (uint64_t)STUCK_AFTER_MS * 1000;
    return mem_printf("retries %u then %s,%s%s state %s", p->retries, thens[p->then],
                      usual ? "" : " stuck after ", usual ? "" : stuck,
                      p->state_drop ? "drop" : "keep");
}

static void diff_pe(struct diff *d, uint32_t old, uint32_t new)
{
    const struct pe *a = &d->from->pes[old], *b = &d->to->pes[new];
    if (strcmp(a->name, b->name) != 0) {
        add(d, CHANGE_PE_RENAMED, old, new, mem_dup(a->name), mem_dup(b->name));
    }
    if (strcmp(a->digest, b->digest) != 0) { /* D1 */
        if (strcmp(a->code, b->code) != 0 || a->desc->state_version != b->desc->state_version) {
            add(d, CHANGE_PE_CODE, old, new, code_text(a), code_text(b));
        }
        diff_params(d, old, new);
        diff_schema(d, old, new);
    }
    if (a->parallelism != b->parallelism) {
        add(d, CHANGE_PE_PARALLELISM, old, new, mem_printf("%u", a->parallelism),
            mem_printf("%u", b->parallelism));
    }
    if (strcmp(a->device, b->device) != 0 || !same_json(a->labels, b->labels)) {
        add(d, CHANGE_PE_PLACEMENT, old, new, place_text(a), place_text(b));
    }
    if (a->own_thread != b->own_thread || a->isolate_process != b->isolate_process) {
        add(d, CHANGE_PE_THREADS, old, new, threads_text(a), threads_text(b));
    }
    if (a->retries != b->retries || a->then != b->then || a->state_drop != b->state_drop ||
        a->stuck_after_us != b->stuck_after_us) {
        add(d, CHANGE_PE_POLICY, old, new, policy_text(a), policy_text(b));
    }
}

/* ---- streams */

char *stream_keys_text(const struct topology *t, const struct stream *s)
{
    const struct mschema *schema = &t->pes[s->from_pe].outputs[s->from_port].schema;
    struct strbuf text = {0};
    for (unsigned i = 0; i < s->key_count; i++) {
        strbuf_printf(&text, "%s%s", i > 0 ? ", " : "", schema->fields[s->keys[i]].name);
    }
    strbuf_text(&text);
    return strbuf_take(&text);
}

static char *partitioning_text(const struct topology *t, const struct stream *s)
{
    if (s->partitioning != PART_KEYED) {
        return mem_dup(s->partitioning == PART_BROADCAST ? "to all" : "balanced");
    }
    char *keys = stream_keys_text(t, s);
    char *text = mem_printf("by %s", keys);
    mem_free(keys);
    return text;
}

static char *ends_text(const struct topology *t, const struct stream *s)
{
    const struct pe *from = &t->pes[s->from_pe], *to = &t->pes[s->to_pe];
    return mem_printf("%s.%s -> %s.%s", from->name, from->outputs[s->from_port].name, to->name,
                      to->inputs[s->to_port].name);
}

static char *stream_text(const struct topology *t, const struct stream *s)
{
    char *ends = ends_text(t, s), *way = partitioning_text(t, s);
    char *text = mem_printf("%s, %s", ends, way);
    mem_free(ends);
    mem_free(way);
    return text;
}

bool stream_same_partitioning(const struct topology *a, const struct stream *x,
                              const struct topology *b, const struct stream *y)
{
    if (x->partitioning != y->partitioning || x->key_count != y->key_count) {
        return false;
    }
    const struct mschema *p = &a->pes[x->from_pe].outputs[x->from_port].schema;
    const struct mschema *q = &b->pes[y->from_pe].outputs[y->from_port].schema;
    for (unsigned i = 0; i < x->key_count; i++) {
        if (strcmp(p->fields[x->keys[i]].name, q->fields[y->keys[i]].name) != 0) {
            return false;
        }
    }
    return true;
}

bool stream_same_channels(const struct diff *d, uint32_t old, uint32_t new)
{
    const struct stream *x = &d->from->streams[old], *y = &d->to->streams[new];
    const struct port *p = &d->from->pes[x->from_pe].outputs[x->from_port];
    const struct port *q = &d->to->pes[y->from_pe].outputs[y->from_port];
    return same_ends(d, x, y) && stream_same_partitioning(d->from, x, d->to, y) &&
           strcmp(schema_text(p), schema_text(q)) == 0;
}

/* is_own_name - named by the user, not after its ends. */
static bool is_own_name(const struct stream *s)
{
    return strstr(s->name, "->") == NULL;
}

static void diff_stream(struct diff *d, uint32_t old, uint32_t new)
{
    const struct topology *a = d->from, *b = d->to;
    const struct stream *x = &a->streams[old], *y = &b->streams[new];
    if (!same_ends(d, x, y)) {
        add(d, CHANGE_STREAM_REPOINTED, old, new, ends_text(a, x), ends_text(b, y));
    }
    if (!stream_same_partitioning(a, x, b, y)) {
        add(d, CHANGE_STREAM_REPARTITIONED, old, new, partitioning_text(a, x),
            partitioning_text(b, y));
    }
    if (strcmp(x->name, y->name) != 0 && (is_own_name(x) || is_own_name(y))) {
        add(d, CHANGE_STREAM_RENAMED, old, new, mem_dup(x->name), mem_dup(y->name));
    }
}

/* ---- the whole */

static char *whole_text(const struct topology *t)
{
    char every[32], timeout[32];
    text_duration((int64_t)t->checkpoint_every_us, every, sizeof every);
    text_duration((int64_t)t->upgrade_timeout_us, timeout, sizeof timeout);
    return mem_printf("checkpoint every %s, keep %u, at %s, retain %" PRIu64
                      "; upgrade %s within %s",
                      t->checkpoint_every_us > 0 ? every : "(never)", t->checkpoint_keep,
                      t->checkpoint_location != NULL ? t->checkpoint_location : "the master",
                      t->checkpoint_retain_bytes, consistency_name(t->consistency), timeout);
}

static void diff_whole(struct diff *d)
{
    char *before = whole_text(d->from), *after = whole_text(d->to);
    if (strcmp(before, after) != 0) {
        add(d, CHANGE_POLICY, INDEX_NONE, INDEX_NONE, before, after);
    } else {
        mem_free(before);
        mem_free(after);
    }
    if (d->from->fusion != d->to->fusion) {
        add(d, CHANGE_FUSION, INDEX_NONE, INDEX_NONE, mem_dup(d->from->fusion ? "auto" : "off"),
            mem_dup(d->to->fusion ? "auto" : "off"));
    }
}
