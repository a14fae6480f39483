/* tests/unit/worker/peer_test.c - peers that lie to a worker's links.
 *
 * Goal:   whatever a peer sends that cannot be true, its connection is closed and nothing else is
 *         harmed: what was delivered stays, the channel goes on at the next item over a new
 *         connection, no memory is taken for lengths that nothing stands behind.
 * Method: one worker; the test plays the other by hand, once as the sender and once as the
 *         receiver of items, and tells each lie on a connection of its own. */
#include "core/clock.h"
#include "core/hash.h"
#include "core/mem.h"
#include "core/prng.h"
#include "core/strbuf.h"
#include "net/frame.h"
#include "tests/support/ends.h"
#include "tests/support/local.h"
#include "worker/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

enum { KEYS = 50, DEADLINE_S = 60 };

static struct {
    pthread_mutex_t lock;
    uint64_t tuples, sum;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER}; /* tidy: test state */

static void collect(void *arg, const struct oxb_batch *b)
{
    (void)arg;
    pthread_mutex_lock(&seen.lock);
    if (b != NULL) {
        OXB_EACH (b, i) {
            seen.tuples++;
            seen.sum += (uint64_t)oxb_i64s(b, 0)[i];
        }
    }
    pthread_mutex_unlock(&seen.lock);
}

static int setup(void **state)
{
    (void)state;
    return oxb_collector_new("collector", collect, NULL);
}

/* ---------------------------------------------------------------- raw bytes */

