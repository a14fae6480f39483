/* tests/unit/master/carry_test.c - totals do not fall when a change removes instances.
 *
 * Goal:   what removed instances had counted stays in status and metrics, over several changes and
 *         over a restart of the master; a fault in a ledger is told once.
 * Method: a whole master, two fake workers that report counters by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/mem.h"
#include "net/states.h"
#include "tests/support/pair.h"

#include <poll.h>
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

/* Every instance that `t` added at worker i has taken in `tuples`. */
static void report(unsigned i, const struct told *t, uint64_t version, uint64_t op,
                   uint64_t tuples, const struct rec_CHANNEL_STATUS *channel)
{
    struct rec_INSTANCE_STATUS list[64] = {0};
    for (size_t k = 0; k < t->id_count; k++) {
        list[k] = (struct rec_INSTANCE_STATUS){
            .id = t->ids[k], .state = INSTANCE_RUNNING, .tuples_in = tuples};
    }
    const struct msg m = {.kind = M_REPORT,
                          .REPORT = {.topology = "t",
                                     .version = version,
                                     .gen = t->gen,
                                     .op = op,
                                     .state = DEPLOYMENT_RUNNING,
                                     .at_us = ++p.at_us,
                                     .instances = list,
                                     .instances_count = t->id_count,
                                     .channels = (struct rec_CHANNEL_STATUS *)(uintptr_t)channel,
                                     .channels_count = channel != NULL}};
    fake_send(&p.w[i], &m);
}

static uint64_t total(void) /* of `work` */
{
    json_t *t = pair_get(&p, "/v1/topologies/t"), *pe;
    uint64_t in = 0;
    size_t i;
    json_array_foreach(json_object_get(t, "pes"), i, pe)
    {
        if (strcmp(json_string_value(json_object_get(pe, "name")), "work") == 0) {
            in = (uint64_t)json_integer_value(json_object_get(pe, "tuples_in"));
        }
    }
    json_decref(t);
    return in;
}

static void expect_total(uint64_t wanted)
{
    for (int i = 0; i < 200 && total() != wanted; i++) {
        usleep(20000);
    }
    assert_int_equal(total(), wanted);
}

static bool metrics_say(const char *line)
{
    int status;
    char *text = http_call(p.r.http, "GET", "/metrics", NULL, NULL, &status);
    bool found = strstr(text, line) != NULL;
    mem_free(text);
    return found;
}

static void totals_do_not_fall_by_a_change(void **state)
{
    (void)state;
    struct told d[2], t[2];
    pair_deploy(&p, d);
    report(0, &d[0], 1, d[0].op, 1000, NULL); /* of `work`: one instance each */
    report(1, &d[1], 1, d[1].op, 1000, NULL);
    expect_total(2000);
    pair_upgrade(&p, pair_yaml(1, 0), t);
    assert_int_equal(t[0].removed + t[1].removed, 1);
    told_all(&p, t);
    json_decref(pair_receipt(&p, 2));
    expect_total(2000); /* at once, before any further report */
    assert_true(metrics_say("oxbow_pe_tuples_in_total{topology=\"t\",pe=\"work\","
                            "instance=\"removed\",worker=\"\"} 1000"));
    assert_true(metrics_say("oxbow_upgrades_total{result=\"done\"} 1"));
    assert_true(metrics_say("oxbow_upgrade_pause_seconds_count 1"));
    assert_true(metrics_say("oxbow_upgrade_pause_seconds_bucket{le=\"0.000256\"} 1"));
    running_stop(&p.r);
    fake_leave(&p.w[0]);
    fake_leave(&p.w[1]);
    running_start(&p.r);
    pair_rejoin(&p, 0, &t[0]);
    pair_rejoin(&p, 1, &t[1]);
    expect_total(1000); /* what is gone; the rest comes with reports */
}

static void a_fault_in_a_ledger_is_told_once(void **state)
{
    (void)state;
    struct told d[2];
    pair_deploy(&p, d);
    const struct rec_CHANNEL_STATUS s = {.id = d[0].channel, .gaps = 3};
    for (unsigned i = 0; i < 2; i++) { /* the receiver's worker counts */
        report(i, &d[i], 1, d[i].op, 1, &s);
        report(i, &d[i], 1, d[i].op, 2, &s);
    }
    expect_total(4);
    int fd = http_connect(p.r.http);
    static const char ask[] = "GET /v1/events?after=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_int_equal(send(fd, ask, sizeof ask - 1, 0), (ssize_t)(sizeof ask - 1));
    struct strbuf text = {0};
    while (strstr(strbuf_text(&text), "3 tuples missing") == NULL) {
        char chunk[65536];
        struct pollfd f = {.fd = fd, .events = POLLIN};
        assert_true(poll(&f, 1, FAKE_WAIT_MS) > 0);
        ssize_t n = recv(fd, chunk, sizeof chunk, 0);
        assert_true(n > 0);
        strbuf_add(&text, chunk, (size_t)n);
    }
    const char *first = strstr(text.data, "tuples missing");
    assert_null(strstr(first + 1, "tuples missing")); /* all that is kept came in one piece */
    close(fd);
    strbuf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, start, stop)
        WITH_PAIR(totals_do_not_fall_by_a_change),
        WITH_PAIR(a_fault_in_a_ledger_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
