/* pe/infer/fits.c - do a model's inputs and outputs fit the fields of a stream? */
#include "pe/infer/fits.h"

#include "core/mem.h"
#include "pe/batch.h"
#include "pe/infer/bind.h"
#include "pe/infer/model.h"
#include "pe/infer/specialise.h"

/* One tuple: each input's own first dimension, where that is not the batch, and the bound row. */
static void one_row(const struct graph *g, const struct binding *b, struct tensor *types)
{
    for (uint32_t i = 0; i < g->input_count; i++) {
        const struct value *v = &g->values[g->inputs[i]];
        const struct shape *row = &b->inputs[i].row;
        bool fixed = v->has_shape && v->type.shape.rank > 0 && v->type.shape.dims[0] != DIM_FREE;
        types[i] = (struct tensor){.dtype = b->inputs[i].dtype};
        types[i].shape.rank = row->rank + 1;
        types[i].shape.dims[0] = fixed ? v->type.shape.dims[0] : 1;
        for (unsigned k = 0; k < row->rank; k++) {
            types[i].shape.dims[k + 1] = row->dims[k];
        }
    }
}

/* Outputs that only data give a shape are left to the worker. */
static enum err outputs_fit(struct graph *g, struct binding *b, const json_t *out,
                            const struct oxb_schema *schema, struct fail *f)
{
    struct fail ignored = {0};
    struct tensor *types = mem_array(g->input_count, sizeof *types);
    one_row(g, b, types);
    bool shaped = graph_specialise(g, types, &ignored) == ERR_OK && !graph_is_dynamic(g);
    mem_free(types);
    return shaped ? binding_outputs(b, g, out, schema, f) : ERR_OK;
}

enum err model_fits(const char *path, const json_t *with, const char *in, const char *out,
                    struct fail *f)
{
    struct graph *g = NULL;
    struct binding b = {0};
    struct fail ignored = {0};
    const struct oxb_schema *from = NULL, *to = NULL;
    if (schema_parse(in, &from, &ignored) != ERR_OK ||
        (out != NULL && schema_parse(out, &to, &ignored) != ERR_OK) ||
        model_open(path, &g, &ignored) != ERR_OK) {
        return ERR_OK;
    }
    enum err e = binding_inputs(&b, g, json_object_get(with, "in"), from, f);
    if (e == ERR_OK && to != NULL) {
        e = outputs_fit(g, &b, json_object_get(with, "out"), to, f);
    }
    binding_fini(&b);
    graph_free(g);
    return e;
}
