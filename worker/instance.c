/* worker/instance.c - one instance: what its PE asks for, taking items, markers, its end. */
#include "worker/instance.h"

#include "core/clock.h"
#include "core/counter.h"
#include "core/log.h"
#include "core/mem.h"
#include "pe/state.h"
#include "worker/aside.h"
#include "worker/care.h"
#include "worker/chain.h"
#include "worker/checkpoint.h"
#include "worker/cut.h"
#include "worker/fault.h"
#include "worker/hold.h"
#include "worker/watch.h"

#include <inttypes.h>
#include <string.h>

/* ---------------------------------------------------------------- making */

struct instance *instance_new(uint64_t id, const char *pe_name, unsigned index, struct pool *pool)
{
    struct instance *i = mem_alloc(sizeof *i);
    i->id = id;
    name_set(&i->pe_name, pe_name);
    i->index = index;
    i->pool = pool;
    atomic_init(&i->state, INSTANCE_PREPARED);
    return i;
}

void instance_free(struct instance *i)
{
    if (i == NULL) {
        return;
    }
    keeper_free(i->keeper);
    hold_free(i);
    care_free(i->care);
    aside_free(i); /* before the code that declares it */
    pe_free(i->pe);
    mem_free(i->arms);
    cut_free(atomic_load(&i->cut));
    align_fini(&i->align);
    for (uint32_t p = 0; p < i->port_count; p++) {
        route_fini(&i->ports[p]);
    }
    mem_free(i->ports);
    mem_free(i->inputs);
    name_fini(&i->pe_name);
    mem_free(i->topology);
    mem_free(i);
}

void instance_wire(struct instance *i, struct input *inputs, uint32_t input_count,
                   struct out_port *ports, uint32_t port_count)
{
    i->inputs = inputs;
    i->input_count = input_count;
    i->ports = ports;
    i->port_count = port_count;
    align_init(&i->align, input_count);
}

struct task *instance_task(struct instance *i)
{
    return &i->chain->task;
}

void instance_notify(struct instance *i)
{
    struct chain *c = atomic_load(&i->chain);
    if (c != NULL) {
        task_notify(&c->task);
    }
}

void instance_spills(struct instance *i, int by)
{
    i->chain->spilled = (uint32_t)((int)i->chain->spilled + by);
}

/* ---------------------------------------------------------------- what the PE asks of its host */

static void host_emit(void *ctx, unsigned port, struct batch *batch)
{
    struct instance *i = ctx;
    if (port < i->port_count) {
        route_emit(&i->ports[port], batch);
    } else {
        batch_free(batch);
    }
}

static void host_timer_set(void *ctx, uint64_t id, uint64_t due_us)
{
    struct instance *i = ctx;
    task_timer_set(&i->chain->task, i, id, due_us);
}

static void host_timer_clear(void *ctx, uint64_t id)
{
    struct instance *i = ctx;
    task_timer_clear(&i->chain->task, i, id);
}

static int host_watch(void *ctx, int fd, uint32_t events)
{
    struct instance *i = ctx;
    return task_watch(&i->chain->task, i, fd, events);
}

static void host_wake(void *ctx)
{
    instance_notify(ctx);
}

struct pe_host instance_host(struct instance *i)
{
    return (struct pe_host){.ctx = i,
                            .emit = host_emit,
                            .timer_set = host_timer_set,
                            .timer_clear = host_timer_clear,
                            .watch = host_watch,
                            .wake = host_wake};
}

/* ---------------------------------------------------------------- states */

void instance_tell(struct instance *i)
{
    struct chain *c = i->chain;
    if (c->on_change != NULL) {
        c->on_change(c->arg, c);
    }
}

void instance_set_state(struct instance *i, enum instance_state state)
{
    atomic_store(&i->state, state);
    instance_tell(i);
}

/* ---------------------------------------------------------------- taking items */

void instance_flush(struct instance *i)
{
    pe_flush_writers(i->pe);
    for (uint32_t p = 0; p < i->port_count; p++) {
        route_flush(&i->ports[p]);
    }
}

