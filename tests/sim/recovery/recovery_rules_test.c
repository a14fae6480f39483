/* tests/sim/recovery/recovery_rules_test.c - every rule of recovery is needed, and the simulator
 * sees it.
 *
 * Goal:   with all rules nothing is ever found; with any one switched off something is, soon, and
 *         of the kind that rule is there to prevent.  One that finds nothing proves nothing.
 * Method: random plans from fixed seeds, as `make sim` draws them; the numbers of plans are some
 * ten times what the first finding needs. */
#include "tests/sim/recovery/world_of.h"

#include "core/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct search {
    uint64_t schedules, found[WRONGS], first;
    struct rs_stats stats;
};

/* @kinds: bits of what ends the search; 0: nothing does. */
static struct search search(uint32_t off, uint64_t plans, unsigned kinds)
{
    struct search s = {0};
    for (uint64_t plan = 1; plan <= plans; plan++) {
        struct draft *d = draft_new(plan, 0);
        struct rs *w = world_of(d);
        for (uint64_t k = 0; w != NULL && k < SCHEDULES_PER_PLAN; k++) {
            enum wrong v = rs_run(w, plan * SCHEDULES_PER_PLAN + k, off, NULL);
            s.found[v]++;
            s.schedules++;
            s.first = v != NOTHING && s.first == 0 ? plan * SCHEDULES_PER_PLAN + k : s.first;
        }
        for (size_t k = 0; w != NULL && k < sizeof w->stats / sizeof(uint64_t); k++) {
            ((uint64_t *)&s.stats)[k] += ((const uint64_t *)&w->stats)[k];
        }
        rs_free(w);
        draft_free(d);
        bool enough = false;
        for (unsigned v = 1; v < WRONGS; v++) {
            enough = enough || ((kinds >> v & 1) != 0 && s.found[v] > 0);
        }
        if (enough) {
            break;
        }
    }
    return s;
}

#define KIND(v) (1u << (v))
static const unsigned ANY = ~1u;

static void must_find(uint32_t off, uint64_t plans, unsigned kinds)
{
    struct search s = {0};
    bool right = false;
    s = search(off, plans, kinds);
    print_message("# found in %lu schedules:", (unsigned long)s.schedules);
    for (unsigned v = 1; v < WRONGS; v++) {
        if (s.found[v] > 0) {
            print_message(" %s %lu", wrong_name(v), (unsigned long)s.found[v]);
            right = right || (kinds >> v & 1) != 0;
        }
    }
    print_message("\n");
    assert_true(right);
}

static void with_all_rules_nothing_is_found(void **state)
{
    (void)state;
    struct search s = search(0, 200, 0);
    print_message("# %lu schedules, %lu recoveries, %lu of a part, %lu checkpoints\n",
                  (unsigned long)s.schedules, (unsigned long)s.stats.recoveries,
                  (unsigned long)s.stats.partial, (unsigned long)s.stats.checkpoints);
    if (s.found[NOTHING] != s.schedules) {
        fail_msg("seed %lu", (unsigned long)s.first);
    }
    /* and it was not for want of anything happening */
    assert_true(s.schedules > 3000);
    assert_true(s.stats.kills > 3000 && s.stats.zombies > 500 && s.stats.crashes > 500);
    assert_true(s.stats.recoveries > 3000 && s.stats.partial > 300 && s.stats.again > 300);
    assert_true(s.stats.in_upgrade > 300 && s.stats.kept > 1000 && s.stats.resent > 1000);
    assert_true(s.stats.checkpoints > 3000 && s.stats.voids > 100 && s.stats.upgrades > 500);
    assert_true(s.stats.too_big * 100 < s.schedules);
}

/* What stands behind another rule: acknowledgements name lives, and an epoch is never used twice,
 * so that fencing them by generation as well finds nothing to do. */
static void an_epoch_alone_fences_acknowledgements(void **state)
{
    (void)state;
    struct search s = search(NO_ACK_FENCE, 100, 0);
    assert_int_equal(s.found[NOTHING], s.schedules);
}

#define RULE(name, off, plans, kinds)                                                              \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        must_find(off, plans, kinds);                                                              \
    }

RULE(without_descendants_both_ends_remember_differently, NO_DESCENDANTS, 100, ANY)
RULE(without_producers_or_logs_there_is_a_gap, NO_PRODUCERS | NO_REACH, 100, KIND(WRONG_SEQUENCE))
RULE(without_the_covering_set_versions_mix, NO_COVERING, 1000, KIND(WRONG_MIXED))
RULE(without_generations_the_dead_go_on, NO_GEN, 200, ANY)
RULE(without_fresh_channels_the_dead_are_heard, NO_FRESH_IDS, 100,
     KIND(WRONG_SEQUENCE) | KIND(WRONG_CHANNEL))
