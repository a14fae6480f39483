/* pe/infer/cl/program.h - compiled kernels, and the cache of them on disk.
 *
 * Compiling takes up to seconds, so a binary is kept below the data directory.  Its name is a
 * SHA-256 over everything it depends on: device, version, driver, options, source.  The file has a
 * head with a checksum; what does not check out, or what the driver refuses, is compiled anew and
 * replaced: a damaged cache costs time, never a model.
 *
 * Threads: any; two threads that compile the same text do it twice and store the same file. */
#ifndef OXB_PE_INFER_CL_PROGRAM_H
#define OXB_PE_INFER_CL_PROGRAM_H

#include "pe/infer/cl/device.h"

struct ocl_program_request {
    const char *source;       /* OpenCL C, ends with NUL */
    const char *options;      /* of the compiler; "" for none */
    const char *cache_dir;    /* NULL: not kept */
    bool apart;               /* compile in a process of its own where that can be: compiler.h */
    uint64_t gently_until_us; /* and at low priority there, up to then (clock_now_us) */
};

/* ocl_program_build - compile, or load what was compiled before.
 * @program: caller releases it by clReleaseProgram.
 * @cached:  may be NULL; set to whether the compiler was not needed.
 * Return: ERR_INVALID with the first lines of the compiler's log when the text does not compile.
 * Blocks: up to seconds; never call it on the data path. */
MUST_CHECK enum err ocl_program_build(struct ocl_device *d, const struct ocl_program_request *r,
                                      cl_program *program, bool *cached, struct fail *f);

/* ocl_cache_path - where what belongs to (device, kind, text) is kept: DIR/KIND-HEX.
 * Caller frees. */
char *ocl_cache_path(const struct ocl_device *d, const char *dir, const char *kind,
                     const char *options, const char *text);
/* ocl_cache_load - the payload of a file that ocl_cache_store wrote.
 * Return: false when it is missing or damaged; caller frees *data. */
bool ocl_cache_load(const char *path, char **data, size_t *bytes);
/* ocl_cache_store - atomically; a failure is logged and otherwise without effect. */
void ocl_cache_store(const char *path, const void *data, size_t bytes);

#endif
