/* cli/templates.c - the texts that `oxbow new` writes.
 *
 * Why:        kept as C strings so that the program is one file to install.
 * See:        tests/unit/cli/view_test.c */
#include "cli/templates.h"

#include "core/mem.h"
#include "core/strbuf.h"

#include <string.h>

const char template_pe_c[] =
    "/* @NAME@.c - a PE that multiplies a number of every tuple by a factor.\n"
    " *\n"
    " * `make test` runs it without a cluster, `make run` runs topology.yaml with it. */\n"
    "#include <oxbow/pe.h>\n"
    "\n"
    "struct self {         /* of one instance; zeroed before prepare */\n"
    "    int64_t factor;\n"
    "    unsigned seq;     /* field number in the input */\n"
    "    unsigned value;   /* field number in the output */\n"
    "};\n"
    "\n"
    "static int prepare(struct oxb_pe *pe)\n"
    "{\n"
    "    struct self *self = oxb_self(pe);\n"
    "    self->factor = oxb_param_i64(pe, \"factor\");\n"
    "    return OXB_OK;\n"
    "}\n"
    "\n"
    "/* bind - the schemas are known: look field numbers up once, not per tuple. */\n"
    "static int bind(struct oxb_pe *pe, unsigned port, const struct oxb_schema *schema)\n"
    "{\n"
    "    struct self *self = oxb_self(pe);\n"
    "    (void)port;\n"
    "    self->seq = (unsigned)oxb_field(schema, \"seq\");\n"
    "    self->value = (unsigned)oxb_field(oxb_out_schema(pe, 0), \"value\");\n"
    "    return OXB_OK;\n"
    "}\n"
    "\n"
    "/* process - one batch: up to 1024 tuples, by column. */\n"
    "static int process(struct oxb_pe *pe, unsigned port, struct oxb_batch *in)\n"
    "{\n"
    "    struct self *self = oxb_self(pe);\n"
    "    (void)port;\n"
    "    const int64_t *seq = oxb_i64s(in, self->seq);\n"
    "    struct oxb_batch *out = oxb_derive(pe, 0, in); /* shares the input's columns */\n"
    "    int64_t *value = oxb_new_i64s(pe, out, self->value);\n"
    "    OXB_EACH(in, i)\n"
    "    {\n"
    "        value[i] = seq[i] * self->factor;\n"
    "    }\n"
    "    oxb_forward(pe, 0, out);\n"
    "    return OXB_OK;\n"
    "}\n"
    "\n"
    "static const struct oxb_param params[] = {\n"
    "    {.name = \"factor\", .type = OXB_P_I64, .fallback = \"2\", .doc = \"what to multiply "
    "by\"},\n"
    "    {.name = NULL},\n"
    "};\n"
    "static const struct oxb_port inputs[] = {\n"
    "    {.name = \"in\", .schema = \"seq: i64\", .doc = \"tuples with a field seq\"},\n"
    "    {.name = NULL},\n"
    "};\n"
    "static const struct oxb_port outputs[] = {\n"
    "    {.name = \"out\", .schema = \"*, value: i64\", .doc = \"the input and the product\"},\n"
    "    {.name = NULL},\n"
    "};\n"
    "\n"
    "OXB_EXPORT const struct oxb_pe_type oxb_pe = {\n"
    "    .abi = OXB_ABI,\n"
    "    .name = \"@NAME@\",\n"
    "    .doc = \"multiplies the field seq by a factor\",\n"
    "    .params = params,\n"
    "    .inputs = inputs,\n"
    "    .outputs = outputs,\n"
    "    .state_version = 1,\n"
    "    .self_bytes = sizeof(struct self),\n"
    "    .prepare = prepare,\n"
    "    .bind = bind,\n"
    "    .process = process,\n"
    "};\n";

