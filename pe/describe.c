/* pe/describe.c - PE types as JSON, and plug-ins described by a child process.
 *
 * Threads:    any; describe_plugin blocks for up to 5 s.
 * Invariants: Z1 foreign code runs in the child only; what comes back is bounded in size and time
 *                and must be a JSON array.
 *             Z2 the child is always reaped.
 * See:        pe/registry.h (the document), tests/unit/pe/plugin_test.c */
#include "core/clock.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "pe/batch.h"
#include "pe/builtin/builtin.h"
#include "pe/infer/describe.h"
#include "pe/instance.h"
#include "pe/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define DESCRIBE_MS 5000
#define DESCRIBE_BYTES_MAX (64u << 10)

extern char **environ;

static json_t *type_json(const struct oxb_pe_type *t);
static json_t *params_json(const struct oxb_param *p);
static json_t *ports_json(const struct oxb_port *p);
static json_t *states_json(const struct oxb_state_decl *s);
static enum err spawn_child(const char *program, const char *file, pid_t *pid, int fds[2],
                            struct fail *f);
static bool collect(int fds[2], uint64_t deadline_us, struct strbuf out[2]);
static bool reap(pid_t pid, uint64_t deadline_us, int *status);
static enum err judge(const char *file, int status, bool in_time, struct strbuf out[2],
                      char **json, struct fail *f);

static const char *const param_types[] = {
    [OXB_P_I64] = "i64",         [OXB_P_F64] = "f64",   [OXB_P_BOOL] = "bool",
    [OXB_P_STR] = "str",         [OXB_P_ENUM] = "enum", [OXB_P_PATH] = "path",
    [OXB_P_ADDRESS] = "address", [OXB_P_DURATION] = "duration",
    [OXB_P_SIZE] = "size",       [OXB_P_FIELD] = "field",
    [OXB_P_FIELDS] = "fields",   [OXB_P_ANY] = "any",   [OXB_P_MAP] = "map",
};

