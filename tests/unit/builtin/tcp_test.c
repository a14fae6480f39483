/* tests/unit/builtin/tcp_test.c - tcp-source and tcp-sink over real sockets on 127.0.0.1.
 *
 * Goal:   several clients, partial lines, limits, backpressure; a receiver that goes away and comes
 *         back gets whole lines, and nothing that was not sent is lost.
 * Method: port 0; the port is found among the process's own listening sockets. */
#include "core/mem.h"
#include "pe/builtin/builtin.h"
#include "tests/support/pe_run.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define LINE "line: str"

static struct sockaddr_in local(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = port};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static uint16_t port_of(int fd) /* in network order */
{
    struct sockaddr_in a;
    socklen_t size = sizeof a;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    return a.sin_port;
}

static int connect_to(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = local(port);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* open_source - started; *port is where it listens. */
static void open_source(struct pe_run *r, const char *rest, const char *schema, uint16_t *port)
{
    char *params = mem_printf("{\"listen\":\"127.0.0.1:0\"%s}", rest);
    assert_true(pe_run_open(r, &builtin_tcp_source, params, NULL, schema, 0, 1));
    mem_free(params);
    assert_true(pe_run_start(r));
    assert_int_equal(r->watch_count, 1);
    *port = port_of(r->watches[0].fd);
}

static void turns(struct pe_run *r, const char *wanted)
{
    for (unsigned i = 0; i < 60 && strcmp(pe_run_text(r), wanted) != 0; i++) {
        int result = pe_run_turn(r, 20);
        assert_true(result == OXB_OK || result == OXB_IDLE);
    }
    assert_string_equal(pe_run_text(r), wanted);
    strbuf_clear(&r->out);
}

static void lines_of_several_clients_come_in(void **state)
{
    (void)state;
    struct pe_run r;
    uint16_t port;
    open_source(&r, "", LINE, &port);
    int a = connect_to(port);
    int b = connect_to(port);
    send_text(a, "one\r\ntw");
    turns(&r, "{\"line\":\"one\"}\n");
    send_text(b, "from b\n");
    turns(&r, "{\"line\":\"from b\"}\n");
    send_text(a, "o\nbad \xff\nhalf");
    turns(&r, "{\"line\":\"two\"}\n{\"line\":\"bad \xef\xbf\xbd\"}\n");
    close(a);
    turns(&r, "{\"line\":\"half\"}\n"); /* the rest of a client that leaves */
    send_text(b, "b stays\n");
    turns(&r, "{\"line\":\"b stays\"}\n");
    close(b);
    pe_run_close(&r);
}

static void json_lines_are_parsed_and_bad_ones_dropped(void **state)
{
    (void)state;
    struct pe_run r;
    uint16_t port;
    open_source(&r, ",\"format\":\"jsonl\"", "n: i64", &port);
    int a = connect_to(port);
    send_text(a, "{\"n\":1}\nnonsense\n\n{\"n\":\"x\"}\n{\"n\":2}\n");
    turns(&r, "{\"n\":1}\n{\"n\":2}\n");
    close(a);
    pe_run_close(&r);
}

static bool is_closed_by_peer(int fd)
{
    char c;
    ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);
    return n == 0 || (n < 0 && (errno == ECONNRESET || errno == EPIPE));
}

