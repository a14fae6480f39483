/* cli/model.c - `oxbow model check|run|test`: ONNX models without a cluster. */
#include "cli/print.h"
#include "core/mem.h"
#include "core/strbuf.h"
#include "pe/infer/model.h"

#include <jansson.h>
#include <string.h>

struct model_options {
    struct option_list in;
    const char *out;
    const char *device;
};

static const struct option model_option_list[] = {
    {.name = "--in",
     .kind = OPTION_LIST,
     .offset = offsetof(struct model_options, in),
     .value = "NAME=FILE.pb",
     .doc = "run: an input and the file with its tensor; repeat for each input"},
    {.name = "--out",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct model_options, out),
     .value = "DIR",
     .doc = "run: where the outputs go, one NAME.pb each"},
    {.name = "--device",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct model_options, device),
     .value = "DEVICE",
     .choices = "reference fused cpu gpu any",
     .doc = "reference (default), fused, cpu, gpu or any; check: what runs there after fusion"},
    {.name = NULL},
};

static int run_model(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_model = {
    .name = "model",
    .usage = "model check FILE | model run FILE --in NAME=FILE.pb ... --out DIR | "
             "model test DIR...",
    .brief = "check an ONNX model, run it once, or run ONNX test folders",
    .help = "Example: oxbow model check digits.onnx\n\n"
            "`model check` lists inputs, outputs and what runs each operator.  `model run` makes\n"
            "one inference; tensors are ONNX TensorProto files.  `model test` runs folders with\n"
            "model.onnx and test_data_set_*/{input,output}_*.pb and prints a line for each:\n"
            "`pass NAME`, `fail NAME why` or `unsupported NAME why`.",
    .args_min = 2,
    .args_max = CLI_ARGS_MAX,
    .options = model_option_list,
    .options_bytes = sizeof(struct model_options),
    .run = run_model,
};

/* ---- check ---- */

struct check_view {
    struct cli *cli;
    json_t *inputs, *outputs, *nodes;
    unsigned node_count;
};

static void show_port(void *arg, bool is_input, const struct model_port *p)
{
    struct check_view *v = arg;
    if (v->cli->json) {
        json_array_append_new(is_input ? v->inputs : v->outputs,
                              json_pack("{ssssss}", "name", p->name, "type", p->dtype, "shape",
                                        p->shape));
        return;
    }
    fprintf(v->cli->out, "%-7s %s: %s%s\n", is_input ? "input" : "output", p->name, p->dtype,
            p->shape);
}

static void show_node(void *arg, const struct model_node *n)
{
    struct check_view *v = arg;
    v->node_count++;
    if (v->cli->json) {
        json_array_append_new(v->nodes, json_pack("{sssssssiss*sssssb}", "name", n->name, "op",
                                                  n->op, "domain", n->domain, "opset", n->opset,
                                                  "where", n->where, "shape", n->shape, "why",
                                                  n->why, "supported", n->where != NULL));
        return;
    }
    fprintf(v->cli->out, "%-12s %-24s %-16s %s%s%s\n", n->where != NULL ? n->where : "unsupported",
            n->op, n->shape, n->name, n->why[0] != '\0' ? ": " : "", n->why);
}

static int check_model(struct cli *cli, const struct graph *g, const char *device)
{
    struct fail f = {0};
    struct check_view v = {.cli = cli};
    v.inputs = json_array();
    v.outputs = json_array();
    v.nodes = json_array();
    struct model_sink sink = {.arg = &v, .port = show_port, .node = show_node};
    if (!cli->json) {
        fprintf(cli->out, "opset   %d\n", model_opset(g));
    }
    enum err e = model_check(g, device != NULL ? device : "reference", &sink, &f);
    json_t *j = json_pack("{sisosososb}", "opset", model_opset(g), "inputs", v.inputs, "outputs",
                          v.outputs, "nodes", v.nodes, "supported", e == ERR_OK);
    if (cli->json) {
        cli_print_json(cli->out, j);
    } else if (e == ERR_OK) {
        fprintf(cli->out, "ok: %u nodes, all supported\n", v.node_count);
    }
    json_decref(j);
    if (e != ERR_OK) {
        cli_fail(cli, &f);
        return EXIT_REFUSED;
    }
    return EXIT_DONE;
}

/* ---- run ---- */

static int run_once(struct cli *cli, const struct graph *g, const struct model_options *o)
{
    struct fail f = {0};
    struct model_arg args[OPTION_LIST_MAX];
    char *names[OPTION_LIST_MAX];
    uint32_t count = 0;
    int code = EXIT_DONE;
    for (; count < o->in.count && code == EXIT_DONE; count++) {
        const char *equals = strchr(o->in.items[count], '=');
        if (equals == NULL) {
            cli_error(cli, "--in wants NAME=FILE.pb", NULL, "see `oxbow model --help`");
            code = EXIT_USAGE;
            break;
        }
        names[count] = mem_dup_n(o->in.items[count], (size_t)(equals - o->in.items[count]));
        args[count] = (struct model_arg){.name = names[count], .file = equals + 1};
    }
    if (code == EXIT_DONE &&
        model_run_files(g, o->device != NULL ? o->device : "reference", args, count,
                        o->out != NULL ? o->out : ".", &f) != ERR_OK) {
        cli_fail(cli, &f);
        code = EXIT_FAILED;
    }
    for (uint32_t i = 0; i < count; i++) {
        mem_free(names[i]);
    }
    return code;
}

/* ---- test ---- */

static const char *const verdict_names[] = {
    [VERDICT_PASS] = "pass", [VERDICT_FAIL] = "fail", [VERDICT_UNSUPPORTED] = "unsupported"};

static int test_models(struct cli *cli, const struct model_options *o, char **dirs, unsigned count)
{
    unsigned counts[3] = {0};
    json_t *results = json_array();
    for (unsigned i = 0; i < count; i++) {
        struct fail f = {0};
        char *dir = mem_dup(dirs[i]);
        for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--) {
            dir[n - 1] = '\0';
        }
        const char *slash = strrchr(dir, '/');
        const char *name = slash != NULL ? slash + 1 : dir;
        struct model_run run = {.device = o->device != NULL ? o->device : "reference"};
        enum verdict v = model_test(dir, &run, &f);
        counts[v]++;
        if (cli->json) {
            json_array_append_new(results, json_pack("{ssssss}", "name", name, "verdict",
                                                     verdict_names[v], "why", f.what));
        } else {
            fprintf(cli->out, "%s %s%s%s\n", verdict_names[v], name,
                    v != VERDICT_PASS ? " " : "", v != VERDICT_PASS ? f.what : "");
        }
        mem_free(dir);
    }
    if (cli->json) {
        cli_print_json(cli->out, results);
    }
    json_decref(results);
    return counts[VERDICT_FAIL] > 0 ? EXIT_FAILED : EXIT_DONE;
}

static int run_model(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    const struct model_options *o = options;
    struct fail f = {0};
    struct graph *g = NULL;
    if (strcmp(args[0], "test") == 0) {
        return test_models(cli, o, args + 1, arg_count - 1);
    }
    bool check = strcmp(args[0], "check") == 0;
    if (arg_count != 2 || (!check && strcmp(args[0], "run") != 0)) {
        cli_error(cli, "`oxbow model` takes check, run or test", NULL,
                  "see `oxbow model --help`");
        return EXIT_USAGE;
    }
    if (model_open(args[1], &g, &f) != ERR_OK) {
        cli_fail(cli, &f);
        return EXIT_REFUSED;
    }
    int code = check ? check_model(cli, g, o->device) : run_once(cli, g, o);
    model_close(g);
    return code;
}
