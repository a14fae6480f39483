/* pe/harness.c - runs one PE without a cluster: JSON lines in, JSON lines out.
 *
 * Owns:       struct oxb_harness: an instance, a pool, its timers and watched descriptors.
 * Threads:    the caller's, one at a time.
 * Invariants: H1 the output is that of the same PE in a topology with one instance.
 *             H2 time is skipped, not waited for: when only a timer is left, the clock jumps to it.
 * See:        pe/host.h, tests/unit/pe/harness_test.c */
#include "core/clock.h"
#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "pe/expr.h"
#include "pe/instance.h"
#include "pe/registry.h"

#include <poll.h>
#include <stdio.h>

#define POOL_CACHED_BYTES (4u << 20)
#define PRODUCE_ROWS 1024u
#define WATCH_WAIT_MS 50

struct harness_timer {
    uint64_t id;
    uint64_t due_us;
};

struct oxb_harness {
    struct pool *pool;
    struct oxb_pe *pe;
    const struct oxb_pe_type *type;
    const struct oxb_schema *in;
    struct strbuf outputs[PORTS_MAX];
    struct harness_timer *timers;
    size_t timer_count, timer_capacity;
    struct pollfd *watches;
    size_t watch_count, watch_capacity;
    bool ended;     /* produce said OXB_END */
    bool started;
    char error[512];
};

static enum err harness_open(struct oxb_harness *h, const char *params_json, const char *in_schema,
                             const char *out_schema, struct fail *f);
static bool harness_started(struct oxb_harness *h);
static int outcome(struct oxb_harness *h, int result);
static void on_emit(void *ctx, unsigned port, struct batch *batch TAKES);
static void on_timer_set(void *ctx, uint64_t id, uint64_t due_mono_us);
static void on_timer_clear(void *ctx, uint64_t id);
static int on_watch(void *ctx, int fd, uint32_t events);
static void on_wake(void *ctx);
static int fire_timers(struct oxb_harness *h, bool skip);
static int serve_watches(struct oxb_harness *h, int wait_ms);

struct oxb_harness *oxb_harness_new(const struct oxb_pe_type *type, const char *params_json,
                                    const char *in_schema, const char *out_schema, char *err,
                                    size_t err_bytes)
{
    struct oxb_harness *h = mem_alloc(sizeof *h);
    h->type = type;
    h->pool = pool_new(POOL_CACHED_BYTES);
    struct fail f = {0};
    if (type_check(type, &f) != ERR_OK ||
        harness_open(h, params_json, in_schema, out_schema, &f) != ERR_OK) {
        if (err != NULL && err_bytes > 0) {
            snprintf(err, err_bytes, "%s%s%s", f.what, f.hint[0] != '\0' ? "; " : "", f.hint);
        }
        oxb_harness_free(h);
        return NULL;
    }
    return h;
}

void oxb_harness_free(struct oxb_harness *h)
{
    if (h == NULL) {
        return;
    }
    pe_free(h->pe);
    pool_free(h->pool);
    for (unsigned i = 0; i < PORTS_MAX; i++) {
        strbuf_fini(&h->outputs[i]);
    }
    mem_free(h->timers);
    mem_free(h->watches);
    mem_free(h);
}

int oxb_harness_feed(struct oxb_harness *h, const char *json_lines)
{
    if (h->in == NULL) {
        snprintf(h->error, sizeof h->error, "a source takes no input");
        return OXB_ERROR;
    }
    if (!harness_started(h)) {
        return OXB_ERROR;
    }
    struct builder rows;
    builder_init(&rows, h->pool, h->in, NULL, NULL);
    int result = OXB_OK;
    for (const char *at = json_lines; result == OXB_OK && *at != '\0';) {
        size_t bytes = strcspn(at, "\n");
        struct fail f = {0};
        if (rows.pub.rows > 0 &&
            (rows.pub.rows == rows.pub.rows_max || rows.pub.heap_left == 0)) {
            result = outcome(h, pe_process(h->pe, 0, builder_finish(&rows)));
        }
        if (result == OXB_OK && strspn(at, " \t\r") < bytes &&
            row_parse_json(&rows, at, bytes, &f) != ERR_OK) {
            snprintf(h->error, sizeof h->error, "%s", f.what);
            result = OXB_ERROR;
        }
        at += bytes + (at[bytes] == '\n' ? 1 : 0);
    }
    struct batch *last = result == OXB_OK ? builder_finish(&rows) : NULL;
    if (last != NULL) {
        last->pub.at_us = clock_wall_us();
        result = outcome(h, pe_process(h->pe, 0, last));
    }
    builder_fini(&rows);
    return result;
}

int oxb_harness_run(struct oxb_harness *h, uint32_t turns)
{
    if (!harness_started(h)) {
        return OXB_ERROR;
    }
    for (uint32_t i = 0; i < turns; i++) {
        int result = OXB_IDLE;
        if (h->type->produce != NULL && !h->ended) {
            result = outcome(h, pe_produce(h->pe, PRODUCE_ROWS));
            h->ended = result == OXB_END;
        }
        bool idle = result != OXB_OK;
        if (result == OXB_ERROR || serve_watches(h, idle ? WATCH_WAIT_MS : 0) == OXB_ERROR ||
            fire_timers(h, idle) == OXB_ERROR) {
            return OXB_ERROR;
        }
    }
    pe_flush_writers(h->pe);
    return h->ended ? OXB_END : OXB_OK;
}

