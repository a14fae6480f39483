/* pe/infer/cl/kernels.c - OpenCL texts by name; the Makefile makes kernels.inc of kernels/. */
#include "pe/infer/cl/kernels.h"

#include "pe/infer/cl/kernels.inc"

#include <stddef.h>
#include <string.h>

const char *ocl_kernel_text(const char *name)
{
    static const struct {
        const char *name;
        const char *text;
    } files[] = {
        {"prelude", cl_prelude},
        {"part", cl_part},
        {"gemm_cpu", cl_gemm_cpu},
        {"gemm_gpu", cl_gemm_gpu},
        {"conv_cpu", cl_conv_cpu},
        {"rnn_cpu", cl_rnn_cpu},
        {"line_cpu", cl_line_cpu},
        {"map_cpu", cl_map_cpu},
        {"bmm_cpu", cl_bmm_cpu},
        {"move_cpu", cl_move_cpu},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (strcmp(files[i].name, name) == 0) {
            return files[i].text;
        }
    }
    return NULL;
}
