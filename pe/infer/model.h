/* pe/infer/model.h - models as files: check one, run one once, put one through ONNX's tests.
 *
 * What the command line and the conformance runner use; PEs compile programs (program.h).
 * Threads:    any; nothing shared. */
#ifndef OXB_PE_INFER_MODEL_H
#define OXB_PE_INFER_MODEL_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct graph;
struct strbuf;
struct tensor;

/* model_open - read and load an ONNX file.  Caller frees with model_close.  Errors: graph_load's,
 * ERR_IO. */
MUST_CHECK enum err model_open(const char *path, struct graph **out, struct fail *f);
void model_close(struct graph *g); /* accepts NULL */

/* ---- what runs where ---- */

struct model_node { /* borrowed for the call */
    const char *name;
    const char *op;
    const char *domain;
    int opset;
    const char *where;   /* "reference" or a device; NULL: not supported */
    const char *shape;   /* of the first output, with N for the batch; "" when not known */
    const char *why;     /* why not supported, or not on the device; may be empty */
};

struct model_port {
    const char *name;
    const char *dtype;
    const char *shape;
};

struct model_sink { /* receives a check */
    void *arg;
    void (*port)(void *arg, bool is_input, const struct model_port *p);
    void (*node)(void *arg, const struct model_node *n); /* of the model as it is in the file */
};

/* model_check - report ports and nodes.  @device: "reference" reports the nodes of the file; any
 * other is opened and compiled for, and what runs after fusion is reported.
 * Return: ERR_OK when every operator is supported. */
MUST_CHECK enum err model_check(const struct graph *g, const char *device,
                                const struct model_sink *sink, struct fail *f);
int model_opset(const struct graph *g);

/* ---- one inference ---- */

struct model_run {
    const char *device; /* "reference" (node by node), "fused" (compiled, by references), "cpu",
                         * "gpu" or "any" (compiled, on that OpenCL device) */
    bool weights;       /* inputs but the first are constants, as a trained model has them */
    /* after it, where it was compiled */
    unsigned steps;
    unsigned on_device; /* of those */
};

/* model_infer_once - @inputs: in order, with data.  @outputs: zeroed; the caller finis them. */
MUST_CHECK enum err model_infer_once(const struct graph *g, struct model_run *run,
                                     const struct tensor *inputs, struct tensor *outputs,
                                     struct fail *f);

struct model_arg {
    const char *name; /* of a model input */
    const char *file; /* a TensorProto */
};

/* model_run_files - run once with inputs from files, write DIR/NAME.pb per output. */
MUST_CHECK enum err model_run_files(const struct graph *g, const char *device,
                                    const struct model_arg *args, size_t arg_count,
                                    const char *out_dir, struct fail *f);

/* ---- ONNX's test folders ---- */

enum verdict { VERDICT_PASS, VERDICT_FAIL, VERDICT_UNSUPPORTED };

/* model_test - DIR has model.onnx and test_data_set_*; optional data.json gives rtol and atol.
 * @f: why, when not passed. */
enum verdict model_test(const char *dir, struct model_run *run, struct fail *f);

/* model_ops - every distinct operator of the model, subgraphs included, ascending, separated by
 * spaces. */
void model_ops(const struct graph *g, struct strbuf *out);

#endif
