/* pe/infer/describe.h - a model file as the model of a topology sees it: its outputs as fields. */
#ifndef OXB_PE_INFER_DESCRIBE_H
#define OXB_PE_INFER_DESCRIBE_H

#include "core/err.h"

#include <jansson.h>
#include <stdbool.h>

bool model_is_file(const char *path); /* not a shared object: its first bytes are not ELF's */
/* model_describe - {"inputs": [{"name", "type", "shape"}], "outputs": [{"name", "type"}]}, the type
 * of an output being that of the field that shows it ("f32[10]").  "outputs" is absent where shapes
 * cannot be known without data.  Caller decrefs.  Errors: model_open's, unsupported operators. */
MUST_CHECK enum err model_describe(const char *path, json_t **out, struct fail *f);

#endif
