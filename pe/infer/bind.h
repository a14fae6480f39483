/* pe/infer/bind.h - which fields of the stream are which inputs and outputs of a model.
 *
 * Owns:       struct binding: per model input the fields gathered into one row, per output field
 *             the model output it shows.
 * Invariants: I1 what is gathered for an input has exactly the elements of one of its rows.
 *             I2 an output field has the element count of one row of its output. */
#ifndef OXB_PE_INFER_BIND_H
#define OXB_PE_INFER_BIND_H

#include "pe/infer/graph.h"
#include "pe/pe.h"

#include <jansson.h>

struct bound_input {
    struct shape row;    /* one row, without the batch */
    size_t elements;     /* of it */
    enum dtype dtype;
    unsigned *fields;    /* [field_count] of the stream's schema, gathered in order */
    unsigned field_count;
};

struct bound_output {
    unsigned field;      /* of the output schema */
    unsigned output;     /* of the model */
    size_t elements;     /* per row */
};

struct binding {
    struct bound_input *inputs; /* [input_count] in the model's order */
    unsigned input_count;
    struct bound_output *outputs;
    unsigned output_count;
};

/* binding_inputs - @in: parameter `in`, {MODEL_INPUT: FIELD or [FIELD, ...]}; may be empty where
 * the model has one input and the stream one tensor field, or fields with the inputs' names. */
MUST_CHECK enum err binding_inputs(struct binding *b, const struct graph *model, const json_t *in,
                                   const struct oxb_schema *schema, struct fail *f);
/* binding_outputs - @out: parameter `out`, {FIELD: MODEL_OUTPUT}; empty: all under their own names.
 * @shaped: the model specialised, so that its outputs' shapes are known. */
MUST_CHECK enum err binding_outputs(struct binding *b, const struct graph *shaped,
                                    const json_t *out, const struct oxb_schema *schema,
                                    struct fail *f);
void binding_fini(struct binding *b);

/* bound_gather - write the live rows of a batch to rows `at`... of input `i`.  @to: the memory of
 * the whole input. */
void bound_gather(const struct bound_input *i, const struct oxb_batch *batch, void *to, size_t at);
/* bound_scatter - fill the live rows of a new column from rows `at`... of a model output. */
void bound_scatter(const struct bound_output *o, const struct tensor *type, const void *from,
                   size_t at, const struct oxb_schema *schema, const struct oxb_batch *batch,
                   void *column);

/* field_type_of - the type of the field that shows one row of a model output: "f64", "i64", "bool"
 * or "f32[...]"; `out` has SHAPE_TEXT_BYTES + 8 bytes.  NULL: it cannot be shown. */
const char *field_type_of(const struct tensor *output, char *out);

#endif
