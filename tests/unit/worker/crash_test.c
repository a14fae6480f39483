/* tests/unit/worker/crash_test.c - a process that dies in a PE leaves word of it.
 *
 * Goal:   S1, S2 of worker/crash.h: who is named, by which signals, and what is no record.
 * Method: a child process for each death; the parent reads what it has left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/crash.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/oxbow-crash.XXXXXX";
static char path[64];

enum death { SEGV, ABORT, OVERFLOW, OUTSIDE, KILLED, CALLED_BACK };

static int deep(volatile char *above)
{
    volatile char frame[4096];
    frame[0] = above != NULL ? above[0] : 1;
    return frame[0] == 2 ? 0 : deep(frame) + frame[0];
}

static void *die(void *arg)
{
    enum death how = *(const enum death *)arg;
    volatile int *volatile nowhere = NULL;
    crash_thread_begin();
    crash_call(5, "produce");
    crash_call(0, "");
    if (how == OUTSIDE) {
        *nowhere = 1;
    }
    crash_call(77, "process");
    crash_call_tuple(&(struct crash_tuple){77, 99, "{\"a\":1}", "s->t", 7, 4});
    switch (how) {
    case SEGV:
        *nowhere = 1;
        break;
    case CALLED_BACK: /* what it emits is another one's input, which crashes */
        crash_call(78, "process");
        *nowhere = 1;
        break;
    case ABORT:
        abort();
    case OVERFLOW:
        (void)deep(NULL);
        break;
    default:
        for (;;) {
            pause();
        }
    }
    return NULL;
}

/* The test runner's handlers would go on with the next test, in the child. */
static void forget_handlers(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        signal(signals[i], SIG_DFL);
    }
}

/* leave - Return: was there a record? */
static bool leave(enum death how, struct crash *out)
{
    int ready[2];
    char byte;
    unlink(path);
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        (void)!freopen("/dev/null", "w", stderr); /* a sanitizer reports what is meant here */
        forget_handlers();
        crash_setup(path, 1234);
        if (pthread_create(&thread, NULL, die, &how) == 0 && write(ready[1], "x", 1) == 1) {
            pthread_join(thread, NULL);
        }
        _exit(0);
    }
    close(ready[1]);
    ssize_t told = read(ready[0], &byte, 1); /* 0: it died before it could tell */
    close(ready[0]);
    assert_true(how != KILLED || told == 1);
    if (how == KILLED) {
        kill(child, SIGSEGV); /* by somebody: no PE's doing */
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0); /* it went on to its end */
    return crash_read(path, out);
}

static void it_names_the_call_and_the_signal(void **state)
{
    (void)state;
    struct crash c;
    assert_true(leave(SEGV, &c));
    assert_int_equal(c.incarnation, 1234);
    assert_int_equal(c.instance, 77);
    assert_int_equal(c.signal, SIGSEGV);
    assert_string_equal(c.call, "process");
    assert_int_equal(c.sum, 99);
    assert_string_equal(c.tuple, "{\"a\":1}");
    assert_string_equal(c.stream, "s->t");
    assert_true(leave(ABORT, &c));
    assert_int_equal(c.instance, 77);
    assert_int_equal(c.signal, SIGABRT);
}

static void a_stack_that_is_used_up_is_no_hindrance(void **state)
{
    (void)state;
    struct crash c;
    assert_true(leave(OVERFLOW, &c));
    assert_int_equal(c.instance, 77);
    assert_true(c.signal == SIGSEGV || c.signal == SIGBUS);
}

static void the_tuple_of_the_caller_is_not_that_of_the_called(void **state)
{
    (void)state;
    struct crash c;
    assert_true(leave(CALLED_BACK, &c));
    assert_int_equal(c.instance, 78);
    assert_int_equal(c.sum, 0);
    assert_string_equal(c.tuple, "");
}

static void who_was_in_no_call_is_not_named(void **state)
{
    (void)state;
    struct crash c;
    assert_false(leave(OUTSIDE, &c));
    assert_false(leave(KILLED, &c));
}

static void a_torn_record_is_none(void **state)
{
    (void)state;
    struct crash c;
    assert_true(leave(SEGV, &c));
    assert_int_equal(truncate(path, 100), 0);
    assert_false(crash_read(path, &c));
    assert_int_equal(truncate(path, 0), 0);
    assert_false(crash_read(path, &c));
    unlink(path);
    assert_false(crash_read(path, &c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_names_the_call_and_the_signal),
        cmocka_unit_test(a_stack_that_is_used_up_is_no_hindrance),
        cmocka_unit_test(the_tuple_of_the_caller_is_not_that_of_the_called),
        cmocka_unit_test(who_was_in_no_call_is_not_named),
        cmocka_unit_test(a_torn_record_is_none),
    };
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    snprintf(path, sizeof path, "%s/crash", dir);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    rmdir(dir);
    return failed;
}
