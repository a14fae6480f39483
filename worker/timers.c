/* worker/timers.c - heap and index of an executor's timers. */
#include "worker/timers.h"

#include "core/hash.h"
#include "core/mem.h"

enum { SLOTS_MIN = 16 };

static size_t home_of(const struct timers *t, const struct task *task, const void *who, uint64_t id)
{
    uint64_t h = (uint64_t)(uintptr_t)task * UINT64_C(0x9E3779B97F4A7C15);
    h = (h ^ (uint64_t)(uintptr_t)who) * UINT64_C(0xC2B2AE3D27D4EB4F);
    h = (h ^ id) * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(h >> 20) & (t->slots - 1);
}

static size_t home_of_entry(const struct timers *t, const struct timer_entry *e)
{
    return home_of(t, e->task, e->who, e->id);
}

/* The slot of that name, or the empty one where it belongs.  Requires: slots > 0. */
static size_t slot_of(const struct timers *t, const struct task *task, const void *who, uint64_t id)
{
    size_t slot = home_of(t, task, who, id);
    for (; t->index[slot] != 0; slot = (slot + 1) & (t->slots - 1)) {
        const struct timer_entry *e = &t->heap[t->index[slot] - 1];
        if (e->id == id && e->who == who && e->task == task) {
            break;
        }
    }
    return slot;
}

void timers_fini(struct timers *t)
{
    mem_free(t->heap);
    mem_free(t->index);
    *t = (struct timers){0};
}

/* ---------------------------------------------------------------- the index */

static void index_grow(struct timers *t)
{
    mem_free(t->index);
    t->slots = t->slots > 0 ? t->slots * 2 : SLOTS_MIN;
    t->index = mem_array(t->slots, sizeof *t->index);
    for (size_t i = 0; i < t->count; i++) {
        struct timer_entry *e = &t->heap[i];
        e->slot = slot_of(t, e->task, e->who, e->id);
        t->index[e->slot] = i + 1;
    }
}

static void index_remove(struct timers *t, size_t hole)
{
    size_t mask = t->slots - 1;
    for (size_t s = (hole + 1) & mask; t->index[s] != 0; s = (s + 1) & mask) {
        struct timer_entry *e = &t->heap[t->index[s] - 1];
        if (((s - home_of_entry(t, e)) & mask) >= ((s - hole) & mask)) {
            t->index[hole] = t->index[s];
            e->slot = hole;
            hole = s;
        }
    }
    t->index[hole] = 0;
}

/* ---------------------------------------------------------------- the heap */

static void swap(struct timers *t, size_t a, size_t b)
{
    struct timer_entry e = t->heap[a];
    t->heap[a] = t->heap[b];
    t->heap[b] = e;
    t->index[t->heap[a].slot] = a + 1;
    t->index[t->heap[b].slot] = b + 1;
}

static void move_up(struct timers *t, size_t i)
{
    while (i > 0 && t->heap[i].due_us < t->heap[(i - 1) / 2].due_us) {
        swap(t, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}

static void move_down(struct timers *t, size_t i)
{
    for (;;) {
        size_t least = i;
        for (size_t c = 2 * i + 1; c <= 2 * i + 2 && c < t->count; c++) {
            if (t->heap[c].due_us < t->heap[least].due_us) {
                least = c;
            }
        }
        if (least == i) {
            return;
        }
        swap(t, i, least);
        i = least;
    }
}

static void settle(struct timers *t, size_t i) /* its due time has changed */
{
    move_up(t, i);
    move_down(t, i);
}

static void remove_at(struct timers *t, size_t i)
{
    size_t last = t->count - 1;
    if (i != last) {
        swap(t, i, last);
    }
    index_remove(t, t->heap[last].slot);
    t->count = last;
    if (i < t->count) {
        settle(t, i);
    }
}

/* ---------------------------------------------------------------- public */

void timers_set(struct timers *t, struct task *task, void *who, uint64_t id, uint64_t due_us)
{
    if ((t->count + 1) * 2 > t->slots) {
        index_grow(t);
    }
    size_t slot = slot_of(t, task, who, id);
    size_t at = t->index[slot] - 1;
    if (t->index[slot] == 0) {
        at = t->count++;
        t->heap = mem_grow(t->heap, at, &t->capacity, sizeof *t->heap);
        t->index[slot] = at + 1;
    }
    t->heap[at] = (struct timer_entry){
        .due_us = due_us, .id = id, .task = task, .who = who, .slot = slot};
    settle(t, at);
}

void timers_clear(struct timers *t, const struct task *task, const void *who, uint64_t id)
{
    size_t slot = t->slots > 0 ? slot_of(t, task, who, id) : 0;
    if (t->slots > 0 && t->index[slot] != 0) {
        remove_at(t, t->index[slot] - 1);
    }
}

bool timers_due(struct timers *t, uint64_t now_us, struct timer_entry *out)
{
    if (t->count == 0 || t->heap[0].due_us > now_us) {
        return false;
    }
    *out = t->heap[0];
    remove_at(t, 0);
    return true;
}

uint64_t timers_next_us(const struct timers *t)
{
    return t->count > 0 && t->heap[0].due_us != UINT64_MAX ? t->heap[0].due_us : 0;
}

void timers_hold(struct timers *t, const struct timer_entry *due)
{
    timers_set(t, due->task, due->who, due->id, UINT64_MAX);
    size_t slot = slot_of(t, due->task, due->who, due->id);
    t->heap[t->index[slot] - 1].held_due_us = due->due_us;
}

void timers_release(struct timers *t, const struct task *task)
{
    for (size_t i = 0; i < t->count; i++) {
        struct timer_entry *e = &t->heap[i];
        if (e->task == task && e->due_us == UINT64_MAX && e->held_due_us != 0) {
            e->due_us = e->held_due_us;
            e->held_due_us = 0;
            move_up(t, i); /* what it changes place with was looked at before */
        }
    }
}

/* From the end: what a removal puts in its place is from behind and was looked at, or an ancestor
 * that was not, for which the place is looked at again. */
bool timers_take(struct timers *t, const struct task *task, const void *who, size_t *at,
                 struct timer_entry *out)
{
    for (*at = *at < t->count ? *at : t->count; *at > 0; --*at) {
        const struct timer_entry *e = &t->heap[*at - 1];
        if (e->task == task && (who == NULL || e->who == who)) {
            *out = *e;
            remove_at(t, *at - 1);
            return true;
        }
    }
    return false;
}
