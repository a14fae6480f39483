/* pe/infer/cl/opencl.c - the backend: devices, arenas and steps on OpenCL.
 *
 * Owns:       struct device, arena and step of backend.h.
 * Runs on:    backend.h says which thread.  On a synchronous device the caller of run computes.
 * Invariants: a step's arguments are set again only when the arena or the rows change, so a steady
 *             batch is one enqueue per launch.  No event is made; the order is the queue's.
 * Why:        a queue per arena, because an in-order queue shared by two arenas would make reading
 *             the first wait for the second. */
#include "core/clock.h"
#include "core/mem.h"
#include "pe/infer/cl/compiler.h"
#include "pe/infer/cl/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- device */

static enum err opencl_device_open(const struct device_options *o, struct device **out,
                                   struct fail *f)
{
    enum ocl_choice choice = OCL_CHOICE_ANY;
    if (!ocl_device_choice_parse(o->kind, &choice)) {
        return fail_set(f, ERR_INVALID, "use gpu, cpu or any", "no kind of device is called `%s`",
                        o->kind);
    }
    struct ocl_devices *all = ocl_devices_ref(o->cache_dir);
    struct ocl_device *ocl = ocl_devices_pick(all, choice, o->index);
    if (ocl == NULL) {
        ocl_devices_unref(all);
        return fail_set(f, ERR_NOTFOUND, "install an OpenCL driver, such as pocl-opencl-icd",
                        "no OpenCL device of kind `%s`", o->kind);
    }
    struct device *d = mem_alloc(sizeof(*d));
    *d = (struct device){.all = all, .ocl = ocl, .tune = o->tune};
    d->gently_until_us = o->apart ? clock_now_us() + COMPILER_NICE_MS * UINT64_C(1000) : 0;
    snprintf(d->name, sizeof(d->name), "%s: %s, %s", ocl_device_kind_name(ocl->kind), ocl->name,
             ocl->driver);
    *out = d;
    return ERR_OK;
}

static void opencl_device_close(struct device *d)
{
    if (d != NULL) {
        ocl_devices_unref(d->all);
        mem_free(d);
    }
}

static const char *opencl_device_name(const struct device *d)
{
    return d->name;
}

static bool opencl_overlaps(const struct device *d)
{
    return !d->ocl->synchronous;
}

/* ---- arena */

static void opencl_arena_free(struct arena *a)
{
    if (a == NULL) {
        return;
    }
    if (a->queue != NULL) {
        clFinish(a->queue);
        if (a->pinned != NULL && a->host != NULL) {
            clEnqueueUnmapMemObject(a->queue, a->pinned, a->host, 0, NULL, NULL);
            clFinish(a->queue);
        }
        clReleaseCommandQueue(a->queue);
    }
    if (a->mem != NULL) {
        clReleaseMemObject(a->mem);
    }
    if (a->scratch != NULL) {
        clReleaseMemObject(a->scratch);
    }
    if (a->pinned != NULL) {
        clReleaseMemObject(a->pinned);
    } else {
        free(a->host);
    }
    mem_free(a);
}

/* The device works in the host's memory. */
static enum err arena_unified(struct arena *a, struct fail *f)
{
    a->host = aligned_alloc(4096, a->bytes);
    if (a->host == NULL) {
        return fail_set(f, ERR_NOMEM, "use a smaller batch", "no memory for an arena of %zu bytes",
                        a->bytes);
    }
    memset(a->host, 0, a->bytes);
    cl_int status = CL_SUCCESS;
    a->mem = clCreateBuffer(a->device->ocl->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR,
                            a->bytes, a->host, &status);
    return ocl_device_check(a->device->ocl, status, "clCreateBuffer", f);
}

/* The device has its own memory; the host has a pinned mirror, which copies need to be quick. */
static enum err arena_mirrored(struct arena *a, struct fail *f)
{
    struct ocl_device *d = a->device->ocl;
    cl_int status = CL_SUCCESS;
    a->mem = clCreateBuffer(d->context, CL_MEM_READ_WRITE, a->bytes, NULL, &status);
    enum err e = ocl_device_check(d, status, "clCreateBuffer", f);
    if (e != ERR_OK) {
        return e;
    }
    a->pinned = clCreateBuffer(d->context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, a->bytes,
                               NULL, &status);
    e = ocl_device_check(d, status, "clCreateBuffer", f);
    if (e != ERR_OK) {
        return e;
    }
    a->host = clEnqueueMapBuffer(a->queue, a->pinned, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0,
                                 a->bytes, 0, NULL, NULL, &status);
    e = ocl_device_check(d, status, "clEnqueueMapBuffer", f);
    if (e != ERR_OK) {
        a->host = NULL;
        return e;
    }
    memset(a->host, 0, a->bytes);
    return ocl_device_check(
        d, clEnqueueWriteBuffer(a->queue, a->mem, CL_TRUE, 0, a->bytes, a->host, 0, NULL, NULL),
        "clEnqueueWriteBuffer", f);
}

