/* cli/drain.c - `oxbow drain WORKER`, `oxbow undrain WORKER`: out of use, and back. */
#include "cli/outcome.h"
#include "cli/print.h"
#include "cli/receipt.h"
#include "core/mem.h"
#include "core/text.h"

#include <string.h>

struct drain_options {
    uint64_t timeout_us;
};

static const struct option drain_list[] = {
    {.name = "--timeout",
     .kind = OPTION_SECONDS,
     .offset = offsetof(struct drain_options, timeout_us),
     .value = "S",
     .doc = "not decided by then: given up (60)"},
    {.name = NULL},
};

static int run_drain(struct cli *cli, const void *options, char **args, unsigned arg_count);
static int run_undrain(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_drain = {
    .name = "drain",
    .usage = "drain WORKER [--timeout S]",
    .brief = "move a worker's instances away, live; it takes no new ones",
    .help = "Example: oxbow drain w2\n\n"
            "One upgrade for each topology that has instances there; prints their receipts\n"
            "(with -o json: a list).  Refused, with nothing changed, when something there cannot\n"
            "move.  The worker takes no new instances until `oxbow undrain`, whatever becomes of\n"
            "the upgrades.  Exit codes as of `upgrade`.",
    .args_min = 1,
    .args_max = 1,
    .options = drain_list,
    .options_bytes = sizeof(struct drain_options),
    .run = run_drain,
};

const struct verb verb_undrain = {
    .name = "undrain",
    .usage = "undrain WORKER",
    .brief = "let a worker take instances again",
    .help = "Example: oxbow undrain w2\n\n"
            "The next deploy, scale or upgrade may place instances there.  Nothing moves by\n"
            "itself.",
    .args_min = 1,
    .args_max = 1,
    .run = run_undrain,
};

static int check_worker(struct cli *cli, const char *name)
{
    if (text_is_name(name)) {
        return EXIT_DONE;
    }
    char *what = mem_printf("`%s` is no worker name", name);
    cli_error(cli, what, "names are lower-case letters, digits and dashes",
              "list them with `oxbow workers`");
    mem_free(what);
    return EXIT_USAGE;
}

/* One topology's change; its receipt is printed, or joins `list`. */
static int finish_one(struct cli *cli, const json_t *change, uint64_t timeout_us, json_t *list)
{
    const json_t *error = json_object_get(change, "error");
    json_t *receipt = NULL;
    if (json_is_object(error)) {
        char *what = mem_printf("%s stays where it is", json_text_of(change, "topology"));
        cli_error(cli, what, json_text_of(error, "message"), json_text_of(error, "hint"));
        mem_free(what);
        return EXIT_FAILED;
    }
    if (!cli->json) {
        fprintf(cli->err, "%s:\n", json_text_of(change, "topology"));
    }
    int code = outcome_wait(cli, change, timeout_us, &receipt);
    if (code == EXIT_DONE) {
        json_array_append(list, receipt);
        if (!cli->json) {
            receipt_print(cli, receipt);
        }
        code = outcome_explain(cli, receipt, timeout_us);
    }
    json_decref(receipt);
    return code;
}

static int run_drain(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)arg_count;
    const struct drain_options *o = options;
    json_t *answer = NULL, *change, *list = json_array();
    size_t i;
    char *path = mem_printf("/v1/workers/%s/drain", args[0]);
    int code = check_worker(cli, args[0]);
    if (code == EXIT_DONE) {
        code = outcome_post(cli, path, NULL, o->timeout_us, &answer);
    }
    mem_free(path);
    json_array_foreach(json_object_get(answer, "changes"), i, change)
    {
        int one = code == EXIT_DETACHED ? code : finish_one(cli, change, o->timeout_us, list);
        code = code == EXIT_DONE ? one : code; /* the first one that is not done */
    }
    if (answer != NULL && cli->json) {
        cli_print_json(cli->out, list);
    } else if (code == EXIT_DONE) {
        fprintf(cli->out, "%s is drained: it takes no new instances until `oxbow undrain %s`\n",
                args[0], args[0]);
    }
    json_decref(list);
    json_decref(answer);
    return code;
}

static int run_undrain(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)options;
    (void)arg_count;
    json_t *answer = NULL;
    char *path = mem_printf("/v1/workers/%s/undrain", args[0]);
    int code = check_worker(cli, args[0]);
    if (code == EXIT_DONE) {
        code = outcome_post(cli, path, NULL, 0, &answer);
    }
    mem_free(path);
    if (code == EXIT_DONE && cli->json) {
        cli_print_json(cli->out, answer);
    } else if (code == EXIT_DONE) {
        fprintf(cli->out, "%s takes instances again\n", args[0]);
    }
    json_decref(answer);
    return code;
}
