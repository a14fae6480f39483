/* tests/unit/net/conn_test.c - connections deliver, keep order and always end in one place.
 *
 * Goal:   the contract of net/conn.h between well-behaved ends: sending early, closing anywhere,
 *         limits, detaching, heartbeats, posting from threads, and nothing left behind.
 * Method: both ends on one loop over 127.0.0.1; waits are for counters, deadlines bound failure. */
#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "net/frame.h"
#include "tests/support/scene.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- sending ---- */
static void a_message_sent_before_the_connection_is_there_arrives(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    struct conn *c = scene_dial(&s);
    send_go(c, 41);
    send_go(c, 42);
    assert_int_equal(s.client.opened, 0);
    scene_wait(&s, &s.server.messages, 2, 2000);
    assert_int_equal(s.client.opened, 1);
    assert_int_equal(s.server.number, 42);
    assert_string_equal(conn_peer_host(s.server.conn), "127.0.0.1");
    scene_fini(&s);
}

static void a_name_of_several_addresses_is_tried_through(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s); /* listens on 127.0.0.1 only; localhost may be ::1 first */
    snprintf(s.address.host, sizeof s.address.host, "localhost");
    send_go(scene_dial(&s), 7);
    scene_wait(&s, &s.server.messages, 1, 3000);
    scene_fini(&s);
}

static void no_callback_comes_from_inside_a_call(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    struct conn *c = scene_dial(&s);
    scene_wait(&s, &s.client.opened, 1, 2000);
    for (unsigned i = 0; i < 40; i++) { /* past CONN_OUT_BYTES_MAX: the connection gives up */
        send_chunk(c, ARTIFACT_CHUNK_BYTES);
    }
    assert_int_equal(s.client.closed, 0); /* N1 */
    scene_wait(&s, &s.client.closed, 1, 2000);
    assert_non_null(strstr(s.client.why, "does not read"));
    scene_fini(&s);
}

static void a_frame_above_the_limit_closes_and_a_raised_limit_lets_it_pass(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    struct conn *c = scene_dial(&s);
    send_chunk(c, FRAME_PRE_AUTH_BYTES_MAX - 64);
    scene_wait(&s, &s.server.messages, 1, 2000);
    conn_limit(s.server.conn, FRAME_BYTES_MAX);
    send_chunk(c, FRAME_BYTES_MAX - 64);
    scene_wait(&s, &s.server.messages, 2, 2000);
    assert_int_equal(s.server.bytes, FRAME_BYTES_MAX - 64);
    send_chunk(scene_dial(&s), FRAME_PRE_AUTH_BYTES_MAX);
    scene_wait(&s, &s.server.closed, 1, 2000);
    assert_non_null(strstr(s.server.why, "ARTIFACT_CHUNK"));
    assert_int_equal(s.server.messages, 2);
    scene_fini(&s);
}

static void a_message_larger_than_a_frame_closes_the_sender(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    send_chunk(scene_dial(&s), FRAME_BYTES_MAX);
    scene_wait(&s, &s.client.closed, 1, 2000);
    assert_non_null(strstr(s.client.why, "larger than a message can be"));
    scene_fini(&s);
}

/* A REPORT of so many channels; it is larger than a frame from about 6,500 on. */
static void send_report(struct conn *c, size_t channels)
{
    struct rec_CHANNEL_STATUS *list = mem_array(channels, sizeof *list);
    for (size_t i = 0; i < channels; i++) {
        list[i].id = i;
        list[i].sent = UINT64_C(1) << 40;
    }
    const struct msg m = {.kind = M_REPORT,
                          .REPORT = {
                              .topology = "t", .channels = list, .channels_count = channels}};
    conn_send(c, &m);
    mem_free(list);
}

static size_t channels_seen;

static void note_report(struct side *side, struct conn *c, const struct msg *m)
{
    (void)side;
    (void)c;
    if (m != NULL && m->kind == M_REPORT) {
        channels_seen = m->REPORT.channels_count;
        assert_int_equal(m->REPORT.channels[channels_seen - 1].id, channels_seen - 1);
    }
}

static void a_large_report_comes_in_fragments_and_is_one_message(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    s.server.act = note_report;
    struct conn *c = scene_dial(&s);
    scene_wait(&s, &s.server.opened, 0, 100);
    send_go(c, 1);
    scene_wait(&s, &s.server.messages, 1, 2000);
    conn_limit(s.server.conn, FRAME_BYTES_MAX);
    send_report(c, 200000);
    send_go(c, 2); /* behind it, in order */
    scene_wait(&s, &s.server.messages, 3, 8000);
    assert_int_equal(channels_seen, 200000);
    assert_int_equal(s.server.number, 2);
    scene_fini(&s);
}

