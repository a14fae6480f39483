/* pe/infer/cl/tune.h - which tile the products of a device use: tried once, then remembered.
 *
 * A tile is how many lines and vectors of the result are summed at once; which is best depends on
 * registers, caches and compiler.  The first product that is compiled on a device for tuning
 * (device_options.tune) tries the candidates on a product of its own, after which the choice is
 * known to the process (struct ocl_device) and on disk, beside the programs and in the same form:
 * a damaged or foreign file is tried anew and replaced.  Without tuning: the first candidate, which
 * is right for the processors known when it was written.
 * Only products with constant weights are tuned; convolutions choose by rule (recipe_conv.c).
 *
 * Threads: any; two that tune at once come to their own results, and the later one stays. */
#ifndef OXB_PE_INFER_CL_TUNE_H
#define OXB_PE_INFER_CL_TUNE_H

#include "pe/infer/cl/device.h"

struct device;

struct tile {          /* of kernels/gemm_cpu.cl, or gemm_gpu.cl */
    uint32_t lines;    /* MR; GPU: TILE_M */
    uint32_t vectors;  /* NV; GPU: WI_N, work-items along a line */
    uint32_t per_item; /* GPU: WI_M, lines of one work-item; else 0 */
    uint32_t depth;    /* GPU: KT, steps fetched together; else 0 */
};

/* tune_tile - for products on `d`.  Blocks: for seconds when it is tried. */
struct tile tune_tile(struct device *d);
/* tune_candidates - what there is to choose from on that device, the first being the rule.
 * Borrowed for ever. */
const struct tile *tune_candidates(const struct ocl_device *d, size_t *count);
/* tune_path - where the choice is kept in `dir`; caller frees. */
char *tune_path(const struct ocl_device *d, const char *dir);

#endif
