/* cli/main.c - the program `oxbow`: finds the verb, fills struct cli, runs it.
 *
 * Owns:       the verb table.
 * Runs on:    one thread.
 * Why:        verbs come one per file; this file is their only list. */
#include "cli/options.h"
#include "cli/print.h"
#include "core/log.h"
#include "pe/registry.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct verb *const verbs[] = {
    &verb_run,     &verb_validate, &verb_graph,  &verb_deploy, &verb_plan, &verb_upgrade,
    &verb_rollback, &verb_history, &verb_receipt, &verb_status, &verb_workers, &verb_stop,
    &verb_scale,   &verb_drain,    &verb_undrain, &verb_checkpoint, &verb_skip,    &verb_pe,  &verb_model,
    &verb_new,     NULL,
};

static bool wants_color(FILE *stream, bool no_color)
{
    const char *environment = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    return !no_color && (environment == NULL || environment[0] == '\0') && terminal != NULL &&
           strcmp(terminal, "dumb") != 0 && isatty(fileno(stream)) == 1;
}

static int run_help(struct cli *cli, const struct command *command)
{
    if (command->verb != NULL) {
        options_help_verb(cli->out, command->verb);
        return EXIT_DONE;
    }
    if (command->arg_count < 2) { /* args[0] is `help` */
        options_help(cli->out, verbs);
        return EXIT_DONE;
    }
    const struct verb *verb = options_find_verb(verbs, command->args[1]);
    if (verb == NULL) {
        return options_unknown_verb(cli, verbs, command->args[1]);
    }
    options_help_verb(cli->out, verb);
    return EXIT_DONE;
}

static int run_command(struct cli *cli, const struct command *command)
{
    if (command->version) {
        fprintf(cli->out, "oxbow %s\n", OXBOW_VERSION);
        return EXIT_DONE;
    }
    if (command->help || (command->verb == NULL && command->arg_count > 0)) {
        return run_help(cli, command);
    }
    if (command->verb == NULL) {
        options_help(cli->err, verbs);
        return EXIT_USAGE;
    }
    return command->verb->run(cli, command->options, (char **)command->args, command->arg_count);
}

int main(int argc, char **argv)
{
    char program[PATH_MAX] = "";
    if (argc == 3 && strcmp(argv[1], "--describe-plugin") == 0) {
        return describe_plugin_main(argv[2]); /* the child of describe_plugin */
    }
    log_setup("oxbow", LOG_WARN);
    ssize_t bytes = readlink("/proc/self/exe", program, sizeof program - 1);
    const char *master = getenv("OXBOW_MASTER");
    struct cli cli = {
        .master = master != NULL && master[0] != '\0' ? master : CLI_MASTER_DEFAULT,
        .program = bytes > 0 ? program : argv[0],
        .out = stdout,
        .err = stderr,
    };
    struct command command;
    int code = options_parse(&cli, verbs, argc, argv, &command);
    if (code == EXIT_DONE) {
        cli.color_out = wants_color(stdout, command.no_color);
        cli.color_err = wants_color(stderr, command.no_color);
        code = run_command(&cli, &command);
        command_fini(&command);
    }
    if (fflush(stdout) != 0 && code == EXIT_DONE) {
        cli_error(&cli, "cannot write the output", NULL, "is the disk full?");
        code = EXIT_FAILED;
    }
    return code;
}
