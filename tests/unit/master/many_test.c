/* tests/unit/master/many_test.c - upgrades in a row wear nothing out.
 *
 * Goal:   after thousands of changes of one topology the master holds as many descriptors as
 *         before, its memory has not grown with their number, and its store keeps the newest only.
 * Method: a whole master, two fake workers that answer at once.  MANY_UPGRADES (250) says how many;
 *         10000 are for a long run, best with TMPDIR on memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/limits.h"
#include "core/mem.h"
#include "tests/support/pair.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned open_files(void)
{
    unsigned count = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d) != NULL) {
        count++;
    }
    closedir(d);
    return count;
}

static size_t bytes_in_use(void) /* of this process: the master is a thread of it */
{
    return mallinfo2().uordblks;
}

static void upgrades_in_a_row_leave_nothing_behind(void **state)
{
    (void)state;
    struct pair p;
    struct told t[2];
    const char *wanted = getenv("MANY_UPGRADES");
    unsigned many = wanted != NULL ? (unsigned)atoi(wanted) : 250, files = 0;
    size_t bytes = 0;
    pair_start(&p);
    pair_deploy(&p, t);
    for (unsigned i = 1; i <= many; i++) {
        if (i == 200) { /* caches are warm */
            files = open_files();
            bytes = bytes_in_use();
        }
        pair_upgrade(&p, pair_yaml(2 + i % 2, (int)(i % 7) + 1), t);
        told_all(&p, t);
        for (unsigned k = 0; k < 2; k++) { /* an answer comes when the master has taken the last */
            json_t *topology = NULL;
            while (topology == NULL) {
                topology = pair_get(&p, "/v1/topologies/t");
                if (json_integer_value(json_object_get(topology, "version")) != (json_int_t)i + 1) {
                    json_decref(topology);
                    topology = NULL;
                }
            }
            json_decref(topology);
        }
    }
    size_t grown = bytes_in_use() > bytes ? bytes_in_use() - bytes : 0;
    printf("# %u upgrades: %zu bytes more in use, %u files before, %u after\n", many, grown, files,
           open_files());
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(grown < 256u << 10);
#endif
    assert_true(open_files() <= files + 4); /* connections being closed */
    json_t *all = pair_get(&p, "/v1/topologies/t/versions");
    assert_true(json_array_size(all) <= VERSIONS_KEPT + 1);
    json_t *newest = json_array_get(all, json_array_size(all) - 1);
    assert_int_equal(json_integer_value(json_object_get(newest, "version")), many + 1);
    json_decref(all);
    pair_stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(upgrades_in_a_row_leave_nothing_behind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
