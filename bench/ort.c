/* bench/ort.c - the few entries of onnxruntime's C API that the bench calls.
 *
 * The API is a table of functions whose order never changes: entries are only appended.  So a call
 * is an index into it; the indices follow the published order of struct OrtApi.  That the results
 * agree with the engine's is checked by the bench, which would show a wrong one. */
#include "bench/ort.h"

#include "core/mem.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define API_VERSION 16u /* 1.16 and later */

enum entry {
    GET_ERROR_MESSAGE = 2,
    CREATE_ENV = 3,
    CREATE_SESSION = 7,
    RUN = 9,
    CREATE_SESSION_OPTIONS = 10,
    SET_INTRA_OP_NUM_THREADS = 24,
    CREATE_TENSOR_WITH_DATA = 49,
    CREATE_CPU_MEMORY_INFO = 69,
};

typedef void (*entry_fn)(void);

struct api_base {
    const entry_fn *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
};

struct ort {
    const struct api_base *base;
    const entry_fn *api;
    void *env;
    void *memory;
};

struct ort_session {
    struct ort *ort;
    void *session;
    void *in, *out;
};

typedef const char *(*message_fn)(const void *status);
typedef void *(*create_env_fn)(int level, const char *id, void **out);
typedef void *(*create_session_fn)(const void *env, const char *path, const void *options,
                                   void **out);
typedef void *(*run_fn)(void *session, const void *options, const char *const *in_names,
                        const void *const *in, size_t in_count, const char *const *out_names,
                        size_t out_count, void **out);
typedef void *(*create_options_fn)(void **out);
typedef void *(*set_int_fn)(void *options, int v);
typedef void *(*create_tensor_fn)(const void *memory, void *data, size_t bytes,
                                  const int64_t *dims, size_t rank, int type, void **out);
typedef void *(*create_memory_fn)(int allocator, int kind, void **out);
typedef const struct api_base *(*get_base_fn)(void);

union symbol { /* ISO C has no cast from an object's to a function's address */
    void *object;
    get_base_fn get_base;
};

static const char *message(const struct ort *o, const void *status)
{
    return ((message_fn)o->api[GET_ERROR_MESSAGE])(status);
}

struct ort *ort_load(char why[240])
{
    const char *path = getenv("OXBOW_ORT");
    void *library = dlopen(path != NULL ? path : "libonnxruntime.so.1", RTLD_NOW | RTLD_LOCAL);
    union symbol symbol = {.object = library != NULL ? dlsym(library, "OrtGetApiBase") : NULL};
    if (symbol.object == NULL) {
        snprintf(why, 240, "not installed (%.200s)", dlerror());
        return NULL;
    }
    struct ort *o = mem_alloc(sizeof(*o));
    o->base = symbol.get_base();
    o->api = o->base->get_api(API_VERSION);
    if (o->api == NULL) {
        snprintf(why, 240, "version %.40s lacks API %u", o->base->get_version(), API_VERSION);
        mem_free(o);
        return NULL;
    }
    void *status = ((create_env_fn)o->api[CREATE_ENV])(3, "bench", &o->env);
    if (status == NULL) {
        status = ((create_memory_fn)o->api[CREATE_CPU_MEMORY_INFO])(1, 0, &o->memory);
    }
    if (status != NULL) {
        snprintf(why, 240, "%.200s", message(o, status));
        mem_free(o);
        return NULL;
    }
    return o;
}

const char *ort_version(const struct ort *o)
{
    return o->base->get_version();
}

struct ort_session *ort_open(struct ort *o, const char *path, int threads, struct ort_io in,
                             struct ort_io out, char why[240])
{
    struct ort_session *s = mem_alloc(sizeof(*s));
    s->ort = o;
    void *options = NULL;
    create_tensor_fn tensor = (create_tensor_fn)o->api[CREATE_TENSOR_WITH_DATA];
    void *status = ((create_options_fn)o->api[CREATE_SESSION_OPTIONS])(&options);
    if (status == NULL) {
        status = ((set_int_fn)o->api[SET_INTRA_OP_NUM_THREADS])(options, threads);
    }
    if (status == NULL) {
        status = ((create_session_fn)o->api[CREATE_SESSION])(o->env, path, options, &s->session);
    }
    if (status == NULL) {
        status = tensor(o->memory, in.data, in.count * sizeof(float), in.dims, in.rank, 1, &s->in);
    }
    if (status == NULL) {
        status =
            tensor(o->memory, out.data, out.count * sizeof(float), out.dims, out.rank, 1, &s->out);
    }
    if (status != NULL) {
        snprintf(why, 240, "%.200s", message(o, status));
        mem_free(s);
        return NULL;
    }
    return s;
}

void ort_run(struct ort_session *s)
{
    static const char *const in_names[] = {"x"}, *const out_names[] = {"y"};
    const void *in[1] = {s->in};
    void *status = ((run_fn)s->ort->api[RUN])(s->session, NULL, in_names, in, 1, out_names, 1,
                                              &s->out);
    if (status != NULL) {
        fprintf(stderr, "onnxruntime: %s\n", message(s->ort, status));
        exit(1);
    }
}
