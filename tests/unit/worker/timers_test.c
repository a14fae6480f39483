/* tests/unit/worker/timers_test.c - the timers of an executor against a naive list.
 *
 * Goal:   T1 and T2 of worker/timers.h: due in order, each name once, found after any history of
 *         setting, clearing, holding, releasing and taking out.
 * Method: random histories with few names, so that every collision and replacement happens; the
 *         reference is an array that is searched from end to end. */
#include "core/prng.h"
#include "worker/timers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { TASKS = 3, WHOS = 2, IDS = 40, NAMES = TASKS * WHOS * IDS };

struct naive {
    uint64_t due_us[NAMES]; /* 0: not set */
    bool held[NAMES];
};

static char tasks[TASKS], whos[WHOS]; /* tidy: addresses that stand for tasks */

static struct task *task_at(unsigned name)
{
    return (struct task *)(void *)&tasks[name / (WHOS * IDS)];
}

static void *who_at(unsigned name)
{
    return &whos[name / IDS % WHOS];
}

static unsigned name_of(const struct timer_entry *e)
{
    unsigned task = (unsigned)((char *)(void *)e->task - tasks);
    unsigned who = (unsigned)((char *)e->who - whos);
    return (task * WHOS + who) * IDS + (unsigned)e->id;
}

static uint64_t naive_next(const struct naive *n)
{
    uint64_t next = 0;
    for (unsigned k = 0; k < NAMES; k++) {
        if (n->due_us[k] != 0 && !n->held[k] && (next == 0 || n->due_us[k] < next)) {
            next = n->due_us[k];
        }
    }
    return next;
}

static size_t naive_count(const struct naive *n)
{
    size_t count = 0;
    for (unsigned k = 0; k < NAMES; k++) {
        count += n->due_us[k] != 0 ? 1 : 0;
    }
    return count;
}

static void fire(struct timers *t, struct naive *n, struct prng *g, uint64_t now_us)
{
    struct timer_entry e;
    for (size_t left = t->count; left > 0 && timers_due(t, now_us, &e); left--) {
        unsigned name = name_of(&e);
        assert_int_equal(e.due_us, n->due_us[name]);
        assert_false(n->held[name]);
        assert_int_equal(e.due_us, naive_next(n));
        if (prng_below(g, 3) == 0) {
            timers_hold(t, &e);
            n->held[name] = true;
        } else {
            n->due_us[name] = 0;
        }
    }
}

static void release(struct timers *t, struct naive *n, unsigned name)
{
    timers_release(t, task_at(name));
    for (unsigned k = 0; k < NAMES; k++) {
        n->held[k] = n->held[k] && task_at(k) != task_at(name);
    }
}

static void take(struct timers *t, struct naive *n, unsigned name, bool all)
{
    const void *who = all ? NULL : who_at(name);
    struct timer_entry e;
    size_t at = t->count;
    while (timers_take(t, task_at(name), who, &at, &e)) {
        unsigned k = name_of(&e);
        assert_ptr_equal(e.task, task_at(name));
        assert_int_equal(n->held[k] ? e.held_due_us : e.due_us, n->due_us[k]);
        n->due_us[k] = 0;
        n->held[k] = false;
    }
    for (unsigned k = 0; k < NAMES; k++) {
        bool gone = task_at(k) == task_at(name) && (all || who_at(k) == who);
        assert_true(!gone || n->due_us[k] == 0);
    }
}

static void random_histories_agree_with_a_naive_list(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct timers t = {0};
        struct naive n = {0};
        struct prng g = {seed};
        uint64_t now_us = 1;
        for (unsigned k = 0; k < 3000; k++) {
            unsigned name = (unsigned)prng_below(&g, NAMES);
            uint64_t what = prng_below(&g, 100);
            if (what < 60) {
                n.due_us[name] = now_us + prng_below(&g, 100);
                n.held[name] = false;
                timers_set(&t, task_at(name), who_at(name), name % IDS, n.due_us[name]);
            } else if (what < 80) {
                n.due_us[name] = 0;
                n.held[name] = false;
                timers_clear(&t, task_at(name), who_at(name), name % IDS);
            } else if (what < 95) {
                now_us += prng_below(&g, 30);
                fire(&t, &n, &g, now_us);
            } else if (what < 98) {
                release(&t, &n, name);
            } else {
                take(&t, &n, name, what == 99);
            }
            assert_int_equal(t.count, naive_count(&n));
            assert_int_equal(timers_next_us(&t), naive_next(&n));
        }
        for (unsigned name = 0; name < NAMES; name += WHOS * IDS) {
            take(&t, &n, name, true);
        }
        assert_int_equal(t.count, 0);
        timers_fini(&t);
    }
}

/* Quadratic work here would be 10^10 steps: the test would not end. */
static void a_hundred_thousand_timers_are_no_burden(void **state)
{
    (void)state;
    struct timers t = {0};
    enum { MANY = 100000 };
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t id = 0; id < MANY; id++) {
            timers_set(&t, task_at(0), who_at(0), id, 1 + (id * 7919) % MANY);
        }
    }
    assert_int_equal(t.count, MANY);
    for (uint64_t id = 0; id < MANY; id += 2) {
        timers_clear(&t, task_at(0), who_at(0), id);
    }
    struct timer_entry e;
    uint64_t last = 0;
    for (unsigned k = 0; k < MANY / 4; k++) {
        assert_true(timers_due(&t, UINT64_MAX - 1, &e));
        assert_true(e.due_us >= last && e.id % 2 == 1);
        last = e.due_us;
    }
    size_t at = t.count, taken = 0;
    while (timers_take(&t, task_at(0), NULL, &at, &e)) {
        taken++;
    }
    assert_int_equal(taken, MANY / 4);
    timers_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories_agree_with_a_naive_list),
        cmocka_unit_test(a_hundred_thousand_timers_are_no_burden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
