/* pe/infer/cl/device.h - the OpenCL devices of this process, and what a failing call means.
 *
 * One context per device: a context that also holds a PoCL `basic` device deadlocks on events set
 * by the user, and a lost GPU takes its context with it.  No user events anywhere.
 *
 * A device is *synchronous* when enqueueing runs the kernel in the calling thread (PoCL `basic`):
 * the thread of the PE is then the compute thread, and parallelism comes from instances.
 * A device is *unified* when its memory is the host's: mapping copies nothing and a pointer once
 * mapped stays valid.
 *
 * Threads: ocl_devices_ref, ocl_devices_unref and the picks from any thread.  A queue belongs to
 * the thread that uses it; a struct ocl_device is shared and read-only but for `lost`. */
#ifndef OXB_PE_INFER_CL_DEVICE_H
#define OXB_PE_INFER_CL_DEVICE_H

#include "core/err.h"

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ocl_kind { OCL_CPU, OCL_GPU };
enum ocl_choice { OCL_CHOICE_ANY, OCL_CHOICE_CPU, OCL_CHOICE_GPU };

struct ocl_device {
    enum ocl_kind kind;
    cl_device_id id;
    cl_context context;
    char name[160];    /* CL_DEVICE_NAME */
    char version[128]; /* CL_DEVICE_VERSION */
    char driver[64];   /* CL_DRIVER_VERSION */
    bool unified;
    bool synchronous;
    uint32_t units;   /* compute units */
    uint32_t lanes;   /* f32 lanes of the kernels for CPUs: 16, or 8 */
    size_t group_max; /* work-items per work-group */
    size_t local_bytes;
    size_t align_bytes;     /* of buffers' parts; a power of two, >= 64 */
    _Atomic bool lost;      /* set by ocl_device_check; never unset */
    _Atomic unsigned tile;  /* tune.h: number of the chosen one + 1; 0: not chosen yet */
    _Atomic uint64_t built; /* programs that went through its compiler */
    _Atomic int fail_in;    /* tests: the so-manieth checked call from now fails; 0: none */
};

struct ocl_devices;

/* ocl_devices_ref - the devices of this process; the first call looks for them.
 * @data_dir: where compiled kernels and tuning are kept (below `cl/`); NULL: not kept.  Only the
 *            first caller's counts, since the OpenCL runtime reads its own settings once.
 * Return: never NULL; may hold no device.  ocl_devices_unref when done. */
struct ocl_devices *ocl_devices_ref(const char *data_dir);
void ocl_devices_unref(struct ocl_devices *d); /* accepts NULL */

size_t ocl_devices_count(const struct ocl_devices *d);
/* ocl_devices_at - borrowed until ocl_devices_unref. */
struct ocl_device *ocl_devices_at(struct ocl_devices *d, size_t i);
const char *ocl_devices_cache_dir(const struct ocl_devices *d); /* NULL: nothing is kept */

/* ocl_devices_pick - the device for one instance: GPUs first for ANY, lost ones never; several of a
 * kind are dealt out by `index` (the instance's number).
 * Return: NULL when there is none. */
struct ocl_device *ocl_devices_pick(struct ocl_devices *d, enum ocl_choice choice, uint32_t index);
/* ocl_device_choice_parse - `gpu`, `cpu` or `any`; false: none of them. */
bool ocl_device_choice_parse(const char *text, enum ocl_choice *choice);
const char *ocl_device_kind_name(enum ocl_kind k); /* "cpu", "gpu" */

/* ocl_device_is_synchronous_name - by the device's name and version: PoCL's `basic`, later called
 * `cpu-minimal`. */
bool ocl_device_is_synchronous_name(const char *name, const char *version);

/* ocl_device_queue_new - an in-order queue; caller releases it by clReleaseCommandQueue. */
MUST_CHECK enum err ocl_device_queue_new(struct ocl_device *d, cl_command_queue *queue,
                                         struct fail *f);

/* ocl_device_check - what a call's status means: ERR_OK; ERR_NOMEM (a smaller batch may do);
 * ERR_IO (the device answers no more: redo the batch elsewhere); ERR_INVALID (a fault of
 * ours).  @what: the call, for the text. */
enum err ocl_device_check(struct ocl_device *d, cl_int status, const char *what, struct fail *f);
const char *ocl_device_status_name(cl_int status); /* "CL_OUT_OF_RESOURCES", or "unknown status" */

#endif
