/* tests/support/hostile.c - model files made to hurt: are they refused, and what does it cost? */
#include "tests/support/hostile.h"

#include "core/mem.h"
#include "pe/builtin/builtin.h"
#include "pe/infer/describe.h"
#include "pe/infer/graph.h"
#include "pe/infer/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WAYS 3 /* the last one runs the model, too: a PE warms up */
#define GROWTH_KIB_MAX (64 << 10)
#define WAY_MS_MAX 1000.0 /* of a processor; 100 is what we want, and busy machines are slow */
#define HANG_SECONDS 120
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* ---- a child looks at a file */

static void ignore_port(void *arg, bool is_input, const struct model_port *p)
{
    (void)arg;
    (void)is_input;
    (void)p;
}

static void ignore_node(void *arg, const struct model_node *n)
{
    (void)arg;
    (void)n;
}

static unsigned has(const char *message, const char *text)
{
    bool yes = message[0] != '\0' && strstr(message, text) != NULL;
    if (!yes) {
        fprintf(stderr, "# \"%s\" does not say \"%s\"\n", message, text);
    }
    return yes ? 1 : 0;
}

static unsigned start_refuses(const char *path, const char *text)
{
    char err[512] = "";
    unsigned count = 0;
    char *params = mem_printf("{\"model\": \"%s\", \"device\": \"reference\"}", path);
    struct oxb_harness *h =
        oxb_harness_new(&builtin_infer, params, "x: f32[4]", "y: f32[4]", err, sizeof err);
    if (h == NULL) {
        count = has(err, text);
    } else {
        oxb_harness_free(h);
    }
    mem_free(params);
    return count;
}

/* How many of the first `ways` refuse it, and say so. */
static unsigned refusals(const char *path, unsigned ways, const char *text)
{
    static const struct model_sink sink = {.port = ignore_port, .node = ignore_node};
    struct fail f = {0};
    struct graph *g = NULL;
    json_t *doc = NULL;
    unsigned count = 0;
    if (model_open(path, &g, &f) != ERR_OK || model_check(g, "reference", &sink, &f) != ERR_OK) {
        count += has(f.what, text);
    }
    model_close(g);
    f.what[0] = '\0';
    if (model_describe(path, &doc, &f) != ERR_OK) {
        count += has(f.what, text);
    } else {
        json_decref(doc);
    }
    return ways == WAYS ? count + start_refuses(path, text) : count;
}

struct outcome {
    unsigned refusals;
    long peak_kib;
    double ms; /* of a processor, all ways */
};

static struct outcome look(const char *path, unsigned ways, const char *text)
{
    int status = 0;
    struct rusage use;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(HANG_SECONDS);
        _exit((int)refusals(path, ways, text));
    }
    assert_int_equal(wait4(child, &status, 0, &use), child);
    if (!WIFEXITED(status)) {
        fail_msg("%s: the child died of signal %d", path, WTERMSIG(status));
    }
    double us = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
                (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
    return (struct outcome){(unsigned)WEXITSTATUS(status), use.ru_maxrss, us / 1e3};
}

/* ---- files */

struct hostile_file hostile_open(void)
{
    struct hostile_file f = {"/tmp/oxbow-hostile.XXXXXX", NULL};
    int fd = mkstemp(f.path);
    assert_true(fd >= 0);
    f.to = fdopen(fd, "w");
    assert_non_null(f.to);
    return f;
}

void hostile_put(struct hostile_file *f, const struct strbuf *b, size_t bytes)
{
    assert_int_equal(fwrite(b->data, 1, bytes, f->to), bytes);
}

struct hostile_file hostile_of(struct strbuf *bytes)
{
    struct hostile_file f = hostile_open();
    hostile_put(&f, bytes, bytes->bytes);
    strbuf_fini(bytes);
    *bytes = (struct strbuf){0};
    return f;
}

struct hostile_file hostile_model(struct onnx_build *m, int opset)
{
    struct strbuf bytes = {0};
    onnx_finish(m, opset, &bytes);
    return hostile_of(&bytes);
}

/* ---- judging */

static struct outcome look_once(struct hostile_file *f, unsigned ways, const char *text)
{
    assert_int_equal(fclose(f->to), 0);
    struct outcome o = look(f->path, ways, text);
    unlink(f->path);
    return o;
}

static long sound_kib(void)
{
    static const int free4[] = {-1, 4};
    struct onnx_build m = {0};
    onnx_input(&m, "x", 1, 2, free4);
    onnx_node(&m, "Neg", "x", "y", NULL);
    onnx_output(&m, "y", 1, 2, free4);
    struct hostile_file f = hostile_model(&m, 13);
    struct outcome o = look_once(&f, WAYS, "");
    assert_int_equal(o.refusals, 0);
    return o.peak_kib;
}

static void judge(const char *what, struct hostile_file *f, unsigned ways, unsigned want,
                  const char *text)
{
    struct outcome o = look_once(f, ways, text);
    long growth = o.peak_kib - sound_kib();
    print_message("# %s: %.1f MiB, %u times in %.1f ms\n", what, (double)growth / 1024, ways, o.ms);
    if (o.refusals != want) {
        fail_msg("%s: refused %u times of %u, as it should be", what, o.refusals, ways);
    }
    if (!SANITIZED && growth > GROWTH_KIB_MAX) {
        fail_msg("%s: it took %ld KiB", what, growth);
    }
    if (!SANITIZED && o.ms > ways * WAY_MS_MAX) {
        fail_msg("%s: it took %.0f ms", what, o.ms);
    }
}

void hostile_refused(const char *what, struct hostile_file *f, const char *text)
{
    judge(what, f, WAYS, WAYS, text);
}

void hostile_loaded(const char *what, struct hostile_file *f)
{
    judge(what, f, WAYS - 1, 0, "");
}
