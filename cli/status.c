/* cli/status.c - `oxbow status [NAME] [--watch]`: topologies, PEs, instances, workers, rates.
 *
 * Why:        --watch repaints a terminal and appends to anything else, so that it can be piped. */
#include "cli/print.h"
#include "cli/submit.h"
#include "cli/view.h"
#include "core/mem.h"

#include <time.h>
#include <unistd.h>

struct status_options {
    bool watch;
    uint64_t every_us;
};

static const struct option status_option_list[] = {
    {.name = "--watch",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct status_options, watch),
     .doc = "again every second, until Ctrl-C"},
    {.name = "--every",
     .kind = OPTION_SECONDS,
     .offset = offsetof(struct status_options, every_us),
     .value = "S",
     .doc = "with --watch: how often (1)"},
    {.name = NULL},
};

static int run_status(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_status = {
    .name = "status",
    .usage = "status [NAME] [--watch]",
    .brief = "topologies and workers, or one topology's PEs, streams and rates",
    .help = "Example: oxbow status access --watch\n\n"
            "Without NAME: the topologies and the workers.  With NAME: its PEs and streams with\n"
            "counts, rates and health.  Ctrl-C ends a watch; the topology goes on.",
    .args_min = 0,
    .args_max = 1,
    .options = status_option_list,
    .options_bytes = sizeof(struct status_options),
    .run = run_status,
};

static int print_all(struct cli *cli)
{
    json_t *topologies = NULL, *workers = NULL;
    int code = cli_get(cli, "/v1/topologies", &topologies);
    if (code == EXIT_DONE) {
        code = cli_get(cli, "/v1/workers", &workers);
    }
    if (code == EXIT_DONE && cli->json) {
        json_t *both = json_pack("{s:O, s:O}", "topologies", topologies, "workers", workers);
        cli_print_json(cli->out, both);
        json_decref(both);
    } else if (code == EXIT_DONE) {
        view_topologies(topologies, cli->out, cli->color_out);
        fputc('\n', cli->out);
        view_workers(workers, cli->out, cli->color_out);
    }
    json_decref(topologies);
    json_decref(workers);
    return code;
}

static int print_one(struct cli *cli, const char *name)
{
    json_t *topology = NULL;
    char *path = mem_printf("/v1/topologies/%s", name);
    int code = cli_get(cli, path, &topology);
    mem_free(path);
    if (code == EXIT_DONE && cli->json) {
        cli_print_json(cli->out, topology);
    } else if (code == EXIT_DONE) {
        view_topology(topology, cli->out, cli->color_out);
    }
    json_decref(topology);
    return code;
}

static int watch(struct cli *cli, const char *name, uint64_t every_us)
{
    bool terminal = isatty(fileno(cli->out)) == 1;
    struct timespec pause = {.tv_sec = (time_t)(every_us / 1000000),
                             .tv_nsec = (long)(every_us % 1000000) * 1000};
    for (;;) {
        if (terminal) {
            fputs("\033[H\033[J", cli->out);
        }
        int code = name != NULL ? print_one(cli, name) : print_all(cli);
        if (code != EXIT_DONE) {
            return code;
        }
        fputs(terminal ? "\nCtrl-C ends this watch; everything goes on\n" : "\n", cli->out);
        fflush(cli->out);
        nanosleep(&pause, NULL);
    }
}

static int run_status(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    const struct status_options *o = options;
    const char *name = arg_count > 0 ? args[0] : NULL;
    if (name != NULL && submit_check_name(cli, name) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    if (o->watch && cli->json) {
        cli_error(cli, "--watch and -o json disagree", "-o json prints one document",
                  "ask again in a loop of your own");
        return EXIT_USAGE;
    }
    if (o->watch) {
        return watch(cli, name, o->every_us != 0 ? o->every_us : 1000000);
    }
    return name != NULL ? print_one(cli, name) : print_all(cli);
}
