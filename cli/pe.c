/* cli/pe.c - `oxbow pe list` and `oxbow pe show NAME`: PE types and their parameters. */
#include "cli/describe.h"
#include "cli/print.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/text.h"
#include "pe/registry.h"
#include "topology/model.h"

#include <string.h>

#define TYPES_MAX 256

struct pe_options {
    bool all;
    bool schema;
    const char *format;
};

static const struct option pe_option_list[] = {
    {.name = "--all",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct pe_options, all),
     .doc = "with show: every built-in PE"},
    {.name = "--format",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct pe_options, format),
     .value = "FORMAT",
     .choices = "text markdown",
     .doc = "text (default) or markdown"},
    {.name = "--schema",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct pe_options, schema),
     .doc = "with list: the JSON Schema of the topology format instead"},
    {.name = NULL},
};

static int run_pe(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_pe = {
    .name = "pe",
    .usage = "pe list | pe show NAME|FILE.so | pe show --all [--format text|markdown]",
    .brief = "list the built-in PEs, or show one with its parameters",
    .help = "Example: oxbow pe show file-source\n\n"
            "`pe list` lists the built-in PEs.  `pe show` prints parameters, defaults, ports and\n"
            "fields of one, or of every PE in a plug-in (`oxbow pe show ./parse.so`).",
    .args_min = 1,
    .args_max = 2,
    .options = pe_option_list,
    .options_bytes = sizeof(struct pe_options),
    .run = run_pe,
};

static json_t *load_builtins(void)
{
    char *text = describe_builtins();
    json_t *types = json_loads(text, 0, NULL);
    mem_free(text);
    return types != NULL ? types : json_array();
}

static json_t *load_plugin(struct cli *cli, const char *file, int *code)
{
    struct fail f = {0};
    char *text = NULL;
    char *dir = file_dir_of(file);
    const char *slash = strrchr(file, '/');
    char *path = file_join(dir, slash != NULL && file[0] != '/' ? slash + 1 : file);
    json_t *types = NULL;
    if (describe_plugin(cli->program, path, &text, &f) != ERR_OK) {
        *code = cli_fail(cli, &f);
    } else {
        types = json_loads(text, 0, NULL);
    }
    mem_free(text);
    mem_free(path);
    mem_free(dir);
    return types;
}

static int refuse_name(struct cli *cli, const json_t *types, const char *name)
{
    const char *names[TYPES_MAX];
    size_t i, count = 0;
    json_t *type;
    json_array_foreach(types, i, type)
    {
        if (count < TYPES_MAX) {
            names[count++] = json_text_of(type, "name");
        }
    }
    const char *near = text_nearest(name, names, count);
    char *what = mem_printf("no built-in PE is called `%s`", name);
    char *hint = near != NULL ? mem_printf("did you mean `%s`?", near)
                              : mem_dup("see `oxbow pe list`; a plug-in is shown by its path");
    cli_error(cli, what, NULL, hint);
    mem_free(what);
    mem_free(hint);
    return EXIT_REFUSED;
}

/* select_types - the array of types the user asked for; NULL with *code set. */
static json_t *select_types(struct cli *cli, const char *name, int *code)
{
    if (name != NULL && (strchr(name, '/') != NULL || strstr(name, ".so") != NULL)) {
        return load_plugin(cli, name, code);
    }
    json_t *types = load_builtins();
    size_t i;
    json_t *type;
    if (name == NULL) {
        return types;
    }
    json_array_foreach(types, i, type)
    {
        if (strcmp(json_text_of(type, "name"), name) == 0) {
            json_t *one = json_pack("[O]", type);
            json_decref(types);
            return one;
        }
    }
    *code = refuse_name(cli, types, name);
    json_decref(types);
    return NULL;
}

static void show(struct cli *cli, const json_t *types, const struct pe_options *o)
{
    bool markdown = o->format != NULL && strcmp(o->format, "markdown") == 0;
    size_t i;
    json_t *type;
    if (cli->json) {
        cli_print_json(cli->out,
                       json_array_size(types) == 1 && !o->all ? json_array_get(types, 0) : types);
        return;
    }
    if (markdown && o->all) {
        describe_all_markdown(types, cli->out);
        return;
    }
    json_array_foreach(types, i, type)
    {
        fputs(i > 0 ? "\n" : "", cli->out);
        if (markdown) {
            describe_markdown(type, cli->out);
        } else {
            describe_text(type, cli->out, cli->color_out);
        }
    }
}

static int print_schema(struct cli *cli)
{
    struct fail f = {0};
    struct catalog *catalog = catalog_new();
    char *builtins = describe_builtins();
    enum err e = catalog_add(catalog, builtins, NULL, NULL, &f);
    if (e == ERR_OK) {
        char *schema = topology_schema_json(catalog);
        fprintf(cli->out, "%s\n", schema);
        mem_free(schema);
    }
    mem_free(builtins);
    catalog_free(catalog);
    return e == ERR_OK ? EXIT_DONE : cli_fail(cli, &f);
}

static int run_list(struct cli *cli, const struct pe_options *o)
{
    if (o->schema) {
        return print_schema(cli);
    }
    json_t *types = load_builtins();
    if (cli->json) {
        cli_print_json(cli->out, types);
    } else {
        describe_list(types, cli->out, cli->color_out);
    }
    json_decref(types);
    return EXIT_DONE;
}

static int run_pe(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    const struct pe_options *o = options;
    const char *name = arg_count > 1 ? args[1] : NULL;
    if (strcmp(args[0], "list") == 0 && name == NULL && !o->all) {
        return run_list(cli, o);
    }
    if (strcmp(args[0], "show") != 0 || (name == NULL) == !o->all) {
        cli_error(cli, "`oxbow pe` does not know that",
                  "it takes `list`, `show NAME` or `show --all`", "see `oxbow pe --help`");
        return EXIT_USAGE;
    }
    int code = EXIT_DONE;
    json_t *types = select_types(cli, name, &code);
    if (types != NULL) {
        show(cli, types, o);
        json_decref(types);
    }
    return code;
}