static void mark_outputs(struct instance *i, enum item_kind kind, uint64_t epoch)
{
    instance_flush(i);
    for (uint32_t p = 0; p < i->port_count; p++) {
        route_mark(&i->ports[p], kind, epoch);
    }
}

/* R4: while a change is prepared nobody ends, nor before all that it gives has come.  Who prepares
 * it and who ends ask the same word, so one of them is first, and both know which. */
static bool may_end(struct instance *i)
{
    unsigned now = MAY_END;
    return i->takes == NULL &&
           (atomic_compare_exchange_strong(&i->ending, &now, ENDS) || now == ENDS);
}

void instance_finish(struct instance *i)
{
    i->finish_waits = !i->finished && !may_end(i);
    if (i->finished || i->finish_waits || (!i->final_done && !fault_call(i, pe_finish))) {
        return;
    }
    i->finished = true;
    aside_join(i); /* the tables are not emitted any more */
    instance_flush(i);
    if (!fault_call(i, pe_flush_sink)) {
        return;
    }
    mark_outputs(i, ITEM_END, 0);
    instance_set_state(i, INSTANCE_ENDED);
}

void instance_pass_marker(struct instance *i, enum item_kind kind, uint64_t epoch)
{
    instance_flush(i);
    if (!fault_call(i, pe_flush_sink)) {
        return;
    }
    if (kind == ITEM_MARKER_CHECKPOINT && i->keeper != NULL) {
        crash_call(i->id, "snapshot");
        keeper_take(i->keeper, i, epoch);
        crash_call(0, "");
    }
    mark_outputs(i, kind, epoch);
    atomic_store_explicit(&i->stats.epoch_passed, epoch, memory_order_relaxed);
}

/* Also the close of an old input inside the covering set, which counts as its marker (R8). */
static void take_marker(struct instance *i, uint32_t input, const struct item *it)
{
    struct cut *cut = atomic_load(&i->cut);
    const bool *awaited = cut != NULL && it->epoch == cut->epoch ? cut->awaited : NULL;
    enum item_kind kind = it->kind == ITEM_CLOSE ? ITEM_MARKER_SWITCH : it->kind;
    switch (kind == ITEM_MARKER_SWITCH ? align_switch(&i->align, input, it->epoch, awaited)
                                       : align_marker(&i->align, input, kind, it->epoch)) {
    case ALIGN_COMPLETE:
        if (kind == ITEM_MARKER_SWITCH && atomic_load(&i->cut) != NULL) {
            cut_now(i);
        } else {
            instance_pass_marker(i, kind, it->epoch);
        }
        break;
    case ALIGN_CONFLICT:
        log_event(LOG_ERROR, "marker.conflict", "pe=%s index=%u epoch=%" PRIu64,
                  name_text(&i->pe_name), i->index, it->epoch);
        instance_fail(i, "two markers of different epochs met at one instance");
        break;
    case ALIGN_WAIT:
    case ALIGN_DROP:
        break;
    }
}

void instance_check_ended(struct instance *i)
{
    if (i->source || i->finished || !hold_is_empty(i) || hold_is_held(i)) {
        return; /* what it keeps comes first; see hold_turn */
    }
    for (uint32_t k = 0; k < i->input_count; k++) {
        if (!i->inputs[k].ended) {
            return;
        }
    }
    instance_finish(i);
}

static void take_end(struct instance *i, uint32_t input)
{
    i->inputs[input].ended = true;
    instance_check_ended(i);
}