static enum err opencl_arena_new(struct device *d, size_t bytes, struct arena **out, struct fail *f)
{
    struct arena *a = mem_alloc(sizeof(*a));
    a->device = d;
    a->bytes = (bytes + 4096) / 4096 * 4096;
    enum err e = ocl_device_queue_new(d->ocl, &a->queue, f);
    if (e == ERR_OK) {
        e = d->ocl->unified ? arena_unified(a, f) : arena_mirrored(a, f);
    }
    if (e != ERR_OK) {
        opencl_arena_free(a);
        return e;
    }
    *out = a;
    return ERR_OK;
}

/* ---- host access */

static enum err arena_finish(struct arena *a, struct fail *f)
{
    a->writing = false;
    return ocl_device_check(a->device->ocl, clFinish(a->queue), "clFinish", f);
}

static enum err opencl_host_begin(struct arena *a, size_t offset, size_t bytes,
                                  enum host_access access, void **out, struct fail *f)
{
    struct ocl_device *d = a->device->ocl;
    enum err e = ERR_OK;
    void *p = (char *)a->host + offset;
    if (d->synchronous) {
        if (atomic_load_explicit(&d->lost, memory_order_relaxed)) {
            e = fail_set(f, ERR_IO, "the work is redone on another device", "%s is lost", d->name);
        }
    } else if (d->unified) {
        cl_int status = CL_SUCCESS;
        cl_map_flags flags =
            (access & HOST_READ ? CL_MAP_READ : 0) | (access & HOST_WRITE ? CL_MAP_WRITE : 0);
        p = clEnqueueMapBuffer(a->queue, a->mem, CL_TRUE, flags, offset, bytes, 0, NULL, NULL,
                               &status);
        e = ocl_device_check(d, status, "clEnqueueMapBuffer", f);
    } else if (access & HOST_READ) {
        a->writing = false;
        e = ocl_device_check(
            d, clEnqueueReadBuffer(a->queue, a->mem, CL_TRUE, offset, bytes, p, 0, NULL, NULL),
            "clEnqueueReadBuffer", f);
    } else if (a->writing) {
        e = arena_finish(a, f); /* the mirror may still be read */
    }
    if (e == ERR_OK) {
        *out = p;
    }
    return e;
}

static enum err opencl_host_end(struct arena *a, size_t offset, size_t bytes,
                                enum host_access access, void *p, struct fail *f)
{
    struct ocl_device *d = a->device->ocl;
    if (d->synchronous) {
        return ERR_OK;
    }
    if (d->unified) {
        return ocl_device_check(d, clEnqueueUnmapMemObject(a->queue, a->mem, p, 0, NULL, NULL),
                                "clEnqueueUnmapMemObject", f);
    }
    if ((access & HOST_WRITE) == 0) {
        return ERR_OK;
    }
    a->writing = true;
    return ocl_device_check(
        d, clEnqueueWriteBuffer(a->queue, a->mem, CL_FALSE, offset, bytes, p, 0, NULL, NULL),
        "clEnqueueWriteBuffer", f);
}

/* ---- step */

static void opencl_step_free(struct step *s)
{
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < s->launch_count; i++) {
        struct launch *l = &s->launches[i];
        for (uint32_t j = 0; j < l->operand_count; j++) {
            ocl_shared_unref(l->operands[j].constant);
        }
        if (l->kernel != NULL) {
            clReleaseKernel(l->kernel);
        }
        ocl_shared_unref(l->program);
        mem_free(l->text);
    }
    mem_free(s);
}

static const struct recipe *recipe_find(const struct node *n)
{
    static const struct recipe *const families[] = {recipes_gemm, recipes_conv, recipes_map,
                                                    recipes_line, recipes_rnn};
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        for (const struct recipe *r = families[i]; r->op != NULL; r++) {
            if (strcmp(r->op, n->op) == 0 && strcmp(r->domain, n->domain) == 0) {
                return r;
            }
        }
    }
    return NULL;
}

static bool is_worth_looking(const struct step_spec *s)
{
    for (uint32_t i = 0; i < s->node->output_count; i++) {
        if (s->out[i].type != NULL && tensor_count(s->out[i].type) == 0) {
            return false;
        }
    }
    return true;
}

static enum err opencl_compile(struct device *d, const struct step_spec *s, struct step **out,
                               struct fail *f)
{
    const struct recipe *r = recipe_find(s->node);
    if (r == NULL || !is_worth_looking(s)) {
        return fail_set(f, ERR_NOTFOUND, "", "no kernel for %s", s->node->op);
    }
    struct step *step = mem_alloc(sizeof(*step));
    step->device = d;
    step->rows = -1;
    struct builder b = {.device = d, .spec = s, .step = step, .fail = f};
    enum err e = r->cook(&b);
    strbuf_fini(&b.text);
    if (e != ERR_OK) {
        opencl_step_free(step);
        return e;
    }
    *out = step;
    return ERR_OK;
}

