/* cli/checkpoint.c - `oxbow checkpoint NAME`: takes one now and waits until it is complete. */
#include "cli/print.h"
#include "cli/submit.h"
#include "core/clock.h"
#include "core/mem.h"

#include <inttypes.h>
#include <string.h>

#define POLL_MS 20

struct checkpoint_options {
    uint64_t timeout_us;
};

static const struct option checkpoint_option_list[] = {
    {.name = "--timeout",
     .kind = OPTION_SECONDS,
     .offset = offsetof(struct checkpoint_options, timeout_us),
     .value = "S",
     .doc = "how long to wait (for ever); it goes on after that"},
    {.name = NULL},
};

static int run_checkpoint(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_checkpoint = {
    .name = "checkpoint",
    .usage = "checkpoint NAME [--timeout S]",
    .brief = "take a checkpoint of a topology now",
    .help = "Example: oxbow checkpoint access\n\n"
            "Waits until the checkpoint is complete: saved, durable, and what it covers committed\n"
            "by the sinks.  The topology needs `checkpoint: {every: ...}` in its YAML.",
    .args_min = 1,
    .args_max = 1,
    .options = checkpoint_option_list,
    .options_bytes = sizeof(struct checkpoint_options),
    .run = run_checkpoint,
};

/* ask - Return: EXIT_DONE with the answer, which says what there was before. */
static int ask(struct cli *cli, const char *name, json_int_t *after, json_int_t *failed)
{
    struct fail f = {0};
    struct client_reply reply;
    char *path = mem_printf("/v1/topologies/%s/checkpoint", name);
    enum err e = client_call(cli->master, "POST", path, NULL, NULL, 0, &reply, &f);
    mem_free(path);
    if (e != ERR_OK) {
        return cli_fail(cli, &f);
    }
    int code = EXIT_DONE;
    if (reply.status < 200 || reply.status > 299) {
        code = cli_refused(cli, &reply, NULL);
    } else {
        *after = json_integer_value(json_object_get(reply.json, "after"));
        *failed = json_integer_value(json_object_get(reply.json, "failed"));
    }
    client_reply_fini(&reply);
    return code;
}

static int print_complete(struct cli *cli, const char *name, const json_t *c)
{
    if (cli->json) {
        cli_print_json(cli->out, c);
    } else {
        fprintf(cli->out,
                "checkpoint %" JSON_INTEGER_FORMAT " of %s: %" JSON_INTEGER_FORMAT
                " bytes in %.1f ms, longest pause %" JSON_INTEGER_FORMAT " us\n",
                json_integer_value(json_object_get(c, "epoch")), name,
                json_integer_value(json_object_get(c, "last_bytes")),
                (double)json_integer_value(json_object_get(c, "last_us")) / 1000.0,
                json_integer_value(json_object_get(c, "last_pause_us")));
    }
    return EXIT_DONE;
}

static int run_checkpoint(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)arg_count;
    const struct checkpoint_options *o = options;
    uint64_t started_us = clock_now_us();
    json_int_t after = 0, failed = 0;
    if (submit_check_name(cli, args[0]) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    int code = ask(cli, args[0], &after, &failed);
    char *path = mem_printf("/v1/topologies/%s", args[0]);
    for (bool over = code != EXIT_DONE; !over;) {
        json_t *topology = NULL;
        code = cli_get(cli, path, &topology);
        const json_t *c = json_object_get(topology, "checkpoint");
        over = true;
        if (code != EXIT_DONE) {
            break;
        }
        if (json_integer_value(json_object_get(c, "epoch")) > after) {
            code = print_complete(cli, args[0], c);
        } else if (json_integer_value(json_object_get(c, "failed")) > failed ||
                   !json_is_object(c)) {
            cli_error(cli, "the checkpoint was given up", json_text_of(c, "error"),
                      "see the logs of master and workers");
            code = EXIT_FAILED;
        } else if (o->timeout_us != 0 && clock_now_us() - started_us > o->timeout_us) {
            cli_error(cli, "the checkpoint is not complete", "the time given has passed",
                      "look with `oxbow status`, or wait longer with --timeout");
            code = EXIT_TIMEOUT;
        } else {
            over = false;
            submit_sleep_ms(POLL_MS);
        }
        json_decref(topology);
    }
    mem_free(path);
    return code;
}