static void expect_refused(const struct msg *first, const struct msg *second, bool raised)
{
    struct scene s;
    scene_init(&s);
    struct conn *c = scene_dial(&s);
    send_go(c, 1);
    scene_wait(&s, &s.server.messages, 1, 2000);
    if (raised) {
        conn_limit(s.server.conn, FRAME_BYTES_MAX);
    }
    conn_send(c, first);
    if (second != NULL) {
        conn_send(c, second);
    }
    scene_wait(&s, &s.server.closed, 1, 2000);
    assert_non_null(strstr(s.server.why, "fragment"));
    assert_int_equal(s.server.messages, 1);
    scene_fini(&s);
}

static void fragments_that_do_not_fit_close_the_connection(void **state)
{
    (void)state;
    static const uint8_t bytes[100] = {0};
#define PIECE(of_kind, of_total, at, count)                                                        \
    {.kind = M_FRAGMENT,                                                                           \
     .FRAGMENT = {.kind = of_kind, .total = of_total, .offset = at, .data = {bytes, count}}}
    const struct msg good = PIECE(M_REPORT, 1000, 0, 100), go = {.kind = M_GO};
    const struct msg kind = PIECE(M_GO, 1000, 0, 100), other = PIECE(M_PREPARE, 1000, 100, 100);
    const struct msg huge = PIECE(M_REPORT, LARGE_BYTES_MAX + 1u, 0, 100);
    const struct msg none = PIECE(M_REPORT, 0, 0, 0), empty = PIECE(M_REPORT, 1000, 100, 0);
    const struct msg late = PIECE(M_REPORT, 1000, 100, 100), gap = PIECE(M_REPORT, 1000, 200, 100);
    const struct msg wide = PIECE(M_REPORT, 50, 0, 100);
    expect_refused(&good, NULL, false); /* before it is known who speaks */
    expect_refused(&kind, NULL, true);
    expect_refused(&huge, NULL, true);
    expect_refused(&none, NULL, true);
    expect_refused(&late, NULL, true);
    expect_refused(&wide, NULL, true);
    expect_refused(&good, &other, true);
    expect_refused(&good, &empty, true);
    expect_refused(&good, &gap, true);
    expect_refused(&good, &go, true);
}

/* ---- closing ---- */
static void close_on_message(struct side *side, struct conn *c, const struct msg *m)
{
    (void)side;
    if (m != NULL) {
        conn_close(c, "enough");
        conn_close(c, "twice");
        send_go(c, 99); /* goes nowhere, harms nothing */
    }
}

static void closing_inside_a_callback_is_safe_and_ends_delivery(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    s.server.act = close_on_message;
    struct conn *c = scene_dial(&s);
    for (uint64_t i = 0; i < 10; i++) {
        send_go(c, i);
    }
    scene_wait(&s, &s.client.closed, 1, 2000);
    scene_turns(&s, 3);
    assert_int_equal(s.server.messages, 1);
    assert_int_equal(s.server.closed, 1);
    assert_string_equal(s.server.why, "enough");
    assert_int_equal(listener_conns(s.listener), 0);
    scene_fini(&s);
}

static void close_on_open(struct side *side, struct conn *c, const struct msg *m)
{
    (void)side;
    if (m == NULL) {
        conn_close(c, "changed my mind");
    }
}

static void closing_before_and_while_opening_is_safe(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    conn_close(scene_dial(&s), "at once");
    assert_int_equal(s.client.closed, 0); /* on a later turn */
    scene_wait(&s, &s.client.closed, 1, 2000);
    assert_int_equal(s.client.opened, 0);
    s.client.act = close_on_open;
    (void)scene_dial(&s);
    scene_wait(&s, &s.client.closed, 2, 2000);
    assert_string_equal(s.client.why, "changed my mind");
    scene_fini(&s);
}

static void refuse_politely(struct side *side, struct conn *c, const struct msg *m)
{
    (void)side;
    const struct msg no = {.kind = M_REFUSED, .REFUSED = {.what = "no"}};
    if (m != NULL) {
        conn_send(c, &no);
        conn_close(c, "refused");
    }
}

static void the_last_word_before_a_close_arrives(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    s.server.act = refuse_politely;
    send_go(scene_dial(&s), 1);
    scene_wait(&s, &s.client.closed, 1, 2000);
    assert_int_equal(s.client.messages, 1);
    assert_int_equal(s.client.kind, M_REFUSED);
    scene_fini(&s);
}