static cl_int set_arena(const struct launch *l, const struct arena *a)
{
    cl_int status = CL_SUCCESS;
    for (cl_uint i = 0; i < l->operand_count && status == CL_SUCCESS; i++) {
        const struct operand *o = &l->operands[i];
        const cl_mem *m = o->kind == OPERAND_ARENA     ? &a->mem
                          : o->kind == OPERAND_SCRATCH ? &a->scratch
                                                       : &o->constant->mem;
        cl_ulong offset = o->offset;
        status = clSetKernelArg(l->kernel, 2 * i, sizeof(cl_mem), m);
        if (status == CL_SUCCESS) {
            status = clSetKernelArg(l->kernel, 2 * i + 1, sizeof(offset), &offset);
        }
    }
    for (cl_uint i = 0; i < l->size_count && status == CL_SUCCESS; i++) {
        cl_uint at = 2 * l->operand_count + i;
        status = clSetKernelArg(l->kernel, at, sizeof(cl_uint), &l->sizes[i]);
    }
    return status;
}

static uint32_t launch_count_of(const struct launch *l, int64_t rows)
{
    return l->batched ? l->per_row * (uint32_t)rows : l->per_row;
}

/* Once per arena and need; kernels under way keep the old one alive. */
static cl_int grow_scratch(struct arena *a, size_t bytes)
{
    cl_int status = CL_SUCCESS;
    cl_mem m = clCreateBuffer(a->device->ocl->context, CL_MEM_READ_WRITE, bytes, NULL, &status);
    if (status == CL_SUCCESS) {
        if (a->scratch != NULL) {
            clReleaseMemObject(a->scratch);
        }
        a->scratch = m;
        a->scratch_bytes = bytes;
    }
    return status;
}

static cl_int set_arguments(struct step *s, struct arena *a, int64_t rows)
{
    cl_int status = CL_SUCCESS;
    if (a->scratch_bytes < s->scratch_bytes) {
        status = grow_scratch(a, s->scratch_bytes);
    }
    for (uint32_t i = 0; i < s->launch_count && status == CL_SUCCESS; i++) {
        const struct launch *l = &s->launches[i];
        cl_uint count = launch_count_of(l, rows);
        if (s->arena != a || s->scratch != a->scratch) {
            status = set_arena(l, a);
        }
        if (status == CL_SUCCESS) {
            cl_uint at = 2 * l->operand_count + l->size_count;
            status = clSetKernelArg(l->kernel, at, sizeof(count), &count);
        }
    }
    s->arena = status == CL_SUCCESS ? a : NULL;
    s->scratch = a->scratch;
    s->rows = status == CL_SUCCESS ? rows : -1;
    return status;
}

static cl_int enqueue(const struct launch *l, const struct arena *a, int64_t rows)
{
    size_t global[2];
    uint32_t count = launch_count_of(l, rows);
    for (int i = 0; i < 2; i++) {
        size_t groups = l->groups[i];
        if (l->divide[i] != 0) {
            groups = (count + l->divide[i] - 1) / l->divide[i];
        }
        global[i] = groups * l->local[i];
    }
    cl_uint dims = global[1] == 1 ? 1 : 2;
    return clEnqueueNDRangeKernel(a->queue, l->kernel, dims, NULL, global, l->local, 0, NULL, NULL);
}

static enum err build_step(struct step *s, struct fail *f)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < s->launch_count && e == ERR_OK; i++) {
        e = launch_build(s->device, &s->launches[i], s->launches[i].text, f);
    }
    s->built = e == ERR_OK;
    return e;
}

static enum err opencl_run(struct step *s, struct arena *a, int64_t rows, struct fail *f)
{
    struct ocl_device *d = s->device->ocl;
    if (!s->built) {
        enum err e = build_step(s, f);
        if (e != ERR_OK) {
            return e;
        }
    }
    cl_int status = CL_SUCCESS;
    if (s->arena != a || s->rows != rows || (s->scratch_bytes != 0 && s->scratch != a->scratch)) {
        status = set_arguments(s, a, rows);
    }
    for (uint32_t i = 0; i < s->launch_count && status == CL_SUCCESS; i++) {
        status = enqueue(&s->launches[i], a, rows);
    }
    if (status == CL_SUCCESS && !d->synchronous) {
        status = clFlush(a->queue);
    }
    return ocl_device_check(d, status, "clEnqueueNDRangeKernel", f);
}

static const struct backend opencl = {
    .name = "opencl",
    .device_open = opencl_device_open,
    .device_close = opencl_device_close,
    .device_name = opencl_device_name,
    .overlaps = opencl_overlaps,
    .compile = opencl_compile,
    .step_free = opencl_step_free,
    .join = chain_join,
    .arena_new = opencl_arena_new,
    .arena_free = opencl_arena_free,
    .run = opencl_run,
    .host_begin = opencl_host_begin,
    .host_end = opencl_host_end,
};

const struct backend *const backend_opencl = &opencl;
