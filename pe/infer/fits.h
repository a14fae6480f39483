/* pe/infer/fits.h - do a model's inputs and outputs fit the fields of a stream? */
#ifndef OXB_PE_INFER_FITS_H
#define OXB_PE_INFER_FITS_H

#include "core/err.h"

#include <jansson.h>

/* model_fits - by the rules of bind.h.  A file that cannot be read as a model passes: whoever
 * described it has said why, or a worker will, where it is.
 * @path: of the model.  @with: the parameters of `infer`.
 * @in, @out: schemas as text; `out` may be NULL: not known.
 * Return: ERR_INVALID with `f` set when `infer` would refuse. */
MUST_CHECK enum err model_fits(const char *path, const json_t *with, const char *in,
                               const char *out, struct fail *f);

#endif
