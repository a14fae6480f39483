/* tests/fuzz/model_fuzz.c - hostile bytes as an ONNX model.
 *
 * Goal:   whatever the bytes, loading ends with an error or a sound graph, and a sound graph can be
 *         specialised, fused, planned and run with small inputs without harm.
 * Method: libFuzzer; free dims become 2; a graph whose values are large is not run, for time, and
 *         in this flavour a value and a loop are bounded more narrowly (Makefile).  Where shapes
 *         depend on data the model runs node by node.
 *         Seeds are the models of the ONNX project's tests, where libonnx-testdata is installed,
 *         and those of model_seeds.c. */
#include "core/mem.h"
#include "pe/infer/compiled.h"
#include "pe/infer/exec.h"
#include "pe/infer/load.h"
#include "pe/infer/specialise.h"

#include <assert.h>

#define INPUT_BYTES_MAX 4096
#define VALUE_BYTES_MAX (64u << 10)
#define NODES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool make_inputs(const struct graph *g, struct tensor *inputs)
{
    for (uint32_t i = 0; i < g->input_count; i++) {
        const struct value *v = &g->values[g->inputs[i]];
        struct shape s = v->type.shape;
        size_t count;
        for (unsigned d = 0; d < s.rank; d++) {
            s.dims[d] = s.dims[d] == DIM_FREE ? 2 : s.dims[d];
        }
        enum dtype type = v->type.dtype != DT_NONE ? v->type.dtype : DT_F32;
        if (!shape_count(&s, &count) || count * dtype_size(type) > INPUT_BYTES_MAX ||
            tensor_alloc(&inputs[i], type, &s, NULL) != ERR_OK) {
            return false;
        }
        for (size_t k = 0; k < count && type != DT_C64 && type != DT_C128; k++) {
            tensor_set_i64(&inputs[i], k, (int64_t)(k % 3));
        }
    }
    return true;
}

static bool is_small(const struct graph *g)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < g->node_count; i++) {
        live += !g->nodes[i].dead;
    }
    for (uint32_t i = 0; i < g->value_count; i++) {
        const struct tensor *t = &g->values[i].type;
        if (g->values[i].kind == VALUE_NODE && t->dtype != DT_NONE &&
            tensor_bytes(t) > VALUE_BYTES_MAX) {
            return false;
        }
    }
    return live <= NODES_MAX;
}

static void run_compiled(struct graph *g, const struct tensor *inputs)
{
    struct compile_target target = {.backend = &backend_host, .fuse = true};
    struct compiled *c = NULL;
    struct fail f;
    struct tensor *outputs = mem_array(g->output_count, sizeof *outputs);
    uint32_t count = g->output_count;
    if (compiled_new(g, &target, &c, &f) == ERR_OK) {
        enum err e = compiled_run_tensors(c, inputs, outputs, &f);
        (void)e; /* an operator may refuse its data */
        compiled_free(c);
    }
    for (uint32_t i = 0; i < count; i++) {
        tensor_fini(&outputs[i]);
    }
    mem_free(outputs);
}

static void run_by_node(const struct graph *g, const struct tensor *inputs)
{
    struct fail f;
    struct tensor *outputs = mem_array(g->output_count, sizeof *outputs);
    enum err e = graph_run(g, inputs, outputs, &f);
    for (uint32_t i = 0; i < g->output_count && e == ERR_OK; i++) {
        tensor_fini(&outputs[i]);
    }
    mem_free(outputs);
}

static void use(struct graph *g)
{
    struct tensor *inputs = mem_array(g->input_count, sizeof *inputs);
    struct tensor *types = mem_array(g->input_count, sizeof *types);
    struct graph *special = graph_clone(g);
    struct fail f;
    bool taken = false;
    if (make_inputs(g, inputs)) {
        for (uint32_t i = 0; i < g->input_count; i++) {
            types[i] = tensor_borrow(inputs[i].dtype, &inputs[i].shape, NULL);
        }
        if (graph_specialise(special, types, &f) == ERR_OK && is_small(special)) {
            assert(graph_check(special, &f));
            if (graph_is_dynamic(special)) {
                run_by_node(g, inputs);
            } else {
                taken = true;
                run_compiled(special, inputs);
            }
        }
    }
    for (uint32_t i = 0; i < g->input_count; i++) {
        tensor_fini(&inputs[i]);
    }
    mem_free(inputs);
    mem_free(types);
    if (!taken) {
        graph_free(special);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct graph *g = NULL;
    struct fail f = {0};
    if (graph_load(data, size, &g, &f) == ERR_OK) {
        assert(graph_check(g, &f));
        use(g);
        graph_free(g);
    } else {
        assert(f.what[0] != '\0');
    }
    return 0;
}
