/* master/api.c - the routes of the JSON/HTTP API (docs/API.md).
 *
 * Runs on:    the master loop.
 * Invariants: Q1 every path ends in exactly one answer.  Q2 a request that a web page of another
 *             origin could send is refused: the master obeys programs, not pages. */
#include "master/master.h"

#include "core/clock.h"
#include "core/limits.h"
#include "core/mem.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define CHANGE_S_MAX 86400      /* a change is given at most a day */
#define UPLOADS_MAX 4           /* at a time: they hold a file and a hash each, no memory */
#define UPLOAD_MS_MAX 120000    /* 256 MiB at 2 MiB/s */
#define ARTIFACTS_PATH "/v1/artifacts/"
#define TOPOLOGIES_PATH "/v1/topologies/"

typedef void handler_fn(struct master *m, struct exchange *x, const char *name);

static void on_head(void *arg, struct exchange *x);
static void on_request(void *arg, struct exchange *x);
static handler_fn get_health, get_workers, get_pes, get_topologies, post_topologies, get_topology,
    get_graph, post_stop, post_checkpoint, get_metrics, put_artifact, post_plan, post_upgrade,
    post_rollback, get_versions, get_receipts, post_scale, post_drain, post_undrain, get_events,
    post_skip;
static bool is_foreign(const struct master *m, const struct http_head *h);
static void start_upload(struct master *m, struct exchange *x);

const struct http_ops api_ops = {.on_head = on_head, .on_request = on_request};

static const struct route {
    const char *method;
    const char *path; /* one `*` stands for one segment, handed to the handler */
    handler_fn *handler;
} routes[] = {
    {"GET", "/healthz", get_health},
    {"GET", "/metrics", get_metrics},
    {"GET", "/v1/workers", get_workers},
    {"GET", "/v1/pes", get_pes},
    {"GET", "/v1/topologies", get_topologies},
    {"POST", "/v1/topologies", post_topologies},
    {"GET", "/v1/topologies/*", get_topology},
    {"GET", "/v1/topologies/*/metrics", get_topology},
    {"GET", "/v1/topologies/*/graph", get_graph},
    {"POST", "/v1/topologies/*/stop", post_stop},
    {"POST", "/v1/topologies/*/checkpoint", post_checkpoint},
    {"POST", "/v1/topologies/*/skip", post_skip},
    {"POST", "/v1/topologies/*/plan", post_plan},
    {"POST", "/v1/topologies/*/upgrade", post_upgrade},
    {"POST", "/v1/topologies/*/rollback", post_rollback},
    {"POST", "/v1/topologies/*/scale", post_scale},
    {"POST", "/v1/workers/*/drain", post_drain},
    {"POST", "/v1/workers/*/undrain", post_undrain},
    {"GET", "/v1/events", get_events},
    {"GET", "/v1/topologies/*/versions", get_versions},
    {"GET", "/v1/topologies/*/receipts", get_receipts},
    {"PUT", "/v1/artifacts/*", put_artifact},
};

/* Does the path match?  The segment under `*` is copied to name. */
static bool matches(const char *pattern, const char *path, char *name, size_t bytes)
{
    const char *star = strchr(pattern, '*');
    if (star == NULL) {
        return strcmp(pattern, path) == 0;
    }
    size_t before = (size_t)(star - pattern);
    if (strncmp(pattern, path, before) != 0) {
        return false;
    }
    size_t segment = strcspn(path + before, "/");
    if (segment == 0 || segment >= bytes || strcmp(path + before + segment, star + 1) != 0) {
        return false;
    }
    memcpy(name, path + before, segment);
    name[segment] = '\0';
    return true;
}

/* @known: the path exists, perhaps with another method. */
static const struct route *find_route(const struct http_head *h, char *name, size_t bytes,
                                      bool *known)
{
    *known = false;
    const char *method = strcmp(h->method, "HEAD") == 0 ? "GET" : h->method;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (matches(routes[i].path, h->path, name, bytes)) {
            *known = true;
            if (strcmp(routes[i].method, method) == 0) {
                return &routes[i];
            }
        }
    }
    return NULL;
}

static void refuse(struct exchange *x, int status, enum err code, const char *what,
                   const char *hint)
{
    struct fail f = {0};
    fail_set(&f, code, hint, "%s", what);
    api_fail(x, status, &f, "request");
}

