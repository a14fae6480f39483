/* pe/infer/host.c - the backend that has no kernels: memory for the references to work in. */
#include "core/mem.h"
#include "pe/infer/backend.h"

#include <stdlib.h>

struct arena {
    uint8_t *data; /* TENSOR_ALIGN-aligned, inside base */
    void *base;
};

static enum err open_host(const struct device_options *o, struct device **out, struct fail *f)
{
    (void)o;
    (void)f;
    *out = NULL; /* there is nothing to know about it */
    return ERR_OK;
}

static void close_host(struct device *d)
{
    (void)d;
}

static const char *host_name(const struct device *d)
{
    (void)d;
    return "reference";
}

static enum err decline(struct device *d, const struct step_spec *s, struct step **out,
                        struct fail *f)
{
    (void)d;
    (void)s;
    (void)out;
    return fail_set(f, ERR_NOTFOUND, "", "the host runs references");
}

static void free_no_step(struct step *s)
{
    (void)s;
}

static enum err new_arena(struct device *d, size_t bytes, struct arena **out, struct fail *f)
{
    (void)d;
    struct arena *a = mem_alloc(sizeof *a);
    a->base = mem_try_alloc(bytes + TENSOR_ALIGN);
    if (a->base == NULL) {
        mem_free(a);
        return fail_set(f, ERR_NOMEM, "use smaller batches", "no memory for an arena of %zu bytes",
                        bytes);
    }
    uintptr_t at = ((uintptr_t)a->base + TENSOR_ALIGN - 1) / TENSOR_ALIGN * TENSOR_ALIGN;
    a->data = (uint8_t *)at;
    *out = a;
    return ERR_OK;
}

static void free_arena(struct arena *a)
{
    if (a != NULL) {
        mem_free(a->base);
        mem_free(a);
    }
}

static enum err run_nothing(struct step *s, struct arena *a, int64_t rows, struct fail *f)
{
    (void)s;
    (void)a;
    (void)rows;
    return fail_set(f, ERR_INVALID, "", "the host has no steps");
}

static enum err begin(struct arena *a, size_t offset, size_t bytes, enum host_access access,
                      void **out, struct fail *f)
{
    (void)bytes;
    (void)access;
    (void)f;
    *out = a->data + offset;
    return ERR_OK;
}

static enum err end(struct arena *a, size_t offset, size_t bytes, enum host_access access, void *p,
                    struct fail *f)
{
    (void)a;
    (void)offset;
    (void)bytes;
    (void)access;
    (void)p;
    (void)f;
    return ERR_OK;
}

const struct backend backend_host = {
    .name = "reference",
    .device_open = open_host,
    .device_close = close_host,
    .device_name = host_name,
    .compile = decline,
    .step_free = free_no_step,
    .arena_new = new_arena,
    .arena_free = free_arena,
    .run = run_nothing,
    .host_begin = begin,
    .host_end = end,
};