int oxb_harness_finish(struct oxb_harness *h)
{
    if (!harness_started(h)) {
        return OXB_ERROR;
    }
    int result = outcome(h, pe_finish(h->pe));
    if (result == OXB_OK) {
        result = outcome(h, pe_flush_sink(h->pe));
    }
    return result;
}

const char *oxb_harness_output(struct oxb_harness *h, unsigned port)
{
    return port < PORTS_MAX ? strbuf_text(&h->outputs[port]) : "";
}

const char *oxb_harness_error(struct oxb_harness *h)
{
    return h->error;
}

int oxb_harness_snapshot(struct oxb_harness *h, void **data, size_t *bytes)
{
    if (!harness_started(h)) {
        return OXB_ERROR;
    }
    return pe_snapshot(h->pe, data, bytes) == ERR_OK ? OXB_OK : outcome(h, OXB_ERROR);
}

int oxb_harness_restore(struct oxb_harness *h, const void *data, size_t bytes)
{
    if (h->started) {
        snprintf(h->error, sizeof h->error, "restore a fresh harness, before it runs");
        return OXB_ERROR;
    }
    struct fail f = {0};
    if (pe_restore(h->pe, data, bytes, h->type->state_version, &f) != ERR_OK) {
        snprintf(h->error, sizeof h->error, "%s", f.what);
        return OXB_ERROR;
    }
    return OXB_OK;
}

/* ---- setting up ---- */

static unsigned port_count(const struct oxb_port *ports)
{
    unsigned n = 0;
    while (ports != NULL && ports[n].name != NULL && n < PORTS_MAX) {
        n++;
    }
    return n;
}

static enum err resolve_ports(struct oxb_harness *h, const char *params_json,
                              const char *out_schema, struct pe_port_spec *outputs, struct fail *f)
{
    struct oxb_pe draft = {.type = h->type}; /* parameters with their defaults */
    enum err e = params_load(&draft, params_json, NULL, f);
    if (e == ERR_OK && h->in != NULL && h->type->inputs != NULL) {
        e = expr_input(h->type->inputs[0].schema, h->in, draft.params, f);
    }
    for (unsigned i = 0; e == ERR_OK && i < port_count(h->type->outputs); i++) {
        outputs[i].name = h->type->outputs[i].name;
        outputs[i].connected = true;
        e = expr_output(h->type->outputs[i].schema, h->in, draft.params, out_schema,
                        &outputs[i].schema, f);
    }
    params_free(&draft);
    return e;
}

static enum err harness_open(struct oxb_harness *h, const char *params_json, const char *in_schema,
                             const char *out_schema, struct fail *f)
{
    bool is_source = (h->type->flags & OXB_SOURCE) != 0;
    struct pe_port_spec inputs[PORTS_MAX] = {{0}};
    struct pe_port_spec outputs[PORTS_MAX] = {{0}};
    if (!is_source) {
        if (in_schema == NULL) {
            return fail_set(f, ERR_INVALID, "", "%s takes input; give its schema", h->type->name);
        }
        enum err e = schema_parse(in_schema, &h->in, f);
        if (e != ERR_OK) {
            return e;
        }
    }
    enum err e = resolve_ports(h, params_json, out_schema, outputs, f);
    if (e != ERR_OK) {
        return e;
    }
    unsigned input_count = h->type->inputs != NULL ? port_count(h->type->inputs) : 1;
    input_count = is_source ? 0 : input_count;
    for (unsigned i = 0; i < input_count; i++) {
        inputs[i].name = h->type->inputs != NULL ? h->type->inputs[i].name : "in";
        inputs[i].schema = i == 0 ? h->in : NULL;
    }
    struct pe_spec spec = {
        .type = h->type,
        .name = h->type->name,
        .params = params_json,
        .base_dir = NULL,
        .index = 0,
        .parallelism = 1,
        .inputs = inputs,
        .input_count = input_count,
        .outputs = outputs,
        .output_count = port_count(h->type->outputs),
    };
    struct pe_host host = {h, on_emit, on_timer_set, on_timer_clear, on_watch, on_wake};
    h->pe = pe_new(&spec, &host, h->pool);
    return pe_prepare(h->pe, f);
}

/* The first call that runs the PE starts it, so that a restore may come before. */
static bool harness_started(struct oxb_harness *h)
{
    if (h->started) {
        return true;
    }
    struct fail f = {0};
    h->started = true;
    if (pe_start(h->pe, &f) != ERR_OK) {
        snprintf(h->error, sizeof h->error, "%s", f.what);
        return false;
    }
    return true;
}

static int outcome(struct oxb_harness *h, int result)
{
    if (result == OXB_ERROR) {
        snprintf(h->error, sizeof h->error, "%s", pe_error(h->pe));
    } else {
        pe_flush_writers(h->pe); /* input is empty after each call */
        if (h->pe->failed) { /* a writer was flushed in vain */
            snprintf(h->error, sizeof h->error, "%s", pe_error(h->pe));
            return OXB_ERROR;
        }
    }
    return result;
}

