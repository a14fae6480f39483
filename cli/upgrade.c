/* cli/upgrade.c - plan, upgrade, rollback: a running topology becomes another one.
 *
 * Why:        `upgrade` shows the plan, asks, and sends its digest along: what is carried out is
 *             what was shown, or nothing. */
#include "cli/outcome.h"
#include "cli/print.h"
#include "cli/submit.h"
#include "cli/validate.h"
#include "core/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct upgrade_options {
    uint64_t timeout_us;
    const char *plan;
    bool yes;
    uint32_t to;
    bool to_checkpoint, keep_output;
};

static const struct option upgrade_list[] = {
    {.name = "--plan",
     .kind = OPTION_TEXT,
     .offset = offsetof(struct upgrade_options, plan),
     .value = "DIGEST",
     .doc = "refuse if the plan is no longer that one; does not ask"},
    {.name = "--timeout",
     .kind = OPTION_SECONDS,
     .offset = offsetof(struct upgrade_options, timeout_us),
     .value = "S",
     .doc = "not decided by then: given up (what the file says; 60)"},
    {.name = "--yes",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct upgrade_options, yes),
     .doc = "do not ask"},
    {.name = NULL},
};

static const struct option rollback_list[] = {
    {.name = "--to",
     .kind = OPTION_COUNT,
     .offset = offsetof(struct upgrade_options, to),
     .value = "VERSION",
     .doc = "the version to go back to (the one before)",
     .min = 1,
     .max = UINT32_MAX},
    {.name = "--to-checkpoint",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct upgrade_options, to_checkpoint),
     .doc = "to the version before, as it was at its last checkpoint"},
    {.name = "--keep-output",
     .kind = OPTION_FLAG,
     .offset = offsetof(struct upgrade_options, keep_output),
     .doc = "with it: output committed since stays, and comes once more"},
    {.name = "--timeout",
     .kind = OPTION_SECONDS,
     .offset = offsetof(struct upgrade_options, timeout_us),
     .value = "S",
     .doc = "not decided by then: given up (what the file says; 60)"},
    {.name = NULL},
};

static int run_plan(struct cli *cli, const void *options, char **args, unsigned arg_count);
static int run_upgrade(struct cli *cli, const void *options, char **args, unsigned arg_count);
static int run_rollback(struct cli *cli, const void *options, char **args, unsigned arg_count);

const struct verb verb_plan = {
    .name = "plan",
    .usage = "plan FILE",
    .brief = "what `upgrade` would do; changes nothing",
    .help = "Example: oxbow plan access.yaml\n\n"
            "Compares the file with the running topology of its name: what changes, which\n"
            "instances cut over, what each worker does, the pause to expect.  Exit code 3 when\n"
            "an upgrade would be refused.",
    .args_min = 1,
    .args_max = 1,
    .run = run_plan,
};

const struct verb verb_upgrade = {
    .name = "upgrade",
    .usage = "upgrade FILE [--plan DIGEST] [--timeout S] [--yes]",
    .brief = "change a running topology while its data flows",
    .help = "Example: oxbow upgrade access.yaml --yes\n\n"
            "Plans, asks (on a terminal), prepares what is new beside what runs, cuts over and\n"
            "prints the receipt.  Phases go to stderr as they pass.  One that is under way and\n"
            "not decided yet is given up for this one; one that is decided is waited for.\n"
            "Ctrl-C ends the watching, not the upgrade (exit code 130).  Exit code 3 when it is\n"
            "refused, 1 when it was given up and nothing has changed, 5 when it was not decided\n"
            "in time (nothing has changed) or is decided and not over yet.  One that is decided\n"
            "when a worker is lost is recovered from a checkpoint: that is waited for as well.",
    .args_min = 1,
    .args_max = 1,
    .options = upgrade_list,
    .options_bytes = sizeof(struct upgrade_options),
    .run = run_upgrade,
};

const struct verb verb_rollback = {
    .name = "rollback",
    .usage = "rollback NAME [--to VERSION] [--to-checkpoint [--keep-output]] [--timeout S]",
    .brief = "upgrade to an earlier version",
    .help = "Example: oxbow rollback access --to 3\n\n"
            "An upgrade, live as every other, to the file that version was made of.  State and\n"
            "output stay as they are.  `oxbow history NAME` lists the versions.\n\n"
            "With --to-checkpoint it undoes what the present version did to the state: everything\n"
            "is restored from the last checkpoint of the version before, and what came since is\n"
            "processed once more by its code.  Output that was committed since cannot be undone:\n"
            "it is refused then (exit code 3).  With --keep-output that output stays, and what is\n"
            "processed once more is emitted once more behind it.",
    .args_min = 1,
    .args_max = 1,
    .options = rollback_list,
    .options_bytes = sizeof(struct upgrade_options),
    .run = run_rollback,
};

