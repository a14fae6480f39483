/* tests/unit/cli/client_test.c - the HTTP client tells answers, silence and absence apart.
 *
 * Goal:   every HTTP answer comes back whole with its status, whatever it is; a master that is not
 *         there is ERR_CLOSED, one that does not answer is ERR_TIMEOUT: the CLI's exit codes.
 * Method: a tiny evhttp server on its own thread; sockets that listen and stay mute.  client.c is
 *         compiled in once more under another name, with deadlines a test can wait for. */
#define CONNECT_MS_MAX 500L
#define CALL_MS_MAX 800L
#define client_call hurried_call
#define client_call_for hurried_call_for
#define client_follow hurried_follow
#define client_reply_fini hurried_reply_fini
#include "cli/client.c"
#undef client_call
#undef client_call_for
#undef client_follow
#undef client_reply_fini
enum err client_call(const char *base_url, const char *method, const char *path,
                     const char *content_type, const void *body, size_t bytes,
                     struct client_reply *out, struct fail *f);
void client_reply_fini(struct client_reply *r);

#include "core/clock.h"
#include "net/conn.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the server ---- */
struct server {
    struct loop *loop;
    struct evhttp *http;
    pthread_t thread;
    char url[64];
};

static const char *method_name(struct evhttp_request *r)
{
    switch (evhttp_request_get_command(r)) {
    case EVHTTP_REQ_GET:
        return "GET";
    case EVHTTP_REQ_PUT:
        return "PUT";
    case EVHTTP_REQ_POST:
        return "POST";
    default:
        return "other";
    }
}

/* answer_echo - what arrived, as JSON. */
static void answer_echo(struct evhttp_request *r, struct evbuffer *out)
{
    struct evkeyvalq *headers = evhttp_request_get_input_headers(r);
    struct evbuffer *body = evhttp_request_get_input_buffer(r);
    const char *type = evhttp_find_header(headers, "Content-Type");
    const char *expect = evhttp_find_header(headers, "Expect");
    evbuffer_add_printf(out, "{\"method\": \"%s\", \"uri\": \"%s\", \"type\": \"%s\", ",
                        method_name(r), evhttp_request_get_uri(r), type != NULL ? type : "");
    evbuffer_add_printf(out, "\"expect\": \"%s\", \"bytes\": %zu}", expect != NULL ? expect : "",
                        evbuffer_get_length(body));
    evhttp_send_reply(r, 200, "OK", out);
}

static void answer(struct evhttp_request *r, void *arg)
{
    (void)arg;
    struct evbuffer *out = evbuffer_new();
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(r));
    assert_non_null(out);
    if (strcmp(path, "/echo") == 0) {
        answer_echo(r, out);
    } else if (strcmp(path, "/refused") == 0) {
        evbuffer_add_printf(out, "{\"error\": {\"code\": \"INVALID\", \"message\": \"no such PE\","
                                 " \"hint\": \"did you mean lines?\"}}");
        evhttp_send_reply(r, 422, "Unprocessable", out);
    } else if (strcmp(path, "/plain") == 0) {
        evbuffer_add(out, "text with\0a NUL", 15);
        evhttp_send_reply(r, 200, "OK", out);
    } else if (strcmp(path, "/moved") == 0) {
        evhttp_add_header(evhttp_request_get_output_headers(r), "Location", "/plain");
        evhttp_send_reply(r, 302, "Found", out);
    } else if (strcmp(path, "/fits") == 0 || strcmp(path, "/large") == 0) {
        size_t bytes = REPLY_BYTES_MAX + (strcmp(path, "/large") == 0 ? 1 : 0);
        char *data = mem_alloc(bytes);
        evbuffer_add(out, data, bytes);
        mem_free(data);
        evhttp_send_reply(r, 200, "OK", out);
    } else {
        evhttp_send_reply(r, 202, "Accepted", NULL);
    }
    evbuffer_free(out);
}

static void *serve(void *arg)
{
    loop_run(((struct server *)arg)->loop);
    return NULL;
}

static int start_server(void **state)
{
    struct server *s = mem_alloc(sizeof *s);
    struct sockaddr_in own = {0};
    socklen_t bytes = sizeof own;
    s->loop = loop_new();
    s->http = evhttp_new(loop_base(s->loop));
    evhttp_set_gencb(s->http, answer, s);
    struct evhttp_bound_socket *at = evhttp_bind_socket_with_handle(s->http, "127.0.0.1", 0);
    assert_non_null(at);
    getsockname(evhttp_bound_socket_get_fd(at), (struct sockaddr *)&own, &bytes);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u", (unsigned)ntohs(own.sin_port));
    *state = s;
    return pthread_create(&s->thread, NULL, serve, s);
}

