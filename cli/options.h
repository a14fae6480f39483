/* cli/options.h - the command line: global options anywhere, a verb, its options and arguments. */
#ifndef OXB_CLI_OPTIONS_H
#define OXB_CLI_OPTIONS_H

#include "cli/cli.h"

struct command {
    const struct verb *verb;  /* NULL when none was given */
    void *options;            /* of verb->options_bytes; owned */
    char *args[CLI_ARGS_MAX]; /* borrowed from argv */
    unsigned arg_count;
    bool help;
    bool version;
    bool no_color;
};

/* options_parse - read argv[1..argc) into `out` and the global options into `cli`.
 * @verbs: array of verbs, ends with NULL.
 * Return: EXIT_DONE, or EXIT_USAGE with the error printed to cli->err. */
int options_parse(struct cli *cli, const struct verb *const *verbs, int argc, char **argv,
                  struct command *out);
void command_fini(struct command *c); /* accepts a zeroed command */

const struct verb *options_find_verb(const struct verb *const *verbs, const char *name);
/* options_unknown_verb - print the error with the nearest name.  Return: EXIT_USAGE. */
int options_unknown_verb(struct cli *cli, const struct verb *const *verbs, const char *name);
void options_help(FILE *out, const struct verb *const *verbs); /* of the program */
void options_help_verb(FILE *out, const struct verb *verb);

#endif
