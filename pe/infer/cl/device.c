/* pe/infer/cl/device.c - finding OpenCL devices and opening one context on each. */
#include "pe/infer/cl/device.h"

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PLATFORMS_MAX 16
#define DEVICES_MAX 32

struct ocl_devices {
    size_t refs; /* under the lock */
    size_t count;
    struct ocl_device all[DEVICES_MAX];
    char *cache_dir;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* tidy: guards `shared` */
static struct ocl_devices *shared;                       /* tidy: one set of contexts a process */

const char *ocl_device_kind_name(enum ocl_kind k)
{
    return k == OCL_GPU ? "gpu" : "cpu";
}

bool ocl_device_choice_parse(const char *text, enum ocl_choice *choice)
{
    static const char *const names[] = {"any", "cpu", "gpu"};
    for (size_t i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *choice = (enum ocl_choice)i;
            return true;
        }
    }
    return false;
}

bool ocl_device_is_synchronous_name(const char *name, const char *version)
{
    if (strstr(version, "PoCL") == NULL) {
        return false;
    }
    return strncmp(name, "basic", 5) == 0 || strncmp(name, "cpu-minimal", 11) == 0;
}

static void info_text(cl_device_id id, cl_device_info what, char *out, size_t bytes)
{
    char text[1024] = "";
    if (clGetDeviceInfo(id, what, sizeof(text), text, NULL) != CL_SUCCESS) {
        text[0] = '\0';
    }
    text[sizeof(text) - 1] = '\0';
    strncpy(out, text, bytes - 1);
    out[bytes - 1] = '\0';
}

static uint32_t info_u32(cl_device_id id, cl_device_info what)
{
    cl_uint v = 0;
    return clGetDeviceInfo(id, what, sizeof(v), &v, NULL) == CL_SUCCESS ? v : 0;
}

static size_t info_size(cl_device_id id, cl_device_info what)
{
    size_t v = 0;
    return clGetDeviceInfo(id, what, sizeof(v), &v, NULL) == CL_SUCCESS ? v : 0;
}

static bool is_usable(cl_device_id id)
{
    return info_u32(id, CL_DEVICE_AVAILABLE) != 0 &&
           info_u32(id, CL_DEVICE_COMPILER_AVAILABLE) != 0;
}

/* For tests of that path without a GPU: a device whose name begins with OXBOW_CL_AS_GPU counts as
 * one, with memory of its own and queues that run beside the host. */
static bool is_taken_for_gpu(const struct ocl_device *d)
{
    const char *as = getenv("OXBOW_CL_AS_GPU");
    return as != NULL && as[0] != '\0' && strncmp(d->name, as, strlen(as)) == 0;
}

static bool open_one(struct ocl_device *d, cl_device_id id)
{
    cl_device_type type = 0;
    if (clGetDeviceInfo(id, CL_DEVICE_TYPE, sizeof(type), &type, NULL) != CL_SUCCESS ||
        (type & (CL_DEVICE_TYPE_CPU | CL_DEVICE_TYPE_GPU)) == 0 || !is_usable(id)) {
        return false;
    }
    memset(d, 0, sizeof(*d));
    d->id = id;
    d->kind = (type & CL_DEVICE_TYPE_GPU) != 0 ? OCL_GPU : OCL_CPU;
    info_text(id, CL_DEVICE_NAME, d->name, sizeof(d->name));
    info_text(id, CL_DEVICE_VERSION, d->version, sizeof(d->version));
    info_text(id, CL_DRIVER_VERSION, d->driver, sizeof(d->driver));
    d->unified = d->kind == OCL_CPU || info_u32(id, CL_DEVICE_HOST_UNIFIED_MEMORY) != 0;
    d->synchronous = d->kind == OCL_CPU && ocl_device_is_synchronous_name(d->name, d->version);
    if (is_taken_for_gpu(d)) {
        d->kind = OCL_GPU;
        d->unified = d->synchronous = false;
    }
    d->units = info_u32(id, CL_DEVICE_MAX_COMPUTE_UNITS);
    d->lanes = info_u32(id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT) >= 16 ? 16 : 8;
    d->group_max = info_size(id, CL_DEVICE_MAX_WORK_GROUP_SIZE);
    cl_ulong local = 0;
    clGetDeviceInfo(id, CL_DEVICE_LOCAL_MEM_SIZE, sizeof(local), &local, NULL);
    d->local_bytes = (size_t)local;
    d->align_bytes = info_u32(id, CL_DEVICE_MEM_BASE_ADDR_ALIGN) / 8;
    if (d->align_bytes < 64) {
        d->align_bytes = 64;
    }
    cl_int status = CL_SUCCESS;
    d->context = clCreateContext(NULL, 1, &id, NULL, NULL, &status);
    return status == CL_SUCCESS;
}

