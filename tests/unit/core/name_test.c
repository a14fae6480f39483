/* tests/unit/core/name_test.c - a text that changes under its readers. */
#include "core/name.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void what_was_read_stays_readable(void **state)
{
    (void)state;
    struct name n = {0};
    assert_string_equal(name_text(&n), "");
    name_set(&n, "old");
    const char *old = name_text(&n);
    name_set(&n, "new");
    assert_string_equal(name_text(&n), "new");
    assert_string_equal(old, "old");
    name_set(&n, "old");
    assert_ptr_equal(name_text(&n), old); /* each text is kept once */
    name_fini(&n);
}

struct shared {
    struct name name;
    _Atomic bool stop;
    uint64_t wrong;
};

static void *reader(void *arg)
{
    struct shared *s = arg;
    while (!atomic_load(&s->stop)) {
        const char *text = name_text(&s->name);
        s->wrong += strcmp(text, "left") != 0 && strcmp(text, "right") != 0 ? 1 : 0;
    }
    return NULL;
}

static void readers_see_one_or_the_other(void **state)
{
    (void)state;
    static struct shared s; /* tidy: test */
    pthread_t thread;
    name_set(&s.name, "left");
    assert_int_equal(pthread_create(&thread, NULL, reader, &s), 0);
    for (int i = 0; i < 10000; i++) {
        name_set(&s.name, i % 2 == 0 ? "right" : "left");
    }
    atomic_store(&s.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(s.wrong, 0);
    name_fini(&s.name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_read_stays_readable),
        cmocka_unit_test(readers_see_one_or_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