static void what_cannot_be_reached_is_told_on_a_later_turn(void **state)
{
    (void)state;
    struct scene s;
    struct address nowhere = {.host = "", .port = 1};
    scene_init(&s);
    listener_close(s.listener); /* nobody listens on its port now */
    s.listener = NULL;
    (void)scene_dial(&s);
    (void)conn_open(s.loop, &nowhere, &side_ops, &s.client);
    assert_int_equal(s.client.closed, 0);
    scene_wait(&s, &s.client.closed, 2, 4000);
    assert_int_equal(s.client.opened, 0);
    assert_non_null(strstr(s.client.why, "cannot connect"));
    scene_fini(&s);
}

/* ---- handing over ---- */
struct taken {
    int fd;
    void *rest;
    size_t rest_bytes;
};

static void detach_on_go(struct side *side, struct conn *c, const struct msg *m)
{
    struct taken *taken = (struct taken *)(uintptr_t)m->GO.term; /* the test's own secret */
    (void)side;
    send_go(c, 5); /* still goes out: detaching writes what is queued */
    taken->fd = conn_detach(c, &taken->rest, &taken->rest_bytes);
}

static void a_detached_socket_keeps_every_byte(void **state)
{
    (void)state;
    struct scene s;
    struct taken taken = {.fd = -1};
    const struct msg first = {.kind = M_GO, .GO = {.term = (uintptr_t)&taken}};
    struct strbuf sent = {0};
    scene_init(&s);
    s.server.act = detach_on_go;
    int fd = raw_dial(&s);
    assert_int_equal(msg_encode(&first, &sent), ERR_OK);
    strbuf_text_add(&sent, "not a frame at all");
    raw_send(fd, sent.data, sent.bytes);
    scene_wait(&s, &s.server.messages, 1, 2000);
    scene_turns(&s, 3);
    assert_true(taken.fd >= 0);
    assert_int_equal(taken.rest_bytes, strlen("not a frame at all"));
    assert_memory_equal(taken.rest, "not a frame at all", taken.rest_bytes);
    assert_int_equal(s.server.closed, 0); /* no on_closed */
    assert_int_equal(listener_conns(s.listener), 0);
    uint8_t head[FRAME_HEAD_BYTES];
    assert_int_equal(recv(fd, head, sizeof head, MSG_WAITALL), sizeof head);
    assert_int_equal(head[4], M_GO);
    assert_int_equal(write(taken.fd, "raw", 3), 3); /* the socket is alive */
    mem_free(taken.rest);
    close(taken.fd);
    close(fd);
    strbuf_fini(&sent);
    scene_fini(&s);
}

static void another_owner_can_take_a_connection_over(void **state)
{
    (void)state;
    struct scene s;
    struct side heir = {.scene = &s};
    scene_init(&s);
    struct conn *c = scene_dial(&s);
    send_go(c, 1);
    scene_wait(&s, &s.server.messages, 1, 2000);
    conn_set(s.server.conn, &side_ops, &heir);
    send_go(c, 2);
    scene_wait(&s, &heir.messages, 1, 2000);
    conn_close(c, "bye");
    scene_wait(&s, &heir.closed, 1, 2000);
    assert_int_equal(s.server.messages, 1);
    assert_int_equal(s.server.closed, 0);
    scene_fini(&s);
}

/* ---- nothing left behind ---- */
static void thousands_of_connections_leave_nothing_behind(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    s.server.act = close_on_message;
    send_go(scene_dial(&s), 0);
    scene_wait(&s, &s.client.closed, 1, 2000);
    unsigned before = open_descriptors();
    for (unsigned i = 2; i <= 2000; i++) {
        struct conn *c = scene_dial(&s);
        if (i % 3 != 0) {
            send_go(c, i); /* the server closes */
        } else {
            conn_close(c, "we close, at once");
        }
        scene_wait(&s, &s.client.closed, i, 2000);
    }
    scene_turns(&s, 10);
    assert_int_equal(listener_conns(s.listener), 0);
    assert_int_equal(open_descriptors(), before);
    scene_fini(&s); /* memory: the leak check of the sanitizer */
}

static void a_loop_takes_its_connections_with_it(void **state)
{
    (void)state;
    unsigned before = open_descriptors();
    struct scene s;
    scene_init(&s);
    for (unsigned i = 1; i <= 4; i++) {
        send_go(scene_dial(&s), i);
    }
    conn_close(scene_dial(&s), "never told");
    scene_wait(&s, &s.server.messages, 4, 2000);
    (void)scene_dial(&s);
    s.listener = NULL; /* not closed either */
    scene_fini(&s);
    assert_int_equal(open_descriptors(), before);
}

/* ---- the loop itself ---- */
enum { POSTERS = 4, POSTS = 1000 };
struct poster {
    struct scene *scene;
    unsigned *total;
    unsigned next; /* index expected: posts of one thread keep their order */
    struct post {
        struct poster *poster;
        unsigned index;
    } posts[POSTS];
};