/* ---- the host's side ---- */

static void on_emit(void *ctx, unsigned port, struct batch *batch)
{
    struct oxb_harness *h = ctx;
    OXB_EACH (&batch->pub, i) {
        batch_json_row(&batch->pub, i, &h->outputs[port]);
        strbuf_char(&h->outputs[port], '\n');
    }
    batch_free(batch);
}

static void on_timer_set(void *ctx, uint64_t id, uint64_t due_mono_us)
{
    struct oxb_harness *h = ctx;
    on_timer_clear(ctx, id);
    h->timers = mem_grow(h->timers, h->timer_count, &h->timer_capacity, sizeof *h->timers);
    h->timers[h->timer_count++] = (struct harness_timer){id, due_mono_us};
}

static void on_timer_clear(void *ctx, uint64_t id)
{
    struct oxb_harness *h = ctx;
    for (size_t i = 0; i < h->timer_count; i++) {
        if (h->timers[i].id == id) {
            h->timers[i] = h->timers[--h->timer_count];
            return;
        }
    }
}

static int on_watch(void *ctx, int fd, uint32_t events)
{
    struct oxb_harness *h = ctx;
    size_t i = 0;
    while (i < h->watch_count && h->watches[i].fd != fd) {
        i++;
    }
    if (events == 0) {
        if (i < h->watch_count) {
            h->watches[i] = h->watches[--h->watch_count];
        }
        return 0;
    }
    if (i == h->watch_count) {
        h->watches =
            mem_grow(h->watches, h->watch_count, &h->watch_capacity, sizeof *h->watches);
        h->watch_count++;
    }
    h->watches[i] = (struct pollfd){.fd = fd, .events = (short)events}; /* EPOLLIN == POLLIN */
    return 0;
}

static void on_wake(void *ctx)
{
    (void)ctx; /* every turn calls produce anyway */
}

/* How long until the first timer is due, of the instance or of a key; UINT64_MAX: there is none. */
static uint64_t first_in_us(const struct oxb_harness *h)
{
    uint64_t now = clock_now_us() + h->pe->skew_us, first = UINT64_MAX;
    int64_t wall = clock_wall_us() + (int64_t)h->pe->skew_us, next = pe_key_timer_next(h->pe);
    for (size_t i = 0; i < h->timer_count; i++) {
        uint64_t in = h->timers[i].due_us > now ? h->timers[i].due_us - now : 0;
        first = in < first ? in : first;
    }
    if (next != INT64_MAX) {
        uint64_t in = next > wall ? (uint64_t)(next - wall) : 0;
        first = in < first ? in : first;
    }
    return first;
}

static int fire_key_timers(struct oxb_harness *h)
{
    int result = OXB_OK;
    int64_t now = clock_wall_us() + (int64_t)h->pe->skew_us;
    for (int n = 0; n < KEY_TIMERS_MAX && result == OXB_OK; n++) {
        result = pe_key_timer_next(h->pe) <= now ? outcome(h, pe_key_timer(h->pe, now)) : OXB_IDLE;
    }
    return result == OXB_IDLE ? OXB_OK : result;
}

/* fire_timers - those due; with `skip`, jump to the earliest when none is (H2). */
static int fire_timers(struct oxb_harness *h, bool skip)
{
    uint64_t in_us = skip ? first_in_us(h) : UINT64_MAX;
    h->pe->skew_us += in_us != UINT64_MAX ? in_us : 0;
    uint64_t now = clock_now_us() + h->pe->skew_us;
    int result = fire_key_timers(h);
    for (size_t guard = h->timer_count; guard > 0 && result != OXB_ERROR; guard--) {
        size_t due = h->timer_count;
        for (size_t i = 0; i < h->timer_count; i++) {
            if (h->timers[i].due_us <= now &&
                (due == h->timer_count || h->timers[i].due_us < h->timers[due].due_us)) {
                due = i;
            }
        }
        if (due == h->timer_count) {
            break;
        }
        uint64_t id = h->timers[due].id;
        on_timer_clear(h, id);
        result = outcome(h, pe_timer(h->pe, id));
    }
    return result;
}

static int serve_watches(struct oxb_harness *h, int wait_ms)
{
    if (h->watch_count == 0 ||
        poll(h->watches, h->watch_count, h->timer_count > 0 ? 0 : wait_ms) <= 0) {
        return OXB_OK;
    }
    /* A copy, for the callback may change the list. */
    struct pollfd *ready = mem_array(h->watch_count, sizeof *ready);
    size_t count = h->watch_count;
    memcpy(ready, h->watches, count * sizeof *ready);
    int result = OXB_OK;
    for (size_t i = 0; i < count && result != OXB_ERROR; i++) {
        if (ready[i].revents != 0) {
            result = outcome(h, pe_ready(h->pe, ready[i].fd, (uint32_t)ready[i].revents));
        }
    }
    mem_free(ready);
    return result;
}
