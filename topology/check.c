/* topology/check.c - what must hold between PEs and streams: a DAG, all inputs connected, within
 * limits.
 *
 * Invariants: T1 of model.h; schemas (T2) are resolve.c's. */
#include "topology/draft.h"

#include "core/mem.h"
#include "core/strbuf.h"

#include <string.h>

/* order_pes - Kahn's algorithm, PEs of smallest index first among equals of the same wave.
 * Return: how many PEs could be ordered; the rest lies on cycles or behind them. */
static uint32_t order_pes(struct topology *t, uint32_t *waiting)
{
    uint32_t n = t->pe_count, done = 0, known = 0;
    uint32_t *first = mem_array((size_t)n + 1, sizeof first[0]); /* streams by producer */
    uint32_t *next = mem_array(t->stream_count, sizeof next[0]);
    for (uint32_t i = 0; i < t->stream_count; i++) {
        const struct stream *s = &t->streams[i];
        next[i] = first[s->from_pe];
        first[s->from_pe] = i + 1;
        waiting[s->to_pe]++;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (waiting[i] == 0) {
            t->order[known++] = i;
        }
    }
    for (; done < known; done++) {
        for (uint32_t k = first[t->order[done]]; k != 0; k = next[k - 1]) {
            uint32_t to = t->streams[k - 1].to_pe;
            if (--waiting[to] == 0) {
                t->order[known++] = to;
            }
        }
    }
    mem_free(first);
    mem_free(next);
    return known;
}

/* stream_into - a stream into `pe` from a PE that still waits, or NULL. */
static const struct stream *stream_into(const struct topology *t, const uint32_t *waiting,
                                        uint32_t pe)
{
    for (uint32_t i = 0; i < t->stream_count; i++) {
        const struct stream *s = &t->streams[i];
        if (s->to_pe == pe && waiting[s->from_pe] > 0) {
            return s;
        }
    }
    return NULL;
}

/* report_cycle - walk against the streams among PEs that wait until one comes again. */
static void report_cycle(struct draft *dr, const uint32_t *waiting)
{
    const struct topology *t = dr->t;
    uint32_t *seen = mem_array(t->pe_count, sizeof seen[0]);
    uint32_t *path = mem_array((size_t)t->pe_count + 1, sizeof path[0]);
    uint32_t length = 0, pe = 0;
    const struct stream *last = NULL;
    while (waiting[pe] == 0) {
        pe++;
    }
    while (seen[pe] == 0) {
        path[length++] = pe;
        seen[pe] = length;
        pe = stream_into(t, waiting, pe)->from_pe; /* each that waits, waits for one that waits */
    }
    struct strbuf text = {0};
    uint32_t from = seen[pe] - 1;
    strbuf_text_add(&text, t->pes[pe].name);
    for (uint32_t i = length; i-- > from;) {
        const struct stream *s = stream_into(t, waiting, path[i]);
        bool later = last == NULL || s->at.line > last->at.line ||
                     (s->at.line == last->at.line && s->at.column > last->at.column);
        last = later ? s : last;
        if (length - i <= 20) {
            strbuf_printf(&text, " -> %s", t->pes[path[i]].name);
        } else if (length - i == 21) {
            strbuf_text_add(&text, " -> ...");
        }
    }
    diags_error(dr->d, last->at, mem_dup("remove one of these streams"),
                "the streams form a cycle: %s", strbuf_text(&text));
    strbuf_fini(&text);
    mem_free(seen);
    mem_free(path);
}

static void check_connected(struct draft *dr)
{
    for (uint32_t i = 0; i < dr->t->pe_count; i++) {
        const struct pe *p = &dr->t->pes[i];
        for (unsigned k = 0; k < p->input_count; k++) {
            if (!p->inputs[k].connected) {
                bool one = p->input_count == 1;
                diags_error(dr->d, p->at,
                            mem_printf("add a stream {from: ..., to: %s%s%s}", p->name,
                                       one ? "" : ".", one ? "" : p->inputs[k].name),
                            "no stream enters '%s'%s%s%s", p->name, one ? "" : " at its input '",
                            one ? "" : p->inputs[k].name, one ? "" : "'");
            }
        }
    }
}

/* check_sizes - instances and channels of the whole, before anybody expands them. */
static void check_sizes(struct draft *dr)
{
    const struct topology *t = dr->t;
    uint64_t instances = 0, channels = 0;
    for (uint32_t i = 0; i < t->pe_count; i++) {
        instances += t->pes[i].parallelism;
    }
    if (instances > INSTANCES_MAX && t->pe_count > 0) {
        diags_error(dr->d, t->pes[0].at, mem_dup("lower the parallelism of some PEs"),
                    "all PEs together have %llu instances, at most %d are allowed",
                    (unsigned long long)instances, INSTANCES_MAX);
    }
    for (uint32_t i = 0; i < t->stream_count; i++) {
        const struct stream *s = &t->streams[i];
        uint64_t before = channels;
        uint32_t from = t->pes[s->from_pe].parallelism, to = t->pes[s->to_pe].parallelism;
        channels += stream_is_one_to_one(t, s) ? from : (uint64_t)from * to;
        if (channels > CHANNELS_MAX && before <= CHANNELS_MAX) {
            diags_error(dr->d, s->at, mem_dup("lower the parallelism on one side of such streams"),
                        "the streams up to '%s' need %llu channels, at most %u are allowed",
                        s->name, (unsigned long long)channels, CHANNELS_MAX);
        }
        if (s->partitioning == PART_KEYED && to > KEY_GROUPS) {
            diags_error(
                dr->d, s->at, mem_printf("use at most %d", KEY_GROUPS),
                "'%s' gets its tuples by key, and has more instances (%u) than there are key"
                " groups",
                t->pes[s->to_pe].name, to);
        }
    }
}

void check_supported(struct draft *dr)
{
    for (uint32_t i = 0; i < dr->t->pe_count; i++) {
        const struct pe *p = &dr->t->pes[i];
        const struct dpe *at = &dr->pes[i];
        if (p->isolate_process) {
            diags_error(dr->d, at->isolate->at, mem_dup("leave it out, or write none"),
                        "'isolate: process' is not supported yet");
        }
        if (strcmp(p->device, "gpu") == 0) {
            diags_error(dr->d, at->device->at, mem_dup("use any or cpu"),
                        "'device: gpu' is not supported yet");
        }
    }
}

void check_topology(struct draft *dr)
{
    struct topology *t = dr->t;
    uint32_t *waiting = mem_array(t->pe_count, sizeof waiting[0]);
    t->order = mem_array(t->pe_count, sizeof t->order[0]);
    uint32_t ordered = order_pes(t, waiting);
    if (ordered < t->pe_count) {
        report_cycle(dr, waiting);
    }
    mem_free(waiting);
    if (!dr->ends_bad) {
        check_connected(dr);
    }
    check_sizes(dr);
    check_files(dr);
    check_supported(dr);
    resolve_schemas(dr, ordered);
}
