/* tests/unit/master/upgrade_test.c - a plan as workers hear it, and what is refused beforehand.
 *
 * Goal:   the PREPAREs of a change name every new, old and staying thing once, by the ids that run;
 *         what no worker can carry out is refused with its PE.
 * Method: two texts, placed and planned for real on two workers; translated and looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/mem.h"
#include "master/translate.h"
#include "master/upgrade.h"
#include "net/states.h"
#include "pe/registry.h"
#include "topology/plan.h"

#include <stdio.h>
#include <string.h>

#define HEAD "oxbow: 1\ntopology: t\nfusion: off\npes:\n"
#define SOURCE "  src: {use: sequence, with: {count: 100, keys: 4}}\n"
#define SINK "  end: {use: null-sink}\n"

static const char short_yaml[] = HEAD SOURCE SINK "streams:\n  - {from: src, to: end}\n";
static const char long_yaml[] = HEAD SOURCE "  mid: {use: filter, with: {field: seq, ge: 0}}\n" SINK
                                            "streams:\n  - {from: src, to: mid}\n"
                                            "  - {from: mid, to: end}\n";
static const char count_yaml[] = HEAD SOURCE
    "  sum: {use: count, with: {by: key}, parallelism: %u}\n" SINK
    "streams:\n  - {from: src, to: sum, by: key}\n  - {from: sum, to: end}\n";

static struct members ms;
static struct catalog *catalog;
static struct topology *from;
static struct pgraph *running;
static struct deployment *next;

static struct topology *parse(const char *text)
{
    struct diags diags = {0};
    struct topology *t = topology_parse(text, strlen(text), "/base", catalog, &diags);
    assert_non_null(t);
    diags_fini(&diags);
    return t;
}

/* V and V' on two workers; `next` is as the master has it before PREPARE. */
static struct plan *make(const char *a, const char *b)
{
    struct fail f = {0};
    struct worker_info workers[2];
    uint64_t ids = 1, lost;
    ms = (struct members){0};
    for (uint64_t i = 0; i < 2; i++) {
        struct member_hello h = {.name = i == 0 ? "w1" : "w2", .address = "127.0.0.1:9",
                                 .host = "h", .version = "", .protocol = 1,
                                 .incarnation = 50 + i, .slots = 64};
        translate_worker(members_join(&ms, &h, 5 + i, &ms, 1, &lost), 0, &workers[i]);
    }
    catalog = catalog_new();
    char *builtins = describe_builtins();
    assert_int_equal(catalog_add(catalog, builtins, NULL, NULL, &f), ERR_OK);
    mem_free(builtins);
    from = parse(a);
    running = physical_expand(from, workers, 2, &placer_default, &ids, &f);
    assert_non_null(running);
    next = mem_alloc(sizeof *next);
    next->name = mem_dup("t");
    next->base_dir = mem_dup("/base");
    next->version = 2;
    next->topology = parse(b);
    next->upgrade = mem_alloc(sizeof *next->upgrade);
    next->upgrade->base = 1;
    struct plan_input in = {.running = running, .next = next->topology, .workers = workers,
                            .worker_count = 2, .base_version = 1, .gen = 1, .next_id = ids};
    next->upgrade->plan = plan_make(&in);
    next->graph = next->upgrade->plan->to;
    deployment_init_views(next);
    for (uint32_t i = 0; i < next->graph->worker_count; i++) {
        next->parts[i].involved = true;
        next->parts[i].worker_id = next->graph->workers[i].id;
    }
    return next->upgrade->plan;
}

static void unmake(void)
{
    deployment_free(next);
    pgraph_free(running);
    topology_free(from);
    catalog_free(catalog);
    members_fini(&ms);
}

struct sums {
    size_t added, adopted, removed, members, heads, awaited, marks, opened, kept, moves;
};

