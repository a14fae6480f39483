/* tests/unit/master/http_head_test.c - heads of requests.
 *
 * Goal:   what two readers could understand differently is refused; random bytes do no harm.
 * Method: a table of heads with the status expected; then mutations under the sanitizers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/mem.h"
#include "core/prng.h"
#include "core/strbuf.h"
#include "master/http_head.h"

#include <string.h>

static const struct {
    const char *text;
    int status;
} heads[] = {
    {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0},
    {"GET /a?b=c HTTP/1.0\r\n\r\n", 0},
    {"POST / HTTP/1.1\r\nhost:x\r\ncontent-length: 5 \r\n\r\n", 0},
    {"GET / HTTP/1.1\r\n\r\n", 400},                                  /* no Host */
    {"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
    {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
    {"GET /\r\nHost: x\r\n\r\n", 400},
    {"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
    {"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400},
    {"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400},
    {"GET / HTTP/1.1\nHost: x\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: x\r\nNo colon\r\n\r\n", 400},
    {"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
    {"GET /%2 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
    {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 411},
    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1,1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 413},
    {"POST / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n", 417},
    {"\r\n\r\n", 400},
};

static void every_head_of_the_table_is_judged_as_written(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        struct http_head h;
        size_t bytes = strlen(heads[i].text);
        assert_int_equal(http_head_end(heads[i].text, bytes), bytes);
        char *copy = mem_dup_n(heads[i].text, bytes);
        int status = http_head_parse(copy, bytes, &h);
        if (status != heads[i].status) {
            fail_msg("%d for %s", status, heads[i].text);
        }
        mem_free(copy);
    }
}

static void parts_are_found_where_they_are(void **state)
{
    (void)state;
    char text[] = "PUT /a%20b/c?x=1&now=%31&y HTTP/1.1\r\nHost: h:1\r\nContent-Length: 12\r\n"
                  "X-Empty:\r\n\r\nrest";
    char value[8];
    struct http_head h;
    size_t bytes = http_head_end(text, strlen(text));
    assert_int_equal(bytes, strlen(text) - 4);
    assert_int_equal(http_head_parse(text, bytes, &h), 0);
    assert_string_equal(h.method, "PUT");
    assert_string_equal(h.path, "/a b/c");
    assert_int_equal(h.body_bytes, 12);
    assert_string_equal(http_head_find(&h, "HOST"), "h:1");
    assert_string_equal(http_head_find(&h, "x-empty"), "");
    assert_null(http_head_find(&h, "absent"));
    assert_true(http_query(h.query, "now", value, sizeof value));
    assert_string_equal(value, "1");
    assert_true(http_query(h.query, "y", value, sizeof value));
    assert_string_equal(value, "");
    assert_false(http_query(h.query, "no", value, sizeof value));
}

static void too_many_headers_are_refused(void **state)
{
    (void)state;
    struct strbuf text = {0};
    struct http_head h;
    strbuf_text_add(&text, "GET / HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < HTTP_HEADERS_MAX; i++) {
        strbuf_text_add(&text, "A: b\r\n");
    }
    strbuf_text_add(&text, "\r\n");
    assert_int_equal(http_head_parse(text.data, text.bytes, &h), 431);
    strbuf_fini(&text);
}

static void mutated_heads_do_no_harm(void **state)
{
    (void)state;
    struct prng p = {1};
    for (int round = 0; round < 100000; round++) {
        const char *seed = heads[prng_below(&p, sizeof heads / sizeof heads[0])].text;
        size_t bytes = strlen(seed);
        char *copy = mem_dup_n(seed, bytes);
        for (uint64_t k = prng_below(&p, 6); k > 0; k--) {
            copy[prng_below(&p, bytes)] = (char)prng_below(&p, 256);
        }
        size_t end = http_head_end(copy, bytes);
        struct http_head h;
        char value[8];
        if (end > 0 && http_head_parse(copy, end, &h) == 0) {
            (void)http_query(h.query, "b", value, sizeof value);
            assert_int_equal(h.path[0], '/');
        }
        mem_free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_head_of_the_table_is_judged_as_written),
        cmocka_unit_test(parts_are_found_where_they_are),
        cmocka_unit_test(too_many_headers_are_refused),
        cmocka_unit_test(mutated_heads_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
