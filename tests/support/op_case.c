/* tests/support/op_case.c - one call of an inference operator, described by a line of text. */
#include "tests/support/op_case.h"

#include "core/mem.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- tensors ---- */

static enum dtype dtype_of(const char *name, size_t bytes)
{
    for (int t = 1; t < DT_COUNT; t++) {
        const char *known = dtype_name((enum dtype)t);
        if (strlen(known) == bytes && strncmp(known, name, bytes) == 0) {
            return (enum dtype)t;
        }
    }
    fprintf(stderr, "op_case: no type at '%s'\n", name);
    abort();
}

void op_case_fill(struct tensor *t, struct prng *random)
{
    static const double special[] = {0, -0.0, 1, -1, NAN, INFINITY, -INFINITY, 1e30, 127, -128.5};
    size_t count = tensor_count(t);
    if (dtype_size(t->dtype) > 8 || t->dtype == DT_C64) {
        return;
    }
    for (size_t k = 0; k < count; k++) {
        double v = (double)prng_below(random, 2001) / 500 - 2; /* -2 .. 2 */
        if (!dtype_is_float(t->dtype)) {
            v = (double)prng_below(random, 4);
            v = t->dtype == DT_BOOL ? (double)prng_below(random, 2) : v;
        } else if (prng_below(random, 50) == 0) {
            v = special[prng_below(random, sizeof(special) / sizeof(special[0]))];
        }
        tensor_set_f64(t, k, v);
    }
}

static void parse_elements(struct tensor *t, const char **s)
{
    for (size_t k = 0; k < tensor_count(t); k++) {
        char *end;
        if (dtype_is_float(t->dtype)) {
            tensor_set_f64(t, k, strtod(*s, &end));
        } else if (t->dtype == DT_U64) {
            ((uint64_t *)t->data)[k] = strtoull(*s, &end, 10);
        } else {
            tensor_set_i64(t, k, strtoll(*s, &end, 10));
        }
        assert(end != *s);
        *s = *end == ',' ? end + 1 : end;
    }
}

struct tensor op_case_tensor(const char **text, struct prng *random)
{
    const char *s = *text;
    size_t name = strcspn(s, "[");
    struct tensor t = {.dtype = dtype_of(s, name)};
    for (s += name + 1; *s != ']'; s += *s == ',') {
        char *end;
        t.shape.dims[t.shape.rank++] = strtoll(s, &end, 10);
        assert(end != s && t.shape.rank <= TENSOR_RANK_MAX);
        s = end;
    }
    s++;
    t.data = malloc(tensor_bytes(&t) > 0 ? tensor_bytes(&t) : 1);
    memset(t.data, 0, tensor_bytes(&t));
    if (*s == '=') {
        s++;
        parse_elements(&t, &s);
    } else {
        op_case_fill(&t, random);
    }
    *text = s;
    return t;
}

/* ---- attributes ---- */

static unsigned list_length(const char *s, size_t bytes)
{
    unsigned n = bytes > 0;
    for (size_t k = 0; k < bytes; k++) {
        n += s[k] == ',';
    }
    return n;
}

/* parse_list - I, F and S: `bytes` of text into the attribute. */
static void parse_list(struct attr *a, const char *s, size_t bytes, char kind)
{
    char *copy = mem_dup_n(s, bytes), *rest = copy;
    a->count = list_length(s, bytes);
    a->type = kind == 'I' ? ATTR_INTS : kind == 'F' ? ATTR_FLOATS : ATTR_STRINGS;
    if (kind == 'I') {
        a->ints = mem_array(a->count + 1, sizeof(*a->ints));
    } else if (kind == 'F') {
        a->floats = mem_array(a->count + 1, sizeof(*a->floats));
    } else {
        a->strings = mem_array(a->count + 1, sizeof(*a->strings));
    }
    for (unsigned k = 0; k < a->count; k++) {
        char *word = strsep(&rest, ",");
        if (kind == 'I') {
            a->ints[k] = strtoll(word, NULL, 10);
        } else if (kind == 'F') {
            a->floats[k] = strtof(word, NULL);
        } else {
            a->strings[k] = mem_dup(word);
        }
    }
    mem_free(copy);
}

