/* worker/hold.c - keeping input, and going on with it. */
#include "worker/hold.h"

#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "worker/fault.h"
#include "worker/chain.h"

#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct hold {
    /* the instance's thread */
    struct kept *items; /* FIFO */
    size_t first, count, capacity;
    uint64_t bytes;
    bool held, has_tuple;
    /* both */
    _Atomic uint64_t number; /* of the hold that is on; 0: none */
    _Atomic uint64_t skip;   /* this hold's tuple is to be given up */
    _Atomic uint64_t tuples;
    _Atomic uint64_t saved;   /* newest checkpoint that has kept input; 0: none */
    _Atomic uint64_t cleared; /* first one after it that has none; 0: none was taken yet */
    pthread_mutex_t lock;     /* leaf: what follows */
    char error[512];
    struct strbuf tuple, stream;
    /* the instance's thread */
    uint64_t last_number;
};

static struct hold *hold_of(const struct instance *i) /* NULL: nothing was ever kept */
{
    return atomic_load_explicit(&i->hold, memory_order_acquire);
}

static struct hold *hold_make(struct instance *i)
{
    struct hold *h = hold_of(i);
    if (h == NULL) {
        h = mem_alloc(sizeof *h);
        pthread_mutex_init(&h->lock, NULL);
        atomic_store_explicit(&i->hold, h, memory_order_release);
    }
    return h;
}

void kept_free(struct kept *list, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        batch_free(list[n].batch);
        mem_free(list[n].stream);
    }
    mem_free(list);
}

void hold_free(struct instance *i)
{
    struct hold *h = hold_of(i);
    if (h == NULL) {
        return;
    }
    for (size_t n = 0; n < h->count; n++) {
        batch_free(h->items[h->first + n].batch);
        mem_free(h->items[h->first + n].stream);
    }
    mem_free(h->items);
    strbuf_fini(&h->tuple);
    strbuf_fini(&h->stream);
    pthread_mutex_destroy(&h->lock);
    mem_free(h);
}

/* ---------------------------------------------------------------- the list */

static void count_kept(struct hold *h, const struct batch *b, int sign)
{
    uint64_t bytes = batch_bytes(b) + sizeof(struct kept);
    uint64_t tuples = atomic_load_explicit(&h->tuples, memory_order_relaxed);
    h->bytes = sign > 0 ? h->bytes + bytes : h->bytes - bytes;
    atomic_store_explicit(&h->tuples, sign > 0 ? tuples + b->pub.live : tuples - b->pub.live,
                          memory_order_relaxed);
}

void hold_keep(struct instance *i, unsigned port, const char *stream, struct batch *batch)
{
    struct hold *h = hold_make(i);
    if (h->first > 64 && h->first >= h->count) {
        memmove(h->items, h->items + h->first, h->count * sizeof *h->items);
        h->first = 0;
    }
    h->items = mem_grow(h->items, h->first + h->count, &h->capacity, sizeof *h->items);
    h->items[h->first + h->count++] = (struct kept){batch, port, mem_dup(stream)};
    count_kept(h, batch, +1);
}

static void keep_first(struct instance *i, struct kept k TAKES)
{
    struct hold *h = hold_make(i);
    if (h->first == 0) {
        h->items = mem_grow(h->items, h->count, &h->capacity, sizeof *h->items);
        memmove(h->items + 1, h->items, h->count * sizeof *h->items);
    } else {
        h->first--;
    }
    h->items[h->first] = k;
    h->count++;
    count_kept(h, k.batch, +1);
}

static struct kept take_first(struct hold *h)
{
    struct kept k = h->items[h->first++];
    h->count--;
    h->first = h->count == 0 ? 0 : h->first;
    count_kept(h, k.batch, -1);
    return k;
}

struct kept *hold_share(const struct instance *i, size_t *count)
{
    const struct hold *h = hold_of(i);
    *count = h != NULL ? h->count : 0;
    struct kept *list = mem_array(*count, sizeof *list);
    for (size_t n = 0; n < *count; n++) {
        const struct kept *k = &h->items[h->first + n];
        list[n] = (struct kept){batch_share(k->batch), k->port, mem_dup(k->stream)};
    }
    return list;
}

void hold_saved(const struct instance *i, uint64_t epoch)
{
    struct hold *h = hold_of(i);
    if (h == NULL) {
        return;
    }
    if (h->count > 0) {
        atomic_store(&h->cleared, 0);
        atomic_store(&h->saved, epoch);
    } else if (atomic_load(&h->saved) != 0 && atomic_load(&h->cleared) == 0) {
        atomic_store(&h->cleared, epoch);
    }
}

bool hold_lingers(const struct instance *i, uint64_t complete)
{
    const struct hold *h = hold_of(i);
    if (h == NULL || atomic_load(&h->saved) == 0) {
        return false;
    }
    uint64_t cleared = atomic_load(&h->cleared);
    return cleared == 0 || complete < cleared;
}

bool hold_is_held(const struct instance *i)
{
    const struct hold *h = hold_of(i);
    return h != NULL && h->held;
}

bool hold_is_empty(const struct instance *i)
{
    const struct hold *h = hold_of(i);
    return h == NULL || h->count == 0;
}

bool hold_is_full(const struct chain *c)
{
    for (uint32_t k = 0; k < c->member_count; k++) {
        const struct hold *h = hold_of(c->members[k]);
        if (h != NULL && h->bytes >= HELD_BYTES_MAX) {
            return true;
        }
    }
    return false;
}

