/* tests/unit/master/events_test.c - what happens is told in order, once, to whoever follows.
 *
 * Goal:   phases, answers and the receipt of a change arrive in order with rising ids; a reader
 *         goes on where it was, is told when events are gone, and is dropped when it does not read;
 *         readers do not shut out requests.
 * Method: raw sockets on a running master; the ring is filled through events_add on the loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/limits.h"
#include "core/mem.h"
#include "tests/support/pair.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct pair p;

static int start(void **state)
{
    (void)state;
    pair_start(&p);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    pair_stop(&p);
    return 0;
}

struct reader {
    int fd;
    struct strbuf text;
};

static struct reader follow(const char *query, const char *last_id)
{
    struct reader r = {.fd = http_connect(p.r.http)};
    char head[300];
    int n = snprintf(head, sizeof head,
                     "GET /v1/events%s HTTP/1.1\r\nHost: localhost\r\n%s%s%s\r\n", query,
                     last_id != NULL ? "Last-Event-ID: " : "", last_id != NULL ? last_id : "",
                     last_id != NULL ? "\r\n" : "");
    assert_int_equal(send(r.fd, head, (size_t)n, 0), n);
    return r;
}

/* Read until the text is there; false: the end came first. */
static bool until(struct reader *r, const char *text)
{
    char chunk[65536];
    while (strstr(strbuf_text(&r->text), text) == NULL) {
        struct pollfd f = {.fd = r->fd, .events = POLLIN};
        if (poll(&f, 1, FAKE_WAIT_MS) <= 0) {
            fail_msg("\"%s\" did not come; got: %s", text, strbuf_text(&r->text));
        }
        ssize_t n = recv(r->fd, chunk, sizeof chunk, 0);
        if (n <= 0) {
            return false;
        }
        strbuf_add(&r->text, chunk, (size_t)n);
    }
    return true;
}

static void leave(struct reader *r)
{
    close(r->fd);
    strbuf_fini(&r->text);
}

static void expect_in_order(const struct reader *r, const char *const *parts, size_t count)
{
    const char *at = r->text.data;
    for (size_t i = 0; i < count; i++) {
        const char *found = strstr(at, parts[i]);
        if (found == NULL) {
            fail_msg("\"%s\" is missing or too early in: %s", parts[i], r->text.data);
        }
        at = found + 1;
    }
}

static void a_change_is_told_from_its_first_phase_to_its_receipt(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "\"phase\":\"preparing\"", "\"answer\":\"ready\"", "\"answer\":\"ready\"",
        "\"phase\":\"ready\"", "\"phase\":\"going\"", "\"answer\":\"done\"",
        "\"answer\":\"done\"", "\"phase\":\"done\"", "event: receipt", "\"lost\":0"};
    struct told d[2], t[2];
    pair_deploy(&p, d);
    json_t *answer = pair_ask(&p, "upgrade", pair_yaml(2, 5), 202);
    char query[80];
    snprintf(query, sizeof query, "?topology=t&after=%" PRIu64,
             (uint64_t)json_integer_value(json_object_get(answer, "event")));
    json_decref(answer);
    t[0] = told_prepare(&p.w[0]);
    t[1] = told_prepare(&p.w[1]);
    told_all(&p, t);
    json_decref(pair_receipt(&p, 2));
    struct reader r = follow(query, NULL); /* late, and misses nothing */
    assert_true(until(&r, "event: receipt"));
    assert_true(until(&r, "\"lost\":0"));
    expect_in_order(&r, parts, sizeof parts / sizeof parts[0]);
    assert_null(strstr(r.text.data, "missed"));
    assert_null(strstr(r.text.data, "event: worker")); /* of no topology */
    uint64_t last = 0;
    for (const char *at = r.text.data; (at = strstr(at, "\nid: ")) != NULL; at++) {
        uint64_t id = strtoull(at + 5, NULL, 10);
        assert_true(id > last);
        last = id;
    }
    leave(&r);
}

static void fill(void *arg)
{
    (void)arg;
    char *pad = mem_alloc(2001);
    memset(pad, 'x', 2000);
    for (int i = 0; i < EVENTS_KEPT + 100; i++) {
        events_add(&p.r.master->events, "error", NULL, json_pack("{s:i, s:s}", "n", i, "pad", pad));
    }
    mem_free(pad);
}

static void who_comes_back_goes_on_and_is_told_what_is_gone(void **state)
{
    (void)state;
    char id[32];
    struct reader r = follow("", NULL);
    assert_true(until(&r, ":\n\n"));
    struct told d[2];
    pair_deploy(&p, d);
    assert_true(until(&r, "\"state\":\"running\""));
    const char *last = strstr(r.text.data, "\nid: ");
    assert_non_null(last);
    snprintf(id, sizeof id, "%" PRIu64, (uint64_t)strtoull(last + 5, NULL, 10));
    leave(&r);
    r = follow("", id);
    assert_true(until(&r, "\"state\":\"running\""));
    assert_null(strstr(r.text.data, "missed"));
    leave(&r);
    loop_post(p.r.loop, fill, NULL);
    char newest[32];
    snprintf(newest, sizeof newest, "\"n\":%d", EVENTS_KEPT + 99);
    r = follow("", id); /* what was posted runs before what comes by a socket later */
    assert_true(until(&r, "event: missed"));
    assert_true(until(&r, newest));
    leave(&r);
}

static void who_does_not_read_is_dropped_and_requests_get_through(void **state)
{
    (void)state;
    struct reader all[EVENT_READERS_MAX + 1];
    int status;
    for (unsigned i = 0; i < EVENT_READERS_MAX; i++) {
        all[i] = follow("", NULL);
        assert_true(until(&all[i], ":\n\n"));
    }
    all[EVENT_READERS_MAX] = follow("", NULL);
    assert_true(until(&all[EVENT_READERS_MAX], "HTTP/1.1 503"));
    leave(&all[EVENT_READERS_MAX]);
    json_decref(http_json(p.r.http, "GET", "/healthz", NULL, NULL, &status));
    assert_int_equal(status, 200);
    for (int k = 0; k < 4; k++) { /* more than sockets and the limit hold */
        loop_post(p.r.loop, fill, NULL);
    }
    for (unsigned i = 0; i < EVENT_READERS_MAX; i++) {
        assert_false(until(&all[i], "never said"));
        leave(&all[i]);
    }
    struct reader r = follow("?after=x", NULL);
    assert_true(until(&r, "HTTP/1.1 400"));
    leave(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, start, stop)
        WITH_PAIR(a_change_is_told_from_its_first_phase_to_its_receipt),
        WITH_PAIR(who_comes_back_goes_on_and_is_told_what_is_gone),
        WITH_PAIR(who_does_not_read_is_dropped_and_requests_get_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
