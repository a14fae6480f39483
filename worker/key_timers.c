/* worker/key_timers.c - the task's timer for the timers of a PE's keys. */
#include "worker/key_timers.h"

#include "core/clock.h"
#include "core/limits.h"
#include "worker/chain.h"
#include "worker/hold.h"
#include "worker/watch.h"

/* V1; who waits for its state is in a chain whose timers are held. */
static bool may_run(const struct chain *c, const struct instance *i)
{
    return !c->failed && i->started && !i->finished && !hold_is_held(i) && hold_is_empty(i);
}

static uint64_t mono_of(int64_t wall_us)
{
    int64_t now_us = clock_wall_us();
    return clock_now_us() + (wall_us > now_us ? (uint64_t)(wall_us - now_us) : 0);
}

static void clear(struct chain *c, struct instance *i)
{
    if (i->key_timer_us != 0) {
        task_timer_clear(&c->task, &i->key_timer_us, 0);
        i->key_timer_us = 0;
    }
}

void key_timers_arm(struct chain *c)
{
    for (uint32_t k = 0; k < c->member_count; k++) {
        struct instance *i = c->members[k];
        int64_t next = may_run(c, i) ? pe_key_timer_next(i->pe) : INT64_MAX;
        if (next == INT64_MAX) {
            clear(c, i);
        } else if (next != i->key_timer_us) {
            i->key_timer_us = next;
            task_timer_set(&c->task, &i->key_timer_us, 0, mono_of(next));
        }
    }
}

void key_timers_leave(struct chain *c, struct instance *i)
{
    clear(c, i);
}

struct instance *key_timers_of(struct chain *c, const void *who)
{
    for (uint32_t k = 0; k < c->member_count; k++) {
        if (who == &c->members[k]->key_timer_us) {
            return c->members[k];
        }
    }
    return NULL;
}

int key_timers_run(struct chain *c, struct instance *i)
{
    int result = OXB_OK;
    i->key_timer_us = 0;
    if (!may_run(c, i)) {
        return OXB_OK;
    }
    int64_t now_us = clock_wall_us();
    watch_begin(i, clock_now_ns(), "key_timer");
    for (int n = 0; n < KEY_TIMERS_MAX && result == OXB_OK && c->spilled == 0; n++) {
        result = pe_key_timer(i->pe, now_us);
    }
    watch_end(i);
    return result == OXB_IDLE ? OXB_OK : result;
}