static void on_head(void *arg, struct exchange *x)
{
    struct master *m = arg;
    const struct http_head *h = exchange_head(x);
    char name[128];
    bool known;
    const struct route *r = find_route(h, name, sizeof name, &known);
    if (is_foreign(m, h)) { /* Q2 */
        refuse(x, 403, ERR_DENIED, "requests of web pages from elsewhere are not taken",
               "use the CLI, or a client without an Origin header");
    } else if (r == NULL && known) {
        refuse(x, 405, ERR_INVALID, "this path does not take that method", "see docs/API.md");
    } else if (r == NULL) {
        refuse(x, 404, ERR_NOTFOUND, "there is no such path", "see docs/API.md");
    } else if (r->handler == put_artifact) {
        start_upload(m, x);
    }
}

static void on_request(void *arg, struct exchange *x)
{
    char name[128] = "";
    bool known;
    const struct route *r = find_route(exchange_head(x), name, sizeof name, &known);
    r->handler(arg, x, name); /* on_head has seen to it that there is one */
}

/* "localhost" or a loopback address, with or without a port: no DNS server can give these away. */
static bool is_local_name(const char *host)
{
    char name[64];
    size_t skip = host[0] == '[';
    size_t n = strcspn(host + skip, skip != 0 ? "]" : ":");
    struct in_addr v4;
    if (n == 0 || n >= sizeof name) {
        return false;
    }
    memcpy(name, host + skip, n);
    name[n] = '\0';
    return strcasecmp(name, "localhost") == 0 || strcmp(name, "::1") == 0 ||
           (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

/* A page elsewhere sends its own origin; a name that was rebound to us is not ours. */
static bool is_foreign(const struct master *m, const struct http_head *h)
{
    const char *origin = http_head_find(h, "origin");
    const char *host = http_head_find(h, "host");
    if (host != NULL && address_is_loopback(&m->options.http) && !is_local_name(host)) {
        return true;
    }
    if (origin == NULL) {
        return false;
    }
    const char *name = strstr(origin, "://");
    return name == NULL || host == NULL || strcasecmp(name + 3, host) != 0;
}

/* ---- answers ---- */

void api_json(struct exchange *x TAKES, int status, json_t *body TAKES)
{
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(body);
    if (text == NULL) {
        static const char failed[] = "{\"error\": {\"code\": \"IO\", \"message\": \"the answer "
                                     "could not be written\", \"hint\": \"\", \"where\": \"\"}}";
        exchange_reply(x, 500, "application/json", NULL, failed, sizeof failed - 1);
        return;
    }
    size_t bytes = strlen(text);
    text[bytes] = '\n'; /* in place of the NUL; for those who read it on a terminal */
    exchange_reply(x, status, "application/json", NULL, text, bytes + 1);
    mem_free(text);
}

static json_t *error_json(const struct fail *f, const char *where)
{
    json_t *error = status_error(f, where);
    json_object_set_new(error, "code", json_string(err_name(f->code)));
    return error;
}

void api_fail(struct exchange *x TAKES, int status, const struct fail *f, const char *where)
{
    api_json(x, status, json_pack("{s:o}", "error", error_json(f, where)));
}

void api_diags(struct exchange *x TAKES, const struct diags *d)
{
    struct fail f = {0};
    json_t *list = json_array();
    for (size_t i = 0; i < d->count; i++) {
        const struct diag *g = &d->items[i];
        json_array_append_new(
            list, json_pack("{s:s, s:i, s:i, s:o, s:o}", "level",
                            g->level == DIAG_ERROR ? "error" : "warning", "line",
                            (int)g->at.line, "column", (int)g->at.column, "message",
                            status_text(g->message), "hint", status_text(g->hint)));
    }
    fail_set(&f, ERR_INVALID, "correct them and send it again", "the topology has %zu problem%s",
             d->errors + d->dropped, d->errors + d->dropped == 1 ? "" : "s");
    json_t *error = error_json(&f, "topology");
    json_object_set_new(error, "diags", list);
    api_json(x, 422, json_pack("{s:o}", "error", error));
}

/* ---- seeing ---- */

static void get_health(struct master *m, struct exchange *x, const char *name)
{
    (void)name;
    api_json(x, 200,
             json_pack("{s:s, s:I, s:i}", "status", "ok", "term", (json_int_t)m->term, "workers",
                       (int)members_up(&m->members)));
}

static void get_workers(struct master *m, struct exchange *x, const char *name)
{
    (void)name;
    api_json(x, 200, status_workers(&m->members, &m->deployments, clock_now_us()));
}

static void get_pes(struct master *m, struct exchange *x, const char *name)
{
    (void)name;
    api_json(x, 200, types_json(&m->types, &m->members));
}

static void get_topologies(struct master *m, struct exchange *x, const char *name)
{
    (void)name;
    api_json(x, 200, status_topologies(&m->deployments));
}

/* The topology of that name, or NULL: answered. */
static struct deployment *named(struct master *m, struct exchange *x, const char *name)
{
    struct deployment *d = deployments_find(&m->deployments, name);
    if (d == NULL) {
        struct fail f = {0};
        fail_set(&f, ERR_NOTFOUND, "list them with `oxbow status`", "there is no topology %s",
                 name);
        api_fail(x, 404, &f, "");
    }
    return d;
}

static void get_topology(struct master *m, struct exchange *x, const char *name)
{
    struct deployment *d = named(m, x, name);
    if (d != NULL) {
        api_json(x, 200, status_topology(d));
    }
}

static void get_graph(struct master *m, struct exchange *x, const char *name)
{
    static const struct {
        const char *format, *type;
        char *(*draw)(const struct topology *t, const struct pgraph *g);
    } formats[] = {{"json", "application/json", graph_json},
                   {"dot", "text/vnd.graphviz", graph_dot},
                   {"svg", "image/svg+xml", graph_svg},
                   {"text", "text/plain; charset=utf-8", graph_text}};
    struct deployment *d = named(m, x, name);
    char wanted[16] = "json";
    if (d == NULL) {
        return;
    }
    if (d->topology == NULL) {
        refuse(x, 503, ERR_NOTFOUND, "the graph of what ended before a restart is not kept",
               "deploy it again");
        return;
    }
    (void)http_query(exchange_head(x)->query, "format", wanted, sizeof wanted);
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(formats[i].format, wanted) == 0) {
            char *text = formats[i].draw(d->topology, d->graph);
            exchange_reply(x, 200, formats[i].type, NULL, text, strlen(text));
            mem_free(text);
            return;
        }
    }
    refuse(x, 400, ERR_INVALID, "unknown format", "json, dot, svg or text");
}

