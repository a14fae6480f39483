/* master/events.c - what happens, in order, for whoever follows: GET /v1/events.
 *
 * Invariants: those of events.h.  The format is that of server-sent events (WHATWG HTML, 9.2):
 *             `id`, `event` and `data` lines, an empty line; `:` begins a comment. */
#include "master/events.h"

#include "core/clock.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "core/text.h"

#include <inttypes.h>
#include <string.h>

struct event_reader {
    struct events *events;
    struct event_reader *next, **link;
    struct exchange *x;
    char *topology; /* "": all */
};

void events_init(struct events *e, uint64_t term)
{
    uint64_t first = (term << 32) + 1; /* V1 */
    *e = (struct events){.ring = mem_array(EVENTS_KEPT, sizeof *e->ring),
                         .first = first,
                         .next = first};
}

static struct event_line *line_of(const struct events *e, uint64_t id)
{
    return &e->ring[id % EVENTS_KEPT];
}

static void forget(struct event_line *l)
{
    mem_free(l->topology);
    mem_free(l->text);
    *l = (struct event_line){0};
}

static void forget_oldest(struct events *e)
{
    struct event_line *l = line_of(e, e->first++);
    e->bytes -= l->bytes;
    forget(l);
}

void events_fini(struct events *e)
{
    for (size_t i = 0; e->ring != NULL && i < EVENTS_KEPT; i++) {
        forget(&e->ring[i]);
    }
    mem_free(e->ring);
    *e = (struct events){0};
}

uint64_t events_last(const struct events *e)
{
    return e->next - 1;
}

static void unlink_reader(struct event_reader *r)
{
    *r->link = r->next;
    if (r->next != NULL) {
        r->next->link = r->link;
    }
    r->events->reader_count--;
    mem_free(r->topology);
    mem_free(r);
}

static void on_gone(void *ctx)
{
    unlink_reader(ctx);
}

/* Return: false when the reader was dropped (V3). */
static bool push(struct event_reader *r, const char *text)
{
    if (exchange_push(r->x, text, strlen(text)) <= EVENT_READER_BYTES_MAX) {
        return true;
    }
    log_event(LOG_WARN, "events.slow", "readers=%u", r->events->reader_count);
    exchange_drop(r->x);
    unlink_reader(r);
    return false;
}

static bool wants(const struct event_reader *r, const struct event_line *l)
{
    return r->topology[0] == '\0' ||
           (l->topology != NULL && strcmp(r->topology, l->topology) == 0);
}

void events_add(struct events *e, const char *kind, const char *topology, json_t *body TAKES)
{
    struct event_line *l = line_of(e, e->next);
    struct strbuf text = {0};
    char at[28];
    if (e->next - e->first == EVENTS_KEPT) {
        forget_oldest(e);
    }
    text_rfc3339_us(clock_wall_us(), at);
    json_object_set_new(body, "id", json_integer((json_int_t)e->next));
    json_object_set_new(body, "kind", json_string(kind));
    json_object_set_new(body, "at", json_string(at));
    char *data = json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(10));
    strbuf_printf(&text, "id: %" PRIu64 "\nevent: %s\ndata: %s\n\n", e->next, kind,
                  data != NULL ? data : "{}");
    mem_free(data);
    json_decref(body);
    *l = (struct event_line){.topology = mem_dup(topology), .bytes = text.bytes};
    l->text = strbuf_take(&text);
    e->bytes += l->bytes;
    e->next++;
    while (e->bytes > EVENTS_BYTES_MAX && e->first + 1 < e->next) { /* V4 */
        forget_oldest(e);
    }
    for (struct event_reader *r = e->readers, *next; r != NULL; r = next) {
        next = r->next;
        if (wants(r, l)) {
            (void)push(r, l->text);
        }
    }
}

/* What is kept of what came after `after`; false: the reader was dropped. */
static bool push_old(const struct events *e, struct event_reader *r, uint64_t after)
{
    if (after + 1 < e->first || after >= e->next) { /* V2; also an id of another data folder */
        char text[128];
        snprintf(text, sizeof text,
                 "event: missed\ndata: {\"kind\": \"missed\", \"first\": %" PRIu64 "}\n\n",
                 e->first);
        if (!push(r, text)) {
            return false;
        }
    }
    uint64_t id = after + 1 < e->first || after >= e->next ? e->first : after + 1;
    for (; id < e->next; id++) {
        const struct event_line *l = line_of(e, id);
        if (wants(r, l) && !push(r, l->text)) {
            return false;
        }
    }
    return true;
}

void events_follow(struct events *e, struct exchange *x TAKES, uint64_t after,
                   const char *topology)
{
    struct event_reader *r = mem_alloc(sizeof *r);
    *r = (struct event_reader){.events = e, .x = x, .topology = mem_dup(topology)};
    if (!exchange_follow(x, "text/event-stream", on_gone, r)) {
        mem_free(r->topology);
        mem_free(r);
        return;
    }
    r->next = e->readers;
    r->link = &e->readers;
    if (r->next != NULL) {
        r->next->link = &r->next;
    }
    e->readers = r;
    e->reader_count++;
    if (push(r, ":\n\n") && after != 0) {
        (void)push_old(e, r, after);
    }
}

void events_tick(struct events *e, uint64_t now_us)
{
    if (e->beat_at_us > now_us) {
        return;
    }
    e->beat_at_us = now_us + (uint64_t)EVENT_BEAT_MS * 1000u;
    for (struct event_reader *r = e->readers, *next; r != NULL; r = next) {
        next = r->next;
        (void)push(r, ":\n\n");
    }
}
