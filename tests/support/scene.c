/* tests/support/scene.c - see scene.h. */
#include "tests/support/scene.h"

#include "core/mem.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

void scene_check(struct scene *s)
{
    if (s->counter != NULL && *s->counter >= s->target) {
        s->counter = NULL;
        loop_quit(s->loop);
    }
}

static void on_open(void *arg, struct conn *c)
{
    struct side *side = arg;
    side->conn = c;
    side->opened++;
    if (side->act != NULL) {
        side->act(side, c, NULL);
    }
    scene_check(side->scene);
}

static void on_message(void *arg, struct conn *c, struct msg *m)
{
    struct side *side = arg;
    side->conn = c;
    side->messages++;
    side->kind = m->kind;
    side->number = m->kind == M_GO ? m->GO.op : side->number;
    side->bytes = m->kind == M_ARTIFACT_CHUNK ? m->ARTIFACT_CHUNK.data.bytes : side->bytes;
    if (side->act != NULL) {
        side->act(side, c, m);
    }
    scene_check(side->scene);
}

static void on_closed(void *arg, struct conn *c, const char *why)
{
    struct side *side = arg;
    side->closed++;
    side->conn = side->conn == c ? NULL : side->conn;
    snprintf(side->why, sizeof side->why, "%s", why);
    scene_check(side->scene);
}

const struct conn_ops side_ops = {
    .on_open = on_open, .on_message = on_message, .on_closed = on_closed};

static void on_deadline(void *arg)
{
    struct scene *s = arg;
    s->late = true;
    loop_quit(s->loop);
}

void scene_init(struct scene *s)
{
    struct fail f = {0};
    *s = (struct scene){.loop = loop_new()};
    assert_non_null(s->loop);
    s->server.scene = s->client.scene = s;
    assert_int_equal(address_parse("127.0.0.1:0", &s->address, &f), ERR_OK);
    s->listener = listener_open(s->loop, &s->address, 8, &side_ops, &s->server, &f);
    assert_non_null(s->listener);
    s->address.port = listener_port(s->listener);
    s->deadline = timer_new(s->loop, on_deadline, s);
}

void scene_fini(struct scene *s)
{
    timer_free(s->deadline);
    listener_close(s->listener);
    loop_free(s->loop);
}

struct conn *scene_dial(struct scene *s)
{
    return conn_open(s->loop, &s->address, &side_ops, &s->client);
}

void scene_wait(struct scene *s, const unsigned *counter, unsigned target, unsigned ms)
{
    s->counter = counter;
    s->target = target;
    s->late = false;
    timer_set(s->deadline, ms, false);
    scene_check(s);
    loop_run(s->loop);
    timer_stop(s->deadline);
    if (s->late) {
        fail_msg("%u of %u after %u ms; server: %s; client: %s", *counter, target, ms,
                 s->server.why, s->client.why);
    }
}

void scene_turns(struct scene *s, unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        loop_quit(s->loop);
        loop_run(s->loop);
    }
}

int raw_dial(const struct scene *s)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons(s->address.port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

void raw_send(int fd, const void *data, size_t bytes)
{
    (void)!send(fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool raw_is_closed(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN);
}

unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

void send_go(struct conn *c, uint64_t op)
{
    const struct msg m = {.kind = M_GO, .GO = {.op = op}};
    conn_send(c, &m);
}

void send_chunk(struct conn *c, size_t bytes)
{
    uint8_t *data = mem_alloc(bytes);
    const struct msg m = {.kind = M_ARTIFACT_CHUNK,
                          .ARTIFACT_CHUNK = {.data = {.data = data, .bytes = bytes}}};
    conn_send(c, &m);
    mem_free(data);
}