static void get_metrics(struct master *m, struct exchange *x, const char *name)
{
    struct strbuf out = {0};
    (void)name;
    metrics_text(&m->members, &m->deployments, &m->tally, &out);
    exchange_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, strbuf_text(&out),
                   out.bytes);
    strbuf_fini(&out);
}

/* ---- changing ---- */

static void post_stop(struct master *m, struct exchange *x, const char *name)
{
    struct deployment *d = named(m, x, name);
    char now[8] = "";
    if (d == NULL) {
        return;
    }
    if (deployment_is_over(d)) {
        struct fail f = {0};
        fail_set(&f, ERR_EXISTS, "nothing is left to stop", "topology %s is %s already", name,
                 topology_state_name(d->state));
        api_fail(x, 409, &f, name);
        return;
    }
    bool is_now = http_query(exchange_head(x)->query, "now", now, sizeof now) &&
                  strcmp(now, "0") != 0;
    conduct_stop(m, d, is_now);
    api_json(x, 202,
             json_pack("{s:s, s:s}", "topology", d->name, "state",
                       topology_state_name(d->state == TOPOLOGY_DEPLOYING ? TOPOLOGY_DRAINING
                                                                          : d->state)));
}

static bool is_type(const struct http_head *h, const char *type)
{
    const char *value = http_head_find(h, "content-type");
    size_t n = strlen(type);
    return value != NULL && strncasecmp(value, type, n) == 0 &&
           (value[n] == '\0' || value[n] == ';' || value[n] == ' ');
}

