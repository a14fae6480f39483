/* worker/retain.c - the log of one channel: a ring of items that grows. */
#include "worker/retain.h"

#include "core/counter.h"
#include "core/mem.h"
#include "worker/frame.h"

#include <assert.h>

enum { CAPACITY_MIN = 64, FREED_PER_ITEM = 4 };

static struct logged *at(const struct retained *r, size_t n) /* the n-th of those not dead */
{
    return &r->slots[(r->head + r->dead + n) & (r->capacity - 1)];
}

static void set_base(struct retained *r, bool on, uint64_t epoch)
{
    r->on = on;
    r->base = epoch;
    atomic_store_explicit(&r->reach, on ? epoch + 1 : 0, memory_order_relaxed);
}

struct retained *retained_new(uint64_t from, uint64_t budget)
{
    struct retained *r = mem_alloc(sizeof *r);
    atomic_init(&r->budget, budget);
    set_base(r, from != RETAIN_NOTHING, from != RETAIN_NOTHING ? from : 0);
    return r;
}

static void item_free(struct item *it)
{
    if (it->frame != NULL) {
        frame_free(it->frame);
    } else {
        batch_free(it->batch);
    }
}

bool retain_sweep(struct retained *r, size_t count)
{
    for (; count > 0 && r->dead > 0; count--) {
        struct logged *k = &r->slots[r->head & (r->capacity - 1)];
        item_free(&k->it);
        counter_add(&r->bytes, 0 - k->bytes);
        r->head++;
        r->dead--;
    }
    return r->dead > 0;
}

void retained_free(struct retained *r)
{
    if (r == NULL) {
        return;
    }
    r->dead += r->sent + r->waiting;
    (void)retain_sweep(r, r->dead);
    mem_free(r->slots);
    mem_free(r);
}

/* ---------------------------------------------------------------- adding */

static void grow(struct retained *r)
{
    size_t count = r->dead + r->sent + r->waiting;
    size_t capacity = r->capacity > 0 ? r->capacity * 2 : CAPACITY_MIN;
    struct logged *slots = mem_array(capacity, sizeof *slots);
    for (size_t n = 0; n < count; n++) {
        slots[n] = r->slots[(r->head + n) & (r->capacity - 1)];
    }
    mem_free(r->slots);
    r->slots = slots;
    r->capacity = capacity;
    r->head = 0;
}

static size_t held_bytes(const struct item *it) /* B3 */
{
    const struct batch *b = it->frame != NULL ? it->frame->batch : it->batch;
    size_t bytes = sizeof(struct logged);
    if (it->frame != NULL) {
        bytes += sizeof *it->frame + (size_t)it->frame->piece_count * sizeof(struct iovec);
    }
    if (b != NULL) {
        bytes += b->block->bytes;
        for (uint32_t n = 0; n < b->buf_count; n++) {
            bytes += b->bufs[n]->bytes;
        }
    }
    return bytes;
}

static void append(struct retained *r, const struct item *it)
{
    if (r->dead + r->sent + r->waiting == r->capacity) {
        grow(r);
    }
    struct logged *k = at(r, r->sent + r->waiting);
    k->it = *it;
    k->bytes = held_bytes(it);
    r->live_bytes += k->bytes;
    counter_add(&r->bytes, k->bytes);
    (void)retain_sweep(r, FREED_PER_ITEM);
}

static bool is_kept(enum item_kind kind)
{
    return kind == ITEM_BATCH || kind == ITEM_MARKER_CHECKPOINT || kind == ITEM_END;
}

static struct item share(const struct item *it)
{
    struct item own = *it;
    if (it->frame != NULL) {
        frame_ref(it->frame);
    } else if (it->batch != NULL) {
        own.batch = batch_share(it->batch);
    }
    return own;
}

/* pass - it is sent.  An OFF log may begin with it. */
static void pass(struct retained *r, const struct item *it)
{
    if (it->kind == ITEM_BATCH) {
        r->passed += held_bytes(it);
    } else if (it->kind == ITEM_MARKER_CHECKPOINT) {
        uint64_t budget = atomic_load_explicit(&r->budget, memory_order_relaxed);
        if (!r->on && r->passed <= RETAIN_FUTILE * budget) {
            set_base(r, true, it->epoch);
        }
        r->passed = 0;
    }
}

bool retain_sent(struct retained *r, const struct item *it)
{
    assert(r->waiting == 0);
    bool kept = r->on && is_kept(it->kind);
    pass(r, it);
    if (!kept) {
        return false;
    }
    struct item own = share(it);
    append(r, &own);
    r->sent++;
    return true;
}