static void a_line_that_is_too_long_ends_that_client_only(void **state)
{
    (void)state;
    struct pe_run r;
    uint16_t port;
    open_source(&r, ",\"line_max\":\"1KiB\"", LINE, &port);
    int a = connect_to(port);
    int b = connect_to(port);
    char text[2000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    send_text(a, "good\n");
    send_text(a, text);
    for (unsigned i = 0; i < 60 && !is_closed_by_peer(a); i++) {
        pe_run_turn(&r, 20);
    }
    assert_true(is_closed_by_peer(a));
    send_text(b, "ok\n");
    turns(&r, "{\"line\":\"good\"}\n{\"line\":\"ok\"}\n");
    close(a);
    close(b);
    pe_run_close(&r);
}

static void more_clients_than_allowed_are_turned_away(void **state)
{
    (void)state;
    struct pe_run r;
    uint16_t port;
    open_source(&r, ",\"clients\":1", LINE, &port);
    int a = connect_to(port);
    send_text(a, "a\n");
    turns(&r, "{\"line\":\"a\"}\n");
    int b = connect_to(port);
    for (unsigned i = 0; i < 60 && !is_closed_by_peer(b); i++) {
        pe_run_turn(&r, 20);
    }
    assert_true(is_closed_by_peer(b));
    close(a);
    close(b);
    pe_run_close(&r);
}

static void nothing_is_read_while_produce_is_not_called(void **state)
{
    (void)state;
    struct pe_run r;
    uint16_t port;
    open_source(&r, "", LINE, &port);
    int a = connect_to(port);
    send_text(a, "first\n");
    turns(&r, "{\"line\":\"first\"}\n");
    char text[4096];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\n';
    size_t sent = 0;
    for (unsigned i = 0; i < 1000000; i++) { /* only events, no produce */
        ssize_t n = send(a, text, sizeof text, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            break;
        }
        sent += (size_t)n;
        if (poll(r.watches, r.watch_count, 0) > 0) {
            for (unsigned k = 0; k < r.watch_count; k++) {
                if (r.watches[k].revents != 0) {
                    pe_ready(r.pe, r.watches[k].fd, (uint32_t)r.watches[k].revents);
                    break;
                }
            }
        }
    }
    assert_true(sent < (64u << 20)); /* the kernel's buffers, no more */
    assert_int_equal(r.rows, 1);
    assert_int_equal(poll(r.watches, r.watch_count, 0), 0); /* and no event repeats */
    r.keeps_text = false;
    for (unsigned i = 0; i < 100000 && (r.rows - 1) * sizeof text + sizeof text <= sent; i++) {
        pe_run_turn(&r, 20);
    }
    assert_int_equal(r.rows - 1, sent / sizeof text);
    close(a);
    pe_run_close(&r);
}

static void a_port_that_is_taken_is_an_error(void **state)
{
    (void)state;
    struct pe_run r;
    struct pe_run other;
    uint16_t port;
    open_source(&r, "", LINE, &port);
    char *params = mem_printf("{\"listen\":\"127.0.0.1:%u\"}", ntohs(port));
    assert_true(pe_run_open(&other, &builtin_tcp_source, params, NULL, LINE, 0, 1));
    assert_false(pe_run_start(&other));
    assert_non_null(strstr(other.fail.what, "Address already in use"));
    mem_free(params);
    pe_run_close(&other);
    pe_run_close(&r);
}

/* ---- tcp-sink ---- */

static int listen_at(uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    struct sockaddr_in a = local(*port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 4), 0);
    *port = port_of(fd);
    return fd;
}

static void open_sink(struct pe_run *r, uint16_t port)
{
    char *params = mem_printf("{\"to\":\"127.0.0.1:%u\"}", ntohs(port));
    assert_true(pe_run_open(r, &builtin_tcp_sink, params, "n: i64", NULL, 0, 1));
    mem_free(params);
    assert_true(pe_run_start(r));
}

static void expect_received(int fd, const char *wanted)
{
    char got[256] = "";
    size_t bytes = 0;
    while (bytes < strlen(wanted)) {
        ssize_t n = recv(fd, got + bytes, sizeof got - 1 - bytes, 0);
        assert_true(n > 0);
        bytes += (size_t)n;
    }
    got[bytes] = '\0';
    assert_string_equal(got, wanted);
}

static void a_receiver_gets_the_lines(void **state)
{
    (void)state;
    struct pe_run r;
    uint16_t port = 0;
    int listening = listen_at(&port);
    open_sink(&r, port);
    assert_int_equal(pe_run_feed(&r, "{\"n\":1}\n{\"n\":2}"), OXB_OK);
    assert_int_equal(pe_finish(r.pe), OXB_OK);
    int fd = accept(listening, NULL, NULL);
    expect_received(fd, "{\"n\":1}\n{\"n\":2}\n");
    close(fd);
    close(listening);
    pe_run_close(&r);
}

