/* tests/unit/net/address_test.c - addresses as people write them, and which of them are local.
 *
 * Goal:   HOST:PORT and [V6]:PORT are understood, anything else is refused with a hint.
 * Method: tables of texts. */
#include "net/conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void host_and_port_are_taken_apart(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *host;
        unsigned port;
    } good[] = {
        {"127.0.0.1:7480", "127.0.0.1", 7480},
        {"localhost:0", "localhost", 0},
        {"node-1.example:65535", "node-1.example", 65535},
        {"[::1]:7480", "::1", 7480},
        {"[2001:db8::1]:1", "2001:db8::1", 1},
        {":7480", "", 7480},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct address a;
        struct fail f = {0};
        assert_int_equal(address_parse(good[i].text, &a, &f), ERR_OK);
        assert_string_equal(a.host, good[i].host);
        assert_int_equal(a.port, good[i].port);
    }
}

static void anything_else_is_refused_with_a_hint(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",           "localhost", "localhost:",  "localhost:x", "localhost:65536",
        "a:-1",       "a:+1",      "a: 1",        "a:1 ",        "a:999999",
        "::1:80",     "[::1]",     "[::1]80",     "[::1:80",     "[nonsense]:80",
        "http://a:1", "a/b:1",     "user@host:1", "[]:1",        "a b:1",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct address a = {.port = 1};
        struct fail f = {0};
        if (address_parse(bad[i], &a, &f) != ERR_INVALID) {
            fail_msg("\"%s\" was taken", bad[i]);
        }
        assert_non_null(strstr(f.hint, "HOST:PORT"));
        assert_int_equal(a.port, 1); /* untouched */
    }
}

static void a_host_longer_than_its_place_is_refused(void **state)
{
    (void)state;
    char text[400];
    struct address a;
    struct fail f = {0};
    memset(text, 'a', sizeof text);
    memcpy(text + 256, ":80", 4);
    assert_int_equal(address_parse(text, &a, &f), ERR_LIMIT);
    memcpy(text + 255, ":80", 4);
    assert_int_equal(address_parse(text, &a, &f), ERR_OK);
    assert_int_equal(strlen(a.host), 255);
}

static void loopback_is_known(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool loopback;
    } cases[] = {
        {"127.0.0.1:1", true},
        {"127.200.3.4:1", true},
        {"localhost:1", true},
        {"[::1]:1", true},
        {"[::ffff:127.0.0.1]:1", true},
        {"0.0.0.0:1", false},
        {"[::]:1", false},
        {"10.0.0.1:1", false},
        {":1", false},
        {"localhost.example:1", false},
        {"[::ffff:10.0.0.1]:1", false},
        {"128.0.0.1:1", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct address a;
        assert_int_equal(address_parse(cases[i].text, &a, NULL), ERR_OK);
        assert_int_equal(address_is_loopback(&a), cases[i].loopback);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_and_port_are_taken_apart),
        cmocka_unit_test(anything_else_is_refused_with_a_hint),
        cmocka_unit_test(a_host_longer_than_its_place_is_refused),
        cmocka_unit_test(loopback_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
