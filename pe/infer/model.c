/* pe/infer/model.c - models as files: opening, checking, one inference. */
#include "pe/infer/model.h"

#include "core/file.h"
#include "core/limits.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "core/text.h"
#include "pe/infer/compiled.h"
#include "pe/infer/exec.h"
#include "pe/infer/load.h"
#include "pe/infer/op.h"
#include "pe/infer/proto.h"
#include "pe/infer/specialise.h"

#include <stdlib.h>
#include <string.h>

enum err model_open(const char *path, struct graph **out, struct fail *f)
{
    char *bytes = NULL;
    size_t size = 0;
    enum err e = proto_scan_file(&onnx__model_proto__descriptor, "model", path, f);
    if (e == ERR_OK) {
        e = file_read(path, MODEL_BYTES_MAX, &bytes, &size, f);
    }
    if (e == ERR_OK) {
        e = graph_load(bytes, size, out, f);
    }
    mem_free(bytes);
    return e;
}

void model_close(struct graph *g)
{
    graph_free(g);
}

int model_opset(const struct graph *g)
{
    return g->opset;
}

/* ---- what runs where ---- */

static void report_ports(const struct graph *g, const struct model_sink *sink)
{
    char text[SHAPE_TEXT_BYTES];
    for (uint32_t i = 0; i < g->input_count + g->output_count; i++) {
        bool is_input = i < g->input_count;
        const struct value *v =
            &g->values[is_input ? g->inputs[i] : g->outputs[i - g->input_count]];
        struct model_port p = {
            .name = v->name,
            .dtype = dtype_name(v->type.dtype),
            .shape = v->has_shape ? shape_text(&v->type.shape, text) : "",
        };
        sink->port(sink->arg, is_input, &p);
    }
}

/* Shapes for a check: free dims become 2, which few operators mind. */
static enum err specialise_for_check(struct graph *g, struct fail *f)
{
    struct tensor *inputs = mem_array(g->input_count, sizeof *inputs);
    for (uint32_t i = 0; i < g->input_count; i++) {
        inputs[i] = g->values[g->inputs[i]].type;
        for (unsigned d = 0; d < inputs[i].shape.rank; d++) {
            if (inputs[i].shape.dims[d] == DIM_FREE) {
                inputs[i].shape.dims[d] = 2;
            }
        }
    }
    enum err e = graph_specialise(g, inputs, f);
    mem_free(inputs);
    return e;
}

static const char *reason(const struct node *n)
{
    return n->row != NULL               ? ""
           : op_known(n->domain, n->op) ? "not at this opset"
                                        : "unknown operator";
}

struct placed { /* a report of what a compiled model runs where */
    const struct model_sink *sink;
    const struct graph *graph;
    const char *device;
};

static void report_stage(void *arg, const struct node *n, bool on_device, const char *why)
{
    const struct placed *p = arg;
    char text[SHAPE_TEXT_BYTES];
    uint32_t out = n->output_count > 0 ? n->outputs[0] : VALUE_NONE;
    struct model_node row = {
        .name = n->name,
        .op = n->op,
        .domain = n->domain,
        .opset = n->opset,
        .where = on_device ? p->device : "reference",
        .shape = out != VALUE_NONE ? shape_text(&p->graph->values[out].type.shape, text) : "",
        .why = why,
    };
    p->sink->node(p->sink->arg, &row);
}

/* After fusion, as a device takes it. */
static enum err check_on_device(const struct graph *g, const char *device,
                                const struct model_sink *sink, struct fail *f)
{
    bool host = strcmp(device, "fused") == 0;
    struct device_options o = {.kind = device};
    struct compile_target target = {.backend = host ? &backend_host : backend_opencl, .fuse = true};
    struct compiled *c = NULL;
    struct graph *shaped = graph_clone(g);
    enum err e = specialise_for_check(shaped, f);
    if (e == ERR_OK && graph_is_dynamic(shaped)) {
        e = fail_set(f, ERR_NOTFOUND, "check it without --device",
                     "shapes in the model depend on its data: it is run node by node");
    }
    if (e == ERR_OK && target.backend == NULL) {
        e = fail_set(f, ERR_NOTFOUND, "", "this program was built without OpenCL devices");
    }
    if (e == ERR_OK) {
        e = target.backend->device_open(&o, &target.device, f);
    }
    if (e != ERR_OK) {
        graph_free(shaped);
        return e;
    }
    e = compiled_new(shaped, &target, &c, f);
    if (e == ERR_OK) {
        struct placed p = {sink, compiled_graph(c), device};
        report_ports(g, sink);
        compiled_each(c, report_stage, &p);
    }
    compiled_free(c);
    target.backend->device_close(target.device);
    return e;
}

