/* pe/infer/bind.c - which fields of the stream are which inputs and outputs of a model.
 *
 * Invariants: I1, I2 of bind.h. */
#include "pe/infer/bind.h"

#include "core/limits.h"
#include "core/mem.h"

#include <stdio.h>
#include <string.h>

/* ---- inputs ---- */

static bool is_number(const struct oxb_field *f)
{
    return f->type == OXB_I64 || f->type == OXB_F64 || f->type == OXB_BOOL ||
           f->type == OXB_F32 || f->type == OXB_TIME;
}

static enum err add_field(struct bound_input *b, const struct oxb_schema *s, const char *name,
                          const char *input, struct fail *f)
{
    int at = name != NULL ? oxb_field(s, name) : -1;
    if (at < 0) {
        return fail_set(f, ERR_INVALID, "name fields of the input in `in`",
                        "model input '%.60s' wants the field '%.60s', but the tuples have {%.200s}",
                        input, name != NULL ? name : "?", s->text);
    }
    if (!is_number(&s->fields[at])) {
        return fail_set(f, ERR_INVALID, "use numbers or tensors",
                        "the field '%.60s' for model input '%.60s' is no number", name, input);
    }
    b->fields = mem_resize(b->fields, b->field_count + 1, sizeof *b->fields);
    b->fields[b->field_count++] = (unsigned)at;
    b->elements += s->fields[at].elements;
    return ERR_OK;
}

/* The row's shape: the model's own, with what it leaves free taken from a tensor field of the same
 * rank, or, if one dim is free, from the number of elements. */
static enum err find_row(struct bound_input *b, const struct value *v, const struct oxb_schema *s,
                         struct fail *f)
{
    char text[SHAPE_TEXT_BYTES];
    const struct oxb_field *only = b->field_count == 1 ? &s->fields[b->fields[0]] : NULL;
    if (!v->has_shape) {
        b->row = (struct shape){.rank = 1, .dims = {(int64_t)b->elements}};
        return ERR_OK;
    }
    if (v->type.shape.rank == 0) {
        return fail_set(f, ERR_INVALID, "its first dimension must be the batch",
                        "model input '%.60s' is a scalar", v->name);
    }
    b->row.rank = v->type.shape.rank - 1;
    size_t known = 1;
    int free_dim = -1;
    for (unsigned i = 0; i < b->row.rank; i++) {
        int64_t d = v->type.shape.dims[i + 1];
        if (d == DIM_FREE && only != NULL && only->dim_count == b->row.rank) {
            d = only->dims[i];
        }
        b->row.dims[i] = d;
        if (d == DIM_FREE && free_dim < 0) {
            free_dim = (int)i;
        } else if (d != DIM_FREE) {
            known *= (size_t)d;
        }
    }
    if (free_dim >= 0 && known > 0) {
        b->row.dims[free_dim] = (int64_t)(b->elements / known);
    }
    size_t count = 0;
    if (!shape_count(&b->row, &count) || count != b->elements) {
        return fail_set(f, ERR_INVALID, "the product of the other dimensions must be that",
                        "model input '%.60s' has shape %s (N: the batch), its fields have %zu "
                        "elements",
                        v->name, shape_text(&v->type.shape, text), b->elements);
    }
    return ERR_OK;
}

/* Without `in`: a field of the input's name, or the only tensor field. */
static const char *default_field(const struct graph *g, const struct value *v,
                                 const struct oxb_schema *s)
{
    const char *tensor = NULL;
    unsigned tensors = 0;
    if (oxb_field(s, v->name) >= 0) {
        return v->name;
    }
    for (unsigned i = 0; i < s->field_count; i++) {
        if (s->fields[i].type == OXB_F32) {
            tensor = s->fields[i].name;
            tensors++;
        }
    }
    return g->input_count == 1 && tensors == 1 ? tensor : NULL;
}

