/* pe/infer/describe.c - a model file as the model of a topology sees it. */
#include "pe/infer/describe.h"

#include "core/mem.h"
#include "pe/infer/bind.h"
#include "pe/infer/graph.h"
#include "pe/infer/model.h"
#include "pe/infer/specialise.h"

#include <stdio.h>
#include <string.h>

bool model_is_file(const char *path)
{
    char head[4] = {0};
    FILE *file = fopen(path, "re");
    size_t n = file != NULL ? fread(head, 1, sizeof head, file) : 0;
    if (file != NULL) {
        fclose(file);
    }
    return n == sizeof head && memcmp(head, "\177ELF", 4) != 0;
}

static json_t *inputs_json(const struct graph *g)
{
    char text[SHAPE_TEXT_BYTES];
    json_t *list = json_array();
    for (uint32_t i = 0; i < g->input_count; i++) {
        const struct value *v = &g->values[g->inputs[i]];
        json_array_append_new(list, json_pack("{ssssss}", "name", v->name, "type",
                                              dtype_name(v->type.dtype), "shape",
                                              v->has_shape ? shape_text(&v->type.shape, text)
                                                           : ""));
    }
    return list;
}

/* For a batch of `batch`; false where an input leaves more than the batch free. */
static bool input_types(const struct graph *g, int64_t batch, struct tensor *types)
{
    for (uint32_t i = 0; i < g->input_count; i++) {
        const struct value *v = &g->values[g->inputs[i]];
        types[i] = (struct tensor){.dtype = v->type.dtype, .shape = v->type.shape};
        if (!v->has_shape || v->type.shape.rank == 0 || v->type.dtype == DT_NONE) {
            return false;
        }
        if (types[i].shape.dims[0] == DIM_FREE) {
            types[i].shape.dims[0] = batch;
        }
        if (!shape_is_known(&types[i].shape)) {
            return false;
        }
    }
    return true;
}

static json_t *outputs_json(const struct graph *g)
{
    char text[SHAPE_TEXT_BYTES + 8];
    json_t *list = json_array();
    for (uint32_t i = 0; i < g->output_count; i++) {
        const struct value *v = &g->values[g->outputs[i]];
        const char *type = v->type.dtype != DT_NONE ? field_type_of(&v->type, text) : NULL;
        if (type == NULL) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, json_pack("{ssss}", "name", v->name, "type", type));
    }
    return list;
}

enum err model_describe(const char *path, json_t **out, struct fail *f)
{
    struct graph *g = NULL;
    enum err e = model_open(path, &g, f);
    if (e != ERR_OK) {
        return e;
    }
    json_t *doc = json_object(), *outputs = NULL;
    json_object_set_new(doc, "inputs", inputs_json(g));
    struct tensor *types = mem_array(g->input_count, sizeof *types);
    if (input_types(g, 2, types)) {
        e = graph_specialise(g, types, f);
        outputs = e == ERR_OK ? outputs_json(g) : NULL;
    }
    mem_free(types);
    graph_free(g);
    if (outputs != NULL) {
        json_object_set_new(doc, "outputs", outputs);
    }
    if (e != ERR_OK) {
        json_decref(doc);
        return e;
    }
    *out = doc;
    return ERR_OK;
}