bool hold_goes_on(const struct chain *c)
{
    for (uint32_t k = 0; k < c->member_count; k++) {
        const struct hold *h = hold_of(c->members[k]);
        if (h != NULL && !h->held && h->count > 0) {
            return true;
        }
    }
    return false;
}

/* ---------------------------------------------------------------- holding */

static void describe(struct hold *h, const struct batch *rest, const char *stream,
                     const char *error)
{
    pthread_mutex_lock(&h->lock);
    snprintf(h->error, sizeof h->error, "%s", error);
    strbuf_clear(&h->tuple);
    strbuf_clear(&h->stream);
    strbuf_text_add(&h->stream, stream);
    if (rest != NULL) {
        batch_json_row(&rest->pub, rest->pub.sel != NULL ? rest->pub.sel[0] : 0, &h->tuple);
    }
    if (h->tuple.bytes > HELD_TUPLE_BYTES) { /* to be looked at, not to be sent about */
        uint64_t bytes = h->tuple.bytes;
        strbuf_clear(&h->tuple);
        strbuf_printf(&h->tuple, "{\"bytes\":%" PRIu64 "}", bytes);
    }
    pthread_mutex_unlock(&h->lock);
}

void hold_begin(struct instance *i, unsigned port, const char *stream, struct batch *rest,
                const char *error)
{
    struct hold *h = hold_make(i);
    assert(!h->held);
    describe(h, rest, stream, error);
    h->held = true;
    h->has_tuple = rest != NULL;
    if (rest != NULL) {
        keep_first(i, (struct kept){rest, port, mem_dup(stream)});
    }
    log_event(LOG_WARN, "instance.held", "pe=%s index=%u error=\"%s\"", name_text(&i->pe_name),
              i->index, error);
    atomic_store(&h->number, ++h->last_number);
    instance_set_state(i, INSTANCE_HELD);
}

static void release(struct instance *i, const char *why)
{
    struct hold *h = hold_of(i);
    h->held = false;
    atomic_store(&h->number, 0);
    log_event(LOG_INFO, "instance.released", "pe=%s index=%u why=\"%s\"", name_text(&i->pe_name),
              i->index, why);
    instance_set_state(i, i->finished ? INSTANCE_ENDED : INSTANCE_RUNNING);
}

void hold_recode(struct instance *i)
{
    if (hold_is_held(i)) {
        release(i, "it has new code");
    }
}

/* The bad tuple is given up as a dead letter: a person has asked for it. */
static void give_up(struct instance *i)
{
    struct hold *h = hold_of(i);
    char error[sizeof h->error];
    snprintf(error, sizeof error, "%s", h->error); /* written by this thread only */
    release(i, "its tuple was skipped");
    if (!h->has_tuple) {
        i->final_done = i->final_done || atomic_load(&i->ending) == ENDS;
        return;
    }
    struct kept k = take_first(h);
    fault_give_up(i, k.stream, k.batch, true, error);
    if (k.batch->pub.live == 1) {
        batch_free(k.batch);
        mem_free(k.stream);
        return;
    }
    uint16_t sel[BATCH_ROWS_MAX];
    for (uint32_t n = 1; n < k.batch->pub.live; n++) {
        sel[n - 1] = k.batch->pub.sel != NULL ? k.batch->pub.sel[n] : (uint16_t)n;
    }
    batch_narrow(k.batch, sel, k.batch->pub.live - 1);
    keep_first(i, k);
}

static void follow(struct instance *i)
{
    struct hold *h = hold_of(i);
    struct policy p = policy_unpack(atomic_load_explicit(&i->policy, memory_order_relaxed));
    uint64_t skip = atomic_exchange(&h->skip, 0);
    if (h->held && skip == h->last_number) {
        give_up(i);
    } else if (h->held && p.then != PLAN_HOLD) {
        release(i, "its on_error is another one");
    }
}

bool hold_turn(struct chain *c)
{
    bool more = false;
    for (uint32_t k = 0; k < c->member_count && !c->failed; k++) {
        struct instance *i = c->members[k];
        struct hold *h = hold_of(i);
        if (h == NULL || !i->started) {
            continue;
        }
        bool any = h->count > 0 || h->held;
        follow(i);
        for (int n = 0;
             n < RUN_BATCHES_MAX && h->count > 0 && !h->held && c->spilled == 0 && !c->failed;
             n++) {
            struct kept item = take_first(h);
            instance_process(i, item.port, item.stream, item.batch);
            mem_free(item.stream);
        }
        more = more || (h->count > 0 && !h->held);
        bool ends = any || atomic_load(&i->ending) == ENDS;
        if (!h->held && h->count == 0 && ends && !c->failed) {
            instance_check_ended(i);
        }
    }
    return more && !c->failed;
}

/* ---------------------------------------------------------------- the loop's */

void hold_skip(struct instance *i, uint64_t number)
{
    struct hold *h = hold_of(i);
    if (h != NULL && number != 0) {
        atomic_store(&h->skip, number);
        instance_notify(i);
    }
}

struct held hold_read(struct instance *i, struct strbuf *error, struct strbuf *tuple,
                      struct strbuf *stream)
{
    struct hold *h = hold_of(i);
    struct held out = {0};
    if (h == NULL) {
        return out;
    }
    out.tuples = atomic_load_explicit(&h->tuples, memory_order_relaxed);
    pthread_mutex_lock(&h->lock);
    out.number = atomic_load(&h->number);
    if (out.number != 0) {
        strbuf_text_add(error, h->error);
        strbuf_add(tuple, h->tuple.data, h->tuple.bytes);
        strbuf_add(stream, h->stream.data, h->stream.bytes);
    }
    pthread_mutex_unlock(&h->lock);
    return out;
}