static int stop_server(void **state)
{
    struct server *s = *state;
    loop_quit(s->loop);
    pthread_join(s->thread, NULL);
    evhttp_free(s->http);
    loop_free(s->loop);
    mem_free(s);
    return 0;
}

/* listen_mute - a socket that accepts in the kernel and never says a word.  @url: gets its place.
 */
static int listen_mute(int backlog, struct sockaddr_in *own, char url[64])
{
    socklen_t bytes = sizeof *own;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *own = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)own, bytes), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)own, &bytes), 0);
    snprintf(url, 64, "http://127.0.0.1:%u", (unsigned)ntohs(own->sin_port));
    return fd;
}

static const char *text_of(const struct client_reply *r, const char *key)
{
    return json_string_value(json_object_get(r->json, key));
}

/* ---- answers ---- */
static void a_request_arrives_as_it_was_meant(void **state)
{
    const struct server *s = *state;
    static const struct {
        const char *method;
        const char *path;
        const char *type;
        const char *body;
    } calls[] = {
        {"GET", "/echo?format=json", NULL, NULL},
        {"POST", "/echo", "application/yaml", "name: x"},
        {"POST", "/echo?now=1", NULL, NULL},
        {"PUT", "/echo", "application/octet-stream", "bytes"},
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        struct client_reply r;
        struct fail f = {0};
        size_t bytes = calls[i].body != NULL ? strlen(calls[i].body) : 0;
        assert_int_equal(client_call(s->url, calls[i].method, calls[i].path, calls[i].type,
                                     calls[i].body, bytes, &r, &f),
                         ERR_OK);
        assert_int_equal(r.status, 200);
        assert_string_equal(text_of(&r, "method"), calls[i].method);
        assert_string_equal(text_of(&r, "uri"), calls[i].path);
        assert_string_equal(text_of(&r, "type"), calls[i].type != NULL ? calls[i].type : "");
        assert_string_equal(text_of(&r, "expect"), "");
        assert_int_equal(json_integer_value(json_object_get(r.json, "bytes")), bytes);
        client_reply_fini(&r);
    }
}

static void a_body_of_megabytes_arrives_whole(void **state)
{
    const struct server *s = *state;
    struct client_reply r;
    struct fail f = {0};
    char *data = mem_alloc(20u << 20);
    assert_int_equal(
        client_call(s->url, "PUT", "/echo", "application/octet-stream", data, 20u << 20, &r, &f),
        ERR_OK);
    assert_int_equal(json_integer_value(json_object_get(r.json, "bytes")), 20u << 20);
    client_reply_fini(&r);
    mem_free(data);
}

static void an_error_answer_is_an_answer(void **state)
{
    const struct server *s = *state;
    struct client_reply r;
    struct fail f = {0};
    assert_int_equal(client_call(s->url, "GET", "/refused", NULL, NULL, 0, &r, &f), ERR_OK);
    assert_int_equal(r.status, 422);
    const json_t *error = json_object_get(r.json, "error");
    assert_string_equal(json_string_value(json_object_get(error, "hint")), "did you mean lines?");
    client_reply_fini(&r);
}

static void what_is_not_json_comes_as_bytes(void **state)
{
    const struct server *s = *state;
    struct client_reply r;
    struct fail f = {0};
    assert_int_equal(client_call(s->url, "GET", "/plain", NULL, NULL, 0, &r, &f), ERR_OK);
    assert_null(r.json);
    assert_int_equal(r.bytes, 15);
    assert_memory_equal(r.body, "text with\0a NUL", 16);
    client_reply_fini(&r);
    assert_int_equal(client_call(s->url, "POST", "/empty", NULL, NULL, 0, &r, &f), ERR_OK);
    assert_int_equal(r.status, 202);
    assert_string_equal(r.body, "");
    assert_null(r.json);
    client_reply_fini(&r);
    client_reply_fini(&r); /* harmless */
}

static void an_answer_above_the_limit_is_refused(void **state)
{
    const struct server *s = *state;
    struct client_reply r;
    struct fail f = {0};
    assert_int_equal(client_call(s->url, "GET", "/fits", NULL, NULL, 0, &r, &f), ERR_OK);
    assert_int_equal(r.bytes, REPLY_BYTES_MAX);
    client_reply_fini(&r);
    assert_int_equal(client_call(s->url, "GET", "/large", NULL, NULL, 0, &r, &f), ERR_LIMIT);
}

static void redirects_are_not_followed(void **state)
{
    const struct server *s = *state;
    struct client_reply r;
    struct fail f = {0};
    assert_int_equal(client_call(s->url, "GET", "/moved", NULL, NULL, 0, &r, &f), ERR_OK);
    assert_int_equal(r.status, 302);
    client_reply_fini(&r);
}

