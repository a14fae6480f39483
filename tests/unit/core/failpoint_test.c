/* tests/unit/core/failpoint_test.c - a place fails when it was asked to, at that passage, and once.
 *
 * Method: each case in a child of its own, because the variable is read once per process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/failpoint.h"
#include "core/log.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MALFORMED 100

/* Pass `a` three times and `b` once; the exit code has a bit per passage that was to fail. */
static int run(const char *variable)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        setenv("OXBOW_FAILPOINTS", variable, 1);
        log_setup("test", LOG_ERROR + 1);
        if (!failpoint_setup()) {
            _exit(MALFORMED);
        }
        int bits = 0;
        for (int i = 0; i < 3; i++) {
            bits |= FAILPOINT_FAILS("a") ? 1 << i : 0;
        }
        bits |= FAILPOINT_FAILS("b") ? 8 : 0;
        _exit(bits);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void a_place_fails_at_the_passage_asked_for(void **state)
{
    (void)state;
    assert_int_equal(run(""), 0);
    assert_int_equal(run("c=fail"), 0);
    assert_int_equal(run("a=fail"), 1);
    assert_int_equal(run("a=fail@3"), 4);
    assert_int_equal(run("a=fail@2,b=fail"), 10);
    assert_int_equal(run("a=fail@4"), 0);
}

static void a_place_kills_when_asked_to(void **state)
{
    (void)state;
    assert_int_equal(run("a=kill@3"), -SIGKILL);
    assert_int_equal(run("a=kill@4"), 0);
    assert_int_equal(run("b=kill,a=fail"), -SIGKILL);
}

static void what_is_malformed_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"a", "a=", "a=die", "=kill", "a=kill@x",
                                        "a=kill@", "a=kill,,"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(run(texts[i]), MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_fails_at_the_passage_asked_for),
        cmocka_unit_test(a_place_kills_when_asked_to),
        cmocka_unit_test(what_is_malformed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
