/* pe/builtin/tcp_source.c - a source that takes lines from TCP clients, any number at once.
 *
 * Runs on:    a shared executor; never waits: sockets are non-blocking and watched by the engine.
 * Invariants: Q1 a readable socket is not watched until it has been read empty: while nobody calls
 *             produce, nothing is read and no event repeats, and TCP holds the clients back.
 *             Q2 a client's lines keep their order; between clients there is none.
 *             Q3 a client holds at most `line_max` and one read in memory.
 * Why:        not replayable: what was read is nowhere else.  When the source moves or the worker
 *             dies, clients are disconnected and send again what they must not lose. */
#include "pe/builtin/address.h"
#include "pe/builtin/builtin.h"
#include "pe/builtin/lines.h"

#include "core/limits.h"
#include "core/mem.h"
#include "pe/batch.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMER_ACCEPT 1u
#define ACCEPT_PAUSE_US 100000u /* when the process is out of descriptors */
#define READ_BYTES (64u << 10)
#define BACKLOG 128

struct client {
    int fd;
    bool is_readable; /* and not watched (Q1) */
    bool is_over;     /* it has closed, or is closed for what it sent */
    bool is_warned;   /* about a line that is no JSON */
    struct lines in;
};

struct tcp_source {
    bool is_jsonl;
    size_t line_max;
    size_t client_max;
    int listen_fd; /* -1: none */
    struct client **clients;
    size_t client_count;
    size_t client_capacity;
    size_t turn; /* whose turn it is */
    struct strbuf scratch;
    struct oxb_metric *bad_lines;
};

static int prepare(struct oxb_pe *pe)
{
    struct tcp_source *s = oxb_self(pe);
    s->listen_fd = -1;
    s->is_jsonl = strcmp(oxb_param_str(pe, "format"), "jsonl") == 0;
    s->line_max = (size_t)oxb_param_i64(pe, "line_max");
    s->client_max = (size_t)oxb_param_i64(pe, "clients");
    s->bad_lines = oxb_metric(pe, "bad_lines_total", "lines that do not fit the schema");
    return OXB_OK;
}

static int listen_on(struct oxb_pe *pe, const struct addrinfo *a)
{
    int one = 1;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (oxb_parallelism(pe) > 1) { /* the kernel spreads the clients over the instances */
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    }
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int e = errno;
        close(fd);
        errno = e;
        return -1;
    }
    return fd;
}

static int start(struct oxb_pe *pe)
{
    struct tcp_source *s = oxb_self(pe);
    const char *where = oxb_param_str(pe, "listen");
    const char *why = NULL;
    struct addrinfo *found = address_resolve(where, true, &why);
    if (found == NULL) {
        return oxb_fail(pe, "cannot listen on %s: %s", where, why);
    }
    for (const struct addrinfo *a = found; a != NULL && s->listen_fd < 0; a = a->ai_next) {
        s->listen_fd = listen_on(pe, a);
    }
    int e = errno;
    freeaddrinfo(found);
    if (s->listen_fd < 0) {
        return oxb_fail(pe, "cannot listen on %s: %s", where, strerror(e));
    }
    char bound[300];
    socket_own_text(s->listen_fd, bound, sizeof bound);
    oxb_log(pe, OXB_INFO, "listening on %s", bound);
    if (oxb_watch(pe, s->listen_fd, EPOLLIN) != 0) {
        return oxb_fail(pe, "cannot watch %s", where);
    }
    return OXB_OK;
}

static void add_client(struct oxb_pe *pe, struct tcp_source *s, int fd)
{
    if (s->client_count >= s->client_max) {
        oxb_log(pe, OXB_WARN, "a client was turned away: there are %zu already", s->client_count);
        close(fd);
        return;
    }
    struct client *c = mem_alloc(sizeof *c);
    c->fd = fd;
    s->clients = mem_grow(s->clients, s->client_count, &s->client_capacity, sizeof *s->clients);
    s->clients[s->client_count++] = c;
    oxb_watch(pe, fd, EPOLLIN);
}