static void the_address_may_lack_its_scheme_or_end_with_a_slash(void **state)
{
    const struct server *s = *state;
    struct client_reply r;
    struct fail f = {0};
    char *slash = mem_printf("%s//", s->url);
    assert_int_equal(client_call(slash, "GET", "/echo", NULL, NULL, 0, &r, &f), ERR_OK);
    assert_string_equal(text_of(&r, "uri"), "/echo");
    client_reply_fini(&r);
    assert_int_equal(client_call(s->url + strlen("http://"), "GET", "/echo", NULL, NULL, 0, &r, &f),
                     ERR_OK);
    client_reply_fini(&r);
    mem_free(slash);
}

/* ---- no answer ---- */
static void a_master_that_is_not_there_is_unreachable(void **state)
{
    (void)state;
    struct sockaddr_in own;
    char url[64];
    struct client_reply r;
    struct fail f = {0};
    close(listen_mute(1, &own, url)); /* its port is free again: nobody listens there */
    assert_int_equal(client_call(url, "GET", "/healthz", NULL, NULL, 0, &r, &f), ERR_CLOSED);
    assert_non_null(strstr(f.what, url));
    assert_non_null(strstr(f.hint, "oxbow-master"));
}

static void a_master_that_takes_no_connection_is_unreachable_too(void **state)
{
    (void)state;
    struct sockaddr_in own;
    char url[64];
    int waiting[8];
    struct client_reply r;
    struct fail f = {0};
    int fd = listen_mute(0, &own, url);
    for (size_t i = 0; i < 8; i++) { /* fill its queue: further connections get no reply at all */
        waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(waiting[i], (struct sockaddr *)&own, sizeof own);
    }
    uint64_t start_us = clock_now_us();
    assert_int_equal(hurried_call(url, "GET", "/healthz", NULL, NULL, 0, &r, &f), ERR_CLOSED);
    assert_true(clock_now_us() - start_us < 5000000u);
    for (size_t i = 0; i < 8; i++) {
        close(waiting[i]);
    }
    close(fd);
}

static void a_master_that_does_not_answer_is_timed_out(void **state)
{
    (void)state;
    struct sockaddr_in own;
    char url[64];
    struct client_reply r;
    struct fail f = {0};
    int fd = listen_mute(8, &own, url);
    uint64_t start_us = clock_now_us();
    assert_int_equal(hurried_call(url, "GET", "/healthz", NULL, NULL, 0, &r, &f), ERR_TIMEOUT);
    uint64_t us = clock_now_us() - start_us;
    assert_true(us > 500000u && us < 5000000u);
    assert_non_null(strstr(f.what, url));
    close(fd);
}

static void hang_up(void *arg, struct conn *c, const char *why)
{
    (void)arg;
    (void)c;
    (void)why;
}

static void a_port_that_speaks_something_else_is_unreachable(void **state)
{
    (void)state;
    static const struct conn_ops ops = {.on_closed = hang_up};
    const struct address at = {.host = "127.0.0.1"};
    struct server other = {.loop = loop_new()};
    struct client_reply r;
    struct fail f = {0};
    struct listener *l = listener_open(other.loop, &at, 4, &ops, NULL, &f);
    assert_non_null(l);
    snprintf(other.url, sizeof other.url, "http://127.0.0.1:%u", (unsigned)listener_port(l));
    assert_int_equal(pthread_create(&other.thread, NULL, serve, &other), 0);
    assert_int_equal(client_call(other.url, "GET", "/healthz", NULL, NULL, 0, &r, &f), ERR_CLOSED);
    loop_quit(other.loop);
    pthread_join(other.thread, NULL);
    loop_free(other.loop);
}

static void an_address_that_is_none_is_refused(void **state)
{
    (void)state;
    struct client_reply r;
    struct fail f = {0};
    static const char *const bad[] = {"ftp://127.0.0.1:1", "http://127.0.0.1:99999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(client_call(bad[i], "GET", "/x", NULL, NULL, 0, &r, &f), ERR_INVALID);
        assert_non_null(strstr(f.hint, "http://HOST:PORT"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_arrives_as_it_was_meant),
        cmocka_unit_test(a_body_of_megabytes_arrives_whole),
        cmocka_unit_test(an_error_answer_is_an_answer),
        cmocka_unit_test(what_is_not_json_comes_as_bytes),
        cmocka_unit_test(an_answer_above_the_limit_is_refused),
        cmocka_unit_test(redirects_are_not_followed),
        cmocka_unit_test(the_address_may_lack_its_scheme_or_end_with_a_slash),
        cmocka_unit_test(a_master_that_is_not_there_is_unreachable),
        cmocka_unit_test(a_master_that_takes_no_connection_is_unreachable_too),
        cmocka_unit_test(a_master_that_does_not_answer_is_timed_out),
        cmocka_unit_test(a_port_that_speaks_something_else_is_unreachable),
        cmocka_unit_test(an_address_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