static void set_deadline(int fd)
{
    struct timeval t = {.tv_sec = DEADLINE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
}

static int dial(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_deadline(fd);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void send_bytes(int fd, const void *bytes, size_t count)
{
    for (size_t at = 0; at < count;) {
        ssize_t n = send(fd, (const char *)bytes + at, count - at, MSG_NOSIGNAL);
        if (n < 0) {
            return; /* closed meanwhile, as it should be */
        }
        at += (size_t)n;
    }
}

/* Return: false at the end of the connection. */
static bool read_bytes(int fd, void *bytes, size_t count)
{
    for (size_t at = 0; at < count;) {
        ssize_t n = recv(fd, (char *)bytes + at, count - at, 0);
        if (n <= 0) {
            assert_true(n == 0 || errno == ECONNRESET); /* not the deadline */
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

static void send_msg(int fd, const struct msg *m)
{
    struct strbuf bytes = {0};
    assert_int_equal(msg_encode(m, &bytes), ERR_OK);
    send_bytes(fd, bytes.data, bytes.bytes);
    strbuf_fini(&bytes);
}

/* The next frame's body; caller frees.  NULL: the connection has ended. */
static uint8_t *read_frame(int fd, uint32_t *bytes, uint16_t *kind)
{
    uint8_t head[FRAME_HEAD_BYTES];
    if (!read_bytes(fd, head, sizeof head)) {
        return NULL;
    }
    assert_true(frame_head_read(head, bytes, kind));
    uint8_t *body = mem_alloc(*bytes + 1);
    if (!read_bytes(fd, body, *bytes)) {
        mem_free(body);
        return NULL;
    }
    return body;
}

/* The next message of that kind; others and items are skipped.  false: the connection ended. */
static bool read_msg(int fd, enum msg_kind wanted, struct msg *out)
{
    for (;;) {
        uint32_t bytes;
        uint16_t kind;
        uint8_t *body = read_frame(fd, &bytes, &kind);
        if (body == NULL) {
            return false;
        }
        struct fail f = {0};
        bool found = kind == wanted;
        if (found) {
            assert_int_equal(msg_decode(kind, body, bytes, out, &f), ERR_OK);
        }
        mem_free(body);
        if (found) {
            return true;
        }
    }
}

static void expect_closed(int fd)
{
    uint32_t bytes;
    uint16_t kind;
    for (uint8_t *body; (body = read_frame(fd, &bytes, &kind)) != NULL;) {
        mem_free(body);
    }
    close(fd);
}

/* ---------------------------------------------------------------- the test as the sender */

enum { FAKE = 77 };

struct receiving {
    struct local *w;
    struct part *part;
    struct pool *pool; /* for the batches made here */
    uint64_t items, tuples;
};

static void receiving_init(struct receiving *r)
{
    static struct plan p; /* tidy: large, test only */
    seen.tuples = seen.sum = 0;
    *r = (struct receiving){.w = local_new("w", 1), .pool = pool_new(0)};
    plan_init(&p, "t");
    unsigned from = plan_pe(&p, "sequence", "{}", 1, "", ENDS_SCHEMA, "fake");
    unsigned to = plan_pe(&p, "collector", "{}", 1, ENDS_SCHEMA, "", "w");
    plan_stream(&p, from, to, PLAN_KEYED, 1, false);
    p.workers[0] = (struct rec_WORKER_ADDR){.name = "w", .id = 1,
                                            .incarnation = local_incarnation(r->w),
                                            .address = local_address(r->w)};
    p.workers[1] = (struct rec_WORKER_ADDR){.name = "fake", .id = 2, .incarnation = FAKE,
                                            .address = "127.0.0.1:1"};
    r->part = local_deploy(r->w, plan_for(&p, "w"));
    local_go(r->w, r->part);
}

static int hello(const struct receiving *r, struct rec_LINK_CHANNEL *told)
{
    int fd = dial(local_address(r->w));
    struct msg m = {.kind = M_LINK_HELLO};
    m.LINK_HELLO = (struct msg_LINK_HELLO){.protocol = PROTOCOL_VERSION, .name = "fake",
                                           .incarnation = FAKE,
                                           .peer_incarnation = local_incarnation(r->w)};
    send_msg(fd, &m);
    struct msg welcome = {0};
    assert_true(read_msg(fd, M_LINK_WELCOME, &welcome));
    assert_int_equal(welcome.LINK_WELCOME.incarnation, local_incarnation(r->w));
    assert_int_equal(welcome.LINK_WELCOME.channels_count, 1);
    *told = welcome.LINK_WELCOME.channels[0];
    msg_free(&welcome);
    return fd;
}

/* One item's bytes on the wire; caller frees. */
static uint8_t *item_bytes(uint64_t channel, uint64_t number, const struct item *it, size_t *count)
{
    struct frame *f = frame_new(channel, number, it);
    uint8_t *bytes = mem_alloc(f->bytes);
    size_t at = 0;
    for (int k = 0; k < f->piece_count; k++) {
        memcpy(bytes + at, f->pieces[k].iov_base, f->pieces[k].iov_len);
        at += f->pieces[k].iov_len;
    }
    *count = f->bytes;
    frame_free(f);
    return bytes;
}

static uint8_t *batch_bytes_of(struct receiving *r, uint64_t number, uint32_t rows, size_t *count)
{
    struct item it = {.kind = ITEM_BATCH, .count = rows, .first = r->tuples,
                      .batch = ends_batch(r->pool, (int64_t)r->tuples, rows, KEYS, false)};
    return item_bytes(1, number, &it, count);
}

static void send_batch(struct receiving *r, int fd, uint64_t number, uint32_t rows)
{
    size_t count;
    uint8_t *bytes = batch_bytes_of(r, number, rows, &count);
    send_bytes(fd, bytes, count);
    mem_free(bytes);
}

/* An honest connection: what was delivered so far stands, and one more item is. */
static void goes_on(struct receiving *r)
{
    struct rec_LINK_CHANNEL told;
    int fd = hello(r, &told);
    assert_int_equal(told.next, r->items);
    send_batch(r, fd, r->items, 10);
    r->items++;
    r->tuples += 10;
    struct item marker = {.kind = ITEM_MARKER_CHECKPOINT, .first = r->tuples, .epoch = r->items};
    size_t count;
    uint8_t *bytes = item_bytes(1, r->items++, &marker, &count);
    send_bytes(fd, bytes, count); /* a marker is answered at once */
    mem_free(bytes);
    struct msg m = {0};
    uint64_t next = 0;
    while (next < r->items) {
        assert_true(read_msg(fd, M_LINK_CREDIT, &m));
        next = m.LINK_CREDIT.channels[0].next;
        msg_free(&m);
    }
    close(fd);
}

static void receiving_fini(struct receiving *r)
{
    struct rec_LINK_CHANNEL told;
    goes_on(r);
    int fd = hello(r, &told);
    struct item end = {.kind = ITEM_END, .first = r->tuples};
    size_t count;
    uint8_t *bytes = item_bytes(1, r->items, &end, &count);
    send_bytes(fd, bytes, count);
    local_wait(r->w, r->part, DEPLOYMENT_ENDED);
    assert_int_equal(seen.tuples, r->tuples);
    assert_int_equal(seen.sum, r->tuples * (r->tuples - 1) / 2);
    const struct ledger *l = &r->part->channels[0]->ledger;
    assert_int_equal(atomic_load(&l->received), r->tuples);
    assert_int_equal(atomic_load(&l->gaps) + atomic_load(&l->repeats) + atomic_load(&l->reordered) +
                         atomic_load(&l->mismatched), 0);
    close(fd);
    local_drop(r->w, r->part);
    local_wait_links(r->w, 0);
    local_free(r->w);
    mem_free(bytes);
    assert_int_equal(pool_bytes_used(r->pool), 0);
    pool_free(r->pool);
}

static void items_by_hand_are_delivered(void **state)
{
    (void)state;
    struct receiving r;
    receiving_init(&r);
    goes_on(&r);
    receiving_fini(&r);
}

static void another_incarnation_is_answered_refused(void **state)
{
    (void)state;
    struct receiving r;
    receiving_init(&r);
    int fd = dial(local_address(r.w));
    struct msg m = {.kind = M_LINK_HELLO};
    m.LINK_HELLO = (struct msg_LINK_HELLO){.protocol = PROTOCOL_VERSION, .name = "fake",
                                           .incarnation = FAKE, .peer_incarnation = 5};
    send_msg(fd, &m);
    struct msg answer = {0};
    assert_true(read_msg(fd, M_REFUSED, &answer));
    msg_free(&answer);
    expect_closed(fd);
    receiving_fini(&r);
}

/* A later incarnation of the peer is a link of its own: it cannot go on with this channel. */
static void a_restarted_peer_resumes_nothing(void **state)
{
    (void)state;
    struct receiving r;
    receiving_init(&r);
    goes_on(&r);
    int fd = dial(local_address(r.w));
    struct msg m = {.kind = M_LINK_HELLO};
    m.LINK_HELLO = (struct msg_LINK_HELLO){.protocol = PROTOCOL_VERSION, .name = "fake",
                                           .incarnation = FAKE + 1,
                                           .peer_incarnation = local_incarnation(r.w)};
    send_msg(fd, &m);
    struct msg welcome = {0};
    assert_true(read_msg(fd, M_LINK_WELCOME, &welcome));
    assert_int_equal(welcome.LINK_WELCOME.channels_count, 0);
    msg_free(&welcome);
    send_batch(&r, fd, r.items, 10); /* unknown there: dropped */
    close(fd);
    receiving_fini(&r);
}

static void a_gap_closes_the_link(void **state)
{
    (void)state;
    struct receiving r;
    receiving_init(&r);
    struct rec_LINK_CHANNEL told;
    int fd = hello(&r, &told);
    send_batch(&r, fd, 1, 10); /* item 0 is missing */
    expect_closed(fd);
    receiving_fini(&r);
}

static void items_resent_are_dropped(void **state)
{
    (void)state;
    struct receiving r;
    receiving_init(&r);
    goes_on(&r);
    struct rec_LINK_CHANNEL told;
    int fd = hello(&r, &told);
    r.tuples = 0;
    send_batch(&r, fd, 0, 10); /* it has that */
    r.tuples = 10;
    close(fd);
    receiving_fini(&r);
}

static void a_batch_of_another_schema_closes_the_link(void **state)
{
    (void)state;
    struct receiving r;
    receiving_init(&r);
    struct rec_LINK_CHANNEL told;
    const struct oxb_schema *other = NULL;
    assert_int_equal(schema_parse("seq: i64, key: f64, name: str", &other, NULL), ERR_OK);
    struct builder b;
    builder_init(&b, r.pool, other, NULL, NULL);
    uint32_t row = oxb_row(&b.pub);
    oxb_put_i64(&b.pub, 0, row, 1);
    oxb_put_f64(&b.pub, 1, row, 1);
    oxb_put_str(&b.pub, 2, row, "x", 1);
    oxb_commit(&b.pub);
    struct item it = {.kind = ITEM_BATCH, .count = 1, .batch = builder_finish(&b)};
    builder_fini(&b);
    size_t count;
    uint8_t *bytes = item_bytes(1, 0, &it, &count);
    int fd = hello(&r, &told);
    send_bytes(fd, bytes, count);
    mem_free(bytes);
    expect_closed(fd);
    receiving_fini(&r);
}

static void a_changed_byte_closes_the_link(void **state)
{
    (void)state;
    struct receiving r;
    receiving_init(&r);
    struct prng g = {3};
    for (unsigned k = 0; k < 30; k++) {
        struct rec_LINK_CHANNEL told;
        size_t count;
        uint8_t *bytes = batch_bytes_of(&r, 0, 50, &count);
        bytes[FRAME_HEAD_BYTES + prng_below(&g, count - FRAME_HEAD_BYTES)] ^= 0x10;
        int fd = hello(&r, &told);
        send_bytes(fd, bytes, count);
        mem_free(bytes);
        expect_closed(fd);
    }
    receiving_fini(&r);
}

static bool is_consumed(const void *arg)
{
    const struct channel *c = arg;
    return atomic_load(&c->consumed_items) == RING_BATCHES;
}

static void more_than_the_credit_closes_the_link(void **state)
{
    (void)state;
    static struct plan p; /* tidy: large, test only */
    struct receiving r;
    receiving_init(&r);
    local_drop(r.w, r.part); /* again, but not started: nothing is taken off the ring */
    plan_init(&p, "t");
    unsigned from = plan_pe(&p, "sequence", "{}", 1, "", ENDS_SCHEMA, "fake");
    unsigned to = plan_pe(&p, "collector", "{}", 1, ENDS_SCHEMA, "", "w");
    plan_stream(&p, from, to, PLAN_KEYED, 1, false);
    p.workers[0] = (struct rec_WORKER_ADDR){.name = "w", .address = "127.0.0.1:1"};
    p.workers[1] = (struct rec_WORKER_ADDR){.name = "fake", .incarnation = FAKE,
                                            .address = "127.0.0.1:1"};
    r.part = local_deploy(r.w, plan_for(&p, "w"));
    struct rec_LINK_CHANNEL told;
    int fd = hello(&r, &told);
    assert_int_equal(told.limit, RING_BATCHES);
    for (unsigned k = 0; k <= RING_BATCHES; k++) {
        send_batch(&r, fd, k, 10);
        r.tuples += 10;
    }
    expect_closed(fd);
    r.tuples = RING_BATCHES * 10; /* those within the credit were taken */
    r.items = RING_BATCHES;
    local_go(r.w, r.part);
    local_wait_for(r.w, is_consumed, r.part->channels[0]); /* room for what comes next */
    receiving_fini(&r);
}

static void data_after_the_end_closes_the_link(void **state)
{
    (void)state;
    struct receiving r;
    receiving_init(&r);
    struct rec_LINK_CHANNEL told;
    int fd = hello(&r, &told);
    struct item end = {.kind = ITEM_END};
    size_t count;
    uint8_t *bytes = item_bytes(1, 0, &end, &count);
    send_bytes(fd, bytes, count);
    mem_free(bytes);
    local_wait(r.w, r.part, DEPLOYMENT_ENDED);
    send_batch(&r, fd, 1, 10);
    expect_closed(fd);
    assert_int_equal(seen.tuples, 0);
    local_drop(r.w, r.part);
    local_wait_links(r.w, 0);
    local_free(r.w);
    pool_free(r.pool);
}

static void garbage_closes_the_link(void **state)
{
    (void)state;
    struct receiving r;
    receiving_init(&r);
    struct prng g = {9};
    for (unsigned k = 0; k < 20; k++) {
        uint8_t bytes[512];
        for (size_t at = 0; at < sizeof bytes; at++) {
            bytes[at] = (uint8_t)prng_u64(&g);
        }
        struct rec_LINK_CHANNEL told;
        int fd = k % 2 == 0 ? dial(local_address(r.w)) : hello(&r, &told);
        if (k % 4 == 1) { /* a head that is believed, then garbage */
            frame_head_write(sizeof bytes - 8, FRAME_ITEM, bytes);
        } else if (k % 4 == 3) {
            frame_head_write(sizeof bytes - 8, M_LINK_GO, bytes);
        }
        send_bytes(fd, bytes, sizeof bytes);
        shutdown(fd, SHUT_WR);
        expect_closed(fd);
    }
    receiving_fini(&r);
}

/* Lengths that may not be: closed at once.  Those that may: what is taken follows what comes. */
static void a_lying_length_takes_no_memory(void **state)
{
    (void)state;
    struct receiving r;
    receiving_init(&r);
    static const uint32_t lies[] = {BATCH_BYTES_MAX + 1, UINT32_MAX, 1u << 31, 0, 47};
    struct rec_LINK_CHANNEL told;
    uint8_t head[FRAME_HEAD_BYTES];
    for (size_t k = 0; k < sizeof lies / sizeof lies[0]; k++) {
        int fd = hello(&r, &told);
        frame_head_write(lies[k], FRAME_ITEM, head);
        send_bytes(fd, head, sizeof head);
        expect_closed(fd);
    }
    int fd = hello(&r, &told);
    frame_head_write(FRAME_BYTES_MAX, M_LINK_GO, head); /* no message on a link is that long */
    send_bytes(fd, head, sizeof head);
    expect_closed(fd);
    fd = hello(&r, &told);
    frame_head_write(BATCH_BYTES_MAX, FRAME_ITEM, head);
    send_bytes(fd, head, sizeof head);
    uint8_t some[1000] = {0};
    send_bytes(fd, some, sizeof some);
    int other = dial(local_address(r.w)); /* answered after that was read: one thread, one loop */
    frame_head_write(0, 0xFFFF, head);
    send_bytes(other, head, sizeof head);
    expect_closed(other);
    assert_true(pool_bytes_used(local_pool(r.w)) < 1u << 20);
    close(fd);
    receiving_fini(&r);
}

/* ---------------------------------------------------------------- the test as the receiver */

struct sending {
    struct local *w;
    struct part *part;
    int listener;
    uint64_t taken; /* items that arrived here */
};

static void sending_init(struct sending *s)
{
    static struct plan p; /* tidy: large, test only */
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof here;
    char address[64];
    *s = (struct sending){.w = local_new("w", 1)};
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    set_deadline(s->listener);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&here, sizeof here), 0);
    assert_int_equal(listen(s->listener, 8), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&here, &bytes), 0);
    snprintf(address, sizeof address, "127.0.0.1:%u", ntohs(here.sin_port));
    plan_init(&p, "t");
    unsigned from = plan_pe(&p, "sequence", "{\"keys\":10,\"start\":0,\"bytes\":0}", 1, "",
                            "seq: i64, key: i64, at: time", "w");
    unsigned to = plan_pe(&p, "collector", "{}", 1, "seq: i64, key: i64, at: time", "", "fake");
    plan_stream(&p, from, to, PLAN_KEYED, 1, false);
    p.workers[0] = (struct rec_WORKER_ADDR){.name = "w", .address = local_address(s->w)};
    p.workers[1] = (struct rec_WORKER_ADDR){.name = "fake", .incarnation = FAKE,
                                            .address = address};
    s->part = local_deploy(s->w, plan_for(&p, "w"));
    local_go(s->w, s->part);
}

static void sending_fini(struct sending *s)
{
    local_drop(s->w, s->part);
    local_wait_links(s->w, 0);
    local_free(s->w); /* asserts that the pool is empty */
    close(s->listener);
}

static int accept_hello(struct sending *s)
{
    int fd = accept(s->listener, NULL, NULL);
    assert_true(fd >= 0);
    set_deadline(fd);
    struct msg m = {0};
    assert_true(read_msg(fd, M_LINK_HELLO, &m));
    assert_int_equal(m.LINK_HELLO.peer_incarnation, FAKE);
    msg_free(&m);
    return fd;
}

static void welcome(int fd, uint64_t next, uint64_t limit)
{
    struct rec_LINK_CHANNEL r = {.id = 1, .next = next, .limit = limit};
    struct msg m = {.kind = M_LINK_WELCOME};
    m.LINK_WELCOME.incarnation = FAKE;
    m.LINK_WELCOME.channels = &r;
    m.LINK_WELCOME.channels_count = 1;
    send_msg(fd, &m);
}

static void credit(int fd, uint64_t next, uint64_t limit)
{
    struct rec_LINK_CHANNEL r = {.id = 1, .next = next, .limit = limit};
    struct msg m = {.kind = M_LINK_CREDIT};
    m.LINK_CREDIT.channels = &r;
    m.LINK_CREDIT.channels_count = 1;
    send_msg(fd, &m);
}

/* `count` items must come, numbered from s->taken. */
static void take_items(struct sending *s, int fd, unsigned count)
{
    while (count > 0) {
        uint32_t bytes;
        uint16_t kind;
        uint8_t *body = read_frame(fd, &bytes, &kind);
        assert_non_null(body);
        if (kind == FRAME_ITEM) {
            struct item_head head;
            assert_int_equal(frame_check_item(body, bytes, &head), ERR_OK);
            assert_int_equal(head.number, s->taken++);
            count--;
        }
        mem_free(body);
    }
}

static void a_sender_resumes_where_the_receiver_says(void **state)
{
    (void)state;
    struct sending s;
    sending_init(&s);
    int fd = accept_hello(&s);
    welcome(fd, 0, RING_BATCHES);
    take_items(&s, fd, RING_BATCHES);
    close(fd);
    s.taken = 3; /* the rest was lost with the connection */
    fd = accept_hello(&s);
    welcome(fd, 3, RING_BATCHES + 3);
    take_items(&s, fd, RING_BATCHES);
    credit(fd, s.taken, s.taken + RING_BATCHES);
    take_items(&s, fd, RING_BATCHES);
    close(fd);
    sending_fini(&s);
}

static void lying_answers_close_the_link_and_it_goes_on(void **state)
{
    (void)state;
    static const struct {
        int64_t next, limit; /* relative to what was taken, and to `next` */
    } lies[] = {
        {+1, RING_BATCHES},      /* acknowledged: an item that was not sent */
        {+1000, RING_BATCHES},
        {INT64_MAX / 2, 0},
        {0, RING_BATCHES + 1},   /* credit beyond the ring */
        {0, INT64_MAX / 2},
        {-9, RING_BATCHES},      /* takes back what it had */
    };
    for (size_t k = 0; k < sizeof lies / sizeof lies[0]; k++) {
        struct sending s;
        sending_init(&s);
        int fd = accept_hello(&s);
        welcome(fd, 0, RING_BATCHES);
        take_items(&s, fd, RING_BATCHES);
        credit(fd, s.taken, s.taken + RING_BATCHES);
        take_items(&s, fd, RING_BATCHES); /* 16 were sent, 8 acknowledged */
        uint64_t next = s.taken + (uint64_t)lies[k].next;
        credit(fd, next, next + (uint64_t)lies[k].limit);
        expect_closed(fd);
        fd = accept_hello(&s);
        welcome(fd, s.taken, s.taken + RING_BATCHES);
        take_items(&s, fd, RING_BATCHES);
        close(fd);
        sending_fini(&s);
    }
}

static void a_receiver_that_lost_what_it_had_is_not_served(void **state)
{
    (void)state;
    struct sending s;
    sending_init(&s);
    int fd = accept_hello(&s);
    welcome(fd, 0, RING_BATCHES);
    take_items(&s, fd, RING_BATCHES);
    credit(fd, s.taken, s.taken + RING_BATCHES);
    take_items(&s, fd, RING_BATCHES);
    close(fd);
    fd = accept_hello(&s);
    welcome(fd, 0, RING_BATCHES); /* items 0..7 are gone at the sender: this cannot be mended */
    expect_closed(fd);
    fd = accept_hello(&s);
    welcome(fd, s.taken + 1, s.taken + 1 + RING_BATCHES);
    expect_closed(fd);
    sending_fini(&s);
}

static void memory_stays_bounded_when_nothing_is_acknowledged(void **state)
{
    (void)state;
    struct sending s;
    sending_init(&s);
    int fd = accept_hello(&s);
    welcome(fd, 0, RING_BATCHES);
    take_items(&s, fd, RING_BATCHES);
    for (unsigned k = 0; k < 20; k++) { /* the same again gives no more credit */
        credit(fd, 0, RING_BATCHES);
    }
    assert_true(pool_bytes_used(local_pool(s.w)) < 8u << 20);
    const struct channel *c = s.part->channels[0];
    assert_true(ring_used(&c->ring) <= RING_SLOTS);
    close(fd);
    fd = accept_hello(&s);
    welcome(fd, 0, RING_BATCHES);
    s.taken = 0;
    take_items(&s, fd, RING_BATCHES);
    close(fd);
    sending_fini(&s);
}

static void items_from_a_receiver_close_the_link(void **state)
{
    (void)state;
    struct sending s;
    sending_init(&s);
    int fd = accept_hello(&s);
    welcome(fd, 0, RING_BATCHES);
    struct item end = {.kind = ITEM_END};
    size_t count;
    uint8_t *bytes = item_bytes(1, 0, &end, &count);
    send_bytes(fd, bytes, count);
    mem_free(bytes);
    expect_closed(fd);
    sending_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_by_hand_are_delivered),
        cmocka_unit_test(another_incarnation_is_answered_refused),
        cmocka_unit_test(a_restarted_peer_resumes_nothing),
        cmocka_unit_test(a_gap_closes_the_link),
        cmocka_unit_test(items_resent_are_dropped),
        cmocka_unit_test(a_batch_of_another_schema_closes_the_link),
        cmocka_unit_test(a_changed_byte_closes_the_link),
        cmocka_unit_test(more_than_the_credit_closes_the_link),
        cmocka_unit_test(data_after_the_end_closes_the_link),
        cmocka_unit_test(garbage_closes_the_link),
        cmocka_unit_test(a_lying_length_takes_no_memory),
        cmocka_unit_test(a_sender_resumes_where_the_receiver_says),
        cmocka_unit_test(lying_answers_close_the_link_and_it_goes_on),
        cmocka_unit_test(a_receiver_that_lost_what_it_had_is_not_served),
        cmocka_unit_test(memory_stays_bounded_when_nothing_is_acknowledged),
        cmocka_unit_test(items_from_a_receiver_close_the_link),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