static void posted(void *arg)
{
    struct post *p = arg;
    loop_assert(p->poster->scene->loop);
    assert_int_equal(p->index, p->poster->next);
    p->poster->next++;
    ++*p->poster->total;
    scene_check(p->poster->scene);
}

static void *post_all(void *arg)
{
    struct poster *p = arg;
    for (unsigned i = 0; i < POSTS; i++) {
        p->posts[i] = (struct post){.poster = p, .index = i};
        loop_post(p->scene->loop, posted, &p->posts[i]);
    }
    return NULL;
}

static void posts_of_other_threads_run_on_the_loop_in_order(void **state)
{
    (void)state;
    struct scene s;
    unsigned total = 0;
    pthread_t threads[POSTERS];
    struct poster *posters = mem_array(POSTERS, sizeof *posters);
    scene_init(&s);
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i].scene = &s;
        posters[i].total = &total;
        assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
    }
    scene_wait(&s, &total, POSTERS * POSTS, 10000);
    for (unsigned i = 0; i < POSTERS; i++) {
        pthread_join(threads[i], NULL);
    }
    mem_free(posters);
    scene_fini(&s);
}

static void count_up(void *arg)
{
    ++*(unsigned *)arg;
}

static void a_quit_before_the_run_is_not_lost_and_posts_before_it_run(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    unsigned count = 0;
    loop_post(l, count_up, &count);
    loop_quit(l);
    loop_run(l);
    assert_int_equal(count, 1);
    loop_post(l, count_up, &count); /* never run: dropped with the loop */
    loop_free(l);
    assert_int_equal(count, 1);
}

struct ticker {
    struct scene *scene;
    struct timer *timer;
    unsigned ticks;
};

static void tick(void *arg)
{
    struct ticker *t = arg;
    if (++t->ticks == 3) {
        timer_free(t->timer); /* from inside itself */
    }
    scene_check(t->scene);
}

static void a_timer_repeats_until_freed_even_by_itself(void **state)
{
    (void)state;
    struct scene s;
    scene_init(&s);
    struct ticker t = {.scene = &s};
    t.timer = timer_new(s.loop, tick, &t);
    timer_set(t.timer, 10000, false);
    timer_set(t.timer, 1, true); /* replaces */
    scene_wait(&s, &t.ticks, 3, 2000);
    scene_turns(&s, 5);
    assert_int_equal(t.ticks, 3);
    scene_fini(&s);
}

static void a_port_in_use_is_refused_with_a_hint(void **state)
{
    (void)state;
    struct scene s;
    struct fail f = {0};
    struct address nowhere = {.host = "192.0.2.1"};
    scene_init(&s);
    assert_null(listener_open(s.loop, &s.address, 1, &side_ops, &s.server, &f));
    assert_non_null(strstr(f.hint, "another port"));
    assert_null(listener_open(s.loop, &nowhere, 1, &side_ops, &s.server, &f));
    assert_non_null(strstr(f.what, "192.0.2.1"));
    nowhere.host[0] = '\0';
    assert_null(listener_open(s.loop, &nowhere, 1, &side_ops, &s.server, &f));
    scene_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_sent_before_the_connection_is_there_arrives),
        cmocka_unit_test(a_name_of_several_addresses_is_tried_through),
        cmocka_unit_test(no_callback_comes_from_inside_a_call),
        cmocka_unit_test(a_frame_above_the_limit_closes_and_a_raised_limit_lets_it_pass),
        cmocka_unit_test(a_message_larger_than_a_frame_closes_the_sender),
        cmocka_unit_test(a_large_report_comes_in_fragments_and_is_one_message),
        cmocka_unit_test(fragments_that_do_not_fit_close_the_connection),
        cmocka_unit_test(closing_inside_a_callback_is_safe_and_ends_delivery),
        cmocka_unit_test(closing_before_and_while_opening_is_safe),
        cmocka_unit_test(the_last_word_before_a_close_arrives),
        cmocka_unit_test(what_cannot_be_reached_is_told_on_a_later_turn),
        cmocka_unit_test(a_detached_socket_keeps_every_byte),
        cmocka_unit_test(another_owner_can_take_a_connection_over),
        cmocka_unit_test(thousands_of_connections_leave_nothing_behind),
        cmocka_unit_test(a_loop_takes_its_connections_with_it),
        cmocka_unit_test(posts_of_other_threads_run_on_the_loop_in_order),
        cmocka_unit_test(a_quit_before_the_run_is_not_lost_and_posts_before_it_run),
        cmocka_unit_test(a_timer_repeats_until_freed_even_by_itself),
        cmocka_unit_test(a_port_in_use_is_refused_with_a_hint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
