/* tests/fuzz/model_seeds.c - seeds for the model fuzzer: Loop, Scan and If, nested at random.
 *
 * Usage:  model_seeds FOLDER COUNT; the same files each time.
 * Why:    ONNX's own tests have six models with subgraphs, none of which nests or captures much,
 * and a mutation that nests one seldom keeps the lengths around it right. */
#include "core/mem.h"
#include "core/prng.h"
#include "tests/support/onnx_build.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { F32 = 1, I64 = 7, BOOL = 9 };
enum { VISIBLE_MAX = 64, NAME_BYTES = 16, DEPTH_MAX = 5, NODES_MAX = 4 };
static const int none[] = {0}, pair[] = {2}, pairs[] = {3, 2};

struct scope { /* what a node may read: f32[2] each; inner scopes see what was there before them */
    char names[VISIBLE_MAX][NAME_BYTES];
    unsigned count;
};

struct seeds {
    struct prng random;
    unsigned named;
};

static unsigned below(struct seeds *s, unsigned n)
{
    return (unsigned)prng_below(&s->random, n);
}

static const char *pick(struct seeds *s, const struct scope *scope)
{
    return scope->names[below(s, scope->count)];
}

static void name_new(struct seeds *s, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "n%u", s->named++);
}

static void see(struct scope *scope, const char *name)
{
    if (scope->count < VISIBLE_MAX) {
        snprintf(scope->names[scope->count++], NAME_BYTES, "%s", name);
    }
}

static void add_nodes(struct seeds *s, struct onnx_build *g, struct scope *scope, unsigned depth);

/* A value of the graph's own, which may be its output. */
static void own_value(struct seeds *s, struct onnx_build *g, const struct scope *scope,
                      char out[NAME_BYTES])
{
    name_new(s, out);
    onnx_node(g, "Neg", pick(s, scope), out, NULL);
}

static void add_loop(struct seeds *s, struct onnx_build *g, struct scope *scope, unsigned depth)
{
    static const char *const heads[] = {"m c", "m -", "- c", "- -"};
    struct onnx_build body = {0};
    struct strbuf attrs = {0};
    struct scope inner = *scope;
    char trip[NAME_BYTES], go[NAME_BYTES], v[NAME_BYTES], w[NAME_BYTES], piled[NAME_BYTES];
    char out[NAME_BYTES], all[NAME_BYTES], inputs[64], outputs[64];
    name_new(s, trip);
    name_new(s, go);
    name_new(s, v);
    onnx_input(&body, trip, I64, 0, none);
    onnx_input(&body, go, BOOL, 0, none);
    onnx_input(&body, v, F32, 1, pair);
    see(&inner, v);
    add_nodes(s, &body, &inner, depth + 1);
    own_value(s, &body, &inner, w);
    own_value(s, &body, &inner, piled);
    onnx_output(&body, below(s, 4) != 0 ? go : "c", BOOL, 0, none);
    onnx_output(&body, w, F32, 1, pair);
    onnx_output(&body, piled, F32, 1, pair);
    onnx_attr_graph(&attrs, "body", &body);
    name_new(s, out);
    name_new(s, all);
    snprintf(inputs, sizeof inputs, "%s %s", heads[below(s, 4)], pick(s, scope));
    snprintf(outputs, sizeof outputs, "%s %s", out, all);
    onnx_node(g, "Loop", inputs, outputs, &attrs);
    see(scope, out);
}

static void add_scan(struct seeds *s, struct onnx_build *g, struct scope *scope, unsigned depth)
{
    struct onnx_build body = {0};
    struct strbuf attrs = {0};
    struct scope inner = *scope;
    char state[NAME_BYTES], element[NAME_BYTES], w[NAME_BYTES], piled[NAME_BYTES];
    char out[NAME_BYTES], all[NAME_BYTES], inputs[64], outputs[64];
    int64_t backward = below(s, 2);
    name_new(s, state);
    name_new(s, element);
    onnx_input(&body, state, F32, 1, pair);
    onnx_input(&body, element, F32, 1, pair);
    see(&inner, state);
    see(&inner, element);
    add_nodes(s, &body, &inner, depth + 1);
    own_value(s, &body, &inner, w);
    own_value(s, &body, &inner, piled);
    onnx_output(&body, w, F32, 1, pair);
    onnx_output(&body, piled, F32, 1, pair);
    onnx_attr_graph(&attrs, "body", &body);
    onnx_attr_int(&attrs, "num_scan_inputs", 1);
    onnx_attr_ints(&attrs, "scan_input_directions", 1, &backward);
    onnx_attr_ints(&attrs, "scan_output_axes", 1, &backward);
    name_new(s, out);
    name_new(s, all);
    snprintf(inputs, sizeof inputs, "%s xs", pick(s, scope));
    snprintf(outputs, sizeof outputs, "%s %s", out, all);
    onnx_node(g, "Scan", inputs, outputs, &attrs);
    see(scope, out);
}

