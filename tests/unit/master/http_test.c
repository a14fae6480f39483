/* tests/unit/master/http_test.c - the HTTP door against those who do not knock.
 *
 * Goal:   no client can hold a connection, fill the memory or stop the others, whatever it sends.
 * Method: a running master with a request limit of 1 s; raw sockets; after each attack the health
 *         check must still answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/clock.h"
#include "core/limits.h"
#include "core/mem.h"
#include "core/prng.h"
#include "tests/support/fake_worker.h"
#include "tests/support/running_master.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct running_master r;

static int start(void **state)
{
    (void)state;
    running_make_dir(&r);
    running_start(&r);
    return 0;
}

static void expect_healthy(void)
{
    int status;
    json_t *root = http_json(r.http, "GET", "/healthz", NULL, NULL, &status);
    assert_int_equal(status, 200);
    json_decref(root);
}

static int stop(void **state)
{
    (void)state;
    expect_healthy();
    running_stop(&r);
    running_remove_dir(&r);
    return 0;
}

/* Send all of it; expect that status. */
static void expect_status(const void *bytes, size_t count, int wanted)
{
    uint64_t ms;
    int status = 0;
    char *answer = http_raw(r.http, bytes, count, &ms);
    if (sscanf(answer, "HTTP/1.1 %d", &status) != 1 || status != wanted) {
        fail_msg("%d wanted, got \"%.60s\"", wanted, answer);
    }
    mem_free(answer);
}

static void a_head_that_never_ends_is_refused_at_its_limit(void **state)
{
    (void)state;
    struct strbuf b = {0};
    strbuf_text_add(&b, "GET / HTTP/1.1\r\nHost: localhost\r\nX: ");
    while (b.bytes < HTTP_HEADER_BYTES_MAX + 100) {
        strbuf_text_add(&b, "aaaaaaaaaaaaaaaa");
    }
    expect_status(b.data, b.bytes, 431);
    strbuf_fini(&b);
}

