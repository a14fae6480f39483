/* tests/unit/worker/instance_test.c - a chain that waits for who moves to it.
 *
 * Goal:   an instance that arrives in the middle of a turn of its new chain is never overlooked.
 * Method: a chain whose only member retires; the news of that, told by the chain in the middle of
 *         its turn, makes the awaited instance arrive at exactly that place, every time. */
#include "core/mem.h"
#include "worker/chain.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

enum { DEADLINE_S = 60 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool started, dead;
    struct instance *comes; /* arrives when the other one has retired */
} s = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}; /* tidy: test */

static void tell(bool *what)
{
    pthread_mutex_lock(&s.lock);
    *what = true;
    pthread_cond_broadcast(&s.changed);
    pthread_mutex_unlock(&s.lock);
}

static bool wait_for(const bool *one, const bool *other)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_S;
    int waited = 0;
    pthread_mutex_lock(&s.lock);
    while (!*one && !*other && waited != ETIMEDOUT) {
        waited = pthread_cond_timedwait(&s.changed, &s.lock, &until);
    }
    bool came = *one;
    pthread_mutex_unlock(&s.lock);
    return came;
}

static int sink_start(struct oxb_pe *pe)
{
    (void)pe;
    tell(&s.started);
    return OXB_OK;
}

static int sink_process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)
{
    (void)pe;
    (void)port;
    (void)in;
    return OXB_OK;
}

static const struct oxb_pe_type sink = {
    .abi = OXB_ABI, .name = "sink", .state_version = 1, .start = sink_start,
    .process = sink_process};

static struct instance *make(uint64_t id, struct pool *pool)
{
    struct fail f = {0};
    struct instance *i = instance_new(id, "sink", 0, pool);
    struct pe_host host = instance_host(i);
    struct pe_spec spec = {.type = &sink, .name = "sink", .params = "{}", .base_dir = "/",
                           .parallelism = 1};
    i->pe = pe_new(&spec, &host, pool);
    assert_int_equal(pe_prepare(i->pe, &f), ERR_OK);
    instance_wire(i, NULL, 0, NULL, 0);
    return i;
}

static void on_change(void *arg, struct chain *c)
{
    (void)arg;
    struct instance *i = s.comes;
    s.comes = NULL;
    if (i != NULL) {
        chain_arrive(c, i);
    }
}

static void on_dead(void *arg, struct chain *c)
{
    (void)arg;
    (void)c;
    tell(&s.dead);
}

static void who_arrives_in_the_middle_of_a_turn_is_taken_in(void **state)
{
    (void)state;
    struct pool *pool = pool_new(1 << 20);
    struct executors *executors = executors_new(1);
    struct instance *leaves = make(1, pool), *comes = make(2, pool);
    struct instance **members = mem_array(1, sizeof(struct instance *));
    members[0] = leaves;
    leaves->retiring = true;
    s.comes = comes;
    struct chain *c = chain_new(members, 1, executors_place(executors), false);
    c->on_change = on_change;
    c->on_dead = on_dead;
    atomic_store(&c->missing, 1);
    chain_go(c);
    assert_true(wait_for(&s.started, &s.dead)); /* it did not take itself for empty */
    assert_int_equal(atomic_load(&leaves->state), INSTANCE_RETIRED);
    chain_halt(c);
    assert_true(wait_for(&s.dead, &s.dead));
    executors_free(executors);
    assert_int_equal(c->member_count, 1);
    assert_ptr_equal(c->members[0], comes);
    chain_free(c);
    instance_free(leaves);
    pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_arrives_in_the_middle_of_a_turn_is_taken_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