static void add_if(struct seeds *s, struct onnx_build *g, struct scope *scope, unsigned depth)
{
    struct strbuf attrs = {0};
    char out[NAME_BYTES];
    for (unsigned i = 0; i < 2; i++) {
        struct onnx_build branch = {0};
        struct scope inner = *scope;
        char w[NAME_BYTES];
        add_nodes(s, &branch, &inner, depth + 1);
        own_value(s, &branch, &inner, w);
        onnx_output(&branch, w, F32, 1, pair);
        onnx_attr_graph(&attrs, i == 0 ? "then_branch" : "else_branch", &branch);
    }
    name_new(s, out);
    onnx_node(g, "If", below(s, 3) != 0 ? "c" : "yes", out, &attrs);
    see(scope, out);
}

static void add_plain(struct seeds *s, struct onnx_build *g, struct scope *scope)
{
    static const char *const ops[] = {"Add", "Mul", "Sub", "Max"};
    char out[NAME_BYTES], inputs[64];
    name_new(s, out);
    snprintf(inputs, sizeof inputs, "%s %s", pick(s, scope), pick(s, scope));
    onnx_node(g, ops[below(s, 4)], inputs, out, NULL);
    see(scope, out);
}

static void add_nodes(struct seeds *s, struct onnx_build *g, struct scope *scope, unsigned depth)
{
    unsigned count = 1 + below(s, NODES_MAX);
    for (unsigned i = 0; i < count; i++) {
        unsigned kind = depth < DEPTH_MAX ? below(s, 8) : 7;
        if (kind == 0) {
            add_loop(s, g, scope, depth);
        } else if (kind == 1) {
            add_scan(s, g, scope, depth);
        } else if (kind == 2) {
            add_if(s, g, scope, depth);
        } else {
            add_plain(s, g, scope);
        }
    }
}

static void constants(struct seeds *s, struct onnx_build *m)
{
    struct strbuf t = {0};
    int64_t count = below(s, 4);
    onnx_ints(m, "m", 1, &count);
    pb_varint(&t, 2, BOOL);
    pb_text(&t, 8, "yes");
    pb_bytes(&t, 9, "\1", 1);
    pb_message(&m->graph, 5, &t);
}

static void model(struct seeds *s, unsigned i, struct strbuf *out)
{
    struct onnx_build m = {0};
    struct scope scope = {.count = 0};
    char y[NAME_BYTES];
    onnx_input(&m, "c", BOOL, 0, none);
    onnx_input(&m, "x", F32, 1, pair);
    onnx_input(&m, "xs", F32, 2, pairs);
    constants(s, &m);
    see(&scope, "x");
    if (i % 3 == 0) {
        add_loop(s, &m, &scope, 0);
    } else if (i % 3 == 1) {
        add_scan(s, &m, &scope, 0);
    } else {
        add_if(s, &m, &scope, 0);
    }
    add_nodes(s, &m, &scope, 0);
    own_value(s, &m, &scope, y);
    onnx_output(&m, y, F32, 1, pair);
    onnx_finish(&m, 11 + (int)below(s, 6), out);
}

int main(int argc, char **argv)
{
    unsigned count = argc == 3 ? (unsigned)atoi(argv[2]) : 0;
    if (count == 0) {
        fprintf(stderr, "usage: model_seeds FOLDER COUNT\n");
        return 2;
    }
    for (unsigned i = 0; i < count; i++) {
        struct seeds s = {.random = {i}};
        struct strbuf bytes = {0};
        model(&s, i, &bytes);
        char *path = mem_printf("%s/subgraph_%u", argv[1], i);
        FILE *f = fopen(path, "wb");
        bool ok = f != NULL && fwrite(bytes.data, 1, bytes.bytes, f) == bytes.bytes;
        if (f == NULL || fclose(f) != 0 || !ok) {
            perror(path);
            return 1;
        }
        mem_free(path);
        strbuf_fini(&bytes);
    }
    return 0;
}
