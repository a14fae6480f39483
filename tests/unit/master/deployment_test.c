/* tests/unit/master/deployment_test.c - the life of a topology, and its rates.
 *
 * Goal:   final states are final, every stop reaches the workers, rates survive odd reports.
 * Method: every (state, event) pair against a table written by hand; samples by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/mem.h"
#include "master/deployment.h"

static const struct {
    unsigned from;
    enum life_event on;
    unsigned to, run;
} known[] = {
    {TOPOLOGY_DEPLOYING, LIFE_WENT, TOPOLOGY_RUNNING, LIFE_DO_SAVE},
    {TOPOLOGY_DEPLOYING, LIFE_ABORTED, TOPOLOGY_FAILED, LIFE_DO_SAVE},
    {TOPOLOGY_DEPLOYING, LIFE_CANCELLED, TOPOLOGY_STOPPED, LIFE_DO_SAVE},
    {TOPOLOGY_DEPLOYING, LIFE_STOP, TOPOLOGY_DEPLOYING, LIFE_DO_CANCEL},
    {TOPOLOGY_DEPLOYING, LIFE_STOP_NOW, TOPOLOGY_DEPLOYING, LIFE_DO_CANCEL},
    {TOPOLOGY_DEPLOYING, LIFE_FAILED, TOPOLOGY_FAILED, LIFE_DO_DROP | LIFE_DO_SAVE},
    {TOPOLOGY_RUNNING, LIFE_STOP, TOPOLOGY_DRAINING, LIFE_DO_DRAIN | LIFE_DO_SAVE},
    {TOPOLOGY_RUNNING, LIFE_STOP_NOW, TOPOLOGY_STOPPED, LIFE_DO_DROP | LIFE_DO_SAVE},
    {TOPOLOGY_RUNNING, LIFE_ENDED, TOPOLOGY_FINISHED, LIFE_DO_RETIRE | LIFE_DO_SAVE},
    {TOPOLOGY_RUNNING, LIFE_FAILED, TOPOLOGY_FAILED, LIFE_DO_DROP | LIFE_DO_SAVE},
    {TOPOLOGY_RUNNING, LIFE_LOST, TOPOLOGY_RECOVERING, LIFE_DO_SAVE},
    {TOPOLOGY_DRAINING, LIFE_LOST, TOPOLOGY_RECOVERING, LIFE_DO_SAVE},
    {TOPOLOGY_RECOVERING, LIFE_WENT, TOPOLOGY_RUNNING, LIFE_DO_SAVE},
    {TOPOLOGY_RECOVERING, LIFE_STOP_NOW, TOPOLOGY_STOPPED, LIFE_DO_DROP | LIFE_DO_SAVE},
    {TOPOLOGY_RECOVERING, LIFE_FAILED, TOPOLOGY_FAILED, LIFE_DO_DROP | LIFE_DO_SAVE},
    {TOPOLOGY_DRAINING, LIFE_STOP_NOW, TOPOLOGY_STOPPED, LIFE_DO_DROP | LIFE_DO_SAVE},
    {TOPOLOGY_DRAINING, LIFE_ENDED, TOPOLOGY_STOPPED, LIFE_DO_RETIRE | LIFE_DO_SAVE},
    {TOPOLOGY_DRAINING, LIFE_FAILED, TOPOLOGY_FAILED, LIFE_DO_DROP | LIFE_DO_SAVE},
};

static void every_pair_of_state_and_event_is_as_documented(void **state)
{
    (void)state;
    for (unsigned from = TOPOLOGY_DEPLOYING; from < TOPOLOGY_STATES; from++) {
        for (unsigned on = 0; on < LIFE_EVENTS; on++) {
            unsigned to, wanted_to = from, wanted_run = 0;
            unsigned run = life_step(from, on, &to);
            for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
                if (known[i].from == from && known[i].on == on) {
                    wanted_to = known[i].to;
                    wanted_run = known[i].run;
                }
            }
            if (to != wanted_to || run != wanted_run) {
                fail_msg("%s, event %u: to %s doing %u", topology_state_name(from), on,
                         topology_state_name(to), run);
            }
        }
    }
}

static void a_rate_spans_the_last_reports_and_ignores_repeats(void **state)
{
    (void)state;
    struct samples s = {0};
    struct sample old, new;
    assert_false(samples_span(&s, &old, &new));
    samples_add(&s, (struct sample){.at_us = 100, .in = 1});
    assert_false(samples_span(&s, &old, &new));
    samples_add(&s, (struct sample){.at_us = 100, .in = 9}); /* the same moment again */
    assert_false(samples_span(&s, &old, &new));
    for (uint64_t i = 2; i <= 20; i++) {
        samples_add(&s, (struct sample){.at_us = 100 * i, .in = i});
        assert_true(samples_span(&s, &old, &new));
        assert_int_equal(new.at_us, 100 * i);
        assert_int_equal(old.at_us, i <= SAMPLES ? 100 : 100 * (i - SAMPLES + 1));
    }
    samples_add(&s, (struct sample){.at_us = 50}); /* overtaken */
    assert_true(samples_span(&s, &old, &new));
    assert_int_equal(new.at_us, 2000);
}

static void deployments_stay_in_order_and_the_newest_version_replaces(void **state)
{
    (void)state;
    struct deployments ds = {0};
    static const char *const names[] = {"m", "c", "x", "c"};
    for (uint64_t i = 0; i < 4; i++) {
        struct deployment *d = mem_alloc(sizeof *d);
        d->name = mem_dup(names[i]);
        d->version = i;
        deployments_put(&ds, d);
    }
    assert_int_equal(ds.count, 3);
    assert_string_equal(ds.items[0]->name, "c");
    assert_int_equal(ds.items[0]->version, 3);
    assert_string_equal(ds.items[2]->name, "x");
    assert_null(deployments_find(&ds, "nobody"));
    assert_ptr_equal(deployments_find(&ds, "m"), ds.items[1]);
    deployments_fini(&ds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_state_and_event_is_as_documented),
        cmocka_unit_test(a_rate_spans_the_last_reports_and_ignores_repeats),
        cmocka_unit_test(deployments_stay_in_order_and_the_newest_version_replaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