const char template_pe_test[] =
    "/* @NAME@_test.c - runs the PE without a cluster: JSON lines in, JSON lines out. */\n"
    "#include <oxbow/pe.h>\n"
    "\n"
    "#include <stdio.h>\n"
    "#include <string.h>\n"
    "\n"
    "extern const struct oxb_pe_type oxb_pe; /* @NAME@.c */\n"
    "\n"
    "int main(void)\n"
    "{\n"
    "    char err[256] = \"\";\n"
    "    struct oxb_harness *h =\n"
    "        oxb_harness_new(&oxb_pe, \"{\\\"factor\\\": 3}\", \"seq: i64\", NULL, err, sizeof "
    "err);\n"
    "    if (h == NULL) {\n"
    "        fprintf(stderr, \"@NAME@: %s\\n\", err);\n"
    "        return 1;\n"
    "    }\n"
    "    if (oxb_harness_feed(h, \"{\\\"seq\\\": 2}\\n{\\\"seq\\\": 5}\\n\") != 0 ||\n"
    "        oxb_harness_finish(h) != 0) {\n"
    "        fprintf(stderr, \"@NAME@: %s\\n\", oxb_harness_error(h));\n"
    "        return 1;\n"
    "    }\n"
    "    const char *got = oxb_harness_output(h, 0);\n"
    "    const char *want = \"{\\\"seq\\\":2,\\\"value\\\":6}\\n{\\\"seq\\\":5,"
    "\\\"value\\\":15}\\n\";\n"
    "    int failed = strcmp(got, want) != 0;\n"
    "    printf(\"%s @NAME@\\n%s\", failed ? \"FAIL\" : \"ok\", failed ? got : \"\");\n"
    "    oxb_harness_free(h);\n"
    "    return failed;\n"
    "}\n";

const char template_pe_yaml[] = "# oxbow run topology.yaml\n"
                                "oxbow: 1\n"
                                "topology: @NAME@\n"
                                "pes:\n"
                                "  numbers:\n"
                                "    use: sequence\n"
                                "    with: {count: 5}\n"
                                "  @NAME@:\n"
                                "    use: ./@NAME@.so\n"
                                "    with: {factor: 10}\n"
                                "  show:\n"
                                "    use: stdout-sink\n"
                                "streams:\n"
                                "  - {from: numbers, to: @NAME@}\n"
                                "  - {from: @NAME@, to: show}\n";

const char template_pe_make[] =
    "# make: @NAME@.so   make test: without a cluster   make run: topology.yaml\n"
    "# The SDK is an installed Oxbow (pkg-config oxbow), else the build in SDK.\n"
    "SDK ?= @SDK@\n"
    "CFLAGS ?= -std=c17 -O2 -g -Wall -Wextra\n"
    "SDK_CFLAGS := $(shell pkg-config --cflags oxbow 2>/dev/null || echo -I$(SDK)/include)\n"
    "SDK_LIBS := $(shell pkg-config --libs oxbow 2>/dev/null || echo -L$(SDK) -loxbow "
    "-Wl,-rpath,$(SDK))\n"
    "OXBOW := $(or $(wildcard $(SDK)/oxbow),oxbow)\n"
    "\n"
    "@NAME@.so: @NAME@.c\n"
    "\t$(CC) $(CFLAGS) -shared -fPIC $(SDK_CFLAGS) $< -o $@\n"
    "@NAME@_test: @NAME@_test.c @NAME@.c\n"
    "\t$(CC) $(CFLAGS) $(SDK_CFLAGS) $^ $(SDK_LIBS) -o $@\n"
    ".PHONY: test run clean\n"
    "test: @NAME@_test\n"
    "\t./@NAME@_test\n"
    "run: @NAME@.so\n"
    "\t$(OXBOW) run topology.yaml\n"
    "clean:\n"
    "\trm -f @NAME@.so @NAME@_test\n";

const char template_topology_yaml[] =
    "# oxbow run @NAME@.yaml          a cluster of its own, until the numbers end\n"
    "# oxbow validate @NAME@.yaml     every problem, with its place\n"
    "# oxbow pe list                  what may stand after `use:`\n"
    "oxbow: 1                         # format version\n"
    "topology: @NAME@\n"
    "pes:\n"
    "  numbers:                       # makes tuples {seq, key, at}\n"
    "    use: sequence\n"
    "    with: {count: 100000, keys: 5}\n"
    "  per-key:                       # counts them by key, in two instances\n"
    "    use: count\n"
    "    with: {by: key, emit: final}\n"
    "    parallelism: 2\n"
    "  show:\n"
    "    use: stdout-sink\n"
    "streams:\n"
    "  - {from: numbers, to: per-key, by: key}   # same key, same instance, in order\n"
    "  - {from: per-key, to: show}\n";

char *template_fill(const char *template, const char *name, const char *sdk)
{
    struct strbuf out = {0};
    const struct {
        const char *mark;
        const char *text;
    } marks[] = {{"@NAME@", name}, {"@SDK@", sdk}};
    while (*template != '\0') {
        size_t skip = 0;
        for (size_t i = 0; i < sizeof marks / sizeof marks[0] && skip == 0; i++) {
            if (strncmp(template, marks[i].mark, strlen(marks[i].mark)) == 0) {
                strbuf_text_add(&out, marks[i].text);
                skip = strlen(marks[i].mark);
            }
        }
        if (skip == 0) {
            strbuf_char(&out, *template);
            skip = 1;
        }
        template += skip;
    }
    return strbuf_take(&out);
}
