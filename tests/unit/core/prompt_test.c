/* tests/unit/core/prompt_test.c - asking for short turns changes the asking thread, and no other.
 *
 * Goal:   nice value and policy stay; the slice is the one asked for, where the kernel knows slices
 *         at all; a thread started afterwards has the one that threads have here.
 * Method: sched_getattr before and after, in threads of their own. */
#include "core/prompt.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

struct attributes { /* the first version of the kernel's struct sched_attr, which no libc has */
    uint32_t bytes, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns, deadline, period;
};

struct seen {
    struct attributes before, after, child;
};

static struct attributes look(void)
{
    struct attributes a = {.bytes = sizeof a};
    assert_int_equal(syscall(SYS_sched_getattr, 0, &a, sizeof a, 0), 0);
    return a;
}

static void *look_child(void *arg)
{
    *(struct attributes *)arg = look();
    return NULL;
}

static void *ask(void *arg)
{
    struct seen *s = arg;
    pthread_t child;
    s->before = look();
    prompt_thread(300);
    s->after = look();
    assert_int_equal(pthread_create(&child, NULL, look_child, &s->child), 0);
    pthread_join(child, NULL);
    return NULL;
}

static void only_the_asking_thread_gets_short_turns(void **state)
{
    (void)state;
    struct seen s;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, ask, &s), 0);
    pthread_join(thread, NULL);
    assert_int_equal(s.after.policy, s.before.policy);
    assert_int_equal(s.after.nice, s.before.nice);
    if (s.before.policy == SCHED_OTHER && s.before.slice_ns > 0) { /* it knows slices */
        assert_int_equal(s.after.slice_ns, 300000);
        assert_int_equal(s.child.slice_ns, s.before.slice_ns);
    }
    assert_int_equal(s.child.nice, s.before.nice);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_asking_thread_gets_short_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