static enum err bind_input(struct bound_input *b, const struct graph *g, const struct value *v,
                           const json_t *in, const struct oxb_schema *s, struct fail *f)
{
    const json_t *names = json_object_get(in, v->name);
    enum err e = ERR_OK;
    b->dtype = v->type.dtype != DT_NONE ? v->type.dtype : DT_F32;
    if (b->dtype == DT_C64 || b->dtype == DT_C128) {
        return fail_set(f, ERR_INVALID, "", "model input '%.60s' is complex", v->name);
    }
    if (names == NULL || json_is_string(names)) {
        e = add_field(b, s, names != NULL ? json_string_value(names) : default_field(g, v, s),
                      v->name, f);
    }
    for (size_t i = 0; i < json_array_size(names) && e == ERR_OK; i++) {
        e = add_field(b, s, json_string_value(json_array_get(names, i)), v->name, f);
    }
    return e == ERR_OK ? find_row(b, v, s, f) : e;
}

enum err binding_inputs(struct binding *b, const struct graph *model, const json_t *in,
                        const struct oxb_schema *schema, struct fail *f)
{
    const char *name;
    const json_t *ignored;
    b->inputs = mem_array(model->input_count, sizeof *b->inputs);
    b->input_count = model->input_count;
    json_object_foreach((json_t *)(uintptr_t)in, name, ignored)
    {
        uint32_t v = graph_find(model, name);
        if (v == VALUE_NONE || model->values[v].kind != VALUE_INPUT) {
            return fail_set(f, ERR_INVALID, "see `oxbow model check`",
                            "the model has no input '%.80s'", name);
        }
    }
    for (unsigned i = 0; i < model->input_count; i++) {
        enum err e = bind_input(&b->inputs[i], model, &model->values[model->inputs[i]], in, schema,
                                f);
        if (e != ERR_OK) {
            return e;
        }
    }
    return ERR_OK;
}

/* ---- outputs ---- */

const char *field_type_of(const struct tensor *output, char *out)
{
    size_t count = 0;
    const struct shape *s = &output->shape;
    if (s->rank == 0 || !shape_count(s, &count) || output->dtype == DT_C64 ||
        output->dtype == DT_C128) {
        return NULL;
    }
    if (s->rank == 1) {
        return dtype_is_float(output->dtype) ? "f64" : output->dtype == DT_BOOL ? "bool" : "i64";
    }
    size_t at = (size_t)snprintf(out, SHAPE_TEXT_BYTES + 8, "f32");
    for (unsigned i = 1; i < s->rank; i++) {
        at += (size_t)snprintf(out + at, SHAPE_TEXT_BYTES + 8 - at, "%c%lld", i == 1 ? '[' : ',',
                               (long long)s->dims[i]);
    }
    snprintf(out + at, SHAPE_TEXT_BYTES + 8 - at, "]");
    return count > 0 && shape_count_range(s, 1, s->rank) <= TENSOR_ELEMENTS_MAX ? out : NULL;
}

static enum err bind_output(struct binding *b, const struct graph *g, const char *field,
                            const char *output, const struct oxb_schema *schema, struct fail *f)
{
    unsigned k = 0;
    while (k < g->output_count && strcmp(g->values[g->outputs[k]].name, output) != 0) {
        k++;
    }
    int at = oxb_field(schema, field);
    if (k == g->output_count || at < 0) {
        return fail_set(f, ERR_INVALID, "see `oxbow model check`",
                        "the model has no output '%.80s', or the tuples no field '%.80s'", output,
                        field);
    }
    const struct tensor *t = &g->values[g->outputs[k]].type;
    const struct oxb_field *to = &schema->fields[at];
    size_t elements = t->shape.rank > 0 ? shape_count_range(&t->shape, 1, t->shape.rank) : 0;
    bool fits = is_number(to) && to->type != OXB_TIME && to->elements == elements;
    if (!fits) {
        return fail_set(f, ERR_INVALID, "give the field the output's number of elements",
                        "model output '%.80s' has %zu elements per tuple, the field '%.80s' %u",
                        output, elements, field, to->elements);
    }
    b->outputs[b->output_count++] = (struct bound_output){(unsigned)at, k, elements};
    return ERR_OK;
}