/* Nodes that nobody here can do; *first: the first of them. */
static uint32_t count_missing(const struct graph *g, const struct node **first)
{
    uint32_t missing = 0;
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (g->nodes[i].row == NULL && missing++ == 0) {
            *first = &g->nodes[i];
        }
    }
    return missing;
}

/* @shaped: a copy with shapes, or NULL. */
static void report_nodes(const struct graph *g, const struct graph *shaped,
                         const struct model_sink *sink)
{
    char text[SHAPE_TEXT_BYTES];
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        uint32_t out = n->output_count > 0 ? n->outputs[0] : VALUE_NONE;
        bool known =
            shaped != NULL && out != VALUE_NONE && shaped->values[out].type.dtype != DT_NONE;
        struct model_node row = {
            .name = n->name,
            .op = n->op,
            .domain = n->domain,
            .opset = n->opset,
            .where = n->row != NULL ? "reference" : NULL,
            .shape = known ? shape_text(&shaped->values[out].type.shape, text) : "",
            .why = reason(n),
        };
        sink->node(sink->arg, &row);
    }
}

enum err model_check(const struct graph *g, const char *device, const struct model_sink *sink,
                     struct fail *f)
{
    if (strcmp(device, "reference") != 0) {
        return check_on_device(g, device, sink, f);
    }
    const struct node *first = NULL;
    uint32_t missing = count_missing(g, &first);
    struct graph *shaped = missing == 0 ? graph_clone(g) : NULL;
    enum err e = shaped != NULL ? specialise_for_check(shaped, f) : ERR_OK;
    report_ports(g, sink);
    report_nodes(g, e == ERR_OK ? shaped : NULL, sink);
    graph_free(shaped);
    return missing == 0
               ? e
               : fail_set(f, ERR_NOTFOUND, "", "%u nodes are not supported, first '%.80s' (%.60s)",
                          missing, first->name, first->op);
}

/* ---- one inference ---- */

/* Shapes, axes and the like come as short lists of integers: with those known most graphs have all
 * their shapes. */
static bool is_shape_like(const struct tensor *t)
{
    return (t->dtype == DT_I64 || t->dtype == DT_I32) && t->shape.rank <= 1;
}

/* Which inputs become constants. */
enum fixed { FIX_NONE, FIX_LISTS, FIX_WEIGHTS };

static bool is_fixed(enum fixed fixed, uint32_t i, const struct tensor *t)
{
    return (fixed == FIX_WEIGHTS && i > 0) || (fixed != FIX_NONE && is_shape_like(t));
}

/* A specialised copy, or NULL in *out where shapes depend on data. */
static enum err specialise_once(const struct graph *g, const struct tensor *inputs,
                                enum fixed fixed, struct graph **out, struct fail *f)
{
    struct graph *copy = graph_clone(g);
    struct tensor *types = mem_array(g->input_count, sizeof *types);
    for (uint32_t i = 0; i < g->input_count; i++) {
        types[i] = is_fixed(fixed, i, &inputs[i])
                       ? inputs[i]
                       : tensor_borrow(inputs[i].dtype, &inputs[i].shape, NULL);
    }
    enum err e = graph_specialise(copy, types, f);
    mem_free(types);
    if (e != ERR_OK || graph_is_dynamic(copy)) {
        graph_free(copy);
        copy = NULL;
    }
    *out = copy;
    return e;
}

static enum err infer_compiled(struct graph *g TAKES, const struct backend *backend,
                               struct model_run *run, const struct tensor *inputs,
                               struct tensor *outputs, struct fail *f)
{
    struct device_options o = {.kind = run->device};
    struct compile_target target = {.backend = backend, .fuse = true};
    struct compiled *c = NULL;
    enum err e = backend != NULL ? backend->device_open(&o, &target.device, f)
                                 : fail_set(f, ERR_NOTFOUND, "use --device reference",
                                            "this program was built without OpenCL devices");
    if (e != ERR_OK) {
        graph_free(g);
        return e;
    }
    e = compiled_new(g, &target, &c, f);
    if (e == ERR_OK) {
        run->steps = compiled_step_count(c, &run->on_device);
        e = compiled_run_tensors(c, inputs, outputs, f);
    }
    compiled_free(c);
    backend->device_close(target.device);
    return e;
}