RULE(without_positions_receivers_see_gaps, NO_COUNT_BOTH, 100, KIND(WRONG_SEQUENCE))
RULE(without_the_void_rule_epochs_wait_for_each_other, NO_VOID, 100, ANY)
RULE(commits_before_the_manifest_are_taken_back, NO_MANIFEST, 300, KIND(WRONG_COMMIT))
RULE(pending_output_that_is_kept_comes_twice, NO_DISCARD, 100, ANY)
RULE(a_log_trimmed_by_the_link_has_gaps, NO_TRIM_RULE, 100, KIND(WRONG_SEQUENCE))
RULE(snapshots_acknowledged_too_early_are_missing, NO_DURABLE, 100, KIND(WRONG_ABSENT))
RULE(a_generation_used_twice_stops_all, NO_GEN_DURABLE, 300, KIND(WRONG_STUCK))
RULE(snapshots_on_a_dead_machine_are_missing, NO_PLACE, 100, KIND(WRONG_ABSENT))
RULE(a_removed_sink_that_commits_at_its_cut_doubles, NO_LATE_COMMIT, 200, KIND(WRONG_COMMIT))
RULE(commits_of_more_than_the_snapshot_are_taken_back, NO_OWN_EPOCH, 200, KIND(WRONG_COMMIT))
RULE(what_is_not_dropped_acts_in_the_next_generation, NO_DROP, 500, KIND(WRONG_BOTH))
RULE(different_checkpoints_do_not_fit, NO_ONE, 100, ANY)
RULE(an_end_without_a_last_checkpoint_loses_output, NO_LAST, 50, KIND(WRONG_LOST))
RULE(a_checkpoint_above_the_changes_epoch_meets_it, NO_HOLD, 200,
     KIND(WRONG_CONFLICT) | KIND(WRONG_STUCK))
RULE(a_target_that_has_forgotten_leaves_a_gap, NO_REACH, 200, KIND(WRONG_SEQUENCE))
RULE(a_target_that_ended_must_say_so_again, NO_END_AGAIN, 200, KIND(WRONG_STUCK))
RULE(a_new_process_is_not_the_old_one, NO_INCARNATION | NO_LACK, 100, KIND(WRONG_STUCK))
RULE(a_late_go_of_another_generation_meets_nothing_prepared, NO_GO_FENCE, 100, KIND(WRONG_BOTH))
RULE(final_results_are_final_only_if_nothing_new_comes, NO_PROBE | NO_HAD, 4000,
     KIND(WRONG_AFTER_END))
RULE(who_comes_back_without_its_part_stops_all, NO_LACK, 500, KIND(WRONG_STUCK))
RULE(an_older_checkpoint_takes_committed_output_back, NO_NEWEST, 300, KIND(WRONG_COMMIT))

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_all_rules_nothing_is_found),
        cmocka_unit_test(an_epoch_alone_fences_acknowledgements),
        cmocka_unit_test(without_descendants_both_ends_remember_differently),
        cmocka_unit_test(without_producers_or_logs_there_is_a_gap),
        cmocka_unit_test(without_the_covering_set_versions_mix),
        cmocka_unit_test(without_generations_the_dead_go_on),
        cmocka_unit_test(without_fresh_channels_the_dead_are_heard),
        cmocka_unit_test(without_positions_receivers_see_gaps),
        cmocka_unit_test(without_the_void_rule_epochs_wait_for_each_other),
        cmocka_unit_test(commits_before_the_manifest_are_taken_back),
        cmocka_unit_test(pending_output_that_is_kept_comes_twice),
        cmocka_unit_test(a_log_trimmed_by_the_link_has_gaps),
        cmocka_unit_test(snapshots_acknowledged_too_early_are_missing),
        cmocka_unit_test(a_generation_used_twice_stops_all),
        cmocka_unit_test(snapshots_on_a_dead_machine_are_missing),
        cmocka_unit_test(a_removed_sink_that_commits_at_its_cut_doubles),
        cmocka_unit_test(commits_of_more_than_the_snapshot_are_taken_back),
        cmocka_unit_test(what_is_not_dropped_acts_in_the_next_generation),
        cmocka_unit_test(different_checkpoints_do_not_fit),
        cmocka_unit_test(an_end_without_a_last_checkpoint_loses_output),
        cmocka_unit_test(a_checkpoint_above_the_changes_epoch_meets_it),
        cmocka_unit_test(a_target_that_has_forgotten_leaves_a_gap),
        cmocka_unit_test(a_target_that_ended_must_say_so_again),
        cmocka_unit_test(a_new_process_is_not_the_old_one),
        cmocka_unit_test(a_late_go_of_another_generation_meets_nothing_prepared),
        cmocka_unit_test(final_results_are_final_only_if_nothing_new_comes),
        cmocka_unit_test(who_comes_back_without_its_part_stops_all),
        cmocka_unit_test(an_older_checkpoint_takes_committed_output_back),
    };
    log_setup("recovery_rules_test", LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
