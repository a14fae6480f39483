/* tests/unit/net/hostile_test.c - what a bad or vanished peer can do to us: lose its connection.
 *
 * Goal:   random bytes, lying lengths, bombs, slow heads, floods of connections, silence: that
 *         connection is closed, in time, for less than 1 MiB, and everybody else is served on.
 * Method: plain sockets misbehave beside one well-behaved connection on the same loop, which must
 *         get its messages through afterwards.  The three waits that take seconds share one run.
 *         Under AddressSanitizer every allocation is counted. */
#include "core/clock.h"
#include "core/limits.h"
#include "core/mem.h"
#include "core/prng.h"
#include "net/frame.h"
#include "tests/support/scene.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- every allocated byte ---- */
#if defined(__SANITIZE_ADDRESS__)
#define COUNTS_ALLOCATIONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COUNTS_ALLOCATIONS 1
#endif
#endif

static size_t allocated; /* in total since start; tidy: the hook has no argument of ours */

#ifdef COUNTS_ALLOCATIONS
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));

static void on_malloc(const volatile void *p, size_t bytes)
{
    (void)p;
    allocated += bytes;
}

static void on_free(const volatile void *p)
{
    (void)p;
}

static void count_allocations(void)
{
    assert_true(__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) > 0);
}
#else
static void count_allocations(void)
{
}
#endif

/* ---- bad bytes ---- */
struct attack {
    const char *name;
    const char *why; /* part of the reason the server must give */
    size_t (*make)(uint8_t *out, struct prng *random);
};
enum { ATTACK_BYTES_MAX = 200000 };

static size_t with_head(uint8_t *out, uint32_t claimed, uint16_t kind, size_t bytes)
{
    frame_head_write(claimed, kind, out);
    return FRAME_HEAD_BYTES + bytes;
}

static size_t random_bytes(uint8_t *out, struct prng *random)
{
    for (size_t i = 0; i < 65536; i++) {
        out[i] = (uint8_t)prng_u64(random);
    }
    out[7] = 0; /* not the magic byte, by chance */
    return 65536;
}

