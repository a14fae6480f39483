/* cli/receipt.c - history, receipt: what earlier upgrades did. */
#include "cli/receipt.h"

#include "cli/print.h"
#include "cli/submit.h"
#include "core/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int run_history(struct cli *cli, const void *options, char **args, unsigned arg_count);
static int run_receipt(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_history = {
    .name = "history",
    .usage = "history NAME",
    .brief = "versions of a topology with their receipts",
    .help =
        "Example: oxbow history access\n\n"
        "Every version, oldest first: what it was made from, what the change to it cost, and how\n"
        "often it was recovered after a worker was lost; below, the checkpoints that recoveries\n"
        "could not use, and why.",
    .args_min = 1,
    .args_max = 1,
    .run = run_history,
};

const struct verb verb_receipt = {
    .name = "receipt",
    .usage = "receipt NAME [VERSION]",
    .brief = "what the change to a version did and cost",
    .help =
        "Example: oxbow receipt access 4\n\n"
        "Lost, duplicated and reordered tuples from the ledgers of the channels, the pause,\n"
        "and how long each phase took.  Without VERSION: the newest one, which may be that of a\n"
        "recovery.",
    .args_min = 1,
    .args_max = 2,
    .run = run_receipt,
};

/* Of a worker that was lost, not of a change: it leaves the version as it is. */
static bool is_recovery(const json_t *receipt)
{
    return json_count_of(receipt, "from") == json_count_of(receipt, "to");
}

int receipt_find(struct cli *cli, const char *name, uint64_t version, json_t **out)
{
    json_t *list = NULL, *one;
    size_t i;
    char *path = mem_printf("/v1/topologies/%s/receipts", name);
    int code = cli_get(cli, path, &list);
    mem_free(path);
    json_array_foreach(list, i, one)
    {
        bool is_change = !is_recovery(one);
        if (version == 0 || (json_count_of(one, "to") == version &&
                             (is_change || *out == NULL || is_recovery(*out)))) {
            json_decref(*out);
            *out = json_incref(one);
        }
    }
    json_decref(list);
    return code;
}

static void count_text(const json_t *receipt, const char *key, char out[NUMBER_TEXT_BYTES])
{
    if (json_is_null(json_object_get(receipt, key))) {
        memcpy(out, "unknown", sizeof "unknown");
    } else {
        number_count(json_count_of(receipt, key), out);
    }
}

static void print_replayed(struct cli *cli, const json_t *r)
{
    char resent[NUMBER_TEXT_BYTES], replayed[NUMBER_TEXT_BYTES], discarded[NUMBER_TEXT_BYTES];
    fprintf(cli->out, "  %" PRIu64 " instances; %.1f ms from the loss until it ran\n",
            json_count_of(r, "instances_touched"), json_real_of(r, "total_ms"));
    count_text(r, "resent", resent);
    count_text(r, "replayed", replayed);
    count_text(r, "discarded", discarded);
    fprintf(cli->out, "  tuples replayed %s, of these from logs %s; discarded at sinks %s\n",
            replayed, resent, discarded);
    fprintf(cli->out, "  lost, duplicated, reordered unknown: %s\n", json_text_of(r, "unknown"));
}

static void print_recovery(struct cli *cli, const json_t *r)
{
    fprintf(cli->out, "%s: version %" PRIu64 ", %s: generation %" PRIu64 " from ",
            json_text_of(r, "topology"), json_count_of(r, "to"), json_text_of(r, "result"),
            json_count_of(r, "gen"));
    if (json_count_of(r, "checkpoint") != 0) {
        fprintf(cli->out, "checkpoint %" PRIu64 "\n", json_count_of(r, "checkpoint"));
    } else {
        fputs("the beginning\n", cli->out);
    }
    if (json_count_of(r, "damaged") != 0) {
        fprintf(cli->out, "  checkpoint %" PRIu64 " is damaged, an older one was taken: %s\n",
                json_count_of(r, "damaged"), json_text_of(r, "damage"));
    }
    print_replayed(cli, r);
}

/* A PE that was stuck got other code by a recovery. */
static void print_repair(struct cli *cli, const json_t *r)
{
    const json_t *one;
    size_t i;
    fprintf(cli->out,
            "%s: version %" PRIu64 " -> %" PRIu64 ", %s: recovered from checkpoint %" PRIu64 "\n",
            json_text_of(r, "topology"), json_count_of(r, "from"), json_count_of(r, "to"),
            json_text_of(r, "result"), json_count_of(r, "checkpoint"));
    json_array_foreach(json_object_get(r, "repairs"), i, one)
    {
        fprintf(cli->out, "  replaced %s[%" PRIu64 "], which was stuck on worker %s\n",
                json_text_of(one, "pe"), json_count_of(one, "instance"),
                json_text_of(one, "worker"));
    }
    print_replayed(cli, r);
}

static void print_rollback(struct cli *cli, const json_t *r)
{
    fprintf(cli->out,
            "%s: version %" PRIu64 " -> %" PRIu64 ", %s: as it was at checkpoint %" PRIu64 "\n",
            json_text_of(r, "topology"), json_count_of(r, "from"), json_count_of(r, "to"),
            json_text_of(r, "result"), json_count_of(r, "checkpoint"));
    fprintf(cli->out, "  %" PRIu64 " instances; %.1f ms until it ran\n",
            json_count_of(r, "instances_touched"), json_real_of(r, "total_ms"));
    fprintf(cli->out, "  replayed unknown: %s\n", json_text_of(r, "unknown"));
}

void receipt_print(struct cli *cli, const json_t *r)
{
    const json_t *pause = json_object_get(r, "pause_us"), *phase;
    char lost[NUMBER_TEXT_BYTES], twice[NUMBER_TEXT_BYTES], order[NUMBER_TEXT_BYTES];
    char max[NUMBER_TEXT_BYTES], p99[NUMBER_TEXT_BYTES], wanted[NUMBER_TEXT_BYTES];
    size_t i;
    if (cli->json) {
        cli_print_json(cli->out, r);
        return;
    }
    if (is_recovery(r)) {
        print_recovery(cli, r);
        return;
    }
    if (json_object_get(r, "repairs") != NULL) {
        print_repair(cli, r);
        return;
    }
    if (json_object_get(r, "checkpoint") != NULL) {
        print_rollback(cli, r);
        return;
    }
    count_text(r, "lost", lost);
    count_text(r, "duplicated", twice);
    count_text(r, "reordered", order);
    number_us(json_real_of(pause, "max"), max);
    number_us(json_real_of(pause, "p99"), p99);
    number_us(json_real_of(r, "predicted_pause_us"), wanted);
    fprintf(cli->out, "%s: version %" PRIu64 " -> %" PRIu64 ", %s\n", json_text_of(r, "topology"),
            json_count_of(r, "from"), json_count_of(r, "to"), json_text_of(r, "result"));
    fprintf(cli->out, "  lost %s, duplicated %s, reordered %s\n", lost, twice, order);
    if (json_text_of(r, "unknown")[0] != '\0') {
        fprintf(cli->out, "  unknown: %s\n", json_text_of(r, "unknown"));
    }
    fprintf(cli->out, "  pause %s at most, p99 %s (predicted %s)\n", max, p99, wanted);
    const uint64_t touched = json_count_of(r, "instances_touched");
    const uint64_t workers = json_count_of(r, "workers_touched");
    fprintf(cli->out, "  %" PRIu64 " instance%s on %" PRIu64 " worker%s;", touched,
            touched == 1 ? "" : "s", workers, workers == 1 ? "" : "s");
    json_array_foreach(json_object_get(r, "phases"), i, phase)
    {
        fprintf(cli->out, " %s %.1f ms", json_text_of(phase, "name"), json_real_of(phase, "ms"));
    }
    fputc('\n', cli->out);
}

static int run_receipt(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)options;
    char *end = NULL;
    uint64_t version = arg_count > 1 ? strtoull(args[1], &end, 10) : 0;
    json_t *receipt = NULL;
    if (submit_check_name(cli, args[0]) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    if (arg_count > 1 && (version == 0 || *end != '\0')) {
        cli_error(cli, "VERSION must be a number from 1", args[1], "see `oxbow history`");
        return EXIT_USAGE;
    }
    int code = receipt_find(cli, args[0], version, &receipt);
    if (code == EXIT_DONE && receipt == NULL) {
        cli_error(cli, "there is no such receipt", "a first version has none",
                  "see `oxbow history`");
        return EXIT_REFUSED;
    }
    if (code == EXIT_DONE) {
        receipt_print(cli, receipt);
    }
    json_decref(receipt);
    return code;
}

/* What recoveries of a version could not go back to. */
static void print_damaged(struct cli *cli, const json_t *version)
{
    const json_t *r;
    size_t i;
    json_array_foreach(json_object_get(version, "recoveries"), i, r)
    {
        if (json_count_of(r, "damaged") != 0) {
            fprintf(cli->out,
                    "version %" PRIu64 ", recovery to generation %" PRIu64 ": checkpoint %" PRIu64
                    " is damaged, %" PRIu64 " was taken: %s\n",
                    json_count_of(version, "version"), json_count_of(r, "gen"),
                    json_count_of(r, "damaged"), json_count_of(r, "checkpoint"),
                    json_text_of(r, "damage"));
        }
    }
}

static int run_history(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    static const char *const heads[] = {">VERSION", ">FROM",  "STATE",      "RESULT",
                                        ">LOST",    ">PAUSE", ">RECOVERIES"};
    (void)options;
    (void)arg_count;
    json_t *list = NULL, *one;
    size_t i;
    if (submit_check_name(cli, args[0]) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    char *path = mem_printf("/v1/topologies/%s/versions", args[0]);
    int code = cli_get(cli, path, &list);
    mem_free(path);
    if (code != EXIT_DONE || cli->json) {
        if (code == EXIT_DONE) {
            cli_print_json(cli->out, list);
        }
        json_decref(list);
        return code;
    }
    struct table t;
    table_init(&t, heads, sizeof heads / sizeof heads[0]);
    json_array_foreach(list, i, one)
    {
        const json_t *r = json_object_get(one, "receipt");
        char text[NUMBER_TEXT_BYTES];
        number_count(json_count_of(one, "version"), text);
        table_cell(&t, text);
        number_count(json_count_of(one, "from"), text);
        table_cell(&t, json_count_of(one, "from") != 0 ? text : "-");
        table_cell(&t, json_text_of(one, "state"));
        table_cell(&t, json_is_object(r) ? json_text_of(r, "result") : "deployed");
        count_text(r, "lost", text);
        table_cell(&t, json_is_object(r) ? text : "-");
        number_us(json_real_of(json_object_get(r, "pause_us"), "max"), text);
        table_cell(&t, json_is_object(r) ? text : "-");
        number_count(json_array_size(json_object_get(one, "recoveries")), text);
        table_cell(&t, text);
    }
    table_print(&t, cli->out, cli->color_out);
    table_fini(&t);
    json_array_foreach(list, i, one)
    {
        print_damaged(cli, one);
    }
    json_decref(list);
    return EXIT_DONE;
}