static void remove_client(struct oxb_pe *pe, struct tcp_source *s, size_t i)
{
    struct client *c = s->clients[i];
    if (!c->is_readable) {
        oxb_watch(pe, c->fd, 0);
    }
    close(c->fd);
    lines_fini(&c->in);
    mem_free(c);
    s->client_count--;
    memmove(s->clients + i, s->clients + i + 1, (s->client_count - i) * sizeof *s->clients);
}

static void accept_clients(struct oxb_pe *pe, struct tcp_source *s)
{
    for (;;) {
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            add_client(pe, s, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            oxb_log(pe, OXB_WARN, "cannot accept a client: %s", strerror(errno));
            oxb_watch(pe, s->listen_fd, 0);
            oxb_timer_set(pe, TIMER_ACCEPT, oxb_mono_us(pe) + ACCEPT_PAUSE_US);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            oxb_log(pe, OXB_WARN, "cannot accept a client: %s", strerror(errno));
            return;
        }
    }
}

static int ready(struct oxb_pe *pe, int fd, uint32_t events)
{
    struct tcp_source *s = oxb_self(pe);
    (void)events;
    if (fd == s->listen_fd) {
        accept_clients(pe, s);
        return OXB_OK;
    }
    for (size_t i = 0; i < s->client_count; i++) {
        struct client *c = s->clients[i];
        if (c->fd == fd && !c->is_readable) {
            c->is_readable = true;
            oxb_watch(pe, fd, 0); /* Q1 */
        }
    }
    return OXB_OK;
}

static int timer(struct oxb_pe *pe, uint64_t id)
{
    struct tcp_source *s = oxb_self(pe);
    (void)id;
    oxb_watch(pe, s->listen_fd, EPOLLIN);
    return OXB_OK;
}

/* put_line - one line as a tuple.  Return: tuples written. */
static uint32_t put_line(struct oxb_pe *pe, struct tcp_source *s, struct client *c,
                         struct oxb_writer *w, const struct line *line)
{
    struct fail why;
    if (!s->is_jsonl) {
        text_put(w, 0, oxb_row(w), line->text, line->bytes, !c->in.has_other, &s->scratch);
        oxb_commit(w);
        return 1;
    }
    if (text_is_blank(line->text, line->bytes)) {
        return 0;
    }
    struct builder *to = (struct builder *)w; /* the writer is its first member */
    if (row_parse_json(to, line->text, line->bytes, &why) == ERR_OK) {
        return 1;
    }
    oxb_metric_add(s->bad_lines, 1);
    if (!c->is_warned) {
        oxb_log(pe, OXB_WARN, "a client's line was dropped: %s", why.what);
        c->is_warned = true;
    }
    return 0;
}

static void refuse(struct oxb_pe *pe, struct tcp_source *s, struct client *c)
{
    oxb_log(pe, OXB_WARN, "a client was disconnected: its line is longer than %zu bytes",
            s->line_max);
    lines_clear(&c->in);
    c->in.is_final = true;
    c->is_over = true;
}

/* take_lines - up to `want` tuples of what a client's buffer holds. */
static uint32_t take_lines(struct oxb_pe *pe, struct tcp_source *s, struct client *c,
                           struct oxb_writer *w, uint32_t want)
{
    struct line line;
    uint32_t n = 0;
    while (n < want && lines_next(&c->in, &line)) {
        if (line.bytes > s->line_max) {
            refuse(pe, s, c);
            return n;
        }
        n += put_line(pe, s, c, w, &line);
    }
    if (n < want && lines_left(&c->in) > s->line_max) { /* nothing but an unfinished line */
        refuse(pe, s, c);
    }
    return n;
}

