/* cli/client.c - one HTTP call to the master, by libcurl.
 *
 * Owns:       nothing between calls: each makes and drops its own handle.
 * Runs on:    the caller; blocks.
 * Invariants: C1 `out` is written only on ERR_OK.
 * Why:        verbs make a handful of calls, so a connection kept alive would buy nothing. */
#include "cli/client.h"

#include "core/clock.h"
#include "core/mem.h"
#include "core/strbuf.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <string.h>

#ifndef CALL_MS_MAX /* the test of the deadlines does not wait as long as people do */
#define CONNECT_MS_MAX 5000L
#define CALL_MS_MAX 60000L
#endif
#define UPLOAD_BYTES_PER_MS 1000 /* a slow line, 1 MB/s, gets the time for its artifact */
#define REPLY_BYTES_MAX (16u << 20)
#define LINE_BYTES_MAX (1u << 20) /* of client_follow */

static size_t on_bytes(char *data, size_t size, size_t count, void *arg)
{
    struct strbuf *body = arg;
    if (body->bytes + size * count > REPLY_BYTES_MAX) {
        return 0; /* curl reports CURLE_WRITE_ERROR */
    }
    strbuf_add(body, data, size * count);
    return size * count;
}

/* was_connected - a deadline that passed while connecting means that nobody is there. */
static bool was_connected(CURL *curl)
{
    curl_off_t us = 0;
    return curl_easy_getinfo(curl, CURLINFO_CONNECT_TIME_T, &us) == CURLE_OK && us > 0;
}

static enum err fail_curl(struct fail *f, const char *base_url, CURLcode code, const char *detail,
                          bool connected)
{
    const char *why = detail[0] != '\0' ? detail : curl_easy_strerror(code);
    switch (code == CURLE_OPERATION_TIMEDOUT && !connected ? CURLE_COULDNT_CONNECT : code) {
    case CURLE_OPERATION_TIMEDOUT:
        return fail_set(f, ERR_TIMEOUT, "try again, or look at the master's log",
                        "no answer from the master at %s in time; %s", base_url, why);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return fail_set(f, ERR_INVALID, "give --master http://HOST:PORT",
                        "not a usable master address: %s; %s", base_url, why);
    case CURLE_WRITE_ERROR:
        return fail_set(f, ERR_LIMIT, "ask for less", "the answer of %s is larger than %u bytes",
                        base_url, REPLY_BYTES_MAX);
    default:
        return fail_set(f, ERR_CLOSED,
                        "start one with `oxbow-master`, or name it with --master or $OXBOW_MASTER",
                        "cannot reach the master at %s; %s", base_url, why);
    }
}

static void set_request(CURL *curl, const char *method, const void *body, size_t bytes)
{
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    if (strcmp(method, "GET") != 0) { /* PUT and POST carry a body, be it an empty one */
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body != NULL ? (const char *)body : "");
    }
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS_MAX);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "oxbow/" OXBOW_VERSION);
}

/* Caller frees. */
static char *url_of(const char *base_url, const char *path)
{
    size_t base_bytes = strlen(base_url);
    while (base_bytes > 0 && base_url[base_bytes - 1] == '/') {
        base_bytes--;
    }
    return mem_printf("%s%.*s%s", strstr(base_url, "://") != NULL ? "" : "http://",
                      (int)base_bytes, base_url, path);
}

enum err client_call(const char *base_url, const char *method, const char *path,
                     const char *content_type, const void *body, size_t bytes,
                     struct client_reply *out, struct fail *f)
{
    return client_call_for(base_url, method, path, content_type, body, bytes, 0, out, f);
}

