/* tests/support/op_case.h - one call of an inference operator, described by a line of text.
 *
 * Tensors:    "f32[2,3]" has random elements, "i64[2]=0,-1" these, "-" is an input left out; spaces
 *             separate them.  Elements: numbers, nan, inf, -inf.
 * Attributes: "axis:i=1 alpha:f=0.5 mode:s=edge pads:I=0,1 scales:F=1,2 acts:S=Relu,Tanh
 *             value:t=f32[1]=3", separated by spaces.
 * Memory:     every tensor has exactly its bytes, so that a sanitizer sees a step beyond them. */
#ifndef OXB_TESTS_SUPPORT_OP_CASE_H
#define OXB_TESTS_SUPPORT_OP_CASE_H

#include "core/prng.h"
#include "pe/infer/op.h"

enum { OP_CASE_TENSORS = 12 };

struct op_case {
    struct graph *graph;
    struct node *node;
    struct tensor in[OP_CASE_TENSORS], out[OP_CASE_TENSORS];
    const struct tensor *in_at[OP_CASE_TENSORS]; /* NULL: left out */
    struct tensor *out_at[OP_CASE_TENSORS];
    struct scratch *scratch;
    struct fail fail;
    struct op_ctx ctx;
    struct op_budget budget;
};

/* op_case_init - @inputs, @attrs: as above; a mistake in them ends the test.  @random: for elements
 * that are not given. */
void op_case_init(struct op_case *c, const char *op, int opset, const char *inputs,
                  const char *attrs, unsigned outputs, struct prng *random);
void op_case_fini(struct op_case *c);
enum op_result op_case_infer(struct op_case *c);
/* op_case_run - after infer: gives each output memory full of `poison` bytes, and runs. */
enum op_result op_case_run(struct op_case *c, uint8_t poison);
/* op_case_tensor - the tensor at *text, which is moved behind it.  The data is the caller's. */
struct tensor op_case_tensor(const char **text, struct prng *random);
void op_case_fill(struct tensor *t, struct prng *random); /* random elements of its type */
/* op_case_set - give the node the attribute "name:type=value", in place of one of that name. */
void op_case_set(struct node *n, const char *attr, struct prng *random);

#endif
