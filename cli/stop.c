/* cli/stop.c - `oxbow stop NAME [--now]`: drains a topology, or drops it, and waits. */
#include "cli/print.h"
#include "cli/submit.h"
#include "cli/view.h"
#include "core/mem.h"

#include <string.h>

struct stop_options {
    bool now;
    uint64_t timeout_us;
};

static const struct option stop_option_list[] = {
    {.name = "--now",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct stop_options, now),
     .doc = "without draining: what is under way is dropped"},
    {.name = "--timeout",
     .kind = OPTION_SECONDS,
     .offset = offsetof(struct stop_options, timeout_us),
     .value = "S",
     .doc = "how long to wait (for ever); the stop goes on after that"},
    {.name = NULL},
};

static int run_stop(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_stop = {
    .name = "stop",
    .usage = "stop NAME [--now] [--timeout S]",
    .brief = "drain a topology and stop it",
    .help = "Example: oxbow stop access\n\n"
            "Ends the sources, lets everything under way reach the sinks, then stops the topology\n"
            "and waits until it has stopped.",
    .args_min = 1,
    .args_max = 1,
    .options = stop_option_list,
    .options_bytes = sizeof(struct stop_options),
    .run = run_stop,
};

static int print_stopped(struct cli *cli, const json_t *topology)
{
    const char *state = json_text_of(topology, "state");
    if (cli->json) {
        cli_print_json(cli->out, topology);
    } else {
        struct view_totals totals = view_totals_of(topology);
        char in[NUMBER_TEXT_BYTES], out[NUMBER_TEXT_BYTES];
        number_count(totals.in, in);
        number_count(totals.out, out);
        fprintf(cli->out, "%s is %s: %s tuples in, %s out\n", json_text_of(topology, "name"), state,
                in, out);
    }
    return strcmp(state, "failed") == 0 ? submit_print_failure(cli, topology) : EXIT_DONE;
}

static int run_stop(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)arg_count;
    const struct stop_options *o = options;
    const char *name = args[0];
    if (submit_check_name(cli, name) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    struct fail f = {0};
    struct client_reply reply;
    char *path = mem_printf("/v1/topologies/%s/stop%s", name, o->now ? "?now=1" : "");
    enum err e = client_call(cli->master, "POST", path, NULL, NULL, 0, &reply, &f);
    mem_free(path);
    if (e != ERR_OK) {
        return cli_fail(cli, &f);
    }
    int code = EXIT_DONE;
    if (reply.status < 200 || reply.status > 299) {
        code = cli_refused(cli, &reply, NULL);
    }
    client_reply_fini(&reply);
    json_t *topology = NULL;
    if (code == EXIT_DONE) {
        code = submit_wait(cli, name, "stopped finished failed", o->timeout_us, &topology);
    }
    if (code == EXIT_DONE) {
        code = print_stopped(cli, topology);
    }
    json_decref(topology);
    return code;
}