char *describe_type(const struct oxb_pe_type *type)
{
    json_t *doc = type_json(type);
    char *text = json_dumps(doc, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(doc);
    return text;
}

static void add_builtin(void *arg, const struct oxb_pe_type *type, bool builtin)
{
    (void)builtin;
    json_array_append_new(arg, type_json(type));
}

char *describe_builtins(void)
{
    json_t *all = json_array();
    registry_each(add_builtin, all);
    char *text = json_dumps(all, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(all);
    return text;
}

/* ---- the document ---- */

static json_t *text_json(const char *s)
{
    json_t *v = s != NULL ? json_string(s) : NULL; /* NULL for what is no UTF-8, too */
    return v != NULL ? v : json_string("");
}

static json_t *type_json(const struct oxb_pe_type *t)
{
    static const struct {
        const char *name;
        unsigned flag;
    } flags[] = {
        {"source", OXB_SOURCE}, {"many", OXB_MANY}, {"replayable", OXB_REPLAYABLE},
        {"own_thread", OXB_OWN_THREAD}, {"local", OXB_LOCAL}, {"effects", OXB_EFFECTS},
        {"merges", OXB_MERGES},
    };
    static const struct oxb_port any_input[] = {{"in", NULL, ""}, {NULL, NULL, NULL}};
    json_t *doc = json_object();
    json_object_set_new(doc, "name", text_json(t->name));
    json_object_set_new(doc, "doc", text_json(t->doc));
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        json_object_set_new(doc, flags[i].name, json_boolean((t->flags & flags[i].flag) != 0));
    }
    json_object_set_new(doc, "state_version", json_integer(t->state_version));
    json_object_set_new(doc, "migrates", json_boolean(t->migrate != NULL));
    json_object_set_new(doc, "snapshots", json_boolean(t->snapshot != NULL));
    json_object_set_new(doc, "commits",
                        json_boolean((t->abi & 0xffffu) >= 1 && t->commit != NULL));
    json_object_set_new(doc, "abi", json_pack("[ii]", (int)(t->abi >> 16), (int)(t->abi & 0xffff)));
    json_object_set_new(doc, "params", params_json(t->params));
    bool implied = t->inputs == NULL && (t->flags & OXB_SOURCE) == 0;
    json_object_set_new(doc, "inputs", ports_json(implied ? any_input : t->inputs));
    json_object_set_new(doc, "outputs", ports_json(t->outputs));
    json_object_set_new(doc, "states", states_json(t->states));
    return doc;
}

static json_t *choices_json(const char *choices)
{
    json_t *list = json_array();
    while (choices != NULL && *choices != '\0') {
        size_t n = strcspn(choices, " ");
        if (n > 0) {
            json_array_append_new(list, json_stringn(choices, n));
        }
        choices += n + (choices[n] == ' ' ? 1 : 0);
    }
    return list;
}

static json_t *params_json(const struct oxb_param *p)
{
    json_t *list = json_array();
    for (; p != NULL && p->name != NULL; p++) {
        json_t *one = json_object();
        json_t *fallback = params_fallback(p);
        json_object_set_new(one, "name", text_json(p->name));
        json_object_set_new(one, "type", json_string(param_types[p->type]));
        json_object_set_new(one, "required", json_boolean((p->flags & OXB_REQUIRED) != 0));
        json_object_set_new(one, "writes", json_boolean((p->flags & OXB_WRITES) != 0));
        json_object_set_new(one, "default", fallback != NULL ? fallback : json_null());
        json_object_set_new(one, "choices", choices_json(p->choices));
        json_object_set_new(one, "min", json_real(p->min));
        json_object_set_new(one, "max", json_real(p->max));
        json_object_set_new(one, "doc", text_json(p->doc));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *ports_json(const struct oxb_port *p)
{
    json_t *list = json_array();
    for (; p != NULL && p->name != NULL; p++) {
        json_t *one = json_object();
        json_object_set_new(one, "name", text_json(p->name));
        json_object_set_new(one, "schema", p->schema != NULL ? text_json(p->schema) : json_null());
        json_object_set_new(one, "doc", text_json(p->doc));
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *states_json(const struct oxb_state_decl *s)
{
    json_t *list = json_array();
    for (; s != NULL && s->name != NULL; s++) {
        json_t *values = json_array();
        for (const struct oxb_value *v = s->values; v != NULL && v->name != NULL; v++) {
            json_array_append_new(values, json_pack("{s:s,s:s}", "name", v->name, "type",
                                                    type_name(v->type)));
        }
        json_array_append_new(list, json_pack("{s:s,s:o}", "name", s->name, "values", values));
    }
    return list;
}

/* ---- the parent's side ---- */

enum err describe_plugin(const char *program, const char *file, char **json, struct fail *f)
{
    pid_t pid;
    int fds[2]; /* the child's stdout and stderr */
    enum err e = spawn_child(program, file, &pid, fds, f);
    if (e != ERR_OK) {
        return e;
    }
    struct strbuf out[2] = {{0}, {0}};
    uint64_t deadline_us = clock_now_us() + DESCRIBE_MS * 1000u;
    bool in_time = collect(fds, deadline_us, out);
    close(fds[0]);
    close(fds[1]);
    int status = 0;
    in_time = reap(pid, in_time ? deadline_us : 0, &status) && in_time;
    e = judge(file, status, in_time, out, json, f);
    strbuf_fini(&out[0]);
    strbuf_fini(&out[1]);
    return e;
}

static enum err spawn_child(const char *program, const char *file, pid_t *pid, int fds[2],
                            struct fail *f)
{
    int pipes[2][2];
    if (pipe2(pipes[0], O_CLOEXEC) != 0) {
        return fail_set(f, ERR_IO, "", "cannot make a pipe: %s", strerror(errno));
    }
    if (pipe2(pipes[1], O_CLOEXEC) != 0) {
        close(pipes[0][0]);
        close(pipes[0][1]);
        return fail_set(f, ERR_IO, "", "cannot make a pipe: %s", strerror(errno));
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, pipes[0][1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipes[1][1], STDERR_FILENO);
    char option[] = "--describe-plugin";
    char *args[] = {mem_dup(program), option, mem_dup(file), NULL};
    int failed = posix_spawn(pid, program, &actions, NULL, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    mem_free(args[0]);
    mem_free(args[2]);
    for (int i = 0; i < 2; i++) {
        close(pipes[i][1]);
        fds[i] = pipes[i][0];
    }
    if (failed != 0) {
        close(fds[0]);
        close(fds[1]);
        return fail_set(f, ERR_IO, "", "cannot run `%s`: %s", program, strerror(failed));
    }
    return ERR_OK;
}

/* reap - wait for the child to end by itself; after the deadline, end it.  Return: false then. */
static bool reap(pid_t pid, uint64_t deadline_us, int *status)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    while (clock_now_us() < deadline_us) {
        if (waitpid(pid, status, WNOHANG) == pid) {
            return true;
        }
        nanosleep(&nap, NULL);
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, status, 0) < 0 && errno == EINTR) { /* Z2 */
    }
    return false;
}

/* collect - both pipes until they end.  Return: false when time or size ran out (Z1). */
static bool collect(int fds[2], uint64_t deadline_us, struct strbuf out[2])
{
    struct pollfd p[2] = {{.fd = fds[0], .events = POLLIN}, {.fd = fds[1], .events = POLLIN}};
    while (p[0].fd >= 0 || p[1].fd >= 0) {
        uint64_t now_us = clock_now_us();
        if (now_us >= deadline_us) {
            return false;
        }
        if (poll(p, 2, (int)((deadline_us - now_us) / 1000u) + 1) < 0 && errno != EINTR) {
            return false;
        }
        for (int i = 0; i < 2; i++) {
            if (p[i].fd < 0 || p[i].revents == 0) {
                continue;
            }
            char chunk[4096];
            ssize_t n = read(p[i].fd, chunk, sizeof chunk);
            if (n > 0) {
                strbuf_add(&out[i], chunk, (size_t)n);
            } else if (n == 0 || errno != EINTR) {
                p[i].fd = -1;
            }
            if (out[i].bytes > DESCRIBE_BYTES_MAX) {
                return false;
            }
        }
    }
    return true;
}

static enum err judge(const char *file, int status, bool in_time, struct strbuf out[2],
                      char **json, struct fail *f)
{
    if (!in_time) {
        bool large = out[0].bytes > DESCRIBE_BYTES_MAX || out[1].bytes > DESCRIBE_BYTES_MAX;
        return fail_set(f, large ? ERR_LIMIT : ERR_TIMEOUT, "what does it do when it is loaded?",
                        "the plug-in `%.200s` %s while it was described", file,
                        large ? "wrote more than 64 KiB" : "took more than 5 s");
    }
    if (WIFSIGNALED(status)) {
        return fail_set(f, ERR_INVALID, "what does it do when it is loaded?",
                        "the plug-in `%.200s` crashed while it was described: %s", file,
                        strsignal(WTERMSIG(status)));
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        const char *text = strbuf_text(&out[1]);
        size_t n = strcspn(text, "\n");
        return fail_set(f, ERR_INVALID, "", n > 0 ? "%.*s" : "%.*sthe plug-in cannot be described",
                        (int)(n < 400 ? n : 400), text);
    }
    json_error_t error;
    json_t *doc = json_loads(strbuf_text(&out[0]), 0, &error);
    if (!json_is_array(doc)) {
        json_decref(doc);
        return fail_set(f, ERR_INVALID, "", "the description of `%.200s` is no JSON array: %.100s",
                        file, error.text);
    }
    json_decref(doc);
    *json = strbuf_take(&out[0]);
    return ERR_OK;
}

/* ---- the child's side ---- */

static void add_plugin_type(void *arg, const struct oxb_pe_type *type)
{
    json_array_append_new(arg, type_json(type));
}

/* A model is described as the PE that runs it, whose output the model's outputs are part of. */
static enum err describe_model(const char *file, json_t *all, struct fail *f)
{
    json_t *model = NULL;
    enum err e = model_describe(file, &model, f);
    if (e == ERR_OK) {
        json_t *doc = type_json(&builtin_infer);
        if (json_object_get(model, "outputs") != NULL) {
            json_object_set_new(json_array_get(json_object_get(doc, "outputs"), 0), "schema",
                                json_string("*, ~out, $digest: str"));
        }
        json_object_set_new(doc, "model", model);
        json_array_append_new(all, doc);
    }
    return e;
}

static enum err describe_file(const char *file, json_t *all, struct fail *f)
{
    struct plugin *p;
    if (model_is_file(file)) {
        return describe_model(file, all, f);
    }
    enum err e = plugin_open(file, &p, f);
    if (e == ERR_OK) {
        plugin_each(p, add_plugin_type, all);
        plugin_close(p);
    }
    return e;
}

int describe_plugin_main(const char *file)
{
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    int out = dup(STDOUT_FILENO); /* what the plug-in prints must not get into the document */
    if (out < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
        return 1;
    }
    struct fail f = {0};
    json_t *all = json_array();
    if (describe_file(file, all, &f) != ERR_OK) {
        fprintf(stderr, "%s%s%s\n", f.what, f.hint[0] != '\0' ? "; " : "", f.hint);
        json_decref(all);
        return 1;
    }
    char *text = json_dumps(all, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(all);
    size_t left = text != NULL ? strlen(text) : 0;
    const char *at = text;
    while (left > 0) {
        ssize_t n = write(out, at, left);
        if (n < 0 && errno != EINTR) {
            break;
        }
        at += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    free(text);
    close(out);
    return left == 0 && text != NULL ? 0 : 1;
}