void instance_process(struct instance *i, unsigned port, const char *stream, struct batch *batch)
{
    uint64_t start = clock_now_ns();
    uint64_t child_before = i->child_ns;
    int64_t at_us = batch->pub.at_us;
    uint32_t live = batch->pub.live;
    i->child_ns = 0;
    watch_begin(i, start, "process");
    fault_process(i, port, stream, batch);
    watch_end(i);
    uint64_t bytes = 0;
    for (unsigned n = 0; n < pe_state_count(i->pe); n++) {
        bytes += state_bytes(pe_state_at(i->pe, n));
    }
    atomic_store_explicit(&i->stats.state_bytes, bytes, memory_order_relaxed);
    uint64_t took = clock_now_ns() - start;
    uint64_t own = took > i->child_ns ? took - i->child_ns : 0;
    i->child_ns = child_before;
    counter_add(&i->stats.busy_ns, own);
    hist_add(&i->stats.service_us, own / 1000, 1);
    if (i->sink && at_us != 0) {
        int64_t age = clock_wall_us() - at_us;
        hist_add(i->end_to_end_us, age > 0 ? (uint64_t)age : 0, live);
    }
    i->took_ns = took;
}

static void take_batch(struct instance *i, uint32_t input, struct batch *batch)
{
    struct channel *from = i->inputs[input].channel;
    if (!hold_is_empty(i) || hold_is_held(i)) {
        hold_keep(i, i->inputs[input].port, channel_stream(from), batch);
        return;
    }
    if (from->kind != CHANNEL_FUSED) {
        instance_process(i, i->inputs[input].port, channel_stream(from), batch);
        return;
    }
    bool in_call = from->from->call_since_ns != 0;
    watch_end(from->from); /* Q1 */
    instance_process(i, i->inputs[input].port, channel_stream(from), batch);
    if (in_call) {
        watch_begin(from->from, clock_now_ns(), from->from->call);
    }
    from->from->child_ns += i->took_ns;
}

void instance_take(struct instance *i, uint32_t input, struct item *it)
{
    struct channel *c = i->inputs[input].channel;
    if (channel_account(c, it) == TAKE_REPEAT || i->chain->failed) {
        batch_free(it->batch);
        return;
    }
    switch (it->kind) {
    case ITEM_BATCH:
        take_batch(i, input, it->batch);
        break;
    case ITEM_MARKER_CHECKPOINT:
    case ITEM_MARKER_SWITCH:
        take_marker(i, input, it);
        break;
    case ITEM_END:
        take_end(i, input);
        break;
    case ITEM_CLOSE:
        i->inputs[input].closed = true;
        take_marker(i, input, it);
        break;
    }
}

bool instance_start(struct instance *i)
{
    struct fail f = {0};
    i->started = true; /* stop runs also after a start that failed half-way */
    crash_call(i->id, "start");
    enum err e = pe_start(i->pe, &f);
    crash_call(0, "");
    if (e != ERR_OK) {
        instance_fail(i, f.what);
        return false;
    }
    atomic_store(&i->state, i->finished ? INSTANCE_ENDED : INSTANCE_RUNNING);
    care_begin(i);
    return true;
}

uint32_t instance_spilling(const struct instance *i)
{
    uint32_t n = cut_spills(i);
    for (uint32_t p = 0; p < i->port_count; p++) {
        n += route_spills(&i->ports[p]);
    }
    return n;
}

static void end_calls(struct instance *i) /* R12, for channels that are calls */
{
    for (uint32_t p = 0; p < i->port_count; p++) {
        for (uint32_t s = 0; s < i->ports[p].stream_count; s++) {
            struct out_stream *stream = &i->ports[p].streams[s];
            for (uint32_t d = 0; d < stream->channel_count; d++) {
                struct channel *c = stream->channels[d];
                if (c->kind == CHANNEL_FUSED && !atomic_load(&c->ledger.ended)) {
                    channel_mark(c, ITEM_END, 0);
                }
            }
        }
    }
}

void instance_end_late(struct instance *i)
{
    bool look = i->look_at_end || i->finish_waits;
    if (!look || !i->started || i->retiring) {
        return;
    }
    i->look_at_end = false;
    if (i->finished) {
        end_calls(i);
    } else if (!i->source) {
        i->finish_waits = false;
        instance_check_ended(i); /* of the inputs as they are now: there may be new ones */
    } else if (i->finish_waits) {
        instance_finish(i);
    }
}