void retain_wait(struct retained *r, const struct item *it)
{
    append(r, it);
    r->waiting++;
}

/* ---------------------------------------------------------------- dropping */

/* The `count` oldest are needed no more. */
static void bury(struct retained *r, size_t count)
{
    assert(count <= r->sent); /* B2 */
    for (size_t n = 0; n < count; n++) {
        r->live_bytes -= at(r, n)->bytes;
    }
    r->dead += count;
    r->sent -= count;
}

/* find_marker - the first marker of a checkpoint at or after `n` among what was sent; `sent` if
 * there is none. */
static size_t find_marker(const struct retained *r, size_t n)
{
    while (n < r->sent && at(r, n)->it.kind != ITEM_MARKER_CHECKPOINT) {
        n++;
    }
    return n;
}

void retain_shed(struct retained *r)
{
    while (retain_over(r) && r->sent > 0) {
        size_t marker = find_marker(r, 0);
        bool found = marker < r->sent;
        set_base(r, found, found ? at(r, marker)->it.epoch : 0);
        bury(r, found ? marker + 1 : r->sent);
    }
    if (r->sent + r->waiting == 0 && retain_over(r)) {
        set_base(r, false, 0);
    }
    (void)retain_sweep(r, SIZE_MAX); /* now it is about memory */
}

void retain_trim(struct retained *r, uint64_t epoch)
{
    if (!r->on || r->base >= epoch || r->pinned) {
        return;
    }
    for (size_t n = find_marker(r, 0); n < r->sent; n = find_marker(r, n + 1)) {
        if (at(r, n)->it.epoch == epoch) {
            bury(r, n + 1);
            set_base(r, true, epoch);
            return;
        }
    }
}

/* ---------------------------------------------------------------- sending again */

const struct item *retain_next(const struct retained *r)
{
    return r->waiting > 0 ? &at(r, r->sent)->it : NULL;
}

void retain_went(struct retained *r, const struct item *it)
{
    struct logged *k = at(r, r->sent);
    bool useful = r->on && is_kept(k->it.kind);
    struct item own = useful ? share(it) : (struct item){.kind = it->kind};
    r->live_bytes -= k->bytes;
    counter_add(&r->bytes, 0 - k->bytes);
    item_free(&k->it);
    k->it = own;
    k->bytes = held_bytes(&own);
    r->live_bytes += k->bytes;
    counter_add(&r->bytes, k->bytes);
    r->sent++;
    r->waiting--;
    if (!r->on) {
        bury(r, r->sent);
    }
    pass(r, it);
}

void retain_recall(struct retained *r, size_t count)
{
    assert(count <= r->sent && r->waiting == 0);
    for (size_t n = r->sent - count; n < r->sent; n++) {
        struct item *it = &at(r, n)->it;
        if (it->frame != NULL) { /* it will have another number */
            struct frame *f = it->frame;
            it->batch = f->batch != NULL ? batch_share(f->batch) : NULL;
            it->frame = NULL;
            frame_free(f);
        }
    }
    r->sent -= count;
    r->waiting += count;
}

static size_t place_of(const struct retained *r, uint64_t epoch) /* SIZE_MAX: nowhere */
{
    if (r->on && r->base == epoch) {
        return 0;
    }
    for (size_t n = find_marker(r, 0); r->on && n < r->sent; n = find_marker(r, n + 1)) {
        if (at(r, n)->it.epoch == epoch) {
            return n + 1;
        }
    }
    return SIZE_MAX;
}

bool retain_reaches(const struct retained *r, uint64_t epoch)
{
    return place_of(r, epoch) != SIZE_MAX;
}

uint64_t retain_rewind(struct retained *r, uint64_t epoch)
{
    size_t place = place_of(r, epoch);
    assert(place != SIZE_MAX);
    bury(r, place);
    set_base(r, true, epoch);
    uint64_t tuples = 0;
    size_t kept = 0, count = r->sent + r->waiting;
    for (size_t n = 0; n < count; n++) {
        struct logged *k = at(r, n);
        if (k->it.kind != ITEM_BATCH) { /* markers are void: those checkpoints were given up */
            r->live_bytes -= k->bytes;
            counter_add(&r->bytes, 0 - k->bytes);
            item_free(&k->it);
            continue;
        }
        tuples += k->it.count;
        *at(r, kept++) = *k;
    }
    r->waiting = 0;
    r->sent = kept;
    retain_recall(r, kept);
    return tuples;
}