static void find_all(struct ocl_devices *d)
{
    cl_platform_id platforms[PLATFORMS_MAX];
    cl_uint platform_count = 0;
    if (clGetPlatformIDs(PLATFORMS_MAX, platforms, &platform_count) != CL_SUCCESS) {
        return; /* no driver is installed */
    }
    platform_count = platform_count > PLATFORMS_MAX ? PLATFORMS_MAX : platform_count;
    for (cl_uint p = 0; p < platform_count; p++) {
        cl_device_id ids[DEVICES_MAX];
        cl_uint count = 0;
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, DEVICES_MAX, ids, &count) !=
            CL_SUCCESS) {
            continue;
        }
        count = count > DEVICES_MAX ? DEVICES_MAX : count;
        for (cl_uint i = 0; i < count && d->count < DEVICES_MAX; i++) {
            if (open_one(&d->all[d->count], ids[i])) {
                d->count++;
            }
        }
    }
}

/* Before the first OpenCL call of the process; what the user has set stays. */
static void settle_environment(const char *cache_dir)
{
    setenv("POCL_DEVICES", "basic pthread", 0);
    if (cache_dir != NULL) {
        char *pocl = file_join(cache_dir, "pocl");
        if (file_make_dirs(pocl, NULL) == ERR_OK) {
            setenv("POCL_CACHE_DIR", pocl, 0);
        }
        mem_free(pocl);
    }
}

struct ocl_devices *ocl_devices_ref(const char *data_dir)
{
    pthread_mutex_lock(&lock);
    if (shared == NULL) {
        struct ocl_devices *d = mem_alloc(sizeof(*d));
        if (data_dir != NULL) {
            d->cache_dir = file_join(data_dir, "cl");
            if (file_make_dirs(d->cache_dir, NULL) != ERR_OK) {
                mem_free(d->cache_dir);
                d->cache_dir = NULL;
            }
        }
        settle_environment(d->cache_dir);
        find_all(d);
        shared = d;
    }
    struct ocl_devices *d = shared;
    d->refs++;
    pthread_mutex_unlock(&lock);
    return d;
}

void ocl_devices_unref(struct ocl_devices *d)
{
    if (d == NULL) {
        return;
    }
    pthread_mutex_lock(&lock);
    bool last = --d->refs == 0;
    if (last) {
        shared = NULL;
        for (size_t i = 0; i < d->count; i++) {
            clReleaseContext(d->all[i].context);
        }
    }
    pthread_mutex_unlock(&lock);
    if (last) {
        mem_free(d->cache_dir);
        mem_free(d);
    }
}

size_t ocl_devices_count(const struct ocl_devices *d)
{
    return d->count;
}

struct ocl_device *ocl_devices_at(struct ocl_devices *d, size_t i)
{
    return &d->all[i];
}

const char *ocl_devices_cache_dir(const struct ocl_devices *d)
{
    return d->cache_dir;
}

/* Of CPUs only the best sort counts: a synchronous one when there is any, since a second device on
 * the same cores adds nothing. */
static bool is_candidate(const struct ocl_devices *d, size_t i, enum ocl_kind kind,
                         bool synchronous)
{
    const struct ocl_device *v = &d->all[i];
    return v->kind == kind && !atomic_load(&v->lost) &&
           (kind == OCL_GPU || v->synchronous == synchronous);
}

static struct ocl_device *pick_kind(struct ocl_devices *d, enum ocl_kind kind, bool synchronous,
                                    uint32_t index)
{
    size_t count = 0;
    for (size_t i = 0; i < d->count; i++) {
        count += is_candidate(d, i, kind, synchronous);
    }
    if (count == 0) {
        return NULL;
    }
    size_t skip = kind == OCL_GPU ? index % count : 0;
    for (size_t i = 0; i < d->count; i++) {
        if (is_candidate(d, i, kind, synchronous) && skip-- == 0) {
            return &d->all[i];
        }
    }
    return NULL;
}