enum err client_call_for(const char *base_url, const char *method, const char *path,
                         const char *content_type, const void *body, size_t bytes,
                         uint64_t more_us, struct client_reply *out, struct fail *f)
{
    CURL *curl = curl_easy_init();
    if (curl == NULL) {
        return fail_set(f, ERR_NOMEM, "", "cannot start the HTTP client");
    }
    char *url = url_of(base_url, path);
    char *type = mem_printf("Content-Type: %s", content_type != NULL ? content_type : "");
    struct curl_slist *headers =
        curl_slist_append(NULL, "Expect:"); /* no 100-continue round trip */
    headers = curl_slist_append(headers, type);
    struct strbuf reply = {0};
    char detail[CURL_ERROR_SIZE] = "";
    enum err e = ERR_OK;

    set_request(curl, method, body, bytes);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, CALL_MS_MAX + (long)(bytes / UPLOAD_BYTES_PER_MS) +
                                                   (long)(more_us / 1000));
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        e = fail_curl(f, base_url, code, detail, was_connected(curl));
    } else {
        memset(out, 0, sizeof *out);
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &out->status);
        out->json = json_loadb(strbuf_text(&reply), reply.bytes, 0, NULL);
        out->bytes = reply.bytes;
        out->body = strbuf_take(&reply);
    }
    strbuf_fini(&reply);
    curl_slist_free_all(headers);
    mem_free(type);
    mem_free(url);
    curl_easy_cleanup(curl);
    return e;
}

struct following {
    struct strbuf line; /* what has come of the line under way */
    bool (*on_line)(void *arg, const char *line);
    void *arg;
    bool enough;
};

static size_t on_part(char *data, size_t size, size_t count, void *arg)
{
    struct following *g = arg;
    for (size_t i = 0; i < size * count && !g->enough; i++) {
        if (data[i] != '\n') {
            strbuf_char(&g->line, data[i]);
            g->enough = g->line.bytes > LINE_BYTES_MAX;
            continue;
        }
        g->enough = !g->on_line(g->arg, strbuf_text(&g->line));
        strbuf_clear(&g->line);
    }
    return size * count;
}

/* Until there is something to return. */
static enum err pump(CURLM *multi, struct following *g, uint64_t until_us, int stop_fd,
                     struct fail *f)
{
    struct curl_waitfd stop = {.fd = stop_fd, .events = CURL_WAIT_POLLIN};
    for (;;) {
        int running = 0;
        if (curl_multi_perform(multi, &running) != CURLM_OK) {
            return fail_set(f, ERR_CLOSED, "", "the line to the master broke");
        }
        if (g->enough || stop.revents != 0) {
            return ERR_OK;
        }
        if (running == 0) {
            return fail_set(f, ERR_CLOSED, "", "the master has ended the line");
        }
        uint64_t now_us = clock_now_us();
        if (now_us >= until_us) {
            return fail_set(f, ERR_TIMEOUT, "", "the time given has passed");
        }
        uint64_t ms = (until_us - now_us) / 1000 + 1;
        (void)curl_multi_poll(multi, &stop, stop_fd >= 0, ms < 1000 ? (int)ms : 1000, NULL);
    }
}

enum err client_follow(const char *base_url, const char *path, uint64_t until_us, int stop_fd,
                       bool (*on_line)(void *arg, const char *line), void *arg, struct fail *f)
{
    CURL *curl = curl_easy_init();
    CURLM *multi = curl_multi_init();
    struct following g = {.on_line = on_line, .arg = arg};
    char *url = url_of(base_url, path);
    enum err e = ERR_NOMEM;
    if (curl != NULL && multi != NULL) {
        set_request(curl, "GET", NULL, 0);
        curl_easy_setopt(curl, CURLOPT_URL, url);
        curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_part);
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, &g);
        curl_multi_add_handle(multi, curl);
        e = pump(multi, &g, until_us, stop_fd, f);
        curl_multi_remove_handle(multi, curl);
    }
    curl_easy_cleanup(curl);
    curl_multi_cleanup(multi);
    strbuf_fini(&g.line);
    mem_free(url);
    return e;
}

void client_reply_fini(struct client_reply *r)
{
    mem_free(r->body);
    json_decref(r->json);
    memset(r, 0, sizeof *r);
}
