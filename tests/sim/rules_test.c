/* tests/sim/rules_test.c - every rule of the protocol is needed, and the simulator sees it.
 *
 * Goal:   with all rules nothing is ever found; with any one switched off something is, soon, and
 *         of the kind that rule is there to prevent.  One that finds nothing proves nothing.
 * Method: random plans from fixed seeds, as `make sim` draws them; the numbers of schedules are ten
 *         times what the first finding needs. */
#include "tests/sim/draft.h"

#include "core/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct search {
    uint64_t schedules, found[V_COUNT];
};

static struct search search(unsigned off, uint64_t plans, bool storm, bool stop)
{
    struct search s = {0};
    for (uint64_t plan = 1; plan <= plans; plan++) {
        struct draft *d = draft_new(plan, off);
        struct world *w = draft_world(d);
        for (uint64_t k = 0; w != NULL && k < SCHEDULES_PER_PLAN; k++) {
            w->storm = storm;
            s.found[world_run(w, plan * SCHEDULES_PER_PLAN + k, off, NULL)]++;
            s.schedules++;
        }
        draft_free(d);
        if (stop && s.schedules > s.found[FINE]) {
            break;
        }
    }
    return s;
}

static void must_find(unsigned off, uint64_t plans, bool storm, unsigned kinds)
{
    struct search s = search(off, plans, storm, true);
    print_message("# found in %lu schedules:", (unsigned long)s.schedules);
    bool right = false;
    for (unsigned v = 1; v < V_COUNT; v++) {
        if (s.found[v] > 0) {
            print_message(" %s %lu", violation_name(v), (unsigned long)s.found[v]);
            right = right || (kinds >> v & 1) != 0;
        }
    }
    print_message("\n");
    assert_true(right);
}

#define KIND(v) (1u << (v))

static void with_all_rules_nothing_is_found(void **state)
{
    (void)state;
    struct search s = search(0, 600, false, false);
    print_message("# %lu schedules\n", (unsigned long)s.schedules);
    assert_int_equal(s.found[FINE], s.schedules);
    assert_true(s.schedules > 10000);
}

static void with_all_rules_storms_do_no_harm(void **state)
{
    (void)state;
    struct search s = search(0, 300, true, false);
    assert_int_equal(s.found[FINE], s.schedules);
}

#define RULE(name, off, plans, storm, kinds)                                                       \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        must_find(off, plans, storm, kinds);                                                       \
    }

RULE(without_paths_in_the_set_versions_mix, OFF_PATH, 200, false, KIND(V_MIXED) | KIND(V_LOST))
RULE(without_forks_in_the_set_versions_mix, OFF_FORK, 200, false, KIND(V_MIXED))
RULE(without_the_closure_of_order_keys_overtake, OFF_ORDER, 2000, false, KIND(V_ORDER))
RULE(without_both_ends_in_the_set_nothing_works, OFF_ENDS, 100, false,
     KIND(V_STUCK) | KIND(V_OWNER) | KIND(V_LOST))
RULE(without_blocking_in_the_middle_versions_mix, OFF_MIDDLE, 100, false, KIND(V_MIXED))
RULE(without_blocking_of_new_inputs_versions_mix, OFF_NEW, 100, false,
     KIND(V_MIXED) | KIND(V_ORDER) | KIND(V_STATE) | KIND(V_OWNER))
RULE(without_passing_go_on_a_dead_master_stops_all, OFF_FORWARD, 400, false, KIND(V_STUCK))
RULE(without_the_import_gate_groups_have_no_owner, OFF_GATE, 200, false,
     KIND(V_OWNER) | KIND(V_STATE))
RULE(export_at_the_first_marker_leaves_tuples_behind, OFF_LATE_EXPORT, 200, false,
     KIND(V_OWNER) | KIND(V_STATE))
RULE(without_the_flag_final_results_come_twice, OFF_FINAL, 200, false, KIND(V_AFTER_END))
RULE(without_the_token_sinks_write_out_of_order, OFF_TOKEN, 2000, false, KIND(V_ORDER))
RULE(ended_instances_that_ignore_go_stop_all, OFF_STUB, 100, false, KIND(V_STUCK))
RULE(without_deferring_tuples_come_after_the_end, OFF_DEFER, 1000, false, KIND(V_AFTER_END))
RULE(without_the_probe_tuples_come_after_the_end, OFF_PROBE, 500, false,
     KIND(V_AFTER_END) | KIND(V_LOST))
RULE(without_an_end_on_new_outputs_consumers_wait_for_ever, OFF_NEW_END, 100, false,
     KIND(V_STUCK))
RULE(two_marker_epochs_wait_for_each_other, OFF_VOID, 300, false,
     KIND(V_STUCK) | KIND(V_CONFLICT))
RULE(without_fencing_by_op_a_late_abort_hits_the_next, OFF_OP, 500, true, KIND(V_BOTH))
RULE(without_fencing_by_term_an_old_answer_counts, OFF_TERM, 3000, true, KIND(V_BOTH))
RULE(without_fencing_by_incarnation_a_dead_answer_counts, OFF_INCARNATION, 500, true,
     KIND(V_BOTH))
RULE(a_ready_worker_that_gives_up_by_itself_splits_the_graph, OFF_ASK, 200, false, KIND(V_BOTH))
RULE(go_before_the_decision_is_durable_splits_the_graph, OFF_DURABLE, 500, true, KIND(V_BOTH))
RULE(rings_from_one_pool_starve_the_old_side, OFF_POOL, 300, false, KIND(V_STUCK))

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_all_rules_nothing_is_found),
        cmocka_unit_test(with_all_rules_storms_do_no_harm),
        cmocka_unit_test(without_paths_in_the_set_versions_mix),
        cmocka_unit_test(without_forks_in_the_set_versions_mix),
        cmocka_unit_test(without_the_closure_of_order_keys_overtake),
        cmocka_unit_test(without_both_ends_in_the_set_nothing_works),
        cmocka_unit_test(without_blocking_in_the_middle_versions_mix),
        cmocka_unit_test(without_blocking_of_new_inputs_versions_mix),
        cmocka_unit_test(without_passing_go_on_a_dead_master_stops_all),
        cmocka_unit_test(without_the_import_gate_groups_have_no_owner),
        cmocka_unit_test(export_at_the_first_marker_leaves_tuples_behind),
        cmocka_unit_test(without_the_flag_final_results_come_twice),
        cmocka_unit_test(without_the_token_sinks_write_out_of_order),
        cmocka_unit_test(ended_instances_that_ignore_go_stop_all),
        cmocka_unit_test(without_deferring_tuples_come_after_the_end),
        cmocka_unit_test(without_the_probe_tuples_come_after_the_end),
        cmocka_unit_test(without_an_end_on_new_outputs_consumers_wait_for_ever),
        cmocka_unit_test(two_marker_epochs_wait_for_each_other),
        cmocka_unit_test(without_fencing_by_op_a_late_abort_hits_the_next),
        cmocka_unit_test(without_fencing_by_term_an_old_answer_counts),
        cmocka_unit_test(without_fencing_by_incarnation_a_dead_answer_counts),
        cmocka_unit_test(a_ready_worker_that_gives_up_by_itself_splits_the_graph),
        cmocka_unit_test(go_before_the_decision_is_durable_splits_the_graph),
        cmocka_unit_test(rings_from_one_pool_starve_the_old_side),
    };
    log_setup("rules_test", LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
