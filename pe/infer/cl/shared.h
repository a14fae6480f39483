/* pe/infer/cl/shared.h - what instances and versions of a model share on a device: compiled
 * programs and packed weights, found by content.
 *
 * An upgrade that changes one layer packs and uploads one layer; the replicas of a PE hold one copy
 * of the weights.  The last holder's unref frees.
 *
 * Threads: any; a lock is held for look-ups and insertions only, so two threads that ask for the
 * same new thing at once both make it, and one copy is dropped. */
#ifndef OXB_PE_INFER_CL_SHARED_H
#define OXB_PE_INFER_CL_SHARED_H

#include "pe/infer/cl/program.h"

#define PACK_SOURCES_MAX 3

struct ocl_shared { /* read-only for its holders */
    cl_program program; /* one of the two is set */
    cl_mem mem;
    size_t bytes;       /* of mem */
    /* the table's own */
    struct ocl_shared *next;
    struct ocl_device *device;
    uint64_t key[2];
    size_t refs;
};

struct ocl_pack {
    const char *layout;     /* names the packing and all its parameters: part of the key */
    struct {
        const void *data;
        size_t bytes;
    } sources[PACK_SOURCES_MAX]; /* unused ones are zero */
    size_t bytes;           /* of the result, > 0 */
    /* pack - fill `to` (zeroed) from the sources; NULL: a copy of sources[0]. */
    void (*pack)(void *to, const struct ocl_pack *p);
    const void *context;    /* for pack */
};

MUST_CHECK enum err ocl_shared_program(struct ocl_device *d, const struct ocl_program_request *r,
                                       struct ocl_shared **out, struct fail *f);
MUST_CHECK enum err ocl_shared_weights(struct ocl_device *d, const struct ocl_pack *p,
                                       struct ocl_shared **out, struct fail *f);
void ocl_shared_ref(struct ocl_shared *s); /* one holder more */
void ocl_shared_unref(struct ocl_shared *s); /* accepts NULL */

#endif