static size_t http_request(uint8_t *out, struct prng *random)
{
    (void)random;
    return (size_t)snprintf((char *)out, 100, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

static size_t four_gigabytes(uint8_t *out, struct prng *random)
{
    (void)random;
    return with_head(out, UINT32_MAX, M_HELLO, 100);
}

static size_t one_byte_too_much(uint8_t *out, struct prng *random)
{
    (void)random;
    return with_head(out, FRAME_PRE_AUTH_BYTES_MAX + 1, M_HELLO, 0);
}

static size_t unknown_kind(uint8_t *out, struct prng *random)
{
    (void)random;
    out[FRAME_HEAD_BYTES] = 0x90;
    return with_head(out, 1, 999, 1);
}

static size_t random_body(uint8_t *out, struct prng *random)
{
    for (size_t i = 0; i < 60000; i++) {
        out[FRAME_HEAD_BYTES + i] = (uint8_t)prng_u64(random);
    }
    out[FRAME_HEAD_BYTES] = 0x99;
    return with_head(out, 60000, M_HELLO, 60000);
}

static size_t nested_arrays(uint8_t *out, struct prng *random)
{
    (void)random;
    memset(out + FRAME_HEAD_BYTES, 0x91, 100000);
    return with_head(out, 60000, M_HELLO, 100000);
}

static size_t lying_map(uint8_t *out, struct prng *random)
{
    (void)random;
    memcpy(out + FRAME_HEAD_BYTES, "\x91\xDF\xFF\xFF\xFF\xFF", 6);
    return with_head(out, 6, M_HELLO, 6);
}

static size_t flood_of_nils(uint8_t *out, struct prng *random)
{
    (void)random;
    memcpy(out + FRAME_HEAD_BYTES, "\xDC\xFF\xF0", 3);
    memset(out + FRAME_HEAD_BYTES + 3, 0xC0, 0xFFF0);
    return with_head(out, 3 + 0xFFF0, M_HELLO, 3 + 0xFFF0);
}

static size_t flood_of_records(uint8_t *out, struct prng *random) /* 60,000 empty INSTANCE_SPEC */
{
    (void)random;
    static const uint8_t start[] = {0x9A, 0, 0xA0, 0, 0, 0, 0, 0, 0xA0, 0x90, 0xDC, 0xEA, 0x60};
    memcpy(out + FRAME_HEAD_BYTES, start, sizeof start);
    memset(out + FRAME_HEAD_BYTES + sizeof start, 0x90, 60000);
    return with_head(out, sizeof start + 60000, M_PREPARE, sizeof start + 60000);
}

static const struct attack attacks[] = {
    {"random bytes", "does not speak", random_bytes},
    {"an HTTP request", "does not speak", http_request},
    {"a body of 4 GiB", "at most 65536", four_gigabytes},
    {"a body of one byte too much", "at most 65536", one_byte_too_much},
    {"an unknown kind", "kind 999", unknown_kind},
    {"a random body", "cannot be read", random_body},
    {"100,000 nested arrays", "too deep", nested_arrays},
    {"a map of 4 G entries", "malformed", lying_map},
    {"a flood of nils", "HELLO", flood_of_nils},
    {"a flood of empty records", "unpacks to more", flood_of_records},
};

static void bad_bytes_cost_their_connection_less_than_a_mebibyte_and_nobody_else(void **state)
{
    (void)state;
    struct scene s;
    struct prng random = {7};
    uint8_t *bytes = mem_alloc(ATTACK_BYTES_MAX);
    scene_init(&s);
    struct conn *good = scene_dial(&s);
    send_go(good, 1);
    scene_wait(&s, &s.server.messages, 1, 2000);
    conn_accepted(s.server.conn);
    for (unsigned i = 0; i < sizeof attacks / sizeof attacks[0]; i++) {
        size_t size = attacks[i].make(bytes, &random);
        int fd = raw_dial(&s);
        raw_send(fd, bytes, size);
        size_t before = allocated;
        scene_wait(&s, &s.server.closed, i + 1, 2000);
        if (strstr(s.server.why, attacks[i].why) == NULL) {
            fail_msg("%s: closed for another reason: %s", attacks[i].name, s.server.why);
        }
        if (allocated - before >= 1u << 20) {
            fail_msg("%s: took %zu bytes", attacks[i].name, allocated - before);
        }
        assert_true(raw_is_closed(fd));
        close(fd);
    }
    send_go(good, 2);
    scene_wait(&s, &s.server.messages, 2, 2000);
    assert_int_equal(s.server.number, 2);
    assert_int_equal(s.client.closed, 0);
    scene_fini(&s);
    mem_free(bytes);
}

static void a_frame_cut_off_by_the_end_says_so(void **state)
{
    (void)state;
    struct scene s;
    uint8_t bytes[16] = {0};
    scene_init(&s);
    int fd = raw_dial(&s);
    raw_send(fd, bytes, with_head(bytes, 100, M_HELLO, 2));
    close(fd);
    scene_wait(&s, &s.server.closed, 1, 2000);
    assert_non_null(strstr(s.server.why, "middle of a frame"));
    scene_fini(&s);
}

/* ---- time ---- */
struct loris { /* sends one byte of a head now and then */
    struct timer *timer;
    int fd;
    unsigned sent;
    uint8_t bytes[100];
};

static void loris_creep(void *arg)
{
    struct loris *l = arg;
    raw_send(l->fd, &l->bytes[l->sent], 1);
    l->sent += l->sent + 1 < sizeof l->bytes;
}

static void slow_heads_and_silence_are_found_in_time_and_only_they(void **state)
{
    (void)state;
    struct scene s;
    struct side silent = {.scene = &s};
    struct loris loris = {.fd = -1};
    scene_init(&s);
    /* two good ends that have nothing to say but heartbeats */
    struct conn *good = scene_dial(&s);
    send_go(good, 1);
    scene_wait(&s, &s.server.messages, 1, 2000);
    conn_accepted(s.server.conn);
    conn_heartbeat(s.server.conn);
    conn_heartbeat(good);
    struct conn *good_server = s.server.conn;
    /* a peer that spoke once and then vanished without a word: the half-open link */
    int fd = raw_dial(&s);
    static const uint8_t go[] = {1, 0, 0, 0, M_GO, 0, FRAME_VERSION, FRAME_MAGIC, 0x90};
    raw_send(fd, go, sizeof go);
    scene_wait(&s, &s.server.messages, 2, 2000);
    conn_set(s.server.conn, &side_ops, &silent);
    conn_accepted(s.server.conn);
    conn_heartbeat(s.server.conn);
    uint64_t start_us = clock_now_us();
    /* and one that never finishes its first head */
    frame_head_write(90, M_HELLO, loris.bytes);
    loris.fd = raw_dial(&s);
    loris.timer = timer_new(s.loop, loris_creep, &loris);
    timer_set(loris.timer, 300, true);
    s.server.conn = good_server;

    scene_wait(&s, &silent.closed, 1, 6000);
    uint64_t silent_us = clock_now_us() - start_us;
    assert_true(silent_us > PEER_DEAD_MS * 1000u && silent_us < 4000000u);
    assert_non_null(strstr(silent.why, "no sign of life"));
    scene_wait(&s, &s.server.closed, 1, 6000);
    uint64_t loris_us = clock_now_us() - start_us;
    assert_true(loris_us > HANDSHAKE_MS * 900u && loris_us < HANDSHAKE_MS * 1000u + 1000000u);
    assert_non_null(strstr(s.server.why, "introduce"));
    assert_true(loris.sent > 8);

    assert_int_equal(s.client.closed, 0);
    send_go(good, 3);
    scene_wait(&s, &s.server.messages, 3, 2000);
    assert_int_equal(s.server.number, 3); /* heartbeats are not shown to owners */
    timer_free(loris.timer);
    close(loris.fd);
    close(fd);
    scene_fini(&s);
}

/* ---- floods of connections ---- */
/* turn_before - one turn of the loop; fails the test when its time is over. */
static void turn_before(struct scene *s, uint64_t end_us)
{
    assert_true(clock_now_us() < end_us);
    scene_turns(s, 1);
}

static void connections_beyond_the_maximum_are_closed_at_once(void **state)
{
    (void)state;
    struct scene s;
    int fds[12];
    unsigned open = 0;
    scene_init(&s); /* takes 8 */
    for (unsigned i = 0; i < 12; i++) {
        fds[i] = raw_dial(&s);
    }
    uint64_t end_us = clock_now_us() + 2000000;
    while (listener_conns(s.listener) < 8) {
        turn_before(&s, end_us);
    }
    scene_turns(&s, 5);
    for (unsigned i = 0; i < 12; i++) {
        open += raw_is_closed(fds[i]) ? 0 : 1;
        close(fds[i]);
    }
    assert_int_equal(open, 8);
    scene_wait(&s, &s.server.closed, 8, 2000);
    send_go(scene_dial(&s), 1);
    scene_wait(&s, &s.server.messages, 1, 2000);
    scene_fini(&s);
}

static void without_descriptors_a_peer_is_hung_up_on_and_service_returns(void **state)
{
    (void)state;
    struct scene s;
    struct rlimit before, few;
    int taken[64];
    unsigned count = 0;
    scene_init(&s);
    int fd = raw_dial(&s); /* waits in the kernel's backlog */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (count < 64 && (taken[count] = dup(fd)) >= 0) {
        count++;
    }
    uint64_t end_us = clock_now_us() + 2000000;
    while (!raw_is_closed(fd)) {
        turn_before(&s, end_us);
    }
    assert_int_equal(listener_conns(s.listener), 0);
    for (unsigned i = 0; i < count; i++) {
        close(taken[i]);
    }
    send_go(scene_dial(&s), 1); /* served after the back-off */
    scene_wait(&s, &s.server.messages, 1, 2000);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    close(fd);
    scene_fini(&s);
}

/* ---- a peer that does not read ---- */
static void a_peer_that_does_not_read_is_dropped_at_the_bound(void **state)
{
    (void)state;
    struct scene s;
    static const uint8_t go[] = {1, 0, 0, 0, M_GO, 0, FRAME_VERSION, FRAME_MAGIC, 0x90};
    scene_init(&s);
    int fd = raw_dial(&s);
    raw_send(fd, go, sizeof go);
    scene_wait(&s, &s.server.messages, 1, 2000);
    for (unsigned i = 0; i < 200 && s.server.closed == 0; i++) {
        send_chunk(s.server.conn, ARTIFACT_CHUNK_BYTES);
        scene_turns(&s, 2);
    }
    assert_int_equal(s.server.closed, 1);
    assert_non_null(strstr(s.server.why, "does not read"));
    close(fd);
    scene_fini(&s);
}

static void a_peer_gone_while_we_write_is_an_end_not_a_signal(void **state)
{
    (void)state;
    struct scene s;
    static const uint8_t go[] = {1, 0, 0, 0, M_GO, 0, FRAME_VERSION, FRAME_MAGIC, 0x90};
    scene_init(&s);
    int fd = raw_dial(&s);
    raw_send(fd, go, sizeof go);
    scene_wait(&s, &s.server.messages, 1, 2000);
    const struct linger at_once = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    close(fd); /* a reset */
    send_go(s.server.conn, 1);
    send_chunk(s.server.conn, ARTIFACT_CHUNK_BYTES);
    scene_wait(&s, &s.server.closed, 1, 2000);
    assert_non_null(strstr(s.server.why, "lost"));
    scene_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_bytes_cost_their_connection_less_than_a_mebibyte_and_nobody_else),
        cmocka_unit_test(a_frame_cut_off_by_the_end_says_so),
        cmocka_unit_test(slow_heads_and_silence_are_found_in_time_and_only_they),
        cmocka_unit_test(connections_beyond_the_maximum_are_closed_at_once),
        cmocka_unit_test(without_descriptors_a_peer_is_hung_up_on_and_service_returns),
        cmocka_unit_test(a_peer_that_does_not_read_is_dropped_at_the_bound),
        cmocka_unit_test(a_peer_gone_while_we_write_is_an_end_not_a_signal),
    };
    count_allocations();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