/* POST the file to .../NAME/`verb`. */
static int post_file(struct cli *cli, const struct loaded *l, const char *name,
                     const char *verb, const char *digest, uint64_t timeout_us,
                     struct client_reply *reply)
{
    char *path = mem_printf("/v1/topologies/%s/%s%s%s", name, verb,
                            digest != NULL ? "?plan=" : "", digest != NULL ? digest : "");
    char *full = outcome_path(path, timeout_us);
    int code = submit_file(cli, l, full, timeout_us, reply);
    mem_free(full);
    mem_free(path);
    return code;
}

/* The file as it is: the master checks it, for it knows the PE types of embedding workers, which
 * this machine may not.  @name: of the topology; caller frees. */
static int load(struct cli *cli, const char *file, struct loaded *l, char **name)
{
    struct fail f = {0};
    if (load_read(file, l, &f) != ERR_OK) {
        return cli_fail(cli, &f);
    }
    *name = load_name(l);
    if (*name == NULL || load_has_missing(l)) {
        load_check(l, cli->program); /* says where */
    }
    return *name == NULL || l->diags.errors > 0 ? validate_refuse(cli, l) : EXIT_DONE;
}

static int print_refused(struct cli *cli, const json_t *plan)
{
    const json_t *refused = json_object_get(plan, "refused");
    if (!json_is_object(refused)) {
        return EXIT_DONE;
    }
    cli_error(cli, "the upgrade is refused", json_text_of(refused, "message"),
              json_text_of(refused, "hint"));
    return EXIT_REFUSED;
}

static int run_plan(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)options;
    (void)arg_count;
    struct loaded l = {0};
    struct client_reply reply = {0};
    char *name = NULL;
    int code = load(cli, args[0], &l, &name);
    if (code == EXIT_DONE) {
        code = post_file(cli, &l, name, "plan", NULL, 0, &reply);
    }
    if (code == EXIT_DONE) {
        if (cli->json) {
            cli_print_json(cli->out, reply.json);
        } else {
            fputs(json_text_of(reply.json, "text"), cli->out);
        }
        code = print_refused(cli, reply.json);
        client_reply_fini(&reply);
    }
    mem_free(name);
    load_fini(&l);
    return code;
}

/* Show the plan and ask.  Return: EXIT_DONE with the digest (caller frees), or the exit code. */
static int agree(struct cli *cli, const struct loaded *l, const char *name, char **digest)
{
    struct client_reply reply = {0};
    char answer[16] = "";
    int code = post_file(cli, l, name, "plan", NULL, 0, &reply);
    if (code != EXIT_DONE) {
        return code;
    }
    fputs(json_text_of(reply.json, "text"), cli->err);
    code = print_refused(cli, reply.json);
    if (code == EXIT_DONE && !json_is_true(json_object_get(reply.json, "empty"))) {
        fprintf(cli->err, "go on? [y/N] ");
        fflush(cli->err);
        if (fgets(answer, sizeof answer, stdin) == NULL || answer[0] != 'y') {
            cli_error(cli, "not agreed", NULL, "nothing has changed");
            code = EXIT_REFUSED;
        }
    }
    *digest = mem_dup(json_text_of(reply.json, "digest"));
    client_reply_fini(&reply);
    return code;
}

static int run_upgrade(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)arg_count;
    const struct upgrade_options *o = options;
    struct loaded l = {0};
    struct client_reply reply = {0};
    char *digest = o->plan != NULL ? mem_dup(o->plan) : NULL;
    char *name = NULL;
    int code = load(cli, args[0], &l, &name);
    if (code == EXIT_DONE && digest == NULL && !o->yes && isatty(STDIN_FILENO) == 1) {
        code = agree(cli, &l, name, &digest);
    }
    if (code == EXIT_DONE) {
        code = post_file(cli, &l, name, "upgrade", digest, o->timeout_us, &reply);
    }
    if (code == EXIT_DONE) {
        code = outcome_finish(cli, reply.json, o->timeout_us);
        client_reply_fini(&reply);
    }
    mem_free(digest);
    mem_free(name);
    load_fini(&l);
    return code;
}

static int run_rollback(struct cli *cli, const void *options, char **args, unsigned arg_count)
{
    (void)arg_count;
    const struct upgrade_options *o = options;
    json_t *answer = NULL;
    if (submit_check_name(cli, args[0]) != EXIT_DONE) {
        return EXIT_USAGE;
    }
    if ((o->to != 0 && o->to_checkpoint) || (o->keep_output && !o->to_checkpoint)) {
        cli_error(cli, "these options do not go together", NULL,
                  "--to VERSION, or --to-checkpoint [--keep-output]");
        return EXIT_USAGE;
    }
    char *path = o->to != 0
                     ? mem_printf("/v1/topologies/%s/rollback?to=%" PRIu32, args[0], o->to)
                     : mem_printf("/v1/topologies/%s/rollback%s%s", args[0],
                                  o->to_checkpoint ? "?to_checkpoint=1" : "",
                                  o->keep_output ? "&keep_output=1" : "");
    int code = outcome_post(cli, path, NULL, o->timeout_us, &answer);
    mem_free(path);
    if (code == EXIT_DONE) {
        code = outcome_finish(cli, answer, o->timeout_us);
    }
    json_decref(answer);
    return code;
}
