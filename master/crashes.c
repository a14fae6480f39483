/* master/crashes.c - counting, and what on_error says. */
#include "master/crashes.h"

#include "core/limits.h"
#include "core/mem.h"

#include <stdio.h>
#include <string.h>

void crashes_fini(struct crashes *cs)
{
    for (size_t i = 0; i < cs->count; i++) {
        mem_free(cs->items[i].uid);
        mem_free(cs->items[i].tuple);
    }
    mem_free(cs->items);
    *cs = (struct crashes){0};
}

static struct crash_of *of(const struct crashes *cs, const struct pe *pe, uint32_t index)
{
    for (size_t i = 0; i < cs->count; i++) {
        if (cs->items[i].index == index && strcmp(cs->items[i].uid, pe->uid) == 0) {
            return &cs->items[i];
        }
    }
    return NULL;
}

const struct crash_of *crashes_find(const struct crashes *cs, const struct pe *pe, uint32_t index)
{
    const struct crash_of *c = of(cs, pe, index);
    return c != NULL && strcmp(c->digest, pe->digest) == 0 ? c : NULL; /* K1 */
}

static struct crash_of *make(struct crashes *cs, const struct pe *pe, uint32_t index)
{
    struct crash_of *c = of(cs, pe, index);
    if (c == NULL) {
        cs->items = mem_grow(cs->items, cs->count, &cs->capacity, sizeof *cs->items);
        c = &cs->items[cs->count++];
        *c = (struct crash_of){.uid = mem_dup(pe->uid), .index = index};
    } else if (strcmp(c->digest, pe->digest) != 0) {
        mem_free(c->tuple);
        *c = (struct crash_of){.uid = c->uid, .index = index};
    }
    snprintf(c->digest, sizeof c->digest, "%s", pe->digest);
    return c;
}

bool crashes_note(struct crashes *cs, const struct pe *pe, uint32_t index,
                  const struct crash_note *n)
{
    struct crash_of *c = make(cs, pe, index);
    if (n->incarnation == c->incarnation) {
        return false; /* told twice */
    }
    c->incarnation = n->incarnation;
    if (n->epoch > c->epoch) { /* it got further */
        c->epoch = n->epoch;
        c->count = 0;
    }
    c->count++;
    c->has_tuple = n->processing;
    snprintf(c->error, sizeof c->error, "%s", n->error);
    if (n->sum == 0 || c->killer_count == KILLERS_MAX) {
        return false;
    }
    c->killers[c->killer_count++] = n->sum;
    mem_free(c->tuple);
    c->tuple = n->tuple[0] != '\0' ? mem_dup(n->tuple) : NULL;
    return true;
}

void crashes_forgive(struct crashes *cs, const struct pe *pe, uint32_t index)
{
    struct crash_of *c = of(cs, pe, index);
    if (c != NULL) {
        c->count = 0;
    }
}

enum crash_then crashes_then(const struct crash_of *c, const struct pe *pe)
{
    unsigned allowed = pe->retries + 1 > CRASHES_MIN ? pe->retries + 1 : CRASHES_MIN;
    bool goes_on = pe->then != THEN_STOP, knows_some = c->killer_count > 0;
    if (goes_on && c->has_tuple && c->killer_count < KILLERS_MAX &&
        (knows_some || c->count >= allowed)) {
        return CRASH_SINGLY;
    }
    if (c->count < allowed) {
        return goes_on && knows_some ? CRASH_SINGLY : CRASH_AGAIN;
    }
    return pe->then == THEN_HOLD ? CRASH_HOLD : CRASH_STOP;
}
