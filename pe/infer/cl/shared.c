/* pe/infer/cl/shared.c - the table of shared programs and weights: a list, since a process has
 * hundreds of them and looks one up per layer of a model while loading it. */
#include "pe/infer/cl/shared.h"

#include "core/hash.h"
#include "core/mem.h"

#include <pthread.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* tidy: guards `all` */
static struct ocl_shared *all;                           /* tidy: found by content */

/* ---- with the lock held */

static struct ocl_shared *find(const struct ocl_device *d, const uint64_t key[2])
{
    for (struct ocl_shared *s = all; s != NULL; s = s->next) {
        if (s->device == d && s->key[0] == key[0] && s->key[1] == key[1]) {
            s->refs++;
            return s;
        }
    }
    return NULL;
}

static void release(struct ocl_shared *s)
{
    if (s->program != NULL) {
        clReleaseProgram(s->program);
    }
    if (s->mem != NULL) {
        clReleaseMemObject(s->mem);
    }
    mem_free(s);
}

/* ---- */

static struct ocl_shared *look_up(const struct ocl_device *d, const uint64_t key[2])
{
    pthread_mutex_lock(&lock);
    struct ocl_shared *s = find(d, key);
    pthread_mutex_unlock(&lock);
    return s;
}

static struct ocl_shared *insert(struct ocl_shared *mine)
{
    pthread_mutex_lock(&lock);
    struct ocl_shared *first = find(mine->device, mine->key);
    if (first == NULL) {
        mine->refs = 1;
        mine->next = all;
        all = mine;
    }
    pthread_mutex_unlock(&lock);
    if (first == NULL) {
        return mine;
    }
    release(mine);
    return first;
}

void ocl_shared_ref(struct ocl_shared *s)
{
    pthread_mutex_lock(&lock);
    s->refs++;
    pthread_mutex_unlock(&lock);
}

void ocl_shared_unref(struct ocl_shared *s)
{
    if (s == NULL) {
        return;
    }
    pthread_mutex_lock(&lock);
    bool last = --s->refs == 0;
    if (last) {
        struct ocl_shared **at = &all;
        while (*at != s) {
            at = &(*at)->next;
        }
        *at = s->next;
    }
    pthread_mutex_unlock(&lock);
    if (last) {
        release(s);
    }
}

enum err ocl_shared_program(struct ocl_device *d, const struct ocl_program_request *r,
                            struct ocl_shared **out, struct fail *f)
{
    XXH128_hash_t h = XXH3_128bits(r->source, strlen(r->source));
    uint64_t key[2] = {h.low64, hash_mix(h.high64, hash_bytes(r->options, strlen(r->options)))};
    struct ocl_shared *s = look_up(d, key);
    if (s == NULL) {
        cl_program p = NULL;
        enum err e = ocl_program_build(d, r, &p, NULL, f);
        if (e != ERR_OK) {
            return e;
        }
        s = mem_alloc(sizeof(*s));
        *s = (struct ocl_shared){.program = p, .device = d, .key = {key[0], key[1]}};
        s = insert(s);
    }
    *out = s;
    return ERR_OK;
}

static void weights_key(const struct ocl_pack *p, uint64_t key[2])
{
    XXH128_hash_t h = XXH3_128bits(p->layout, strlen(p->layout));
    key[0] = h.low64;
    key[1] = hash_mix(h.high64, p->bytes);
    for (size_t i = 0; i < PACK_SOURCES_MAX; i++) {
        if (p->sources[i].bytes != 0) {
            h = XXH3_128bits(p->sources[i].data, p->sources[i].bytes);
        } else {
            h = (XXH128_hash_t){0, 0};
        }
        key[0] = hash_mix(key[0], h.low64);
        key[1] = hash_mix(key[1], h.high64);
    }
}

enum err ocl_shared_weights(struct ocl_device *d, const struct ocl_pack *p, struct ocl_shared **out,
                            struct fail *f)
{
    uint64_t key[2];
    weights_key(p, key);
    struct ocl_shared *s = look_up(d, key);
    if (s != NULL) {
        *out = s;
        return ERR_OK;
    }
    void *packed = NULL;
    const void *data = p->sources[0].data;
    if (p->pack != NULL) {
        packed = mem_try_alloc(p->bytes);
        if (packed == NULL) {
            return fail_set(f, ERR_NOMEM, "use a smaller model",
                            "no memory for %zu bytes of weights", p->bytes);
        }
        p->pack(packed, p);
        data = packed;
    }
    cl_int status = CL_SUCCESS;
    union {
        const void *in;
        void *out;
    } host = {.in = data}; /* OpenCL only reads it */
    cl_mem m = clCreateBuffer(d->context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, p->bytes,
                              host.out, &status);
    mem_free(packed);
    enum err e = ocl_device_check(d, status, "clCreateBuffer", f);
    if (e != ERR_OK) {
        return e;
    }
    s = mem_alloc(sizeof(*s));
    *s = (struct ocl_shared){.mem = m, .bytes = p->bytes, .device = d, .key = {key[0], key[1]}};
    *out = insert(s);
    return ERR_OK;
}