/* Read `{"yaml", "artifacts", "base_dir"}`.  false: answered. */
static bool read_json(struct exchange *x, struct deploy_request *r)
{
    size_t bytes;
    const char *body = exchange_body(x, &bytes);
    json_error_t error;
    json_t *root = json_loadb(body, bytes, JSON_REJECT_DUPLICATES, &error);
    json_t *yaml = json_object_get(root, "yaml"), *files = json_object_get(root, "artifacts");
    json_t *dir = json_object_get(root, "base_dir");
    const char *why = NULL;
    if (root == NULL) {
        why = error.text;
    } else if (!json_is_string(yaml)) {
        why = "\"yaml\" must be the text of a topology";
    } else if (files != NULL && !json_is_object(files)) {
        why = "\"artifacts\" must be an object: name in the YAML -> SHA-256";
    } else if (dir != NULL && (!json_is_string(dir) || json_string_value(dir)[0] != '/' ||
                               json_string_length(dir) >= PATH_BYTES_MAX)) {
        why = "\"base_dir\" must be an absolute path";
    }
    if (why != NULL) {
        refuse(x, 400, ERR_INVALID, why, "see docs/API.md");
        json_decref(root);
        return false;
    }
    r->yaml = mem_dup_n(json_string_value(yaml), json_string_length(yaml));
    r->yaml_bytes = json_string_length(yaml);
    r->artifacts = files != NULL ? json_incref(files) : json_object();
    r->base_dir = mem_dup(json_string_value(dir));
    json_decref(root);
    return true;
}

/* The YAML of a body, with all it names.  false: answered. */
static bool read_topology(struct exchange *x, struct deploy_request *r)
{
    size_t bytes;
    const char *body = exchange_body(x, &bytes);
    if (is_type(exchange_head(x), "application/json")) {
        if (!read_json(x, r)) {
            return false;
        }
    } else if (is_type(exchange_head(x), "application/yaml")) {
        r->yaml = mem_dup_n(body, bytes);
        r->yaml_bytes = bytes;
        r->artifacts = json_object();
    } else {
        refuse(x, 415, ERR_INVALID, "the body is neither application/yaml nor application/json",
               "set Content-Type");
        return false;
    }
    if (r->base_dir == NULL) {
        char here[PATH_BYTES_MAX];
        r->base_dir = mem_dup(getcwd(here, sizeof here) != NULL ? here : "/");
    }
    return true;
}

static void post_topologies(struct master *m, struct exchange *x, const char *name)
{
    struct deploy_request r = {.ask = ASK_DEPLOY};
    (void)name;
    if (read_topology(x, &r)) {
        deploy_start(m, &r, x);
    }
}

/* What every change may carry: ?plan=DIGEST and ?timeout=SECONDS.  false: answered. */
static bool read_terms(struct exchange *x, struct deploy_request *r)
{
    const char *query = exchange_head(x)->query;
    char digest[80] = "", seconds[32] = "", *end = seconds;
    r->asked_us = clock_now_us();
    if (http_query(query, "plan", digest, sizeof digest)) {
        r->digest = mem_dup(digest);
    }
    if (!http_query(query, "timeout", seconds, sizeof seconds)) {
        return true;
    }
    double s = strtod(seconds, &end);
    if (end == seconds || *end != '\0' || !(s > 0 && s <= CHANGE_S_MAX)) {
        refuse(x, 400, ERR_INVALID, "\"timeout\" must be seconds, above 0 and at most 86400",
               "leave it out for what the topology says");
        return false;
    }
    r->timeout_us = (uint64_t)(s * 1e6);
    return true;
}

static void ask_file(struct master *m, struct exchange *x, const char *name, enum deploy_ask ask)
{
    struct deploy_request r = {.ask = ask};
    if (named(m, x, name) != NULL && read_terms(x, &r) && read_topology(x, &r)) {
        r.name = mem_dup(name);
        ask_change(m, &r, x);
        return;
    }
    deploy_request_fini(&r); /* answered */
}

