/* cli/skip.c - `oxbow skip NAME PE`: the tuple a held PE cannot process goes to the dead letters.
 */
#include "cli/print.h"
#include "cli/submit.h"
#include "core/mem.h"

#include <stdlib.h>

static int run_skip(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_skip = {
    .name = "skip",
    .usage = "skip NAME PE",
    .brief = "dead-letter the tuple that a held PE cannot process",
    .help =
        "Example: oxbow skip access parse\n\n"
        "For a PE with `on_error: {then: hold}`: each of its instances that is held gives its\n"
        "tuple up as a dead letter and goes on with the input it has kept.  `oxbow status NAME`\n"
        "shows the tuple and the error.  Repairing the PE with `oxbow upgrade` instead gives\n"
        "the tuple to the new code.  A recovery to a checkpoint from before the skip holds the\n"
        "tuple again; so one is taken at once.",
    .args_min = 2,
    .args_max = 2,
    .run = run_skip,
};

static void print_skipped(struct cli *cli, const char *pe, const json_t *answer)
{
    size_t n;
    json_t *one;
    json_array_foreach(json_object_get(answer, "skipped"), n, one)
    {
        char *tuple = json_dumps(json_object_get(one, "tuple"), JSON_COMPACT | JSON_ENCODE_ANY);
        fprintf(cli->out, "skipped at %s[%" JSON_INTEGER_FORMAT "]: %s (%s)\n", pe,
                json_integer_value(json_object_get(one, "instance")), tuple,
                json_text_of(one, "error"));
        free(tuple);
    }
    fprintf(cli->out, "this lasts %s\n", json_text_of(answer, "lasts"));
}

static int run_skip(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)options;
    (void)arg_count;
    struct fail f = {0};
    struct client_reply reply;
    if (submit_check_name(cli, args[0]) != EXIT_DONE ||
        submit_check_name(cli, args[1]) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    char *path = mem_printf("/v1/topologies/%s/skip?pe=%s", args[0], args[1]);
    enum err e = client_call(cli->master, "POST", path, NULL, NULL, 0, &reply, &f);
    mem_free(path);
    if (e != ERR_OK) {
        return cli_fail(cli, &f);
    }
    int code = EXIT_DONE;
    if (reply.status < 200 || reply.status > 299) {
        code = cli_refused(cli, &reply, NULL);
    } else if (cli->json) {
        cli_print_json(cli->out, reply.json);
    } else {
        print_skipped(cli, args[1], reply.json);
    }
    client_reply_fini(&reply);
    return code;
}