struct ocl_device *ocl_devices_pick(struct ocl_devices *d, enum ocl_choice choice, uint32_t index)
{
    struct ocl_device *found = NULL;
    if (choice != OCL_CHOICE_CPU) {
        found = pick_kind(d, OCL_GPU, false, index);
    }
    if (found == NULL && choice != OCL_CHOICE_GPU) {
        found = pick_kind(d, OCL_CPU, true, index);
        if (found == NULL) {
            found = pick_kind(d, OCL_CPU, false, index);
        }
    }
    return found;
}

enum err ocl_device_queue_new(struct ocl_device *d, cl_command_queue *queue, struct fail *f)
{
    cl_int status = CL_SUCCESS;
    cl_command_queue q = clCreateCommandQueue(d->context, d->id, 0, &status);
    enum err e = ocl_device_check(d, status, "clCreateCommandQueue", f);
    if (e == ERR_OK) {
        *queue = q;
    }
    return e;
}

/* ---- what a status means */

const char *ocl_device_status_name(cl_int status)
{
    static const struct {
        cl_int status;
        const char *name;
    } names[] = {
#define S(x) {x, #x}
        S(CL_SUCCESS),
        S(CL_DEVICE_NOT_FOUND),
        S(CL_DEVICE_NOT_AVAILABLE),
        S(CL_COMPILER_NOT_AVAILABLE),
        S(CL_MEM_OBJECT_ALLOCATION_FAILURE),
        S(CL_OUT_OF_RESOURCES),
        S(CL_OUT_OF_HOST_MEMORY),
        S(CL_BUILD_PROGRAM_FAILURE),
        S(CL_MAP_FAILURE),
        S(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST),
        S(CL_INVALID_VALUE),
        S(CL_INVALID_DEVICE),
        S(CL_INVALID_CONTEXT),
        S(CL_INVALID_COMMAND_QUEUE),
        S(CL_INVALID_MEM_OBJECT),
        S(CL_INVALID_BINARY),
        S(CL_INVALID_BUILD_OPTIONS),
        S(CL_INVALID_PROGRAM),
        S(CL_INVALID_PROGRAM_EXECUTABLE),
        S(CL_INVALID_KERNEL_NAME),
        S(CL_INVALID_KERNEL),
        S(CL_INVALID_ARG_INDEX),
        S(CL_INVALID_ARG_VALUE),
        S(CL_INVALID_ARG_SIZE),
        S(CL_INVALID_KERNEL_ARGS),
        S(CL_INVALID_WORK_GROUP_SIZE),
        S(CL_INVALID_BUFFER_SIZE),
        S(CL_INVALID_OPERATION),
        S(CL_INVALID_EVENT)
#undef S
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (names[i].status == status) {
            return names[i].name;
        }
    }
    return "unknown status";
}

static bool is_loss(cl_int status)
{
    switch (status) {
    case CL_DEVICE_NOT_AVAILABLE:
    case CL_OUT_OF_RESOURCES: /* what GPU drivers say when a kernel or the device died */
    case CL_INVALID_COMMAND_QUEUE:
    case CL_INVALID_CONTEXT:
    case CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST:
        return true;
    default:
        return status < -1000; /* drivers' own codes, which no call documents */
    }
}

enum err ocl_device_check(struct ocl_device *d, cl_int status, const char *what, struct fail *f)
{
    if (atomic_load_explicit(&d->fail_in, memory_order_relaxed) > 0 &&
        atomic_fetch_sub(&d->fail_in, 1) == 1) {
        status = CL_DEVICE_NOT_AVAILABLE;
    }
    if (status == CL_SUCCESS) {
        return ERR_OK;
    }
    if (status == CL_MEM_OBJECT_ALLOCATION_FAILURE || status == CL_OUT_OF_HOST_MEMORY ||
        status == CL_INVALID_BUFFER_SIZE) {
        return fail_set(f, ERR_NOMEM, "use a smaller batch, or another device", "%s on %s: %s",
                        what, d->name, ocl_device_status_name(status));
    }
    if (is_loss(status)) {
        if (!atomic_exchange(&d->lost, true)) {
            log_event(LOG_WARN, "infer.device_lost", "device=\"%s\" call=%s status=%d", d->name,
                      what, (int)status);
        }
        return fail_set(f, ERR_IO, "the work is redone on another device",
                        "%s on %s: %s (%d): the device is lost", what, d->name,
                        ocl_device_status_name(status), (int)status);
    }
    return fail_set(f, ERR_INVALID, "this is a fault of the engine: please report it",
                    "%s on %s: %s (%d)", what, d->name, ocl_device_status_name(status),
                    (int)status);
}
