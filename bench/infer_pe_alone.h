/* bench/infer_pe_alone.h - the PE `infer` without a worker, a tuple at a time. */
#ifndef OXB_BENCH_INFER_PE_ALONE_H
#define OXB_BENCH_INFER_PE_ALONE_H

#include "core/err.h"

#include <stddef.h>

struct pe_alone;

/* pe_alone_open - on the CPU's device.  @elements: of the input, one f32 tensor; @outputs: of the
 * output.  @dir: for compiled kernels. */
MUST_CHECK enum err pe_alone_open(const char *model, const char *dir, size_t elements,
                                  size_t outputs, struct pe_alone **out, struct fail *f);
void pe_alone_close(struct pe_alone *a);
/* pe_alone_run - a batch of one tuple in, its result out.  @arg: struct pe_alone. */
void pe_alone_run(void *arg);

#endif