enum err binding_outputs(struct binding *b, const struct graph *shaped, const json_t *out,
                         const struct oxb_schema *schema, struct fail *f)
{
    const char *field;
    const json_t *name;
    size_t count = json_object_size(out);
    enum err e = ERR_OK;
    b->outputs = mem_array(count > 0 ? count : shaped->output_count, sizeof *b->outputs);
    json_object_foreach((json_t *)(uintptr_t)out, field, name)
    {
        const char *output = json_string_value(name);
        e = e == ERR_OK ? bind_output(b, shaped, field, output != NULL ? output : "", schema, f)
                        : e;
    }
    for (uint32_t i = 0; count == 0 && i < shaped->output_count && e == ERR_OK; i++) {
        const char *own = shaped->values[shaped->outputs[i]].name;
        e = bind_output(b, shaped, own, own, schema, f);
    }
    return e;
}

void binding_fini(struct binding *b)
{
    for (unsigned i = 0; b->inputs != NULL && i < b->input_count; i++) {
        mem_free(b->inputs[i].fields);
    }
    mem_free(b->inputs);
    mem_free(b->outputs);
    *b = (struct binding){0};
}

/* ---- moving rows ---- */

static double cell(const struct oxb_batch *batch, unsigned field, uint32_t row, size_t element)
{
    const struct oxb_field *f = &batch->schema->fields[field];
    switch (f->type) {
    case OXB_F32:
        return (double)oxb_f32s(batch, field)[(size_t)row * f->elements + element];
    case OXB_F64:
        return oxb_f64s(batch, field)[row];
    case OXB_BOOL:
        return oxb_bools(batch, field)[row];
    default:
        return (double)oxb_i64s(batch, field)[row];
    }
}

/* One f32 tensor field into one f32 input: rows as they lie, all at once where none is left out. */
static void gather_tensor(const struct bound_input *b, const struct oxb_batch *batch, float *to)
{
    const float *from = oxb_f32s(batch, b->fields[0]);
    if (batch->sel == NULL) {
        memcpy(to, from, batch->live * b->elements * sizeof *to);
        return;
    }
    for (uint32_t k = 0; k < batch->live; k++) {
        memcpy(to + k * b->elements, from + batch->sel[k] * b->elements,
               b->elements * sizeof *to);
    }
}

void bound_gather(const struct bound_input *b, const struct oxb_batch *batch, void *to, size_t at)
{
    if (b->dtype == DT_F32 && b->field_count == 1 &&
        batch->schema->fields[b->fields[0]].type == OXB_F32) {
        gather_tensor(b, batch, (float *)to + at * b->elements);
        return;
    }
    struct tensor t = {.dtype = b->dtype, .data = to};
    size_t element = at * b->elements;
    OXB_EACH (batch, row) {
        for (unsigned i = 0; i < b->field_count; i++) {
            unsigned field = b->fields[i];
            const struct oxb_field *f = &batch->schema->fields[field];
            for (size_t k = 0; k < f->elements; k++, element++) {
                if (f->type == OXB_I64 || f->type == OXB_TIME) {
                    tensor_set_i64(&t, element, oxb_i64s(batch, field)[row]);
                } else {
                    tensor_set_f64(&t, element, cell(batch, field, row, k));
                }
            }
        }
    }
}

void bound_scatter(const struct bound_output *o, const struct tensor *type, const void *from,
                   size_t at, const struct oxb_schema *schema, const struct oxb_batch *batch,
                   void *column)
{
    struct tensor t = {.dtype = type->dtype, .data = (void *)(uintptr_t)from};
    enum oxb_type to = schema->fields[o->field].type;
    OXB_EACH (batch, row) {
        size_t first = at++ * o->elements;
        if (to == OXB_F32 && t.dtype == DT_F32) {
            memcpy((float *)column + row * o->elements, (const float *)from + first,
                   o->elements * sizeof(float));
            continue;
        }
        for (size_t k = 0; k < o->elements; k++) {
            if (to == OXB_F32) {
                ((float *)column)[row * o->elements + k] = (float)tensor_get_f64(&t, first + k);
            } else if (to == OXB_F64) {
                ((double *)column)[row] = tensor_get_f64(&t, first);
            } else if (to == OXB_BOOL) {
                ((uint8_t *)column)[row] = tensor_get_f64(&t, first) != 0;
            } else {
                ((int64_t *)column)[row] = tensor_get_i64(&t, first);
            }
        }
    }
}