static void bodies_above_the_limit_are_refused_before_they_come(void **state)
{
    (void)state;
    char head[200];
    int n = snprintf(head, sizeof head,
                     "POST /v1/topologies HTTP/1.1\r\nHost: localhost\r\n"
                     "Content-Length: %u\r\n\r\n",
                     HTTP_BODY_BYTES_MAX + 1);
    expect_status(head, (size_t)n, 413);
    n = snprintf(head, sizeof head,
                 "PUT /v1/artifacts/%064d HTTP/1.1\r\nHost: localhost\r\n"
                 "Content-Length: %u\r\n\r\n",
                 0, HTTP_ARTIFACT_BYTES_MAX + 1);
    expect_status(head, (size_t)n, 413);
    n = snprintf(head, sizeof head,
                 "PUT /v1/artifacts/../lock HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect_status(head, (size_t)n, 404);
    n = snprintf(head, sizeof head,
                 "PUT /v1/artifacts/%%2e%%2e%%2flock HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect_status(head, (size_t)n, 404);
    n = snprintf(head, sizeof head,
                 "PUT /v1/artifacts/nohex HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect_status(head, (size_t)n, 400);
}

static void other_methods_chunks_and_other_origins_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } requests[] = {
        {"DELETE /v1/topologies HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
        {"TRACE /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
        {"BREW /pot HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
        {"POST /v1/topologies HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
         "0\r\n\r\n", 411},
        {"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403},
        {"GET /healthz HTTP/1.1\r\nHost: 127.evil.example\r\n\r\n", 403},
        {"POST /v1/topologies HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n",
         403},
        {"GET /healthz HTTP/1.1\r\nHost: localhost:1\r\nOrigin: http://localhost:1\r\n\r\n", 200},
        {"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200},
    };
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        expect_status(requests[i].text, strlen(requests[i].text), requests[i].status);
    }
}

/* Drip one byte every 100 ms; the connection must be closed at its deadline all the same. */
static void drip(const char *text)
{
    int fd = http_connect(r.http);
    uint64_t start_us = clock_now_us();
    char byte;
    for (const char *p = text;; p += p[1] != '\0') {
        (void)send(fd, p, 1, MSG_NOSIGNAL);
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (poll(&wait, 1, 100) > 0 && recv(fd, &byte, 1, 0) <= 0) {
            break;
        }
        if (clock_now_us() - start_us > 3000000) {
            fail_msg("a slow client was never closed");
        }
    }
    assert_true(clock_now_us() - start_us >= 800000);
    close(fd);
}

static void a_slow_head_and_a_slow_body_end_at_the_deadline(void **state)
{
    (void)state;
    drip("GET / HTTP/1.1\r\nHost: localhost\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    int fd = http_connect(r.http);
    static const char head[] = "POST /v1/topologies HTTP/1.1\r\nHost: localhost\r\n"
                               "Content-Length: 100\r\n\r\nabc";
    uint64_t start_us = clock_now_us();
    char byte;
    assert_int_equal(send(fd, head, sizeof head - 1, MSG_NOSIGNAL), sizeof head - 1);
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    assert_true(clock_now_us() - start_us < 3000000);
    close(fd);
}

static void an_upload_cut_short_leaves_room_for_others(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) { /* more than may be in flight */
        char head[200];
        int fd = http_connect(r.http);
        int n = snprintf(head, sizeof head,
                         "PUT /v1/artifacts/%064d HTTP/1.1\r\nHost: localhost\r\n"
                         "Content-Length: 1000\r\n\r\nabc",
                         i);
        assert_int_equal(send(fd, head, (size_t)n, MSG_NOSIGNAL), n);
        close(fd);
    }
    char digest_path[128], digest[SHA256_HEX_BYTES];
    int status = 0;
    sha256_hex("x", 1, digest);
    snprintf(digest_path, sizeof digest_path, "/v1/artifacts/%s", digest);
    for (int tries = 0; status != 201 && tries < 1000; tries++) { /* until it has seen them go */
        mem_free(http_call(r.http, "PUT", digest_path, NULL, "x", &status));
    }
    assert_int_equal(status, 201);
}

/* count_closed - how many of fds[n] the server has closed. */
static unsigned count_closed(const int *fds, unsigned n)
{
    unsigned closed = 0;
    for (unsigned i = 0; i < n; i++) {
        struct pollfd p = {.fd = fds[i], .events = POLLIN};
        closed += poll(&p, 1, 0) > 0;
    }
    return closed;
}

static void connections_beyond_the_cap_are_closed_and_the_others_live(void **state)
{
    (void)state;
    int fds[HTTP_CONNS_MAX + 8];
    unsigned closed = 0;
    for (unsigned i = 0; i < HTTP_CONNS_MAX + 8; i++) {
        fds[i] = http_connect(r.http);
        usleep(1000); /* so that the kernel's own queue does not overflow */
    }
    for (int tries = 0; closed < 8 && tries < 1000; tries++) {
        closed = count_closed(fds, HTTP_CONNS_MAX + 8);
        poll(NULL, 0, 10);
    }
    assert_int_equal(count_closed(fds, HTTP_CONNS_MAX + 8), 8);
    for (unsigned i = 0; i < HTTP_CONNS_MAX + 8; i++) {
        close(fds[i]);
    }
    usleep(100000);
}

static void a_client_that_leaves_before_its_answer_does_no_harm(void **state)
{
    (void)state;
    static const char request[] = "GET /v1/pes HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (int i = 0; i < 50; i++) {
        int fd = http_connect(r.http);
        (void)send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
        struct linger now = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now); /* reset */
        close(fd);
    }
}

static void random_bytes_at_both_doors_do_no_harm(void **state)
{
    (void)state;
    struct prng p = {7};
    for (int i = 0; i < 300; i++) {
        uint8_t bytes[256];
        size_t count = 1 + prng_below(&p, sizeof bytes);
        for (size_t k = 0; k < count; k++) {
            bytes[k] = (uint8_t)prng_u64(&p);
        }
        if (prng_below(&p, 2) != 0 && count > 8) { /* a head that could be a frame's */
            memcpy(bytes + 4, (uint8_t[]){1, 0, 1, 0x4F}, 4);
            bytes[1] = bytes[2] = bytes[3] = 0;
        }
        int fd = http_connect(i % 2 != 0 ? r.http : r.control);
        (void)send(fd, bytes, count, MSG_NOSIGNAL);
        close(fd);
        usleep(2000); /* below the cap on connections: that is another test */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define AND_STILL_HEALTHY(test) cmocka_unit_test_setup_teardown(test, start, stop)
        AND_STILL_HEALTHY(a_head_that_never_ends_is_refused_at_its_limit),
        AND_STILL_HEALTHY(bodies_above_the_limit_are_refused_before_they_come),
        AND_STILL_HEALTHY(other_methods_chunks_and_other_origins_are_refused),
        AND_STILL_HEALTHY(a_slow_head_and_a_slow_body_end_at_the_deadline),
        AND_STILL_HEALTHY(an_upload_cut_short_leaves_room_for_others),
        AND_STILL_HEALTHY(connections_beyond_the_cap_are_closed_and_the_others_live),
        AND_STILL_HEALTHY(a_client_that_leaves_before_its_answer_does_no_harm),
        AND_STILL_HEALTHY(random_bytes_at_both_doors_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