/* read_client - one read.  At its end of data the rest of its buffer is a line too. */
static void read_client(struct oxb_pe *pe, struct client *c)
{
    char *space = lines_space(&c->in, READ_BYTES);
    ssize_t n = recv(c->fd, space, READ_BYTES, 0);
    if (n > 0) {
        lines_filled(&c->in, (size_t)n);
    } else if (n < 0 && errno == EAGAIN) {
        c->is_readable = false;
        oxb_watch(pe, c->fd, EPOLLIN);
    } else if (n == 0 || errno != EINTR) {
        c->in.is_final = true;
        c->is_over = true;
    }
}

/* serve - one client's turn.  Return: tuples; *more: it has something left. */
static uint32_t serve(struct oxb_pe *pe, struct tcp_source *s, struct client *c,
                      struct oxb_writer *w, uint32_t want, bool *more)
{
    uint32_t n = take_lines(pe, s, c, w, want);
    if (n < want && c->is_readable && !c->is_over) {
        read_client(pe, c);
        n += take_lines(pe, s, c, w, want - n);
    }
    *more = n >= want || (c->is_readable && !c->is_over);
    return n;
}

static int produce(struct oxb_pe *pe, uint32_t rows_max)
{
    struct tcp_source *s = oxb_self(pe);
    struct oxb_writer *w = oxb_writer(pe, 0);
    uint32_t done = 0;
    bool any_more = false;
    for (size_t left = s->client_count; left > 0; left--) {
        if (done >= rows_max) {
            return OXB_OK;
        }
        s->turn = s->turn < s->client_count ? s->turn : 0;
        struct client *c = s->clients[s->turn];
        bool more = false;
        done += serve(pe, s, c, w, rows_max - done, &more);
        any_more = any_more || more;
        if (c->is_over && !more) {
            remove_client(pe, s, s->turn);
        } else {
            s->turn++;
        }
    }
    return any_more ? OXB_OK : OXB_IDLE;
}

static void stop(struct oxb_pe *pe)
{
    struct tcp_source *s = oxb_self(pe);
    while (s->client_count > 0) {
        remove_client(pe, s, s->client_count - 1);
    }
    if (s->listen_fd >= 0) {
        oxb_watch(pe, s->listen_fd, 0);
        close(s->listen_fd);
        s->listen_fd = -1;
    }
}

static void drop(struct oxb_pe *pe)
{
    struct tcp_source *s = oxb_self(pe);
    mem_free(s->clients);
    strbuf_fini(&s->scratch);
}

static const struct oxb_param params[] = {
    {.name = "listen",
     .type = OXB_P_ADDRESS,
     .flags = OXB_REQUIRED,
     .doc = "HOST:PORT to listen on; port 0 takes a free one and logs it"},
    {.name = "format",
     .type = OXB_P_ENUM,
     .fallback = "lines",
     .choices = "lines jsonl",
     .doc = "lines: the field `line`; jsonl: the fields of `out`"},
    {.name = "line_max",
     .type = OXB_P_SIZE,
     .fallback = "1MiB",
     .min = 1,
     .max = TUPLE_BYTES_MAX,
     .doc = "a client that sends a longer line is disconnected"},
    {.name = "clients",
     .type = OXB_P_I64,
     .fallback = "256",
     .min = 1,
     .max = 10000,
     .doc = "clients at once, per instance; more are turned away"},
    {.name = NULL},
};

static const struct oxb_port outputs[] = {
    {"out", "?format=lines(line: str), ?format!=lines(declared)", "one tuple per line"},
    {NULL, NULL, NULL},
};

const struct oxb_pe_type builtin_tcp_source = {
    .abi = OXB_ABI,
    .flags = OXB_SOURCE | OXB_LOCAL,
    .name = "tcp-source",
    .doc = "takes lines of text or JSON from TCP clients",
    .params = params,
    .outputs = outputs,
    .state_version = 1,
    .self_bytes = sizeof(struct tcp_source),
    .prepare = prepare,
    .start = start,
    .produce = produce,
    .ready = ready,
    .timer = timer,
    .stop = stop,
    .drop = drop,
};
