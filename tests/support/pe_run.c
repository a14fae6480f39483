/* tests/support/pe_run.c - runs instance i of N of one PE, and keeps what it emits. */
#include "tests/support/pe_run.h"

#include "core/clock.h"
#include "core/mem.h"

#include <assert.h>

#define ROWS_MAX 1024u

static void on_emit(void *ctx, unsigned port, struct batch *b)
{
    struct pe_run *r = ctx;
    (void)port;
    r->last_us = clock_now_us();
    r->first_us = r->first_us == 0 ? r->last_us : r->first_us;
    r->rows += b->pub.live;
    r->batches++;
    if (r->keeps_text) {
        OXB_EACH (&b->pub, i) {
            batch_json_row(&b->pub, i, &r->out);
            strbuf_char(&r->out, '\n');
        }
    }
    batch_free(b);
}

static void on_timer_set(void *ctx, uint64_t id, uint64_t due_mono_us)
{
    struct pe_run *r = ctx;
    r->timer_id = id;
    r->timer_due_us = due_mono_us;
}

static void on_timer_clear(void *ctx, uint64_t id)
{
    struct pe_run *r = ctx;
    r->timer_due_us = r->timer_id == id ? 0 : r->timer_due_us;
}

static int on_watch(void *ctx, int fd, uint32_t events)
{
    struct pe_run *r = ctx;
    unsigned i = 0;
    while (i < r->watch_count && r->watches[i].fd != fd) {
        i++;
    }
    if (events == 0) {
        if (i < r->watch_count) {
            r->watches[i] = r->watches[--r->watch_count];
        }
        return 0;
    }
    assert(i < PE_RUN_WATCHES);
    r->watch_count += i == r->watch_count ? 1 : 0;
    r->watches[i] = (struct pollfd){.fd = fd, .events = (short)events}; /* EPOLLIN == POLLIN */
    return 0;
}

static void on_wake(void *ctx)
{
    (void)ctx;
}

static bool open_spec(struct pe_run *r, struct pe_spec spec, const char *in_schema,
                      const char *out_schema)
{
    *r = (struct pe_run){.keeps_text = true, .pool = pool_new(4u << 20)};
    struct pe_port_spec in = {.name = "in", .connected = true};
    struct pe_port_spec out = {.name = "out", .connected = true};
    if ((in_schema != NULL && schema_parse(in_schema, &in.schema, &r->fail) != ERR_OK) ||
        (out_schema != NULL && schema_parse(out_schema, &out.schema, &r->fail) != ERR_OK)) {
        return false;
    }
    r->in = in.schema;
    spec.name = spec.type->name;
    spec.inputs = &in;
    spec.input_count = in_schema != NULL ? 1 : 0;
    spec.outputs = &out;
    spec.output_count = out_schema != NULL ? 1 : 0;
    struct pe_host host = {r, on_emit, on_timer_set, on_timer_clear, on_watch, on_wake};
    r->pe = pe_new(&spec, &host, r->pool);
    return pe_prepare(r->pe, &r->fail) == ERR_OK;
}

bool pe_run_open(struct pe_run *r, const struct oxb_pe_type *type, const char *params,
                 const char *in_schema, const char *out_schema, unsigned index, unsigned count)
{
    struct pe_spec spec = {.type = type, .params = params, .index = index, .parallelism = count};
    return open_spec(r, spec, in_schema, out_schema);
}

bool pe_run_open_exact(struct pe_run *r, const struct oxb_pe_type *type, const char *params,
                       const char *in_schema, uint64_t generation)
{
    struct pe_spec spec = {.type = type,
                           .params = params,
                           .parallelism = 1,
                           .checkpoints = true,
                           .generation = generation};
    return open_spec(r, spec, in_schema, NULL);
}

bool pe_run_start(struct pe_run *r)
{
    return pe_start(r->pe, &r->fail) == ERR_OK;
}

void pe_run_close(struct pe_run *r)
{
    pe_free(r->pe);
    pool_free(r->pool);
    strbuf_fini(&r->out);
}

int pe_run_sel(struct pe_run *r, const char *json_lines, const uint16_t *sel, uint32_t live)
{
    struct builder rows;
    struct fail f;
    builder_init(&rows, r->pool, r->in, NULL, NULL);
    for (const char *at = json_lines; *at != '\0';) {
        size_t bytes = strcspn(at, "\n");
        if (row_parse_json(&rows, at, bytes, &f) != ERR_OK) {
            builder_fini(&rows);
            return OXB_ERROR;
        }
        at += bytes + (at[bytes] == '\n' ? 1 : 0);
    }
    struct batch *b = builder_finish(&rows);
    builder_fini(&rows);
    if (sel != NULL) {
        batch_narrow(b, sel, live);
    }
    int result = pe_process(r->pe, 0, b);
    pe_flush_writers(r->pe);
    return result;
}

int pe_run_feed(struct pe_run *r, const char *json_lines)
{
    return pe_run_sel(r, json_lines, NULL, 0);
}

int pe_run_turn(struct pe_run *r, int wait_ms)
{
    int result = pe_produce(r->pe, ROWS_MAX);
    if (result != OXB_OK) {
        pe_flush_writers(r->pe);
    }
    if (result != OXB_IDLE) {
        wait_ms = 0;
    }
    uint64_t now_us = clock_now_us();
    struct timespec wait = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000L};
    if (r->timer_due_us != 0 && r->timer_due_us < now_us + (uint64_t)wait_ms * 1000u) {
        uint64_t us = r->timer_due_us > now_us ? r->timer_due_us - now_us : 0;
        wait = (struct timespec){.tv_sec = (time_t)(us / 1000000u),
                                 .tv_nsec = (long)(us % 1000000u) * 1000};
    }
    if (ppoll(r->watches, r->watch_count, &wait, NULL) > 0) {
        struct pollfd ready[PE_RUN_WATCHES];
        unsigned count = r->watch_count;
        memcpy(ready, r->watches, sizeof ready);
        for (unsigned i = 0; i < count; i++) {
            if (ready[i].revents != 0) {
                pe_ready(r->pe, ready[i].fd, (uint32_t)ready[i].revents);
            }
        }
    }
    if (r->timer_due_us != 0 && clock_now_us() >= r->timer_due_us) {
        r->timer_due_us = 0;
        pe_timer(r->pe, r->timer_id);
    }
    return result;
}

int pe_run_to_end(struct pe_run *r)
{
    int result;
    do {
        result = pe_run_turn(r, 1000);
    } while (result == OXB_OK || result == OXB_IDLE);
    return result;
}

const char *pe_run_text(struct pe_run *r)
{
    return strbuf_text(&r->out);
}
