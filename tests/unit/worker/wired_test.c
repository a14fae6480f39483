/* tests/unit/worker/wired_test.c - channels are found by their ends, all of them and in order.
 *
 * Goal:   a range holds what going through the whole list would find, in the list's order.
 * Method: random lists with ends that are missing; both ways compared. */
#include "core/mem.h"
#include "core/prng.h"
#include "worker/wired.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { INSTANCES = 9, CHANNELS = 120 };

static char instances[INSTANCES]; /* only their addresses count; the last is nobody's */

static struct instance *at(uint64_t n)
{
    return n < INSTANCES - 1 ? (struct instance *)(void *)&instances[n] : NULL;
}

static void check_range(const struct wired_list *l, struct wired_range r, bool to,
                        const struct instance *who)
{
    size_t found = 0;
    for (size_t n = 0; n < l->count; n++) {
        if ((to ? l->items[n].to : l->items[n].from) == who) {
            assert_true(found < r.count);
            assert_ptr_equal(r.items[found].at, &l->items[n]);
            found++;
        }
    }
    assert_int_equal(found, r.count);
}

static void a_range_is_what_a_look_at_all_finds(void **state)
{
    (void)state;
    struct prng r = {7};
    for (unsigned round = 0; round < 200; round++) {
        size_t count = prng_below(&r, CHANNELS);
        struct rec_CHANNEL_SPEC specs[CHANNELS];
        struct wired *items = mem_array(count, sizeof *items);
        struct wired_list l;
        for (size_t n = 0; n < count; n++) {
            specs[n] = (struct rec_CHANNEL_SPEC){.stream = prng_below(&r, 3),
                                                 .from_index = prng_below(&r, 4),
                                                 .to_index = n};
            items[n] = (struct wired){.spec = &specs[n],
                                      .from = at(prng_below(&r, INSTANCES)),
                                      .to = at(prng_below(&r, INSTANCES))};
        }
        wired_init(&l, items, count, false);
        for (size_t n = 1; n < count; n++) {
            const struct rec_CHANNEL_SPEC *a = l.items[n - 1].spec, *b = l.items[n].spec;
            assert_true(a->stream < b->stream ||
                        (a->stream == b->stream && a->from_index <= b->from_index));
        }
        for (uint64_t k = 0; k < INSTANCES; k++) {
            check_range(&l, wired_from(&l, at(k)), false, at(k));
            check_range(&l, wired_to(&l, at(k)), true, at(k));
        }
        wired_fini(&l);
    }
}

static void things_are_found_by_id(void **state)
{
    (void)state;
    struct ids x = {0};
    assert_null(ids_find(&x, 1));
    for (uint64_t n = 0; n < 100; n++) {
        ids_add(&x, n * 37 % 101 * 2, &instances[n % INSTANCES]);
    }
    ids_sort(&x);
    for (uint64_t n = 0; n < 100; n++) {
        assert_ptr_equal(ids_find(&x, n * 37 % 101 * 2), &instances[n % INSTANCES]);
        assert_null(ids_find(&x, n * 2 + 1));
    }
    ids_fini(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_is_what_a_look_at_all_finds),
        cmocka_unit_test(things_are_found_by_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
