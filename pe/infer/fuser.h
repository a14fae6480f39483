/* pe/infer/fuser.h - what the rewrites of fuse.c look at, and how they change a graph.
 *
 * Owns:       struct fuser: a graph under way, with how often each value is read.
 * Rules:      each looks backwards from the node it is asked about and, where it matches, turns
 *             *that* node into the fused one: everything it reads is made before it, so the order
 *             stays right.  The nodes it swallowed die.
 * Invariants: U1-U3 of fuse.c. */
#ifndef OXB_PE_INFER_FUSER_H
#define OXB_PE_INFER_FUSER_H

#include "pe/infer/fuse.h"

struct fuser {
    struct graph *graph;
    uint32_t *uses;  /* per value */
    uint32_t *same;  /* per value: what its readers are to read instead, itself if nothing */
    bool *is_output; /* per value: of the graph */
};

/* A rule: did it change the graph? */
typedef bool (*fuse_rule)(struct fuser *u, struct node *n);

/* The rules by topic; each list ends with NULL. */
extern const fuse_rule fuse_conv_rules[];
extern const fuse_rule fuse_product_rules[];
extern const fuse_rule fuse_spelled_rules[]; /* what exporters write out in small operators */
extern const fuse_rule fuse_activation_rules[];

/* fuse_is_open - may another step still follow in this fused node? */
bool fuse_is_open(const struct node *core);

/* ---- looking */
bool fuser_is_op(const struct node *n, const char *domain, const char *op); /* NULL, dead: no */
bool fuser_is_onnx(const struct node *n, const char *op);
bool fuser_is_ours(const struct node *n, const char *op);
uint32_t fuser_input_of(const struct node *n, uint32_t i); /* VALUE_NONE: left out */
const struct tensor *fuser_type_of(const struct fuser *u, uint32_t v);
bool fuser_is_f32(const struct fuser *u, uint32_t v);
bool fuser_is_const(const struct fuser *u, uint32_t v);
/* fuser_maker - the live node that makes `v`, or NULL.  fuser_sole_maker: if nobody but one reader
 * wants it (U1). */
struct node *fuser_maker(const struct fuser *u, uint32_t v);
struct node *fuser_sole_maker(const struct fuser *u, uint32_t v);
/* fuser_scalar_of - `v` is a constant of one f32: its value. */
bool fuser_scalar_of(const struct fuser *u, uint32_t v, float *out);
bool fuser_scalar_near(const struct fuser *u, uint32_t v, float want);
int64_t fuser_int_attr(const struct node *n, const char *name, int64_t fallback);
float fuser_float_attr(const struct node *n, const char *name, float fallback);
const char *fuser_string_attr(const struct node *n, const char *name); /* "": none */
bool fuser_same_shape(const struct fuser *u, uint32_t a, uint32_t b);

/* ---- changing */
void fuser_set_op(struct node *n, const char *domain, const char *op, int opset);
void fuser_kill(struct fuser *u, struct node *n);
/* fuser_become - `n` takes over the operator and the given inputs; what it read before and reads no
 * longer loses a reader. */
void fuser_become(struct fuser *u, struct node *n, const char *domain, const char *op, int opset,
                  const uint32_t *inputs, uint32_t count);
/* fuser_swallow - `n`, which alone reads `core`'s output, becomes `core` with more inputs; the
 * caller adds attributes after. */
void fuser_swallow(struct fuser *u, struct node *n, const struct node *core, const uint32_t *inputs,
                   uint32_t count);
uint32_t fuser_add_const(struct fuser *u, struct tensor *t TAKES);

#endif
