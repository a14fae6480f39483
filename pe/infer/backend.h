/* pe/infer/backend.h - how a device takes nodes of a graph over from the reference.
 *
 * A backend is a table of functions.  A model compiled for a batch size (pe/infer/program.h) offers
 * each of its nodes, in order, to the backend; what it compiles becomes a *step*, what it declines
 * runs as reference on the host.  Fusion has happened before: a fused group is one node of
 * OXBOW_DOMAIN (pe/infer/fuse.h lists them and their attributes).
 *
 * Life:       device_open (once per PE instance) -> arena_new and compile per batch size -> run,
 *             many times -> step_free, arena_free, device_close.
 * Threads:    open, compile and arena_new on a helper thread, while other devices run; afterwards a
 *             device and all that belongs to it is used by one thread at a time.
 * Invariants: K1 all steps of a program work in one arena: a block of `bytes`, in which every value
 *                that is not constant has a TENSOR_ALIGN-aligned offset.  Values that are never
 *                alive together share places; the plan has done that.
 *             K2 a step may be run for any rows in 1..batch: it computes at least rows 0..rows of
 *                each batched value and may compute them all; it never writes outside its outputs.
 *             K3 run only enqueues; whoever reads on the host calls host_begin, which waits.
 *             K4 compile has no effect on the device that a decline or step_free leaves behind. */
#ifndef OXB_PE_INFER_BACKEND_H
#define OXB_PE_INFER_BACKEND_H

#include "pe/infer/graph.h"

struct device; /* an opened device: the backend's own */
struct arena;  /* one block of device memory: the backend's own */
struct step;   /* a compiled node: the backend's own */

struct place {                 /* where a step finds a value */
    const struct tensor *type; /* dtype and shape at full batch; VALUE_CONST: with host data, valid
                                * until the program is freed.  NULL: input or output left out */
    size_t offset;             /* into the arena; unused for constants */
    bool constant;
    bool batched;  /* dims[0] counts rows: it is `scale * batch`, scale being */
    int64_t scale; /* elements of dims[0] per row of the batch (1, or heads ...) */
};

struct step_spec {
    const struct node *node; /* operator, attributes; node->row has the reference */
    const struct place *in;  /* [node->input_count] */
    const struct place *out; /* [node->output_count] */
    int64_t batch;           /* rows the program is compiled for; 0: the model has no batch */
};

struct device_options {
    const char *kind;      /* "cpu", "gpu" or "any" */
    const char *cache_dir; /* for program binaries and tuning; NULL: none */
    bool tune;             /* spend up to CL_TUNE_MS per operator on trying variants */
    unsigned index;        /* of the instance: several devices of a kind are dealt out by it */
};

enum host_access { HOST_READ = 1, HOST_WRITE = 2 };

struct backend {
    const char *name; /* "opencl" */

    /* device_open - ERR_NOTFOUND: no such device here. */
    enum err (*device_open)(const struct device_options *o, struct device **out, struct fail *f);
    void (*device_close)(struct device *d);
    const char *(*device_name)(const struct device *d); /* "cpu: pthread-skylake..., PoCL 3.1" */
    /* overlaps - does run return before its work is done, so that a second arena lets the host work
     * meanwhile?  NULL: it does not. */
    bool (*overlaps)(const struct device *d);

    /* compile - build, pack weights, tune.  Errors: ERR_NOTFOUND declines the node (the reference
     * takes it; f->what says why, for `model check`); anything else fails the program. */
    enum err (*compile)(struct device *d, const struct step_spec *s, struct step **out,
                        struct fail *f);
    void (*step_free)(struct step *s); /* accepts NULL */

    /* join - one step that does what the first of @steps do, which run one after the other with
     * nothing in between; they may be freed after it only.  NULL: the backend never does.
     * @count: in: how many there are, at least 2; out: how many of them @out does.
     * Errors: ERR_NOTFOUND: nothing gained; @count: how many to leave as they are, at least 1. */
    enum err (*join)(struct device *d, struct step *const *steps, uint32_t *count,
                     struct step **out, struct fail *f);

    /* arena_new - `bytes`, TENSOR_ALIGN-aligned.  ERR_NOMEM. */
    enum err (*arena_new)(struct device *d, size_t bytes, struct arena **out, struct fail *f);
    void (*arena_free)(struct arena *a);

    /* run - enqueue the step on the arena.  @rows: 1..batch; 0 where the model has no batch: all.
     * ERR_IO: the device is lost. */
    enum err (*run)(struct step *s, struct arena *a, int64_t rows, struct fail *f);

    /* host_begin - wait for what is enqueued and give the host bytes [offset, offset+bytes).  On a
     * device with unified memory nothing is copied.  host_end - give them back; after HOST_WRITE
     * later steps see what was written.  Ranges open at one time do not overlap. */
    enum err (*host_begin)(struct arena *a, size_t offset, size_t bytes, enum host_access access,
                           void **out, struct fail *f);
    enum err (*host_end)(struct arena *a, size_t offset, size_t bytes, enum host_access access,
                         void *p, struct fail *f);
};

/* backend_host - plain memory of this process; declines every node.  Never fails to open. */
extern const struct backend backend_host;

/* backend_opencl - pe/infer/opencl*.c; NULL in a build without it. */
extern const struct backend *const backend_opencl;

#endif