static struct sums prepare_all(void)
{
    struct sums s = {0};
    for (uint32_t part = 0; part < next->graph->worker_count; part++) {
        struct msg m;
        struct fail f = {0};
        assert_int_equal(translate_prepare(next, &ms, part, &m, &f), ERR_OK);
        const struct msg_PREPARE *p = &m.PREPARE;
        assert_int_equal(p->base_version, 1);
        assert_int_equal(p->version, 2);
        assert_int_equal(p->workers_count, 2);
        s.added += p->add_instances_count;
        s.adopted += p->adopt_instances_count;
        s.removed += p->remove_instances_count;
        s.opened += p->add_channels_count;
        s.kept += p->keep_channels_count;
        s.moves += p->moves_count;
        for (size_t i = 0; i < p->members_count; i++) {
            bool runs = false;
            for (uint32_t k = 0; k < running->instance_count; k++) {
                runs = runs || running->instances[k].id == p->members[i].id;
            }
            assert_true(runs);
            assert_int_not_equal(p->members[i].role, PLAN_NEW);
            s.members++;
            s.heads += p->members[i].head;
            s.awaited += p->members[i].awaited.bytes / 8;
            s.marks += p->members[i].marks.bytes / 8;
        }
        for (size_t i = 0; i < p->add_channels_count + p->keep_channels_count; i++) {
            uint64_t stream = i < p->add_channels_count
                                  ? p->add_channels[i].stream
                                  : p->keep_channels[i - p->add_channels_count].stream;
            bool known = false;
            for (size_t k = 0; k < p->streams_count; k++) {
                known = known || p->streams[k].id == stream;
            }
            assert_true(known);
        }
        translate_prepare_fini(&m);
    }
    return s;
}

static void an_inserted_pe_is_added_between_members(void **state)
{
    (void)state;
    struct fail f = {0};
    const char *where;
    struct plan *p = make(short_yaml, long_yaml);
    assert_int_equal(upgrade_refusal(p, &f, &where), ERR_OK);
    struct sums s = prepare_all();
    assert_int_equal(s.added, 1);
    assert_int_equal(s.removed + s.adopted, 0);
    assert_int_equal(s.members, 2); /* src and end */
    assert_int_equal(s.heads, 1);
    assert_int_equal(s.awaited, 1); /* end waits for the close of src -> end */
    assert_int_equal(s.marks, 0);
    assert_true(s.opened >= 2);
    unmake();
}

static void a_removed_pe_is_a_member_that_goes(void **state)
{
    (void)state;
    make(long_yaml, short_yaml);
    struct sums s = prepare_all();
    assert_int_equal(s.added, 0);
    assert_int_equal(s.removed, 1);
    assert_int_equal(s.members, 3);
    assert_int_equal(s.awaited, 2);
    unmake();
}

static void what_stays_has_nothing_to_do(void **state)
{
    (void)state;
    struct plan *p = make(long_yaml, long_yaml);
    assert_true(plan_is_empty(p));
    struct sums s = prepare_all();
    assert_int_equal(s.added + s.removed + s.adopted + s.members + s.opened + s.kept, 0);
    unmake();
}

static void moving_key_groups_is_told_to_both_ends(void **state)
{
    (void)state;
    char a[512], b[512];
    struct fail f = {0};
    const char *where;
    snprintf(a, sizeof a, count_yaml, 2u);
    snprintf(b, sizeof b, count_yaml, 3u);
    struct plan *p = make(a, b);
    assert_int_equal(upgrade_refusal(p, &f, &where), ERR_OK);
    assert_in_range(p->move_count, 1, 100);
    assert_true(prepare_all().moves >= p->move_count);
    unmake();
}

static void a_receipt_says_unknown_where_nothing_was_compared(void **state)
{
    (void)state;
    struct plan *p = make(short_yaml, long_yaml);
    next->upgrade->about = upgrade_about(p);
    json_t *r = upgrade_receipt(next, "done");
    assert_int_equal(json_integer_value(json_object_get(r, "lost")), 0);
    assert_null(json_object_get(r, "unknown"));
    json_decref(r);
    next->upgrade->uncompared = 1;
    r = upgrade_receipt(next, "done");
    assert_true(json_is_null(json_object_get(r, "lost")));
    assert_non_null(json_object_get(r, "unknown"));
    json_decref(r);
    unmake();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_inserted_pe_is_added_between_members),
        cmocka_unit_test(a_removed_pe_is_a_member_that_goes),
        cmocka_unit_test(what_stays_has_nothing_to_do),
        cmocka_unit_test(moving_key_groups_is_told_to_both_ends),
        cmocka_unit_test(a_receipt_says_unknown_where_nothing_was_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