static void post_checkpoint(struct master *m, struct exchange *x, const char *name)
{
    struct deployment *d = named(m, x, name);
    struct fail f = {0};
    if (d == NULL) {
        return;
    }
    if (d->keeping == NULL || (d->state != TOPOLOGY_RUNNING && d->state != TOPOLOGY_DRAINING)) {
        fail_set(&f, ERR_DENIED,
                 d->keeping == NULL ? "give it `checkpoint: {every: 10s}` and deploy it"
                                    : "wait until it runs",
                 d->keeping == NULL ? "topology %s takes no checkpoints (it is %s)"
                                    : "topology %s is %s",
                 name, topology_state_name(d->state));
        api_fail(x, 409, &f, name);
        return;
    }
    json_t *body = json_pack("{s:s, s:I, s:I}", "topology", d->name, "after",
                             (json_int_t)keeping_newest(d), "failed",
                             (json_int_t)d->keeping->machine.failed);
    keeping_ask(m, d);
    api_json(x, 202, body);
}

static void post_skip(struct master *m, struct exchange *x, const char *name)
{
    struct deployment *d = named(m, x, name);
    if (d != NULL) {
        trouble_skip(m, d, x);
    }
}

static void post_plan(struct master *m, struct exchange *x, const char *name)
{
    ask_file(m, x, name, ASK_PLAN);
}

static void post_upgrade(struct master *m, struct exchange *x, const char *name)
{
    ask_file(m, x, name, ASK_UPGRADE);
}

static void post_rollback(struct master *m, struct exchange *x, const char *name)
{
    struct deploy_request r = {.ask = ASK_ROLLBACK};
    char to[24] = "", *end = to;
    if (named(m, x, name) == NULL || !read_terms(x, &r)) {
        deploy_request_fini(&r);
        return;
    }
    bool given = http_query(exchange_head(x)->query, "to", to, sizeof to);
    r.to = given ? strtoull(to, &end, 10) : 0;
    if (given && (r.to == 0 || *end != '\0')) {
        refuse(x, 400, ERR_INVALID, "\"to\" must be a version", "see .../versions");
        deploy_request_fini(&r);
        return;
    }
    char flag[8] = "";
    r.to_checkpoint = http_query(exchange_head(x)->query, "to_checkpoint", flag, sizeof flag);
    r.keep_output = http_query(exchange_head(x)->query, "keep_output", flag, sizeof flag);
    if ((given && r.to_checkpoint) || (r.keep_output && !r.to_checkpoint)) {
        refuse(x, 400, ERR_INVALID,
               given ? "\"to\" and \"to_checkpoint\" do not go together"
                     : "\"keep_output\" goes with \"to_checkpoint\"",
               "see docs/API.md");
        deploy_request_fini(&r);
        return;
    }
    r.name = mem_dup(name);
    ask_change(m, &r, x);
}

/* `{"parallelism": {"PE": N, ...}}`.  NULL: answered. */
static json_t *read_scale(struct exchange *x)
{
    size_t bytes;
    const char *body = exchange_body(x, &bytes), *pe;
    json_t *root = json_loadb(body, bytes, JSON_REJECT_DUPLICATES, NULL);
    json_t *all = json_incref(json_object_get(root, "parallelism")), *count;
    bool ok = json_is_object(all) && json_object_size(all) > 0 && json_object_size(all) <= PES_MAX;
    json_object_foreach(all, pe, count)
    {
        ok = ok && json_is_integer(count) && json_integer_value(count) >= 1 &&
             json_integer_value(count) <= PARALLELISM_MAX;
    }
    json_decref(root);
    if (!ok) {
        refuse(x, 400, ERR_INVALID,
               "the body must be {\"parallelism\": {\"PE\": N, ...}}, N from 1 to 1024",
               "see docs/API.md");
        json_decref(all);
        return NULL;
    }
    return all;
}

static void post_scale(struct master *m, struct exchange *x, const char *name)
{
    struct deploy_request r = {.ask = ASK_SCALE};
    if (named(m, x, name) != NULL && read_terms(x, &r) && (r.scale = read_scale(x)) != NULL) {
        r.name = mem_dup(name);
        ask_change(m, &r, x);
        return;
    }
    deploy_request_fini(&r);
}

static void post_drain(struct master *m, struct exchange *x, const char *name)
{
    struct deploy_request r = {0};
    if (read_terms(x, &r)) {
        ask_drain(m, name, r.timeout_us, x);
    }
    deploy_request_fini(&r);
}

static void post_undrain(struct master *m, struct exchange *x, const char *name)
{
    drain_end(m, name, x);
}