static void drop_attr(struct node *n, const char *name)
{
    for (uint32_t k = 0; k < n->attr_count; k++) {
        if (strcmp(n->attrs[k].name, name) == 0) {
            n->attrs[k].name[0] = '_'; /* nobody asks for it any more */
        }
    }
}

void op_case_set(struct node *n, const char *attr, struct prng *random)
{
    const char *colon = strchr(attr, ':'), *s = colon + 3;
    struct attr a = {.name = mem_dup_n(attr, (size_t)(colon - attr)), .count = 1};
    size_t bytes = strcspn(s, " ");
    assert(colon[2] == '=');
    switch (colon[1]) {
    case 'i':
        a.type = ATTR_INT;
        a.i = strtoll(s, NULL, 10);
        break;
    case 'f':
        a.type = ATTR_FLOAT;
        a.f = strtof(s, NULL);
        break;
    case 's':
        a.type = ATTR_STRING;
        a.s = mem_dup_n(s, bytes);
        a.s_bytes = bytes;
        break;
    case 't':
        a.type = ATTR_TENSOR;
        a.tensor = op_case_tensor(&s, random);
        break;
    default:
        parse_list(&a, s, bytes, colon[1]);
        break;
    }
    drop_attr(n, a.name);
    if (a.type == ATTR_TENSOR) { /* the node keeps it: give it memory of its own */
        struct tensor own = {0};
        enum err e = tensor_alloc(&own, a.tensor.dtype, &a.tensor.shape, NULL);
        assert(e == ERR_OK);
        memcpy(own.data, a.tensor.data, tensor_bytes(&own));
        node_set_tensor(n, a.name, &own);
        tensor_fini(&own);
        free(a.tensor.data);
    } else {
        node_copy_attr(n, &a);
    }
    for (unsigned k = 0; k < a.count && a.strings != NULL; k++) {
        mem_free(a.strings[k]);
    }
    mem_free(a.strings);
    mem_free(a.floats);
    mem_free(a.ints);
    mem_free(a.s);
    mem_free(a.name);
}

/* ---- the call ---- */

void op_case_init(struct op_case *c, const char *op, int opset, const char *inputs,
                  const char *attrs, unsigned outputs, struct prng *random)
{
    memset(c, 0, sizeof(*c));
    c->graph = graph_new();
    graph_add_node(c->graph, "", op, opset, NULL, 0, NULL, 0);
    c->node = &c->graph->nodes[0];
    for (const char *s = attrs; *s != '\0'; s += strspn(s, " ")) {
        op_case_set(c->node, s, random);
        s += strcspn(s, " ");
    }
    unsigned count = 0;
    for (const char *s = inputs; *s != '\0'; count++, s += strspn(s, " ")) {
        assert(count < OP_CASE_TENSORS);
        if (*s == '-') {
            s++;
            continue;
        }
        c->in[count] = op_case_tensor(&s, random);
        c->in_at[count] = &c->in[count];
    }
    for (unsigned k = 0; k < outputs; k++) {
        c->out_at[k] = &c->out[k];
    }
    c->scratch = scratch_new();
    c->budget = (struct op_budget){INFER_LOOP_STEPS_MAX, FOLD_BYTES_BASE};
    c->ctx = (struct op_ctx){.node = c->node,
                             .opset = opset,
                             .in = c->in_at,
                             .in_count = count,
                             .out = c->out_at,
                             .out_count = outputs,
                             .scratch = c->scratch,
                             .budget = &c->budget,
                             .fail = &c->fail};
}

void op_case_fini(struct op_case *c)
{
    for (unsigned k = 0; k < OP_CASE_TENSORS; k++) {
        free(c->in[k].data);
        free(c->out[k].data);
    }
    scratch_free(c->scratch);
    graph_free(c->graph);
}

enum op_result op_case_infer(struct op_case *c)
{
    return op_infer(&c->ctx);
}

enum op_result op_case_run(struct op_case *c, uint8_t poison)
{
    for (unsigned k = 0; k < c->ctx.out_count; k++) {
        if (c->out_at[k] != NULL) {
            size_t bytes = tensor_bytes(&c->out[k]);
            free(c->out[k].data);
            c->out[k].data = malloc(bytes > 0 ? bytes : 1);
            memset(c->out[k].data, poison, bytes);
        }
    }
    return op_run(&c->ctx);
}