/* expect_no_connection_to - until this machine has no established connection to port. */
static void expect_no_connection_to(uint16_t port)
{
    bool there = true;
    for (unsigned tries = 0; there && tries < 1000; tries++) {
        char line[512];
        FILE *f = fopen("/proc/net/tcp", "re");
        assert_non_null(f);
        there = false;
        while (fgets(line, sizeof line, f) != NULL) {
            unsigned to, state;
            there = there || (sscanf(line, " %*u: %*x:%*x %*x:%x %x", &to, &state) == 2 &&
                              to == port && state == TCP_ESTABLISHED);
        }
        assert_int_equal(fclose(f), 0);
        poll(NULL, 0, there ? 5 : 0);
    }
    assert_false(there);
}

static void a_receiver_may_come_late_and_come_back(void **state)
{
    (void)state;
    struct pe_run r;
    uint16_t port = 0;
    int listening = listen_at(&port);
    close(listening); /* nobody there; the port is likely to stay free */
    open_sink(&r, port);
    assert_int_equal(pe_run_feed(&r, "{\"n\":1}"), OXB_OK);
    assert_int_equal(pe_flush_sink(r.pe), OXB_OK);
    listening = listen_at(&port);
    assert_int_equal(pe_finish(r.pe), OXB_OK); /* waits for the connection */
    int fd = accept(listening, NULL, NULL);
    expect_received(fd, "{\"n\":1}\n");
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd); /* a reset, so that the sink knows at its next write */
    expect_no_connection_to(port);
    assert_int_equal(pe_run_feed(&r, "{\"n\":2}"), OXB_OK);
    assert_int_equal(pe_finish(r.pe), OXB_OK);
    fd = accept(listening, NULL, NULL);
    expect_received(fd, "{\"n\":2}\n");
    close(fd);
    close(listening);
    pe_run_close(&r);
}

static void a_receiver_that_does_not_read_makes_the_sink_refuse(void **state)
{
    (void)state;
    struct pe_run r;
    uint16_t port = 0;
    int listening = listen_at(&port);
    open_sink(&r, port);
    struct strbuf rows = {0};
    for (unsigned i = 0; i < 1000; i++) {
        strbuf_printf(&rows, "{\"n\":%u}\n", 1000000 + i);
    }
    uint64_t fed = 0;
    int result = OXB_OK;
    while (result == OXB_OK && fed < 10000) { /* 16 kB each */
        result = pe_run_feed(&r, strbuf_text(&rows));
        fed += result == OXB_OK;
    }
    assert_int_equal(result, OXB_ERROR);
    assert_non_null(strstr(pe_error(r.pe), "it does not read"));
    void *saved;
    size_t bytes;
    assert_int_equal(pe_snapshot(r.pe, &saved, &bytes), ERR_OK); /* what was not sent is in it */
    assert_true(bytes >= 1u << 20 && bytes < 2u << 20);
    pe_run_close(&r);
    int fd = accept(listening, NULL, NULL);
    char *got = malloc(1u << 20);
    uint64_t received = 0; /* whole lines */
    ssize_t n;
    while ((n = recv(fd, got, 1u << 20, 0)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            received += got[i] == '\n';
        }
    }
    uint64_t kept = 0;
    for (size_t i = 0; i < bytes; i++) {
        kept += ((char *)saved)[i] == '\n';
    }
    assert_int_equal(received + kept, fed * 1000);
    free(got);
    free(saved);
    close(fd);
    close(listening);
    strbuf_fini(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_several_clients_come_in),
        cmocka_unit_test(json_lines_are_parsed_and_bad_ones_dropped),
        cmocka_unit_test(a_line_that_is_too_long_ends_that_client_only),
        cmocka_unit_test(more_clients_than_allowed_are_turned_away),
        cmocka_unit_test(nothing_is_read_while_produce_is_not_called),
        cmocka_unit_test(a_port_that_is_taken_is_an_error),
        cmocka_unit_test(a_receiver_gets_the_lines),
        cmocka_unit_test(a_receiver_may_come_late_and_come_back),
        cmocka_unit_test(a_receiver_that_does_not_read_makes_the_sink_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