/* The id after which to go on: as EventSource says it, or in the query. */
static void get_events(struct master *m, struct exchange *x, const char *name)
{
    const struct http_head *h = exchange_head(x);
    const char *last = http_head_find(h, "last-event-id");
    char after[32] = "", topology[NAME_BYTES_MAX + 1] = "", *end;
    (void)name;
    if (last != NULL) {
        snprintf(after, sizeof after, "%s", last);
    } else {
        (void)http_query(h->query, "after", after, sizeof after);
    }
    (void)http_query(h->query, "topology", topology, sizeof topology);
    uint64_t id = strtoull(after, &end, 10);
    if (*end != '\0' || after[0] == '-') {
        refuse(x, 400, ERR_INVALID, "the id to go on after must be a number", "see docs/API.md");
    } else if (strcmp(h->method, "HEAD") == 0) {
        exchange_reply(x, 200, "text/event-stream", NULL, "", 0);
    } else if (m->events.reader_count >= EVENT_READERS_MAX) {
        refuse(x, 503, ERR_FULL, "too many read the events", "try again in a moment");
    } else {
        events_follow(&m->events, x, id, topology);
    }
}

static void get_versions(struct master *m, struct exchange *x, const char *name)
{
    if (named(m, x, name) != NULL) {
        running_history(m, name, false, x);
    }
}

static void get_receipts(struct master *m, struct exchange *x, const char *name)
{
    if (named(m, x, name) != NULL) {
        running_history(m, name, true, x);
    }
}

/* ---- artifacts: straight to disk; the end (fsync) on a helper thread ---- */

struct sending {
    struct master *master;
    struct exchange *x;
    struct upload *upload;
    struct fail f;
    enum err result;
};

static void sending_free(struct sending *s)
{
    s->master->uploads--;
    upload_free(s->upload);
    mem_free(s);
}

static bool on_data(void *ctx, const void *data, size_t bytes)
{
    struct sending *s = ctx;
    if (upload_write(s->upload, data, bytes, &s->f) == ERR_OK) {
        return true;
    }
    api_fail(s->x, 503, &s->f, "artifact");
    sending_free(s);
    return false;
}

static void on_gone(void *ctx)
{
    sending_free(ctx);
}

static void start_upload(struct master *m, struct exchange *x)
{
    const char *digest = exchange_head(x)->path + strlen(ARTIFACTS_PATH);
    struct upload *u = NULL;
    struct fail f = {0};
    if (exchange_head(x)->body_bytes > HTTP_ARTIFACT_BYTES_MAX) {
        refuse(x, 413, ERR_LIMIT, "the artifact is too large", "256 MiB at most");
    } else if (m->uploads >= UPLOADS_MAX) {
        refuse(x, 503, ERR_FULL, "too many artifacts are being sent", "try again in a moment");
    } else if (upload_new(&m->artifacts, digest, &u, &f) != ERR_OK) {
        api_fail(x, f.code == ERR_INVALID ? 400 : 503, &f, "artifact");
    } else {
        struct sending *s = mem_alloc(sizeof *s);
        *s = (struct sending){.master = m, .x = x, .upload = u};
        m->uploads++;
        exchange_stream(x, UPLOAD_MS_MAX, on_data, on_gone, s);
    }
}

static void finish_upload(void *arg) /* helper thread: touches only the upload */
{
    struct sending *s = arg;
    s->result = upload_finish(s->upload, &s->f);
}

static void on_uploaded(void *arg)
{
    struct sending *s = arg;
    if (s->result == ERR_OK) {
        api_json(s->x, 201, json_pack("{s:s}", "artifact",
                                      exchange_head(s->x)->path + strlen(ARTIFACTS_PATH)));
    } else {
        api_fail(s->x, s->result == ERR_CORRUPT ? 422 : 503, &s->f, "artifact");
    }
    sending_free(s);
}

static void put_artifact(struct master *m, struct exchange *x, const char *digest)
{
    struct sending *s = exchange_stream_ctx(x);
    if (artifacts_has(&m->artifacts, digest)) {
        api_json(x, 200, json_pack("{s:s}", "artifact", digest));
        sending_free(s);
    } else if (!jobs_has_room(&m->jobs)) {
        refuse(x, 503, ERR_FULL, "too much is being done at once", "try again in a moment");
        sending_free(s);
    } else {
        job_start(&m->jobs, finish_upload, on_uploaded, s);
    }
}
