/* pe/infer/cl/kernels.h - the texts of kernels/, embedded when the engine is built. */
#ifndef OXB_PE_INFER_CL_KERNELS_H
#define OXB_PE_INFER_CL_KERNELS_H

const char *ocl_kernel_text(const char *name); /* "gemm_cpu"; NULL: no such file */

#endif
