/* worker/ready.h - which channels of a link have something to do: called from any thread, served by
 * the loop, so that a link with a thousand idle channels costs what the busy ones cost.
 *
 * Owns:       struct ready: a stack that any thread pushes on, a list that the loop works through.
 * Threads:    ready_call: any.  The rest: the loop's.
 * Invariants: G1 a channel is on the stack exactly while `called` is true, or between that and the
 *                taking of the stack; the flag is lowered before the channel is looked at, so what
 *                happens after a look is never missed.
 *             G2 the stack is only ever taken as a whole: no ABA. */
#ifndef OXB_WORKER_READY_H
#define OXB_WORKER_READY_H

#include "worker/channel.h"

struct ready {
    _Atomic(struct channel *) stack;
    struct channel *first, *last;
};

/* ready_call - any thread, while the channel is in use.  Return: false when it is called already. */
static inline bool ready_call(struct ready *r, struct channel *c)
{
    if (atomic_load(&c->called) || atomic_exchange(&c->called, true)) {
        return false;
    }
    c->called_next = atomic_load_explicit(&r->stack, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&r->stack, &c->called_next, c)) {
    }
    return true;
}

static inline void ready_add(struct ready *r, struct channel *c) /* to the end, if not in it */
{
    if (c->waiting) {
        return;
    }
    c->waiting = true;
    c->waiting_prev = r->last;
    c->waiting_next = NULL;
    *(r->last != NULL ? &r->last->waiting_next : &r->first) = c;
    r->last = c;
}

static inline void ready_remove(struct ready *r, struct channel *c) /* if in it */
{
    if (!c->waiting) {
        return;
    }
    c->waiting = false;
    *(c->waiting_prev != NULL ? &c->waiting_prev->waiting_next : &r->first) = c->waiting_next;
    *(c->waiting_next != NULL ? &c->waiting_next->waiting_prev : &r->last) = c->waiting_prev;
}

static inline void ready_collect(struct ready *r) /* stack -> list */
{
    struct channel *c = atomic_exchange(&r->stack, NULL);
    while (c != NULL) {
        struct channel *next = c->called_next;
        atomic_store(&c->called, false); /* G1: `c` may be called again from here on */
        ready_add(r, c);
        c = next;
    }
}

#endif
