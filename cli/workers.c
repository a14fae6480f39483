/* cli/workers.c - `oxbow workers`: the workers the master knows. */
#include "cli/print.h"
#include "cli/view.h"

static int run_workers(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_workers = {
    .name = "workers",
    .usage = "workers",
    .brief = "list the workers",
    .help = "Example: oxbow workers\n\n"
            "Lists the workers of the cluster: state, address, slots, threads, labels.",
    .run = run_workers,
};

static int run_workers(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)options;
    (void)args;
    (void)arg_count;
    json_t *workers = NULL;
    int code = cli_get(cli, "/v1/workers", &workers);
    if (code == EXIT_DONE && cli->json) {
        cli_print_json(cli->out, workers);
    } else if (code == EXIT_DONE) {
        view_workers(workers, cli->out, cli->color_out);
    }
    json_decref(workers);
    return code;
}
