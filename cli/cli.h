/* cli/cli.h - what every verb gets, what a verb is, and the exit codes they share.
 *
 * Owns:       struct cli (the global options), struct verb (one entry of the verb table).
 * Why:        a verb declares its options as data, so that parsing, checking and --help are one
 *             piece of code (cli/options.c) and read the same everywhere. */
#ifndef OXB_CLI_CLI_H
#define OXB_CLI_CLI_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CLI_MASTER_DEFAULT "http://127.0.0.1:7480"
#define CLI_ARGS_MAX 4096 /* words after the verb that are no options */
#define OPTION_LIST_MAX 64

enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1, /* it ran and failed */
    EXIT_USAGE = 2,
    EXIT_REFUSED = 3,     /* invalid or not allowed; nothing changed */
    EXIT_UNREACHABLE = 4, /* no master answers */
    EXIT_TIMEOUT = 5,
};

struct cli {
    const char *master;  /* URL, or HOST:PORT */
    const char *program; /* path of this executable */
    FILE *out;           /* data */
    FILE *err;           /* notices and errors */
    bool json;           /* -o json: `out` gets one JSON document and nothing else */
    bool color_out;
    bool color_err;
};

enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char *, borrowed from argv */
    OPTION_COUNT,   /* uint32_t, min..max */
    OPTION_SECONDS, /* uint64_t, microseconds; `30` is seconds, as is `30s`; also `500ms` */
    OPTION_CHOICE,  /* const char *, one word of `choices` */
    OPTION_LIST,    /* struct option_list: may be given several times */
};

struct option_list {
    const char *items[OPTION_LIST_MAX]; /* borrowed from argv */
    uint32_t count;
};

struct option {       /* array ends with name == NULL */
    const char *name; /* "--workers" */
    enum option_kind kind;
    size_t offset;       /* of the field in the verb's options struct */
    const char *value;   /* "N", for --help; NULL for flags */
    const char *doc;     /* NULL: works but is not shown */
    uint32_t min, max;   /* OPTION_COUNT */
    const char *choices; /* OPTION_CHOICE: "text dot svg" */
};

struct verb {
    const char *name;
    const char *usage; /* "validate FILE" */
    const char *brief; /* one line, for the list */
    const char *help;  /* starts with an example */
    unsigned args_min, args_max;
    const struct option *options; /* may be NULL */
    size_t options_bytes;         /* the struct is zeroed before parsing */
    int (*run)(struct cli *cli, const void *options, char **args, unsigned arg_count);
};

extern const struct verb verb_deploy, verb_graph, verb_history, verb_model, verb_plan, verb_receipt,
    verb_rollback, verb_upgrade, verb_new, verb_pe, verb_run, verb_status,
    verb_stop, verb_validate, verb_workers, verb_scale, verb_drain, verb_undrain, verb_checkpoint,
    verb_skip;

#endif