enum err model_infer_once(const struct graph *g, struct model_run *run,
                          const struct tensor *inputs, struct tensor *outputs, struct fail *f)
{
    if (strcmp(run->device, "reference") == 0) {
        return graph_run(g, inputs, outputs, f);
    }
    bool fused = strcmp(run->device, "fused") == 0;
    enum fixed least = run->weights ? FIX_WEIGHTS : FIX_NONE;
    struct graph *special = NULL;
    enum err e = specialise_once(g, inputs, least, &special, f);
    if (e == ERR_OK && special == NULL && least == FIX_NONE) {
        e = specialise_once(g, inputs, FIX_LISTS, &special, f);
    }
    if (e != ERR_OK) {
        return e;
    }
    return special != NULL ? infer_compiled(special, fused ? &backend_host : backend_opencl, run,
                                            inputs, outputs, f)
                           : graph_run(g, inputs, outputs, f);
}

static enum err read_args(const struct graph *g, const struct model_arg *args, size_t arg_count,
                          struct tensor *inputs, struct fail *f)
{
    for (size_t i = 0; i < arg_count; i++) {
        uint32_t at = 0;
        while (at < g->input_count && strcmp(g->values[g->inputs[at]].name, args[i].name) != 0) {
            at++;
        }
        if (at == g->input_count) {
            return fail_set(f, ERR_INVALID, "see `oxbow model check`",
                            "the model has no input '%.80s'", args[i].name);
        }
        char *bytes = NULL;
        size_t size = 0;
        enum err e = file_read(args[i].file, MODEL_BYTES_MAX, &bytes, &size, f);
        if (e == ERR_OK) {
            e = tensor_from_pb(bytes, size, &inputs[at], f);
        }
        mem_free(bytes);
        if (e != ERR_OK) {
            return e;
        }
    }
    for (uint32_t i = 0; i < g->input_count; i++) {
        if (inputs[i].data == NULL) {
            return fail_set(f, ERR_INVALID, "give it with --in NAME=FILE.pb",
                            "input '%.80s' is missing", g->values[g->inputs[i]].name);
        }
    }
    return ERR_OK;
}

/* Names of values may hold anything; in file names only what is harmless there is kept. */
static char *file_name_of(const char *dir, const char *value)
{
    char *path = mem_printf("%s/%s.pb", dir, value);
    for (char *p = path + strlen(dir) + 1; *p != '\0'; p++) {
        if (*p == '/' || (unsigned char)*p < ' ') {
            *p = '_';
        }
    }
    return path;
}

static enum err write_outputs(const struct graph *g, const struct tensor *outputs, const char *dir,
                              struct fail *f)
{
    enum err e = file_make_dirs(dir, f);
    for (uint32_t i = 0; i < g->output_count && e == ERR_OK; i++) {
        const char *name = g->values[g->outputs[i]].name;
        void *bytes = NULL;
        size_t size = 0;
        char *path = file_name_of(dir, name);
        tensor_to_pb(&outputs[i], name, &bytes, &size);
        e = file_write_safe(path, bytes, size, f);
        mem_free(bytes);
        mem_free(path);
    }
    return e;
}

enum err model_run_files(const struct graph *g, const char *device, const struct model_arg *args,
                         size_t arg_count, const char *out_dir, struct fail *f)
{
    struct tensor *inputs = mem_array(g->input_count, sizeof *inputs);
    struct tensor *outputs = mem_array(g->output_count, sizeof *outputs);
    enum err e = read_args(g, args, arg_count, inputs, f);
    if (e == ERR_OK) {
        struct model_run run = {.device = device};
        e = model_infer_once(g, &run, inputs, outputs, f);
    }
    if (e == ERR_OK) {
        e = write_outputs(g, outputs, out_dir, f);
    }
    for (uint32_t i = 0; i < g->input_count; i++) {
        tensor_fini(&inputs[i]);
    }
    for (uint32_t i = 0; i < g->output_count; i++) {
        tensor_fini(&outputs[i]);
    }
    mem_free(inputs);
    mem_free(outputs);
    return e;
}

/* ---- operators of a model ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct op_names {
    const char **names;
    size_t count, capacity;
};

static void collect_ops(struct op_names *all, const struct graph *g)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        const struct node *n = &g->nodes[i];
        all->names = mem_grow(all->names, all->count, &all->capacity, sizeof *all->names);
        all->names[all->count++] = n->op;
        for (uint32_t k = 0; k < n->attr_count; k++) {
            if (n->attrs[k].graph != NULL) {
                collect_ops(all, n->attrs[k].graph);
            }
        }
    }
}

void model_ops(const struct graph *g, struct strbuf *out)
{
    struct op_names all = {0};
    collect_ops(&all, g);
    if (all.count > 0) {
        qsort(all.names, all.count, sizeof *all.names, by_text);
    }
    for (size_t i = 0; i < all.count; i++) {
        if (i == 0 || strcmp(all.names[i], all.names[i - 1]) != 0) {
            strbuf_printf(out, "%s%s", out->bytes > 0 ? " " : "", all.names[i]);
        }
    }
    mem_free(all.names);
}
