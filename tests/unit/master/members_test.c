/* tests/unit/master/members_test.c - who is in.
 *
 * Goal:   one process per name at a time; a process that was given up stays given up; ids stay.
 * Method: joins, closes and times by hand; no sockets, no clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "master/members.h"

#include <string.h>

static char conn_a, conn_b;

static struct member_hello hello(const char *name, uint64_t incarnation)
{
    return (struct member_hello){.name = name,
                                 .address = "127.0.0.1:1",
                                 .host = "h",
                                 .version = "0",
                                 .protocol = 1,
                                 .incarnation = incarnation,
                                 .slots = 4,
                                 .threads = 1};
}

static struct member *join(struct members *ms, const char *name, uint64_t incarnation, void *conn,
                           uint64_t *lost)
{
    struct member_hello h = hello(name, incarnation);
    struct fail f = {0};
    assert_int_equal(members_check(ms, &h, 5, &f), ERR_OK);
    return members_join(ms, &h, 70, conn, 1000, lost);
}

static void a_worker_joins_leaves_and_comes_back_as_the_same(void **state)
{
    (void)state;
    struct members ms = {0};
    uint64_t lost;
    struct member *w = join(&ms, "w1", 9, &conn_a, &lost);
    assert_int_equal(lost, 0);
    assert_ptr_equal(members_by_conn(&ms, &conn_a), w);
    members_closed(w, 1000, 3000);
    assert_null(members_by_conn(&ms, &conn_a));
    assert_null(members_overdue(&ms, 3999));
    assert_ptr_equal(join(&ms, "w1", 9, &conn_b, &lost), w);
    assert_int_equal(lost, 0);
    assert_int_equal(w->id, 70);
    assert_int_equal(members_up(&ms), 1);
    members_fini(&ms);
}

static void silence_makes_it_lost_and_that_process_never_returns(void **state)
{
    (void)state;
    struct members ms = {0};
    struct fail f = {0};
    uint64_t lost;
    struct member *w = join(&ms, "w1", 9, &conn_a, &lost);
    members_closed(w, 1000, 3000);
    assert_ptr_equal(members_overdue(&ms, 4000), w);
    assert_null(members_overdue(&ms, 5000));
    struct member_hello again = hello("w1", 9);
    assert_int_equal(members_check(&ms, &again, 5, &f), ERR_STALE);
    assert_ptr_equal(join(&ms, "w1", 10, &conn_a, &lost), w); /* a new process may */
    assert_int_equal(lost, 0);                                /* said already */
    assert_int_equal(w->id, 70);
    members_fini(&ms);
}

static void another_process_under_the_name_makes_the_first_one_lost_at_once(void **state)
{
    (void)state;
    struct members ms = {0};
    struct fail f = {0};
    uint64_t lost;
    struct member *w = join(&ms, "w1", 9, &conn_a, &lost);
    struct member_hello other = hello("w1", 10);
    assert_int_equal(members_check(&ms, &other, 5, &f), ERR_EXISTS); /* both alive: refused */
    members_closed(w, 1000, 3000);
    join(&ms, "w1", 10, &conn_b, &lost);
    assert_int_equal(lost, 9);
    struct member_hello first = hello("w1", 9);
    members_closed(w, 1000, 3000);
    assert_int_equal(members_check(&ms, &first, 5, &f), ERR_STALE);
    members_fini(&ms);
}

static void hostile_or_wrong_hellos_are_refused_with_a_reason(void **state)
{
    (void)state;
    struct members ms = {0};
    struct member_hello bad[7];
    for (size_t i = 0; i < 7; i++) {
        bad[i] = hello("w1", 9);
    }
    bad[0].name = "W 1";
    bad[1].name = "";
    bad[2].incarnation = 0;
    bad[3].slots = 0;
    bad[4].slots = UINT64_MAX;
    bad[5].protocol = 0;
    bad[6].term_seen = 6; /* has met a newer master */
    for (size_t i = 0; i < 7; i++) {
        struct fail f = {0};
        assert_int_not_equal(members_check(&ms, &bad[i], 5, &f), ERR_OK);
        assert_true(f.what[0] != '\0' && f.hint[0] != '\0');
    }
    members_fini(&ms);
}

static void a_worker_the_store_knows_is_expected_until_its_deadline(void **state)
{
    (void)state;
    struct members ms = {0};
    uint64_t lost;
    struct member *w = members_expect(&ms, "w1", 3, 9, 7000);
    assert_int_equal(w->state, MEMBER_AWAY);
    assert_ptr_equal(join(&ms, "w1", 9, &conn_a, &lost), w);
    assert_int_equal(w->id, 3);
    assert_null(members_overdue(&ms, 9000));
    struct member *x = members_expect(&ms, "w2", 4, 8, 7000);
    assert_ptr_equal(members_overdue(&ms, 7000), x);
    members_fini(&ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_joins_leaves_and_comes_back_as_the_same),
        cmocka_unit_test(silence_makes_it_lost_and_that_process_never_returns),
        cmocka_unit_test(another_process_under_the_name_makes_the_first_one_lost_at_once),
        cmocka_unit_test(hostile_or_wrong_hellos_are_refused_with_a_reason),
        cmocka_unit_test(a_worker_the_store_knows_is_expected_until_its_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
