/* pe/infer/cl/program.c - building programs and keeping their binaries.
 *
 * File: "OXBCL1\n\0", payload bytes (u64), XXH3-64 of the payload (u64), payload; little endian. */
#include "pe/infer/cl/program.h"

#include "core/file.h"
#include "core/hash.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/sha256.h"
#include "pe/infer/cl/compiler.h"

#include <stdio.h>
#include <string.h>

struct cache_head {
    char magic[8];
    uint64_t bytes;
    uint64_t check;
};
static_assert(sizeof(struct cache_head) == 24, "the head is written as it lies in memory");

static const char MAGIC[8] = "OXBCL1\n";

char *ocl_cache_path(const struct ocl_device *d, const char *dir, const char *kind,
                     const char *options, const char *text)
{
    char *key = mem_printf("%s\n%s\n%s\n%s\n%s", d->name, d->version, d->driver, options, text);
    char hex[SHA256_HEX_BYTES];
    sha256_hex(key, strlen(key), hex);
    mem_free(key);
    char *name = mem_printf("%s-%.40s", kind, hex);
    char *path = file_join(dir, name);
    mem_free(name);
    return path;
}

bool ocl_cache_load(const char *path, char **data, size_t *bytes)
{
    char *whole = NULL;
    size_t n = 0;
    if (file_read(path, CL_BINARY_BYTES_MAX, &whole, &n, NULL) != ERR_OK) {
        return false;
    }
    struct cache_head head;
    bool ok = n >= sizeof(head);
    if (ok) {
        memcpy(&head, whole, sizeof(head));
        ok = memcmp(head.magic, MAGIC, sizeof(MAGIC)) == 0 && head.bytes == n - sizeof(head) &&
             head.check == hash_bytes(whole + sizeof(head), n - sizeof(head));
    }
    if (!ok) {
        log_event(LOG_WARN, "infer.cache_damaged", "file=%s action=rebuild", path);
        mem_free(whole);
        return false;
    }
    *bytes = n - sizeof(head);
    memmove(whole, whole + sizeof(head), *bytes);
    whole[*bytes] = '\0';
    *data = whole;
    return true;
}

void ocl_cache_store(const char *path, const void *data, size_t bytes)
{
    if (bytes > CL_BINARY_BYTES_MAX - sizeof(struct cache_head)) {
        return;
    }
    struct cache_head head = {.bytes = bytes, .check = hash_bytes(data, bytes)};
    memcpy(head.magic, MAGIC, sizeof(MAGIC));
    char *whole = mem_alloc(sizeof(head) + bytes);
    memcpy(whole, &head, sizeof(head));
    memcpy(whole + sizeof(head), data, bytes);
    struct fail f = {0};
    if (file_write_safe(path, whole, sizeof(head) + bytes, &f) != ERR_OK) {
        log_event(LOG_WARN, "infer.cache_not_written", "file=%s why=\"%s\"", path, f.what);
    }
    mem_free(whole);
}

/* The first lines of the compiler's log, on one line. */
static void build_log(struct ocl_device *d, cl_program p, char *out, size_t bytes)
{
    out[0] = '\0';
    size_t n = 0;
    if (clGetProgramBuildInfo(p, d->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &n) != CL_SUCCESS ||
        n > CL_BINARY_BYTES_MAX) {
        return;
    }
    char *log = mem_alloc(n + 1);
    if (clGetProgramBuildInfo(p, d->id, CL_PROGRAM_BUILD_LOG, n, log, NULL) == CL_SUCCESS) {
        size_t used = 0;
        for (const char *s = log; *s != '\0' && used + 1 < bytes; s++) {
            out[used++] = (*s == '\n' || *s == '\t') ? ' ' : *s;
        }
        out[used] = '\0';
    }
    mem_free(log);
}

static enum err build(struct ocl_device *d, cl_program p, const char *options, struct fail *f)
{
    cl_int status = clBuildProgram(p, 1, &d->id, options, NULL, NULL);
    if (status == CL_BUILD_PROGRAM_FAILURE || status == CL_INVALID_BUILD_OPTIONS) {
        char log[360];
        build_log(d, p, log, sizeof(log));
        return fail_set(f, ERR_INVALID, "this is a fault of the engine: please report it",
                        "kernels do not compile on %.60s: %s", d->name, log);
    }
    return ocl_device_check(d, status, "clBuildProgram", f);
}

static bool from_cache(struct ocl_device *d, const char *path, const char *options,
                       cl_program *program)
{
    char *data = NULL;
    size_t bytes = 0;
    if (!ocl_cache_load(path, &data, &bytes)) {
        return false;
    }
    const unsigned char *binary = (const unsigned char *)data;
    cl_int status = CL_SUCCESS, each = CL_SUCCESS;
    cl_program p =
        clCreateProgramWithBinary(d->context, 1, &d->id, &bytes, &binary, &each, &status);
    mem_free(data);
    if (status != CL_SUCCESS || p == NULL) {
        return false;
    }
    if (clBuildProgram(p, 1, &d->id, options, NULL, NULL) != CL_SUCCESS) {
        log_event(LOG_WARN, "infer.cache_refused", "file=%s action=rebuild", path);
        clReleaseProgram(p);
        return false;
    }
    *program = p;
    return true;
}

static void to_cache(cl_program p, const char *path)
{
    size_t bytes = 0;
    if (clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof(bytes), &bytes, NULL) != CL_SUCCESS ||
        bytes == 0 || bytes > CL_BINARY_BYTES_MAX) {
        return;
    }
    unsigned char *data = mem_alloc(bytes);
    if (clGetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof(data), (void *)&data, NULL) == CL_SUCCESS) {
        ocl_cache_store(path, data, bytes);
    }
    mem_free(data);
}

static enum err compile(struct ocl_device *d, const struct ocl_program_request *r, const char *path,
                        cl_program *program, struct fail *f)
{
    const char *text = r->source;
    cl_int status = CL_SUCCESS;
    cl_program p = clCreateProgramWithSource(d->context, 1, &text, NULL, &status);
    enum err e = ocl_device_check(d, status, "clCreateProgramWithSource", f);
    if (e != ERR_OK) {
        return e;
    }
    e = build(d, p, r->options, f);
    if (e != ERR_OK) {
        clReleaseProgram(p);
        return e;
    }
    atomic_fetch_add_explicit(&d->built, 1, memory_order_relaxed);
    *program = p;
    if (path != NULL) {
        to_cache(p, path); /* which makes drivers finish what they put off */
    }
    return ERR_OK;
}

enum err ocl_program_build(struct ocl_device *d, const struct ocl_program_request *r,
                           cl_program *program, bool *cached, struct fail *f)
{
    char *path = NULL;
    enum err e = ERR_OK;
    bool hit = false;
    if (r->cache_dir != NULL) {
        path = ocl_cache_path(d, r->cache_dir, "program", r->options, r->source);
        hit = from_cache(d, path, r->options, program);
    }
    if (!hit && r->apart && path != NULL && compiler_run(d, r) &&
        from_cache(d, path, r->options, program)) {
        atomic_fetch_add_explicit(&d->built, 1, memory_order_relaxed);
    } else if (!hit) {
        e = compile(d, r, path, program, f);
    }
    if (e == ERR_OK && cached != NULL) {
        *cached = hit;
    }
    mem_free(path);
    return e;
}
