/* cli/graph.c - `oxbow graph FILE|NAME`: draws a topology file, or a running topology.
 *
 * Why:        an argument that is a file is a file; anything else that can be a name is a running
 *             topology, whose drawing (with instances and rates) the master makes. */
#include "cli/print.h"
#include "cli/validate.h"
#include "core/mem.h"
#include "core/text.h"
#include "topology/physical.h"

#include <string.h>
#include <unistd.h>

struct graph_options {
    const char *format;
};

static const struct option graph_option_list[] = {
    {.name = "--format",
     .kind = OPTION_CHOICE,
     .offset = offsetof(struct graph_options, format),
     .value = "FORMAT",
     .choices = "text dot svg json",
     .doc = "text (default), dot, svg, json"},
    {.name = NULL},
};

static int run_graph(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_graph = {
    .name = "graph",
    .usage = "graph FILE|NAME [--format text|dot|svg|json]",
    .brief = "draw a topology file, or a running topology",
    .help = "Example: oxbow graph access.yaml --format svg >access.svg\n\n"
            "Draws the PEs and streams of a topology file, or of the running topology NAME with\n"
            "its instances and rates.  With `-o json` the format is json.",
    .args_min = 1,
    .args_max = 1,
    .options = graph_option_list,
    .options_bytes = sizeof(struct graph_options),
    .run = run_graph,
};

static void print_drawing(struct cli *cli, const char *drawing)
{
    size_t bytes = strlen(drawing);
    fputs(drawing, cli->out);
    if (bytes == 0 || drawing[bytes - 1] != '\n') {
        fputc('\n', cli->out);
    }
}

static int graph_of_file(struct cli *cli, const char *file, const char *format)
{
    struct loaded l;
    int code = validate_load(cli, file, &l);
    if (code == EXIT_DONE) {
        char *drawing = strcmp(format, "dot") == 0    ? graph_dot(l.topology, NULL)
                        : strcmp(format, "svg") == 0  ? graph_svg(l.topology, NULL)
                        : strcmp(format, "json") == 0 ? graph_json(l.topology, NULL)
                                                      : graph_text(l.topology, NULL);
        print_drawing(cli, drawing);
        mem_free(drawing);
    }
    load_fini(&l);
    return code;
}

static int graph_of_running(struct cli *cli, const char *name, const char *format)
{
    struct fail f = {0};
    struct client_reply reply;
    char *path = mem_printf("/v1/topologies/%s/graph?format=%s", name, format);
    enum err e = client_call(cli->master, "GET", path, NULL, NULL, 0, &reply, &f);
    mem_free(path);
    if (e != ERR_OK) {
        return cli_fail(cli, &f);
    }
    int code = EXIT_DONE;
    if (reply.status == 200) {
        print_drawing(cli, reply.body);
    } else {
        code = cli_refused(cli, &reply, NULL);
    }
    client_reply_fini(&reply);
    return code;
}

static int run_graph(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)arg_count;
    const struct graph_options *o = options;
    const char *format = o->format != NULL ? o->format : cli->json ? "json" : "text";
    if (cli->json && strcmp(format, "json") != 0) {
        cli_error(cli, "-o json and --format disagree", NULL, "leave out one of them");
        return EXIT_USAGE;
    }
    if (access(args[0], F_OK) == 0 || !text_is_name(args[0])) {
        return graph_of_file(cli, args[0], format);
    }
    return graph_of_running(cli, args[0], format);
}
