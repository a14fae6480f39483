/* pe/expr.h - what a port's schema expression comes to, for given inputs and parameters. */
#ifndef OXB_PE_EXPR_H
#define OXB_PE_EXPR_H

#include "core/err.h"
#include "pe/pe.h"

#include <jansson.h>

/* expr_output - the schema of an output port.
 * @expr:     as in struct oxb_port.
 * @in:       schema of input port 0; NULL for sources.
 * @params:   JSON object with the defaults filled in.
 * @declared: text of the topology's `out:`, or NULL. */
MUST_CHECK enum err expr_output(const char *expr, const struct oxb_schema *in,
                                const json_t *params, const char *declared,
                                const struct oxb_schema **out, struct fail *f);
/* expr_input - does `in` have the fields that an input port asks for? */
MUST_CHECK enum err expr_input(const char *expr, const struct oxb_schema *in,
                               const json_t *params, struct fail *f);

#endif
