/* pe/infer/conform.c - ONNX's test folders: a model, inputs, and the outputs it must give.
 *
 * Layout of a folder (the ONNX project's): model.onnx, test_data_set_K/{input_I,output_I}.pb, each
 * .pb one TensorProto, I counting the model's inputs and outputs in order. */
#include "core/file.h"
#include "core/limits.h"
#include "core/mem.h"
#include "pe/infer/compare.h"
#include "pe/infer/exec.h"
#include "pe/infer/graph.h"
#include "pe/infer/model.h"
#include "pe/infer/proto.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>

struct conform {
    struct graph *graph;
    struct model_run *run;
    double rtol, atol;
};

static enum err read_tensor(const char *dir, const char *kind, unsigned i, struct tensor *out,
                            struct fail *f)
{
    char *bytes = NULL;
    size_t size = 0;
    char *path = mem_printf("%s/%s_%u.pb", dir, kind, i);
    enum err e = file_read(path, MODEL_BYTES_MAX, &bytes, &size, f);
    if (e == ERR_OK) {
        e = tensor_from_pb(bytes, size, out, f);
    }
    mem_free(bytes);
    mem_free(path);
    return e;
}

/* numpy had no bfloat16, so the suite stores such tensors as u16 of the same bits. */
static void mend_bf16(struct tensor *t, enum dtype wanted)
{
    if (t->dtype == DT_U16 && wanted == DT_BF16) {
        t->dtype = DT_BF16;
    }
}

static enum err compare_outputs(const struct conform *c, const char *dir,
                                const struct tensor *outputs, struct fail *f)
{
    for (uint32_t i = 0; i < c->graph->output_count; i++) {
        struct tensor want = {0};
        struct fail inner = {0};
        enum err e = read_tensor(dir, "output", i, &want, f);
        if (e != ERR_OK) {
            return e;
        }
        mend_bf16(&want, outputs[i].dtype);
        e = tensor_close(&outputs[i], &want, c->rtol, c->atol, &inner);
        tensor_fini(&want);
        if (e != ERR_OK) {
            return fail_set(f, e, "", "output '%.80s' %.300s",
                            c->graph->values[c->graph->outputs[i]].name, inner.what);
        }
    }
    return ERR_OK;
}

static void fini_all(struct tensor *t, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        tensor_fini(&t[i]);
    }
    mem_free(t);
}

static enum err run_set(const struct conform *c, const char *dir, struct fail *f)
{
    const struct graph *g = c->graph;
    struct tensor *inputs = mem_array(g->input_count, sizeof *inputs);
    struct tensor *outputs = mem_array(g->output_count, sizeof *outputs);
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < g->input_count && e == ERR_OK; i++) {
        e = read_tensor(dir, "input", i, &inputs[i], f);
        mend_bf16(&inputs[i], g->values[g->inputs[i]].type.dtype);
    }
    if (e == ERR_OK) {
        e = model_infer_once(g, c->run, inputs, outputs, f);
    }
    if (e == ERR_OK) {
        e = compare_outputs(c, dir, outputs, f);
    }
    fini_all(inputs, g->input_count);
    fini_all(outputs, g->output_count);
    return e;
}

/* data.json, where there is one, says how close is close enough. */
static void read_tolerance(struct conform *c, const char *dir)
{
    char *path = mem_printf("%s/data.json", dir);
    json_t *j = json_load_file(path, 0, NULL);
    json_t *rtol = json_object_get(j, "rtol"), *atol = json_object_get(j, "atol");
    c->rtol = json_is_number(rtol) ? json_number_value(rtol) : RTOL_DEFAULT;
    c->atol = json_is_number(atol) ? json_number_value(atol) : ATOL_DEFAULT;
    json_decref(j);
    mem_free(path);
}

static enum err run_sets(struct conform *c, const char *dir, struct fail *f)
{
    /* Some folders' data has other shapes than their models declare.  ONNX's runner hands the data
     * to the backend and looks at no declared shape, so here too the data decides; that the
     * outputs' shapes agree is checked, which its comparison does not insist on. */
    for (uint32_t i = 0; i < c->graph->input_count; i++) {
        c->graph->values[c->graph->inputs[i]].has_shape = false;
    }
    for (unsigned set = 0;; set++) {
        char *path = mem_printf("%s/test_data_set_%u", dir, set);
        bool there = access(path, F_OK) == 0;
        enum err e = there ? run_set(c, path, f) : ERR_OK;
        mem_free(path);
        if (e != ERR_OK) {
            return e;
        }
        if (!there) {
            return set > 0
                       ? ERR_OK
                       : fail_set(f, ERR_INVALID, "", "there is no test_data_set_0 in %.300s", dir);
        }
    }
}

enum verdict model_test(const char *dir, struct model_run *run, struct fail *f)
{
    struct graph *g = NULL;
    char *path = mem_printf("%s/model.onnx", dir);
    enum err e = model_open(path, &g, f);
    mem_free(path);
    if (e == ERR_OK) {
        struct conform c = {.graph = g, .run = run};
        read_tolerance(&c, dir);
        e = run_sets(&c, dir, f);
        model_close(g);
    }
    if (e == ERR_OK) {
        return VERDICT_PASS;
    }
    return e == ERR_NOTFOUND ? VERDICT_UNSUPPORTED : VERDICT_FAIL;
}
