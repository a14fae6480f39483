/* tests/unit/core/mem_test.c - memory on large pages, and what is not zeroed.
 *
 * Goal:   mem_pages of core/mem.h: zeroed, writable to its last byte, given back.
 * Method: sizes around the least that counts as large and around whole large pages. */
#include "core/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void tables_of_any_size_are_zeroed_and_writable(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,       1,       MEM_PAGES_MIN - 1, MEM_PAGES_MIN, 1500001,
                                   2 << 20, 4129328, (4 << 20) - 1,     4 << 20,       8260113};
    for (unsigned round = 0; round < 3; round++) { /* what was given back is zeroed again */
        for (unsigned n = 0; n < sizeof sizes / sizeof sizes[0]; n++) {
            uint8_t *p = mem_pages(sizes[n]);
            for (size_t at = 0; at < sizes[n]; at++) {
                if (p[at] != 0) {
                    fail_msg("byte %zu of %zu", at, sizes[n]);
                }
            }
            memset(p, 0xa5, sizes[n]);
            mem_pages_free(p, sizes[n]);
        }
    }
    mem_pages_free(NULL, 4 << 20);
    mem_pages_free(NULL, 4);
}

static void a_copy_of_some_bytes_ends_with_nul(void **state)
{
    (void)state;
    char *copy = mem_dup_n("abcdef", 3);
    assert_string_equal(copy, "abc");
    mem_free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_of_any_size_are_zeroed_and_writable),
        cmocka_unit_test(a_copy_of_some_bytes_ends_with_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
