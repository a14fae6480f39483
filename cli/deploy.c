/* cli/deploy.c - `oxbow deploy FILE`: starts a topology and waits until it runs.
 *
 * Why:        the file is not checked here beyond what the upload needs: the master knows PE types
 *             (of embedding workers) that this machine does not. */
#include "cli/print.h"
#include "cli/submit.h"
#include "cli/validate.h"
#include "core/mem.h"

#include <inttypes.h>
#include <string.h>

#define DEPLOY_TIMEOUT_US 60000000u

struct deploy_options {
    uint64_t timeout_us;
};

static const struct option deploy_option_list[] = {
    {.name = "--timeout",
     .kind = OPTION_SECONDS,
     .offset = offsetof(struct deploy_options, timeout_us),
     .value = "S",
     .doc = "how long to wait until it runs (60)"},
    {.name = NULL},
};

static int run_deploy(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_deploy = {
    .name = "deploy",
    .usage = "deploy FILE [--timeout S]",
    .brief = "start a topology, wait until it runs",
    .help =
        "Example: oxbow deploy access.yaml\n\n"
        "Uploads the plug-ins that the file names, hands the topology to the master and\n"
        "waits until it runs.  Paths in the file are relative to the file.  Exit code 3 with the\n"
        "problems when the master refuses it, 5 when it does not run in time (not undone).",
    .args_min = 1,
    .args_max = 1,
    .options = deploy_option_list,
    .options_bytes = sizeof(struct deploy_options),
    .run = run_deploy,
};

static unsigned count_instances(const json_t *topology)
{
    size_t i, count = 0;
    json_t *pe;
    json_array_foreach(json_object_get(topology, "pes"), i, pe)
    {
        count += json_array_size(json_object_get(pe, "instances"));
    }
    return (unsigned)count;
}

static void print_deployed(struct cli *cli, const json_t *topology)
{
    if (cli->json) {
        cli_print_json(cli->out, topology);
        return;
    }
    fprintf(cli->out, "%s version %" PRIu64 " is %s: %zu PEs, %u instances\n",
            json_text_of(topology, "name"), json_count_of(topology, "version"),
            json_text_of(topology, "state"), json_array_size(json_object_get(topology, "pes")),
            count_instances(topology));
    fprintf(cli->err, "next: oxbow status %s --watch\n", json_text_of(topology, "name"));
}

static int deploy_loaded(struct cli *cli, const struct loaded *l, uint64_t timeout_us)
{
    char *name = NULL;
    uint64_t version = 0;
    json_t *topology = NULL;
    int code = submit_topology(cli, l, &name, &version);
    if (code == EXIT_DONE) {
        code = submit_wait(cli, name, "running draining finished stopped failed", timeout_us,
                           &topology);
    }
    if (code == EXIT_DONE && strcmp(json_text_of(topology, "state"), "failed") == 0) {
        code = submit_print_failure(cli, topology);
    }
    if (topology != NULL && (code == EXIT_DONE || cli->json)) {
        print_deployed(cli, topology);
    }
    json_decref(topology);
    mem_free(name);
    return code;
}

static int run_deploy(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)arg_count;
    const struct deploy_options *o = options;
    struct loaded l;
    struct fail f = {0};
    int code = EXIT_DONE;
    if (load_read(args[0], &l, &f) != ERR_OK) {
        code = cli_fail(cli, &f);
    } else {
        if (load_has_missing(&l)) {
            load_check(&l, cli->program); /* says where the file names it */
        }
        code = l.diags.errors > 0
                   ? validate_refuse(cli, &l)
                   : deploy_loaded(cli, &l, o->timeout_us != 0 ? o->timeout_us : DEPLOY_TIMEOUT_US);
    }
    load_fini(&l);
    return code;
}
